"""What adapters share that push records: validation of a record, ids of a client's own, safe repeats."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from domain.providers.contract import ProviderFailure
from domain.sync.records import ContactRecord, EventRecord, Record

Kind = TypeVar("Kind", bound=Record)

#: What a push of an event writes. Guests are left out: some providers write to them at once.
EVENT_FIELDS = (
    "title",
    "starts_at",
    "ends_at",
    "start_date",
    "end_date",
    "all_day",
    "description",
    "location",
)


def digest(key: str) -> str:
    """Return an idempotency key as 40 lower-case hexadecimal digits, for ids that a client may choose."""
    return hashlib.sha256(key.encode()).hexdigest()[:40]


def wanted(kind: type[Kind], data: Mapping[str, Any]) -> Kind:
    """Read a record to push. Raises ProviderFailure (rejected)."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        at = "/".join(str(step) for step in error.errors()[0]["loc"])
        raise ProviderFailure("rejected", f"The record to push is not valid at {at or 'its root'}.") from None


def event_to_push(data: Mapping[str, Any]) -> EventRecord:
    """Read an event to push. Raises ProviderFailure (rejected), also for an event that has no beginning."""
    event = wanted(EventRecord, data)
    if (event.start_date if event.all_day else event.starts_at) is None:
        raise ProviderFailure("rejected", "An event to push needs a beginning.")
    return event


def contact_to_push(data: Mapping[str, Any]) -> ContactRecord:
    """Read a contact to push. Raises ProviderFailure (rejected)."""
    return wanted(ContactRecord, data)


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


def newer() -> ProviderFailure:
    """Return the failure of a push whose `if_version` no longer holds (412)."""
    return ProviderFailure(
        "rejected", "The record was changed at the provider meanwhile; it was not overwritten.", status=412
    )


def vanished() -> ProviderFailure:
    """Return the failure of a push to a record that is no longer there."""
    return ProviderFailure("rejected", "The record no longer exists at the provider.", status=404)
