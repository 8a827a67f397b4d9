"""Uses of API keys that are new (section 10.2): from a network, country or program the key never came from, for one
scope after another that it does not have, and many refused within a minute. Which scopes a key is used for is
remembered too, for recommendations."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address, ip_network
from threading import Lock
from typing import Final, NamedTuple
from uuid import UUID

from domain.apikeys.model import ApiKey
from domain.apikeys.rules import VerificationCode
from domain.apikeys.verifier import VerificationRequest, VerificationResult
from domain.authentication.bursts import Bursts
from domain.authentication.ports import KeyUseTransaction
from domain.core.errors import Unavailable
from domain.core.ports import Clock, IdGenerator
from domain.core.transaction import Transactions, in_steps
from domain.journal.signals import SubjectKind
from domain.monitoring.anomalies.model import Anomaly, AnomalySubject, Direction, Metric
from domain.monitoring.anomalies.ports import ANYTHING, SeenTrait, Sighting, Trait
from domain.monitoring.anomalies.telling import event_of, occurrence_of

logger = logging.getLogger("hub.insights")

#: What a key does in its first day is how it is used.
LEARNING: Final = timedelta(days=1)
#: A key that shows more of a trait than this, as one in a mobile app does, surprises nobody.
VARIED: Final = 20
#: Values of a trait that are kept of a key: its holder could show ever new ones, and make a row of each.
MOST_KEPT: Final = 100
#: So many different scopes refused within an hour are somebody trying what the key can do.
PROBING: Final = 5
#: Those that may go on are told once an hour.
_ONCE_AN_HOUR: Final = frozenset((Metric.ScopeProbing, Metric.Refusals))
_HOUR: Final = timedelta(hours=1)
_KEPT: Final = timedelta(days=90)
_REMEMBERED = 50_000
_PER_TRANSACTION = 500

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
#: A key that is over shows nothing any more.
_SHOWING = frozenset(
    (
        VerificationCode.VALID,
        VerificationCode.RATE_LIMITED,
        VerificationCode.INSUFFICIENT_SCOPES,
        VerificationCode.IP_NOT_ALLOWED,
    )
)
#: Answered with 401 or 403, the keys that are over included.
_REFUSED = frozenset(VerificationCode) - {VerificationCode.VALID, VerificationCode.RATE_LIMITED}
_PRODUCT = re.compile(r"[A-Za-z0-9._-]{1,60}")


class _Unusual(NamedTuple):
    """A use of a key that is told; `detail` is the sentence."""

    tenant_id: UUID
    api_key_id: UUID
    metric: Metric
    detail: str


class KeyUses:
    """Looks at every ruling of the gate. Only what a process has not seen of late costs a transaction; should the
    database be away, the next use is looked at again."""

    def __init__(self, transactions: Transactions[KeyUseTransaction], clock: Clock, ids: IdGenerator) -> None:
        self._transactions = transactions
        self._clock = clock
        self._ids = ids
        self._until: OrderedDict[Sighting, datetime] = OrderedDict()
        self._bursts = Bursts()
        self._lock = Lock()

    def notice(self, questions: Sequence[VerificationRequest], rulings: Sequence[VerificationResult]) -> None:
        """Never raises for want of the database: a request must not fail for being looked at."""
        now = self._clock.now()
        names: dict[UUID, str] = {}
        fresh: dict[Sighting, None] = {}
        bursts: list[_Unusual] = []
        for question, ruling in zip(questions, rulings, strict=True):
            if ruling.key is None:
                continue
            if ruling.verdict in _REFUSED:
                bursts += self._burst(ruling.key, now)
            if ruling.verdict not in _SHOWING:
                continue
            for one in _shown(question, ruling, ruling.key):
                if self._until.get(one, now) <= now and self._until.get(_all_of(one), now) <= now:
                    fresh[one] = None
                    names[ruling.key.api_key_id] = ruling.key.key_name
        if not fresh and not bursts:
            return
        try:
            self._look(list(fresh), names, bursts, now)
        except Unavailable as error:
            logger.warning("uses of keys not looked at", extra={"uses": len(fresh), "reason": error.detail})
            return
        self._remember(fresh, now)

    def forget_old(self) -> int:
        """Remove what was seen last more than 90 days ago; returns how many."""
        cutoff = self._clock.now() - _KEPT
        return in_steps(
            self._transactions,
            lambda tx: tx.sightings.delete_before(cutoff, _PER_TRANSACTION),
            _PER_TRANSACTION,
        )

    def _burst(self, key: ApiKey, now: datetime) -> Iterator[_Unusual]:
        """That one more of its requests was refused, when that makes a burst."""
        if count := self._bursts.count(key.api_key_id, now):
            detail = (
                f"{count} requests with the key {key.key_name} were refused with 401 or 403 within a minute."
            )
            yield _Unusual(key.tenant_id, key.api_key_id, Metric.Refusals, detail)

    def _look(
        self,
        sightings: Sequence[Sighting],
        names: dict[UUID, str],
        bursts: Sequence[_Unusual],
        now: datetime,
    ) -> None:
        with self._transactions.write() as tx:
            for burst in bursts:
                self._tell(tx, burst, now)
            kept = self._with_room(tx, sightings, now)
            new = set(tx.sightings.see(kept, now))
            for one in kept:
                if one.trait == Trait.Scope or (one not in new and one.trait != Trait.DeniedScope):
                    continue  # what a key may do surprises nobody: recommendations ask what it never does
                detail = describe_unusual(
                    one, tx.sightings.known(one.api_key_id, one.trait), names[one.api_key_id], now
                )
                if detail is not None:
                    metric = _METRICS[one.trait][0]
                    self._tell(tx, _Unusual(one.tenant_id, one.api_key_id, metric, detail), now)
            tx.commit()

    def _with_room(
        self, tx: KeyUseTransaction, sightings: Sequence[Sighting], now: datetime
    ) -> list[Sighting]:
        """Those that are known, or new of a trait of which little is. What is left out is not looked at for an hour."""
        known: dict[Sighting, set[str]] = {}
        kept = []
        for sighting in sightings:
            every = _all_of(sighting)
            if every not in known:
                known[every] = {
                    each.value for each in tx.sightings.known(sighting.api_key_id, sighting.trait)
                }
            if sighting.value not in known[every] and len(known[every]) >= MOST_KEPT:
                with self._lock:
                    self._until[every] = now + _HOUR
                continue
            known[every].add(sighting.value)
            kept.append(sighting)
        return kept

    def _tell(self, tx: KeyUseTransaction, one: _Unusual, now: datetime) -> None:
        tenant_id, key_id, metric, detail = one
        if metric in _ONCE_AN_HOUR and tx.anomalies.exists_since(tenant_id, key_id, metric, now - _HOUR):
            return
        anomaly = Anomaly(
            self._ids.new(),
            tenant_id,
            AnomalySubject(SubjectKind.ApiKey, key_id),
            metric,
            Direction.Above,
            started_at=now,
            last_seen_at=now,
            detail=detail,
            ended_at=now,
        )
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
    """What stands for every value of a key's trait; none is empty."""
    return replace(sighting, value="")


