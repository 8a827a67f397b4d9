"""What the platform lets a tenant do within 60 minutes. Apart from the service: every request comes by."""

from __future__ import annotations

import logging
from uuid import UUID, uuid5

from domain.apikeys.rate_limit import Charge, ChargeKind, Contended, RateLimiter
from domain.core.errors import RateLimited, Unavailable
from domain.core.tenants import KnownStandings

logger = logging.getLogger("hub.tenants")

REQUESTS, EVENTS = "requests", "events"


def quota_of(tenant_id: UUID, what: str) -> UUID:
    """Return the quota in which a tenant's requests or events are counted."""
    return uuid5(tenant_id, what)


class TenantQuotas:
    """Counts only where a limit was set, exactly and over all processes. Blocks."""

    def __init__(self, standings: KnownStandings, limiter: RateLimiter) -> None:
        self._standings = standings
        self._limiter = limiter

    def limits_requests_of(self, tenant_id: UUID) -> bool:
        """Return whether `admit_request` has anything to count for the tenant."""
        return self._standings.of(tenant_id).limits.requests_per_hour is not None

    def admit_request(self, tenant_id: UUID) -> None:
        """Count a request. Raises RateLimited, Unavailable."""
        limit = self._standings.of(tenant_id).limits.requests_per_hour
        if limit is not None:
            self._charge(tenant_id, REQUESTS, 1, limit)

    def admit_events(self, tenant_id: UUID, count: int) -> None:
        """Count events that are about to be stored, all of them or none. Raises RateLimited, Unavailable."""
        limit = self._standings.of(tenant_id).limits.events_per_hour
        if limit is not None:
            self._charge(tenant_id, EVENTS, count, limit)

    def _charge(self, tenant_id: UUID, what: str, count: int, limit: int) -> None:
        quota_id = quota_of(tenant_id, what)
        try:
            # A batch that is refused as a whole must take nothing of what is left.
            (left,) = self._limiter.charge(quota_id, [Charge(what, limit, ChargeKind.Peek)])
            status = left
            if left.remaining >= count:
                status = self._limiter.charge(quota_id, [Charge(what, limit)] * count)[-1]
                if status.allowed:
                    return
        except Contended:
            raise
        except Unavailable:
            # The quota of a whole tenant protects others from it, and may fail open: keys keep their own.
            logger.warning("quota of a tenant not counted", extra={"tenantId": str(tenant_id), "of": what})
            return
        # Of a batch that is larger than what is left, though something is.
        wait = status.retry_after_seconds or status.reset_seconds or 1
        granted = f"The platform lets the tenant have {limit:,} {what} an hour"
        if count > limit:
            raise RateLimited(f"{granted}; these {count:,} are more than that.", retry_after_seconds=wait)
        detail = f"{granted}, which are used up; try again in {wait:,} seconds."
        raise RateLimited(detail, retry_after_seconds=wait)
