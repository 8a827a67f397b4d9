"""An integration's own field mapping: JMESPath expressions (https://jmespath.org/specification.html) over what the
provider's adapter made of a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.parser import ParsedResult
from jmespath.visitor import Options, TreeInterpreter
from pydantic import Field, StringConstraints

from domain.core.errors import FieldError, ValidationFailed, json_pointer
from domain.core.wire import Command
from domain.providers.records import RecordType

#: What the expressions of one record may come to together: steps taken, and values made on the way.
MOST_EFFORT: Final = 200_000
_CHARACTERS = 64
_OPTIONS = Options(custom_functions=Functions())
#: What makes new values; everything else takes one out of another.
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
    """The expressions of a record ask for more than a record is worth."""


class ExpressionEvaluator(TreeInterpreter):  # type: ignore[misc]
    """Evaluates the expressions of one record. Raises JMESPathError, TooMuch among them."""

    def __init__(self, most: int = MOST_EFFORT) -> None:
        super().__init__(_OPTIONS)
        self._left = most

    def search(self, expression: ParsedResult, document: Any) -> Any:
        return self.visit(expression.parsed, document)

    def visit(self, node: Any, *values: Any) -> Any:
        self._left -= 1
        result = super().visit(node, *values)
        if self._left < 0 or node["type"] in _MAKERS:
            self._spend(_effort(result, self._left))
        return result

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        arguments = [self.visit(child, value) for child in node["children"]]
        if node["value"] == "join":  # the one function that makes more than it is given
            self._spend(_joined(arguments))
        return self._functions.call_function(node["value"], arguments)

    def _spend(self, effort: int) -> None:
        self._left -= effort
        if self._left < 0:
            raise TooExpensive("The expressions ask for more than a record is worth.")


def _effort(value: Any, most: int) -> int:
    """Values in a value, and one more for every 64 characters; counts no further than beyond `most`."""
    count, waiting = 1, [value]
    while waiting and count <= most:
        one = waiting.pop()
        if isinstance(one, str):
            count += len(one) // _CHARACTERS
        elif isinstance(one, list | dict):
            count += len(one)
            if count <= most:
                waiting.extend(one.values() if isinstance(one, dict) else one)
    return count


def _joined(arguments: Sequence[Any]) -> int:
    match arguments:
        case [str() as glue, list() as parts]:
            return len(glue) * len(parts) // _CHARACTERS
    return 0


RecordTypeName = Literal["Event", "Contact", "Payment", "Message", "FileObject", "Generic"]
FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,59}$")]
Expression = Annotated[str, StringConstraints(min_length=1, max_length=500)]
StreamName = Annotated[str, StringConstraints(min_length=1, max_length=60)]


class StreamMapping(Command):
    """Expressions see the internal record's fields, and under `source` the provider's record as it came. With
    another `recordType` the record is made of `fields` alone; otherwise they replace fields of the same name."""

    record_type: RecordTypeName | None = Field(None, description="Internal record to make, if another")
    fields: Annotated[dict[FieldName, Expression], Field(max_length=50)] = Field(
        description="JMESPath expression by internal field"
    )


class FieldMapping(Command):
    """Body of `PUT /api/integrations/{id}/mapping`; streams without an entry stay as the provider's adapter
    makes them."""

    streams: Annotated[dict[StreamName, StreamMapping], Field(max_length=20)] = Field(
        description="By stream, such as `contacts`"
    )


class CompiledMapping:
    """One stream's mapping, ready to use. Raises ValidationFailed when an expression is not JMESPath."""

    def __init__(self, mapping: StreamMapping, pointer: str = "") -> None:
        import jmespath
        from jmespath.exceptions import JMESPathError

        self.record_type = RecordType(mapping.record_type) if mapping.record_type else None
        self._failure = JMESPathError
        self._evaluation = ExpressionEvaluator
        self._expressions: list[tuple[str, Any]] = []
        errors: list[FieldError] = []
        for name, expression in mapping.fields.items():
            try:
                self._expressions.append((name, jmespath.compile(expression)))
            except (JMESPathError, RecursionError) as error:
                reason = str(error).splitlines()[0][:200]
                at = f"{pointer}/fields{json_pointer(name)}"
                errors.append(FieldError(at, f"Not a JMESPath expression: {reason}"))
        if errors:
            raise ValidationFailed("The mapping holds expressions that are not JMESPath.", errors)

    def apply(
        self, internal: Mapping[str, Any], source: Mapping[str, Any], own: RecordType
    ) -> tuple[RecordType, dict[str, Any]]:
        """The record type and its fields; `own` is the stream's type. Raises ValueError naming the field whose
        expression failed."""
        document = {**internal, "source": source}
        kind = self.record_type or own
        made: dict[str, Any] = dict(internal) if kind == own else {}
        evaluation = self._evaluation()
        for name, expression in self._expressions:
            try:
                value = evaluation.search(expression, document)
            except (self._failure, TypeError, ValueError, RecursionError) as error:
                raise ValueError(f"/{name}") from error
            if value is None:
                made.pop(name, None)
            else:
                made[name] = value
        return kind, made


def compile_mapping(mapping: FieldMapping) -> dict[str, CompiledMapping]:
    """By stream. Raises ValidationFailed."""
    return {
        stream: CompiledMapping(one, f"/streams/{stream.replace('~', '~0').replace('/', '~1')}")
        for stream, one in mapping.streams.items()
    }
