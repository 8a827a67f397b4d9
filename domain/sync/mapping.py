"""The field mapping: JMESPath (https://jmespath.org/specification.html) over the adapter's record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.parser import ParsedResult
from jmespath.visitor import Options, TreeInterpreter
from pydantic import Field, StringConstraints

from domain.core.errors import FieldError, ValidationFailed, json_pointer
from domain.core.text_length import TextConstraints, cut
from domain.core.wire import Command
from domain.journal.events import EventType
from domain.providers.charset import with_whole_characters
from domain.providers.records import RecordType

#: The most effort of all expressions of one record: steps of evaluation plus values made on the way.
MOST_EFFORT: Final = 200_000
_CHARACTERS = 64
_OPTIONS = Options(custom_functions=Functions())
#: The nodes that make new values; all others take one value out of another.
_MAKERS = frozenset(
    (
        "filter_projection",
        "flatten",
        "function_expression",
        "multi_select_dict",
        "multi_select_list",
        "projection",
        "value_projection",
    )
)


class TooExpensive(JMESPathError):  # type: ignore[misc]  # the library has no types
    """The expressions of a record need more effort than allowed."""


class ExpressionEvaluator(TreeInterpreter):  # type: ignore[misc]
    """Evaluates the expressions of one record within the effort `most`. Raises JMESPathError, also TooExpensive."""

    def __init__(self, most: int = MOST_EFFORT) -> None:
        super().__init__(_OPTIONS)
        self._most = most
        self._left = most

    @property
    def spent(self) -> int:
        return self._most - self._left

    def search(self, expression: ParsedResult, document: Any) -> Any:
        result = self.visit(expression.parsed, document)
        if expression.parsed["type"] not in _MAKERS:
            self._spend(_effort(result, self._left))  # it is copied into the record
        return result

    def visit(self, node: Any, *values: Any) -> Any:
        self._left -= 1
        result = super().visit(node, *values)
        if self._left < 0 or node["type"] in _MAKERS:
            self._spend(_effort(result, self._left))
        return result

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        arguments = [self.visit(child, value) for child in node["children"]]
        for argument in arguments:
            self._spend(_effort(argument, self._left))
        if node["value"] == "join":  # the one function that makes more than it is given
            match arguments:
                case [str() as glue, list() as parts]:
                    self._spend(len(glue) * len(parts) // _CHARACTERS)
        return self._functions.call_function(node["value"], arguments)

    def visit_comparator(self, node: Any, value: Any) -> Any:
        """Compare, for the effort of the smaller side: lists and objects are equal by all they hold."""
        sides = [self.visit(child, value) for child in node["children"]]
        self._spend(min(_effort(side, self._left) for side in sides))
        known = [{"type": "literal", "value": side, "children": []} for side in sides]
        return super().visit_comparator({**node, "children": known}, value)

    def _spend(self, effort: int) -> None:
        self._left -= effort
        if self._left < 0:
            raise TooExpensive("The expressions of the record need too much effort.")


def _effort(value: Any, most: int) -> int:
    """Return the number of values in a value, plus one for every 64 characters; stops counting above `most`."""
    count, waiting = 1, [value]
    while waiting and count <= most:
        part = waiting.pop()
        if isinstance(part, str):
            count += len(part) // _CHARACTERS
        elif isinstance(part, list | dict):
            count += len(part)
            if count <= most:
                waiting.extend(part.values() if isinstance(part, dict) else part)
            if isinstance(part, dict):
                count += sum(map(len, part)) // _CHARACTERS
    return count


RecordTypeName = Literal["Event", "Contact", "Payment", "Message", "FileObject", "Generic"]
FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,59}$")]
Expression = Annotated[str, TextConstraints(min_length=1, max_length=500)]
StreamName = Annotated[str, TextConstraints(min_length=1, max_length=60)]


class StreamMapping(Command):
    """The mapping of one stream.

    Expressions see the fields of the internal record, and under `source` the record as the provider sent it. With
    another `recordType` the record consists of `fields` alone; otherwise they replace fields of the same name."""

    record_type: RecordTypeName | None = Field(None, description="Internal record to make, if another")
    fields: Annotated[dict[FieldName, Expression], Field(max_length=50)] = Field(
        description="JMESPath expression by internal field"
    )


PropertyName = Annotated[str, TextConstraints(min_length=1, max_length=100)]


class EventMapping(Command):
    """The mapping of one type of domain events.

    Expressions see the event's `id`, `type`, `subject`, `occurredAt` and `data`."""

    name: Annotated[str, TextConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="Its name at the provider; the type when absent"
    )
    user_id: Expression | None = Field(
        None, description="JMESPath expression of the user's id; events without a user are the integration's"
    )
    properties: Annotated[dict[PropertyName, Expression], Field(max_length=100)] | None = Field(
        None, description="JMESPath expression by property; the members of `data` when absent"
    )


class FieldMapping(Command):
    """Body of `PUT /api/integrations/{id}/mapping`.

    Streams without an entry stay as the provider's adapter makes them."""

    streams: Annotated[dict[StreamName, StreamMapping], Field(max_length=20)] = Field(
        default_factory=dict, description="By stream, such as `contacts`"
    )
    events: Annotated[dict[EventType, EventMapping], Field(max_length=100)] = Field(
        default_factory=dict,
        description="By type of domain events, such as `BookingConfirmed`; for providers that take events",
    )


class CompiledMapping:
    """The mapping of one stream, ready to use. Raises ValidationFailed when an expression is not JMESPath.

    `spent` is the effort of all records so far."""

    def __init__(self, mapping: StreamMapping, pointer: str = "") -> None:
        self.spent = 0
        self.record_type = RecordType(mapping.record_type) if mapping.record_type else None
        self._expressions: list[tuple[str, Any]] = []
        errors: list[FieldError] = []
        for name, expression in mapping.fields.items():
            try:
                self._expressions.append((name, jmespath.compile(expression)))
            except (JMESPathError, RecursionError) as error:
                reason = cut(str(error).splitlines()[0], 200)
                at = f"{pointer}/fields{json_pointer(name)}"
                errors.append(FieldError(at, f"Not a JMESPath expression: {reason}"))
        if errors:
            raise ValidationFailed("The mapping contains expressions that are not JMESPath.", errors)

    def apply(
        self, internal: Mapping[str, Any], source: Mapping[str, Any], own: RecordType
    ) -> tuple[RecordType, dict[str, Any]]:
        """Return the record type and the fields; `own` is the record type of the stream.

        Raises ValueError with the pointer of the field whose expression failed."""
        document = {**internal, "source": source}
        kind = self.record_type or own
        fields: dict[str, Any] = dict(internal) if kind == own else {}
        evaluator = ExpressionEvaluator()
        try:
            for name, expression in self._expressions:
                value = _evaluated(evaluator, name, expression, document)
                if value is None:
                    fields.pop(name, None)
                else:
                    fields[name] = value
        finally:
            self.spent += evaluator.spent
        return kind, fields


def _evaluated(evaluator: ExpressionEvaluator, name: str, expression: Any, document: Any) -> Any:
    try:
        # A literal of an expression may name half a character.
        return with_whole_characters(evaluator.search(expression, document))
    except (JMESPathError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"/{name}") from error


def compile_mapping(mapping: FieldMapping) -> dict[str, CompiledMapping]:
    return {
        stream: CompiledMapping(stream_mapping, f"/streams{json_pointer(stream)}")
        for stream, stream_mapping in mapping.streams.items()
    }
