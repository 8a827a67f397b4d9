"""The transformation of a provider's record into an internal one: map, validate, check the business rules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from domain.core.errors import FieldError, json_pointer
from domain.core.text_length import cut
from domain.core.wire import reason_of
from domain.providers.contract import RecordStreams
from domain.providers.records import RecordType, SourceRecord, StreamProfile
from domain.sync.mapping import CompiledMapping
from domain.sync.merging import IncomingRecord, numbered
from domain.sync.records import MODELS, GenericRecord, Record
from domain.sync.rules import stored_id

#: The most characters of one internal record.
RECORD_MAX = 256 * 1024
_ENCODE = json.JSONEncoder(sort_keys=True, allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    external_id: str
    errors: Sequence[FieldError]


def content_hash(data: str) -> str:
    return hashlib.blake2b(data.encode(), digest_size=16).hexdigest()


class NotStorable(Exception):
    """A record that cannot be stored, although it is valid; the text says why and contains no value of it."""


def canonical(record: Record) -> str:
    """Return JSON text that is the same for the same content. Raises NotStorable for what JSON cannot represent."""
    try:
        if isinstance(record, GenericRecord):
            return _ENCODE({"fields": record.fields})
        return record.model_dump_json(by_alias=True, exclude_none=True)
    except ValueError:
        raise NotStorable("The record contains a value that JSON cannot represent.") from None


def stored_text(record: Record) -> str:
    """Return the JSON text under which a record is stored. Raises NotStorable, also for one that is too large."""
    text = canonical(record)
    if len(text) > RECORD_MAX:
        raise NotStorable(f"The record is {len(text):,} characters; at most {RECORD_MAX:,} are allowed.")
    return text


class Transformer:
    def __init__(
        self, provider: RecordStreams, profile: StreamProfile, mapping: CompiledMapping | None = None
    ) -> None:
        self._provider = provider
        self._profile = profile
        self._mapping = mapping

    @property
    def spent(self) -> int:
        """Return the effort of the mapping's expressions so far."""
        return self._mapping.spent if self._mapping is not None else 0

    def transform(self, record: SourceRecord) -> IncomingRecord | RefusedRecord:
        """Return the internal record, or why it is refused. Never raises, so that other records go on."""
        if not record.external_id or "\x00" in record.external_id:
            return RefusedRecord("", [FieldError("", record.unread or "The record has no usable id.")])
        key = stored_id(record.external_id)
        if record.unread is not None:
            return RefusedRecord(key, [FieldError("", cut(record.unread, 400))])
        if record.deleted:
            return _incoming(record, key, self._profile.record_type, None)
        made = self.to_internal(record)
        if isinstance(made, list):
            return RefusedRecord(key, made)
        kind, internal = made
        try:
            data = stored_text(internal)
        except NotStorable as reason:
            return RefusedRecord(key, [FieldError("", str(reason))])
        return _incoming(record, key, kind, data)

    def to_internal(self, record: SourceRecord) -> tuple[RecordType, Record] | list[FieldError]:
        try:
            internal = self._provider.to_internal(self._profile.name, record)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
            # The error's text may contain a value of the record; its type does not.
            return [FieldError("", f"The provider's record cannot be read ({type(error).__name__}).")]
        kind, fields = self._profile.record_type, dict(internal)
        if self._mapping is not None:
            try:
                kind, fields = self._mapping.apply(internal, record.data, kind)
            except ValueError as error:
                return [FieldError(str(error), "The mapping's expression fails for this record.")]
        valid = validate(kind, fields)
        return valid if isinstance(valid, list) else (kind, valid)


def validate(kind: RecordType, fields: Mapping[str, Any]) -> Record | list[FieldError]:
    try:
        valid = MODELS[kind].model_validate(fields)
    except (ValidationError, RecursionError) as error:
        return _errors(error)
    broken = valid.broken_rule()
    return valid if broken is None else [broken]


def _incoming(record: SourceRecord, key: str, kind: RecordType, data: str | None) -> IncomingRecord:
    digest = "" if data is None else content_hash(data)
    version = numbered(record.version, record.sequence)
    version = cut(version, 200) if version else None
    return IncomingRecord(key, data, digest, record.modified_at, version, kind.value)


def _errors(error: ValidationError | RecursionError) -> list[FieldError]:
    if isinstance(error, RecursionError):
        return [FieldError("", "The record is nested too deeply.")]
    details = error.errors(include_url=False, include_input=False, include_context=False)
    return [
        FieldError(cut(json_pointer(*detail["loc"]), 300), cut(reason_of(detail), 400))
        for detail in details[:10]
    ]
