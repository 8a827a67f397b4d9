"""Export what the hub holds about a person (GDPR article 15), page by page."""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.core.errors import FieldError, ValidationFailed
from domain.core.permissions import PRIVACY_MANAGE
from domain.core.ports import Clock, IdGenerator
from domain.core.principal import Principal
from domain.core.transaction import Transactions
from domain.journal.audit import AuditEntry
from domain.privacy.model import ExportSubject, Holding
from domain.privacy.places import Place, read_batch
from domain.privacy.ports import PrivacyTransaction
from domain.privacy.rules import IdentifiedPerson


@dataclass(frozen=True, slots=True)
class HeldItem:
    kind: str
    ids: dict[str, str]
    at: datetime
    data: Any


@dataclass(frozen=True, slots=True)
class ExportPage:
    """A part of an export; `cursor` is None when there is nothing left to search."""

    items: Sequence[HeldItem]
    cursor: str | None


class ExportService:
    def __init__(
        self,
        transactions: Transactions[PrivacyTransaction],
        places: Sequence[Place],
        clock: Clock,
        ids: IdGenerator,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transactions = transactions
        self._places = places
        self._clock = clock
        self._ids = ids
        self._monotonic = monotonic

    def page(self, principal: Principal, command: ExportSubject) -> ExportPage:
        """Search for at most 10 seconds, and return what was found.

        A page may have few items, or none, and still have a cursor. Raises Forbidden, ValidationFailed."""
        principal.require(PRIVACY_MANAGE)
        until = self._monotonic() + 10
        place, after = _position(command.cursor, self._places) if command.cursor else (0, None)
        items = [] if command.cursor else self._named(principal, command)
        person = IdentifiedPerson(command.identifiers)
        if not command.identifiers:
            place = len(self._places)
        while place < len(self._places) and len(items) < command.limit and self._monotonic() < until:
            room = command.limit - len(items)
            found, after = self._search(principal, self._places[place], after, person, room=room)
            items += found
            place += after is None
        self._audit(principal, command, len(items))
        if place == len(self._places):
            return ExportPage(items, None)
        position = json.dumps([place, list(after) if after else None])
        return ExportPage(items, base64.urlsafe_b64encode(position.encode()).decode())

    def _search(
        self,
        principal: Principal,
        place: Place,
        after: Sequence[str] | None,
        person: IdentifiedPerson,
        *,
        room: int,
    ) -> tuple[list[HeldItem], Sequence[str] | None]:
        """Return at most `room` items of one batch, and the next position; None is the end of the place."""
        with self._transactions.read() as tx:
            holdings = read_batch(tx, place, principal.tenant_id, after)
        items: list[HeldItem] = []
        for holding in holdings:
            if not place.holds(holding, person):
                continue
            items.append(_item(place, holding))
            if len(items) == room:
                return items, holding.position
        return items, holdings[-1].position if holdings else None

    def _named(self, principal: Principal, command: ExportSubject) -> list[HeldItem]:
        with self._transactions.read() as tx:
            records = [
                tx.personal_data.record(principal.tenant_id, ref.integration_id, ref.stream, ref.external_id)
                for ref in command.records
            ]
        place = self._places[0]
        return [_item(place, place.holding(record)) for record in records if record is not None]

    def _audit(self, principal: Principal, command: ExportSubject, items: int) -> None:
        after = {
            "identifiers": len(command.identifiers),
            "records": len(command.records),
            "items": items,
            "continued": command.cursor is not None,
        }
        entry = AuditEntry("privacy.exported", "export", self._ids.new(), principal, after=after)
        with self._transactions.write() as tx:
            tx.audit.append(principal.tenant_id, entry)
            tx.commit()


def _item(place: Place, holding: Holding) -> HeldItem:
    return HeldItem(place.kind, dict(holding.ids), holding.at, place.shown(holding))


def _position(cursor: str, places: Sequence[Place]) -> tuple[int, Sequence[str] | None]:
    try:
        place, after = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if not (type(place) is int and 0 <= place < len(places) and _is_key(after)):
            raise ValueError
        if after is not None:
            places[place].key(after)
    except (ValueError, TypeError, IndexError, OverflowError, binascii.Error):
        detail = "This is not a cursor that an export returned."
        raise ValidationFailed(detail, [FieldError("/cursor", detail)]) from None
    return place, after


def _is_key(after: Any) -> bool:
    if after is None:
        return True
    if not isinstance(after, list) or not 0 < len(after) <= 3:
        return False
    return all(isinstance(text, str) and text.isprintable() for text in after)
