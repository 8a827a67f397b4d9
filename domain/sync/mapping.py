"""An integration's own field mapping: JMESPath expressions (https://jmespath.org/specification.html) over what the
provider's adapter made of a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from domain.errors import FieldError, ValidationFailed, json_pointer
from domain.sync.model import RecordType
from domain.wire import Command

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

        from domain.sync.expressions import Evaluation

        self.record_type = RecordType(mapping.record_type) if mapping.record_type else None
        self._failure = JMESPathError
        self._evaluation = Evaluation
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


def compiled(mapping: FieldMapping) -> dict[str, CompiledMapping]:
    """By stream. Raises ValidationFailed."""
    return {
        stream: CompiledMapping(one, f"/streams/{stream.replace('~', '~0').replace('/', '~1')}")
        for stream, one in mapping.streams.items()
    }