def describe_unusual(
    sighting: Sighting, known: Sequence[SeenTrait], key_name: str, now: datetime
) -> str | None:
    """The sentence about it when it is unusual. `known` holds the sighting itself."""
    if sighting.trait == Trait.DeniedScope:
        tried = sorted(one.value for one in known if now - one.last_seen_at < _HOUR)
        if len(tried) < PROBING:
            return None
        return (
            f"The key {key_name} was refused for {len(tried)} scopes it does not have within an hour: "
            f"{', '.join(tried)}."
        )
    others = [one for one in known if one.value != sighting.value]
    if not others or len(others) >= VARIED or now - min(other.first_seen_at for other in others) < LEARNING:
        return None
    what = _METRICS[sighting.trait][1]
    usual = ", ".join(sorted(other.value for other in others)[:3]) + (
        " and others" if len(others) > 3 else ""
    )
    return f"The key {key_name} was used from the {what} {sighting.value} for the first time; before from {usual}."


@lru_cache(maxsize=4096)
def network_of(address: str) -> str | None:
    """The network an address belongs to for this purpose: /24 of IPv4, /48 of IPv6. None for what is no address."""
    try:
        length = 24 if ip_address(address).version == 4 else 48
        return str(ip_network(f"{address}/{length}", strict=False))
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def client_of(user_agent: str) -> str | None:
    """The program's name without its version: `python-httpx` of `python-httpx/0.27`; browsers all say `mozilla`."""
    found = _PRODUCT.match(user_agent)
    return found[0].lower() if found else None


def _used(question: VerificationRequest, ruling: VerificationResult) -> Sequence[str]:
    """Scopes of the key, so there are never more than those."""
    if ruling.verdict not in (VerificationCode.VALID, VerificationCode.RATE_LIMITED):
        return ()
    return question.scopes or (ANYTHING,)


def _shown(question: VerificationRequest, ruling: VerificationResult, key: ApiKey) -> Iterator[Sighting]:
    values = (
        (Trait.Network, network_of(question.ip) if question.ip else None),
        (Trait.Country, question.country),
        (Trait.Client, client_of(question.client) if question.client else None),
        *((Trait.DeniedScope, scope) for scope in ruling.missing),
        *((Trait.Scope, scope) for scope in _used(question, ruling)),
    )
    for trait, value in values:
        if value:
            yield Sighting(key.tenant_id, key.api_key_id, trait, value[:100])
