"""Unusual uses of API keys (section 10.2), and the scopes that each is used for, for recommendations.

Unusual are a network, country or client program that the key was never used from before, one scope after
another that it does not have, and many refused requests within a minute."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from threading import Lock
from typing import Final, NamedTuple
from uuid import UUID

from domain.apikeys.model import ApiKey
from domain.apikeys.rules import VerificationCode
from domain.apikeys.verifier import VerificationRequest, VerificationResult
from domain.authentication.intruders import network_of
from domain.authentication.ports import KeyUseTransaction
from domain.core.errors import Unavailable
from domain.core.ports import Clock, IdGenerator
from domain.core.text_length import cut
from domain.core.transaction import Transactions, in_steps
from domain.journal.signals import SubjectKind
from domain.monitoring.anomalies.model import Anomaly, AnomalySubject, Direction, Metric
from domain.monitoring.anomalies.notices import event_of, occurrence_of
from domain.monitoring.anomalies.ports import ANYTHING, SeenTrait, Sighting, Trait

logger = logging.getLogger("hub.insights")

#: What a key does in its first day is how it is used.
LEARNING: Final = timedelta(days=1)
#: A key that shows more of a trait than this, as one in a mobile app does, surprises nobody.
VARIED: Final = 20
#: Values of a trait that are kept of a key: its holder could show ever new ones, and make a row of each.
MOST_KEPT: Final = 100
PER_TRANSACTION = 500
#: So many different scopes refused within an hour are somebody trying what the key can do.
PROBING: Final = 5
#: So many refusals within a minute, of one process, are a burst.
BURST: Final = 100
_BURST_WINDOW: Final = timedelta(minutes=1)
#: How long further bursts of the same key are not reported.
_REPORTED_FOR: Final = timedelta(minutes=10)
_COUNTED: Final = 10_000
#: Metrics of what may go on for a while; they are reported once an hour.
_ONCE_AN_HOUR: Final = frozenset((Metric.ScopeProbing, Metric.Refusals))
_HOUR: Final = timedelta(hours=1)
_KEPT: Final = timedelta(days=90)
_REMEMBERED = 50_000

#: How long a process does not look again at what it has seen.
_REMEMBERED_FOR = {
    Trait.Network: timedelta(hours=12),
    Trait.Country: timedelta(hours=12),
    Trait.Client: timedelta(hours=12),
    Trait.DeniedScope: timedelta(minutes=10),
    Trait.Scope: timedelta(hours=12),
}
_METRICS = {
    Trait.Network: (Metric.NewNetwork, "network"),
    Trait.Country: (Metric.NewCountry, "country"),
    Trait.Client: (Metric.NewClient, "client program"),
    Trait.DeniedScope: (Metric.ScopeProbing, "scope"),
}
_ACCEPTED = {VerificationCode.VALID, VerificationCode.RATE_LIMITED}
#: A key that is over shows nothing any more.
_SHOWING = _ACCEPTED | {VerificationCode.INSUFFICIENT_SCOPES, VerificationCode.IP_NOT_ALLOWED}
#: Answered with 401 or 403, the keys that are over included.
_REFUSED = frozenset(VerificationCode) - _ACCEPTED
_PRODUCT = re.compile(r"[A-Za-z0-9._-]{1,60}")


class _UnusualUse(NamedTuple):
    tenant_id: UUID
    api_key_id: UUID
    metric: Metric
    detail: str


@dataclass(slots=True)
class _Count:
    began: datetime
    number: int = 0
    reported_at: datetime | None = None


class Bursts:
    """Counts refusals by origin. Thread-safe; the counts are those of one process and lost with it."""

    def __init__(self) -> None:
        self._counts: OrderedDict[Hashable, _Count] = OrderedDict()
        self._lock = Lock()

    def count(self, origin: Hashable, now: datetime) -> int:
        """Count one more. Return how many came within the minute when that is a burst to report, else 0."""
        with self._lock:
            count = self._counts.get(origin)
            if count is None:
                count = self._counts[origin] = _Count(now)
                if len(self._counts) > _COUNTED:
                    self._counts.popitem(last=False)
            elif now - count.began >= _BURST_WINDOW:
                count.began, count.number = now, 0
            self._counts.move_to_end(origin)
            count.number += 1
            is_reported = count.reported_at is not None and now - count.reported_at < _REPORTED_FOR
            if count.number < BURST or is_reported:
                return 0
            count.reported_at = now
            return count.number


class KeyUsageWatch:
    """Listens to verifications; only what a process has not seen of late costs a transaction."""

    def __init__(self, transactions: Transactions[KeyUseTransaction], clock: Clock, ids: IdGenerator) -> None:
        self._transactions = transactions
        self._clock = clock
        self._ids = ids
        self._until: OrderedDict[Sighting, datetime] = OrderedDict()
        self._bursts = Bursts()
        self._lock = Lock()

    def listen(self, requests: Sequence[VerificationRequest], results: Sequence[VerificationResult]) -> None:
        """Store what is new of these uses and report what is unusual; no request fails for being watched."""
        now = self._clock.now()
        names: dict[UUID, str] = {}
        fresh: dict[Sighting, None] = {}
        bursts: list[_UnusualUse] = []
        for request, result in zip(requests, results, strict=True):
            if result.key is None:
                continue
            if result.code in _REFUSED:
                bursts += self._burst(result.key, now)
            if result.code not in _SHOWING:
                continue
            for sighting in _sightings(request, result, result.key):
                is_due = self._until.get(sighting, now) <= now
                if is_due and self._until.get(_all_of(sighting), now) <= now:
                    fresh[sighting] = None
                    names[result.key.api_key_id] = result.key.key_name
        if not fresh and not bursts:
            return
        try:
            self.store_uses(list(fresh), names, bursts, now)
        except Unavailable as error:
            logger.warning("uses of keys not looked at", extra={"uses": len(fresh), "reason": error.detail})
            return
        self._remember(fresh, now)

    def forget_old(self) -> int:
        """Remove what was last seen more than 90 days ago."""
        cutoff = self._clock.now() - _KEPT
        size = PER_TRANSACTION
        return in_steps(self._transactions, lambda tx: tx.sightings.delete_before(cutoff, size), size)

    def _burst(self, key: ApiKey, now: datetime) -> Iterator[_UnusualUse]:
        if count := self._bursts.count(key.api_key_id, now):
            what = f"{count} requests with the key {key.key_name}"
            detail = f"{what} were refused with 401 or 403 within a minute."
            yield _UnusualUse(key.tenant_id, key.api_key_id, Metric.Refusals, detail)

    def store_uses(
        self,
        sightings: Sequence[Sighting],
        names: dict[UUID, str],
        bursts: Sequence[_UnusualUse],
        now: datetime,
    ) -> None:
        with self._transactions.write() as tx:
            for burst in bursts:
                self._report(tx, burst, now)
            kept = self._with_room(tx, sightings, now)
            new = set(tx.sightings.see(kept, now))
            for sighting in kept:
                tenant_id, key_id, trait = sighting.tenant_id, sighting.api_key_id, sighting.trait
                # A scope that the key has is nothing unusual: recommendations ask which ones it never uses.
                if trait == Trait.Scope or (sighting not in new and trait != Trait.DeniedScope):
                    continue
                detail = describe_unusual(sighting, tx.sightings.known(key_id, trait), names[key_id], now)
                if detail is not None:
                    self._report(tx, _UnusualUse(tenant_id, key_id, _METRICS[trait][0], detail), now)
            tx.commit()

    def _with_room(
        self, tx: KeyUseTransaction, sightings: Sequence[Sighting], now: datetime
    ) -> list[Sighting]:
        """Return the sightings known, or new of a trait with few values; others are ignored for an hour."""
        values: dict[Sighting, set[str]] = {}
        kept = []
        for sighting in sightings:
            trait = _all_of(sighting)
            if trait not in values:
                known = tx.sightings.known(sighting.api_key_id, sighting.trait)
                values[trait] = {seen.value for seen in known}
            if sighting.value not in values[trait] and len(values[trait]) >= MOST_KEPT:
                with self._lock:
                    self._until[trait] = now + _HOUR
                continue
            values[trait].add(sighting.value)
            kept.append(sighting)
        return kept

    def _report(self, tx: KeyUseTransaction, use: _UnusualUse, now: datetime) -> None:
        tenant_id, key_id, metric, detail = use
        if metric in _ONCE_AN_HOUR and tx.anomalies.exists_since(tenant_id, key_id, metric, now - _HOUR):
            return
        subject, id_ = AnomalySubject(SubjectKind.ApiKey, key_id), self._ids.new()
        anomaly = Anomaly(id_, tenant_id, subject, metric, Direction.Above, now, now, detail, ended_at=now)
        tx.anomalies.add(tenant_id, anomaly)
        if (key_id, metric) not in tx.anomalies.snoozed(tenant_id, now):
            tx.outbox.append([event_of(anomaly)])
            tx.occurrences.append(occurrence_of(anomaly, now))

    def _remember(self, sightings: dict[Sighting, None], now: datetime) -> None:
        with self._lock:
            for sighting in sightings:
                self._until[sighting] = now + _REMEMBERED_FOR[sighting.trait]
                self._until.move_to_end(sighting)
            while len(self._until) > _REMEMBERED:
                self._until.popitem(last=False)


def _all_of(sighting: Sighting) -> Sighting:
    """Return what stands for every value of a key's trait."""
    return replace(sighting, value="")


