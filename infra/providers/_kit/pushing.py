"""What adapters share that push records: validation of a record, ids of a client's own, safe repeats."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, TypeVar, cast

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from domain.providers.contract import ProviderFailure, RecordChanged
from domain.providers.records import SourceRecord
from domain.sync.records import ContactRecord, EventRecord, Record

Kind = TypeVar("Kind", bound=Record)

#: The moments of an event, which are written together.
_TIMES = ("starts_at", "ends_at", "start_date", "end_date", "all_day")
#: What is stated with them: a zone means nothing without them, and a rule begins with them.
_STATED = (*_TIMES, "time_zone", "recurrence")
#: What a push of an event writes. Guests are left out: some providers write to them at once.
EVENT_FIELDS = ("title", *_TIMES, "description", "location", "recurrence")
#: The same, by the names of the record.
EVENT_PUSHES = frozenset(to_camel(name) for name in EVENT_FIELDS)


def digest(key: str) -> str:
    """Return an idempotency key as 40 lower-case hexadecimal digits, for ids that a client may choose."""
    return hashlib.sha256(key.encode()).hexdigest()[:40]


def wanted(kind: type[Kind], data: Mapping[str, Any], fields: Collection[str] | None = None) -> Kind:
    """Read a record to push; of `data` only `fields` are set in it. Raises ProviderFailure (rejected)."""
    try:
        record = kind.model_validate(data)
    except ValidationError as error:
        at = "/".join(str(step) for step in error.errors()[0]["loc"])
        raise ProviderFailure("rejected", f"The record to push is not valid at {at or 'its root'}.") from None
    if fields is None:
        return record
    names = {name for name in record.model_fields_set if to_camel(name) in fields}
    if not names.isdisjoint(_STATED):
        names.update(record.model_fields_set.intersection((*_TIMES, "time_zone")))
    values = {name: getattr(record, name) for name in names}
    return cast("Kind", kind.model_construct(_fields_set=names, **values))


def event_to_push(data: Mapping[str, Any], fields: Collection[str] | None = None) -> EventRecord:
    """Read an event to push. Raises ProviderFailure (rejected), also for an event that has no beginning."""
    event = wanted(EventRecord, data, fields)
    if fields is not None and not has_times(event):
        return event
    if (event.start_date if event.all_day else event.starts_at) is None:
        raise ProviderFailure("rejected", "An event to push needs a beginning.")
    return event


def has_times(event: EventRecord) -> bool:
    """Return whether the moments of the event are to be written."""
    return not event.model_fields_set.isdisjoint(_TIMES)


def contact_to_push(data: Mapping[str, Any], fields: Collection[str] | None = None) -> ContactRecord:
    """Read a contact to push. Raises ProviderFailure (rejected)."""
    return wanted(ContactRecord, data, fields)


def holds(record: Record, current: Mapping[str, Any], fields: Collection[str]) -> bool:
    """Return whether the provider's record, in its internal shape, already has what a push of `record` writes.

    Then an earlier try came through and only its answer was lost."""
    try:
        there = type(record).model_validate(current)
    except ValidationError:
        return False
    return all(
        getattr(there, name) == getattr(record, name) for name in record.model_fields_set & set(fields)
    )


def gone(external_id: str, deleted_at: datetime | None = None) -> RecordChanged:
    """Return the failure of a push to a record that is no longer there."""
    return RecordChanged(SourceRecord(external_id, {}, deleted_at, deleted=True))
