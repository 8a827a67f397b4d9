"""A provider's record becomes an internal one: mapped, validated, held against the business rules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from domain.core.errors import FieldError, json_pointer
from domain.core.wire import reason_of
from domain.providers.records import RecordType, SourceRecord, StreamProfile, SyncProvider
from domain.sync.mapping import CompiledMapping
from domain.sync.merging import IncomingRecord
from domain.sync.records import MODELS, ContactRecord, EventRecord, GenericRecord, PaymentRecord, Record
from domain.sync.rules import stored_id

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
class RefusedRecord:
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

    def transform(self, record: SourceRecord) -> IncomingRecord | RefusedRecord:
        """Never raises: whatever a record holds, the others go on (BR-DS-04)."""
        if not record.external_id or "\x00" in record.external_id:
            return RefusedRecord("", [FieldError("", "The record has no usable id.")])
        key = stored_id(record.external_id)
        if record.deleted:
            return self._incoming(key, None, "", record, self._profile.record_type)
        made = self.make(record)
        if isinstance(made, list):
            return RefusedRecord(key, made)
        kind, internal = made
        try:
            data = canonical(internal)
            data.encode()
        except ValueError:
            return RefusedRecord(key, [FieldError("", "The record holds a value that JSON cannot carry.")])
        if len(data) > RECORD_MAX_BYTES:
            detail = f"The record is {len(data):,} characters; at most {RECORD_MAX_BYTES:,} are taken."
            return RefusedRecord(key, [FieldError("", detail)])
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