def describe_unusual(
    sighting: Sighting, known: Sequence[SeenTrait], key_name: str, now: datetime
) -> str | None:
    """Return the sentence about an unusual sighting, None for a usual one. `known` includes the sighting itself."""
    if sighting.trait == Trait.DeniedScope:
        tried = sorted(seen.value for seen in known if now - seen.last_seen_at < _HOUR)
        if len(tried) < PROBING:
            return None
        scopes = f"{len(tried)} scopes it does not have within an hour: {', '.join(tried)}"
        return f"The key {key_name} was refused for {scopes}."
    others = [seen for seen in known if seen.value != sighting.value]
    if not others or len(others) >= VARIED or now - min(other.first_seen_at for other in others) < LEARNING:
        return None
    usual = ", ".join(sorted(other.value for other in others)[:3])
    usual += " and others" if len(others) > 3 else ""
    place = f"{_METRICS[sighting.trait][1]} {sighting.value}"
    return f"The key {key_name} was used from the {place} for the first time; before from {usual}."


@lru_cache(maxsize=4096)
def client_of(user_agent: str) -> str | None:
    """Return the program's name without its version, such as `python-httpx` or `mozilla`."""
    found = _PRODUCT.match(user_agent)
    return found[0].lower() if found else None


def _sightings(request: VerificationRequest, result: VerificationResult, key: ApiKey) -> Iterator[Sighting]:
    used = () if result.code in _REFUSED else request.scopes or (ANYTHING,)
    values = (
        (Trait.Network, network_of(request.ip) if request.ip else None),
        (Trait.Country, request.country),
        (Trait.Client, client_of(request.client) if request.client else None),
        *((Trait.DeniedScope, scope) for scope in result.missing),
        *((Trait.Scope, scope) for scope in used),
    )
    for trait, value in values:
        if value:
            yield Sighting(key.tenant_id, key.api_key_id, trait, cut(value, 100))
