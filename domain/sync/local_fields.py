"""What a tenant set of a record, field by field: it waits to be pushed, or stays because no push can take it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from domain.core.json_text import compact_json
from domain.providers.records import RecordType
from domain.sync.merging import IncomingRecord, Merge, StoredVersion
from domain.sync.model import SyncedRecord
from domain.sync.transforming import NotStorable, stored_text, validate

#: The moments of an event are one statement: who names one of them names all. What is not given is this.
_TOGETHER: Mapping[RecordType, Mapping[str, Any]] = {
    RecordType.Event: {
        "startsAt": None,
        "endsAt": None,
        "startDate": None,
        "endDate": None,
        "allDay": False,
    },
}
#: What a push writes; None stands for every field.
Pushes = Collection[str] | None


@dataclass(frozen=True, slots=True)
class LocalFields:
    """The tenant's values of a record by field (`ours`), and what the provider has there as far as is known (`theirs`).

    A field that `theirs` lacks is one that the provider has not told yet."""

    ours: Mapping[str, Any] = field(default_factory=dict)
    theirs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_text(cls, text: str | None) -> Self:
        return cls(**json.loads(text)) if text else cls()

    def to_text(self) -> str | None:
        """Return JSON text, None when nothing is the tenant's."""
        if not self.ours:
            return None
        return compact_json({"ours": self.ours, "theirs": self.theirs})

    def over(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record with the tenant's values in it."""
        return {name: value for name, value in {**data, **self.ours}.items() if value is not None}

    def edited(self, named: Mapping[str, Any], known: Mapping[str, Any] | None) -> LocalFields:
        """Return the fields after the tenant named some; `known` is the stored record, None without one there."""
        told = {name: known.get(name) for name in named if name not in self.ours} if known is not None else {}
        return LocalFields({**self.ours, **named}, {**told, **self.theirs})

    def rebased(self, provider: Mapping[str, Any] | None) -> LocalFields:
        """Return the fields beside another version of the provider's record, None when it is gone there."""
        if provider is None:
            return LocalFields(self.ours)
        return LocalFields(self.ours, {name: provider.get(name) for name in self.ours})

    def kept(self, provider: Mapping[str, Any] | None, pushes: Pushes) -> LocalFields:
        """Return what stays when the provider's record replaces the stored one: fields that no push can take.

        One that the provider changed since the tenant set it is the provider's. `provider` is None when it did not
        tell its record."""
        if pushes is None:
            return LocalFields()
        stay = {name: value for name, value in self.ours.items() if name not in pushes}
        if provider is None:
            return LocalFields(stay, {name: self.theirs[name] for name in stay if name in self.theirs})
        stay = {
            name: value
            for name, value in stay.items()
            if not differ(provider.get(name), self.theirs.get(name, provider.get(name)))
            and differ(value, provider.get(name))
        }
        return LocalFields(stay, {name: provider.get(name) for name in stay})

    def waiting(self, pushes: Pushes) -> frozenset[str]:
        """Return the fields to push: those in which the provider has another value."""
        taken = self.ours if pushes is None else [name for name in self.ours if name in pushes]
        return frozenset(
            name for name in taken if name not in self.theirs or differ(self.ours[name], self.theirs[name])
        )

    def not_pushed(self, pushes: Pushes) -> frozenset[str]:
        """Return the fields in which the record differs from the provider's and no push can take it there."""
        if pushes is None:
            return frozenset()
        return frozenset(
            name
            for name, value in self.ours.items()
            if name not in pushes and differ(value, self.theirs.get(name))
        )


def with_local_fields(merged: Merge, stored: Mapping[str, StoredVersion], pushes: Pushes) -> Merge:
    """Return the merge with what stays of the tenant's fields in its records.

    A kept record's `data` is None where what is stored stays as it is: a deletion, or a record that is gone at the
    provider."""
    return replace(
        merged,
        given_up=[
            record.external_id
            for record in (*merged.updates, *merged.tombstones)
            if record.external_id in merged.given_up
            and not _has_all(record, stored[record.external_id], pushes)
        ],
        updates=[
            overlaid(record, stored[record.external_id], pushes, is_kept=False) for record in merged.updates
        ],
        kept=[beside_provider(record, stored[record.external_id]) for record in merged.kept],
    )


def _has_all(record: IncomingRecord, known: StoredVersion, pushes: Pushes) -> bool:
    """Return whether the provider has all that waits: its change is then the very one that was pushed."""
    if record.data is None or known.is_deleted:
        return False
    return not LocalFields.from_text(known.local_fields).rebased(json.loads(record.data)).waiting(pushes)


def beside_provider(record: IncomingRecord, known: StoredVersion) -> IncomingRecord:
    """Return what is stored of a waiting change that is kept beside this version of the provider's record."""
    if record.data is not None and not known.is_deleted:
        both = overlaid(record, known, None, is_kept=True)
        if both is not record:
            return both
    local = LocalFields.from_text(known.local_fields).rebased(None)
    return replace(record, data=None, local_fields=local.to_text())


def overlaid(
    record: IncomingRecord, known: StoredVersion, pushes: Pushes, *, is_kept: bool
) -> IncomingRecord:
    """Return the provider's live record with the tenant's fields over it: all of them when the change is kept.

    The record itself where there are none, or where both together are no valid record."""
    if known.local_fields is None or known.record_type != record.record_type:
        return record
    provider, local = json.loads(record.data or "{}"), LocalFields.from_text(known.local_fields)
    local = local.rebased(provider) if is_kept else local.kept(provider, pushes)
    data = _text(RecordType(record.record_type), local.over(provider))
    return record if data is None else replace(record, data=data, local_fields=local.to_text())


def local_edit(
    known: SyncedRecord | None, kind: RecordType, named: Mapping[str, Any]
) -> tuple[str, LocalFields] | None:
    """Return the stored text of a record in which the tenant named some fields, and the tenant's fields of it.

    A field that is not named stays as it is; one that is null is emptied. None when both together are no valid
    record."""
    named = named_together(kind, named)
    before, told = LocalFields(), None
    if known is not None and known.data is not None and known.record_type == kind.value:
        before, told = waiting_fields(known), json.loads(known.data)
    local = before.edited(named, told if known is not None and known.source_hash is not None else None)
    text = _text(kind, local.over(told or {}))
    return None if text is None else (text, local)


def waiting_fields(record: SyncedRecord) -> LocalFields:
    """Return the tenant's fields of a record; all of it, where an earlier release stored a change as a whole."""
    if record.local_fields is None and record.export_pending and record.data is not None:
        return LocalFields(json.loads(record.data))
    return LocalFields.from_text(record.local_fields)


def _text(kind: RecordType, fields: Mapping[str, Any]) -> str | None:
    valid = validate(kind, fields)
    try:
        return None if isinstance(valid, list) else stored_text(valid)
    except NotStorable:
        return None


def named_together(kind: RecordType, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the named fields with those that are stated with them; what is not given of these is empty."""
    group = _TOGETHER.get(kind, {})
    return {**group, **named} if group.keys() & named.keys() else dict(named)


def differ(one: Any, other: Any) -> bool:
    """Return whether two values of a field differ; a provider does not tell empty text and lists from none."""
    return bool(_plain(one) != _plain(other))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        plain = {name: _plain(inner) for name, inner in value.items()}
        return {name: inner for name, inner in plain.items() if inner is not None} or None
    if isinstance(value, list):
        return [_plain(inner) for inner in value] or None
    return None if value is False or value == "" else value
