"""An integration's own field mapping: JMESPath expressions (https://jmespath.org/specification.html) over what the
provider's adapter made of a record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.parser import ParsedResult
from jmespath.visitor import Options, TreeInterpreter
from pydantic import Field, StringConstraints, ValidationError

from domain.core.errors import FieldError, ValidationFailed, json_pointer
from domain.core.wire import Command, reason_of
from domain.providers.records import RecordType, SourceRecord, StreamProfile, SyncProvider
from domain.sync.merging import IncomingRecord
from domain.sync.records import MODELS, ContactRecord, EventRecord, GenericRecord, PaymentRecord, Record
from domain.sync.rules import stored_id

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


class TooMuch(JMESPathError):  # type: ignore[misc]  # the library has no types
    """The expressions of a record ask for more than a record is worth."""


class Evaluation(TreeInterpreter):  # type: ignore[misc]
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
            raise TooMuch("The expressions ask for more than a record is worth.")


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


BusinessRule = Callable[[Record], FieldError | None]


def event_ends_after_it_starts(record: Record) -> FieldError | None:
    if not isinstance(record, EventRecord):
        return None
    if record.starts_at and record.ends_at and record.ends_at < record.starts_at:
        return FieldError("/endsAt", "The event ends before it starts.")
    if record.start_date and record.end_date and record.end_date < record.start_date:
        return FieldError("/endDate", "The event ends before it starts.")
    return None


def refund_is_within_the_payment(record: Record) -> FieldError | None:
    if isinstance(record, PaymentRecord) and record.refunded_minor > abs(record.amount_minor):
        return FieldError("/refundedMinor", "More was refunded than was paid.")
    return None


def contact_can_be_told_apart(record: Record) -> FieldError | None:
    if not isinstance(record, ContactRecord):
        return None
    if any((record.first_name, record.last_name, record.email, record.phone, record.company)):
        return None
    return FieldError("", "The contact has neither name, company, e-mail address nor phone number.")


RULES: Sequence[BusinessRule] = (
    event_ends_after_it_starts,
    refund_is_within_the_payment,
    contact_can_be_told_apart,
)


_POINTER_MAX = 300
_REASON_MAX = 400
#: Bytes of one internal record; what is larger is no record but a document.
RECORD_MAX_BYTES = 256 * 1024
_ENCODE = json.JSONEncoder(sort_keys=True, allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that cannot be taken. `errors` hold no value of it."""

    external_id: str
    errors: Sequence[FieldError]


def content_hash(data: str) -> str:
    """128 bits of the record's canonical JSON: equal content, equal hash."""
    return hashlib.blake2b(data.encode(), digest_size=16).hexdigest()


def canonical(record: Record) -> str:
    """JSON text that is the same for the same content. Raises ValueError for what JSON cannot hold."""
    if isinstance(record, GenericRecord):
        return _ENCODE({"fields": record.fields})
    return record.model_dump_json(by_alias=True, exclude_none=True)


class Transformer:
    """Of one stream. `transform` is pure."""

    def __init__(
        self,
        provider: SyncProvider,
        profile: StreamProfile,
        mapping: CompiledMapping | None = None,
        rules: Sequence[BusinessRule] = RULES,
    ) -> None:
        self._provider = provider
        self._profile = profile
        self._mapping = mapping
        self._rules = rules

    def transform(self, record: SourceRecord) -> IncomingRecord | Refused:
        """Never raises: whatever a record holds, the others go on (BR-DS-04)."""
        if not record.external_id or "\x00" in record.external_id:
            return Refused("", [FieldError("", "The record has no usable id.")])
        key = stored_id(record.external_id)
        if record.deleted:
            return self._incoming(key, None, "", record, self._profile.record_type)
        made = self.make(record)
        if isinstance(made, list):
            return Refused(key, made)
        kind, internal = made
        try:
            data = canonical(internal)
            data.encode()
        except ValueError:
            return Refused(key, [FieldError("", "The record holds a value that JSON cannot carry.")])
        if len(data) > RECORD_MAX_BYTES:
            detail = f"The record is {len(data):,} characters; at most {RECORD_MAX_BYTES:,} are taken."
            return Refused(key, [FieldError("", detail)])
        return self._incoming(key, data, content_hash(data), record, kind)

    def make(self, record: SourceRecord) -> tuple[RecordType, Record] | list[FieldError]:
        """The internal record with its type, or what is wrong."""
        try:
            internal = self._provider.to_internal(self._profile.name, record)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
            # The error's text may repeat a value of the record; its kind does not.
            return [FieldError("", f"The provider's record cannot be read ({type(error).__name__}).")]
        kind, fields = self._profile.record_type, dict(internal)
        if self._mapping is not None:
            try:
                kind, fields = self._mapping.apply(internal, record.data, kind)
            except ValueError as error:
                return [FieldError(str(error), "The mapping's expression fails for this record.")]
        return self.validate(kind, fields)

    def validate(
        self, kind: RecordType, fields: Mapping[str, Any]
    ) -> tuple[RecordType, Record] | list[FieldError]:
        """Against the internal model and the business rules."""
        try:
            valid = MODELS[kind].model_validate(fields)
        except (ValidationError, RecursionError) as error:
            return _errors(error)
        broken = [found for rule in self._rules if (found := rule(valid)) is not None]
        return broken or (kind, valid)

    @staticmethod
    def _incoming(
        key: str, data: str | None, digest: str, record: SourceRecord, kind: RecordType
    ) -> IncomingRecord:
        version = record.version[:200] if record.version else None
        return IncomingRecord(key, data, digest, record.modified_at, version, kind.value)


def _errors(error: ValidationError | RecursionError) -> list[FieldError]:
    if isinstance(error, RecursionError):
        return [FieldError("", "The record is nested too deeply.")]
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return [
        FieldError(json_pointer(*one["loc"])[:_POINTER_MAX], reason_of(one)[:_REASON_MAX])
        for one in found[:10]
    ]
