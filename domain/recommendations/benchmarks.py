"""How a provider does for the other tenants of the hub, added up over so many of them that no single one shows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar
from uuid import UUID

from domain.journal.signals import Tally, total_of
from domain.recommendations.model import Period
from domain.recommendations.ports import RecommendationTransaction

T = TypeVar("T")

#: Hours that are compared.
WEEK: Final = timedelta(days=7)
#: Fewer tenants than this are not shown.
ANONYMOUS: Final = 5
#: Failures caused by the provider; credentials, permissions and quotas are those of an account.
_BY_PROVIDER = ("unavailable", "malformed")


@dataclass(frozen=True, slots=True)
class ProviderBenchmark:
    """A provider's checks; `failed` are those failed whatever the account, `latency_ms` is the median."""

    provider: str
    checks: int
    failed: int
    latency_ms: int
    tenants: int = 1

    @property
    def failed_share(self) -> float:
        return self.failed / self.checks

    @classmethod
    def of(cls, provider: str, tally: Tally, tenants: int = 1) -> ProviderBenchmark | None:
        failed = sum(tally.errors.get(name, 0) for name in _BY_PROVIDER)
        latency = tally.latency.percentile(0.5)
        if latency is None or not tally.succeeded + failed:
            return None
        return cls(provider, tally.succeeded + failed, failed, latency, tenants)


class Hourly(Generic[T]):
    """Keeps for one hour what was read for a key, at most `most` keys; past hours do not change."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._read: dict[Hashable, T] = {}
        self._at: datetime | None = None

    def get(self, key: Hashable, hour: datetime, read: Callable[[], T]) -> T:
        if self._at != hour or len(self._read) >= self._most:
            self._read, self._at = {}, hour
        kept = self._read
        if key not in kept:
            kept[key] = read()
        return kept[key]


class Peers:
    """Reads benchmarks once an hour for all tenants; a tenant's own checks are left out of what it is shown."""

    def __init__(self) -> None:
        self._read: Hourly[Mapping[UUID, Tally]] = Hourly(100)

    def benchmark(
        self, tx: RecommendationTransaction, provider: str, period: Period, *, to: UUID
    ) -> ProviderBenchmark | None:
        """Return the benchmark without `to`; None below five others, or when one has too large a share."""
        found = self._read.get(
            (provider, period),
            period.until,
            lambda: tx.peers.checks(provider, since=period.since, until=period.until, limit=50),
        )
        others = [tally for tenant_id, tally in found.items() if tenant_id != to and tally.total]
        together = total_of(others)
        if len(others) < ANONYMOUS or max(other.total for other in others) > 0.4 * together.total:
            return None
        return ProviderBenchmark.of(provider, together, len(others))
