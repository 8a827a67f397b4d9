"""What recommendations read, and what was decided on them, over SQL."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, and_, delete, false, func, insert, select, union_all

from domain.integrations.model import IntegrationStatus
from domain.journal.signals import Sketch, SubjectKind, Tally, total_of
from domain.recommendations.model import Decision
from domain.recommendations.ports import Attempts, DeliveryOutcome
from infra.sql.integrations.tables import integrations
from infra.sql.journal.tables import signal_buckets, signal_deltas
from infra.sql.recommendations.tables import recommendation_decisions
from infra.sql.statements import guarded_by_unique_key
from infra.sql.webhooks.tables import webhook_deliveries

_d = webhook_deliveries.c
_r = recommendation_decisions.c
_b = signal_buckets.c
_i = integrations.c


class SqlOutcomes:
    """Satisfies `domain.recommendations.ports.Outcomes`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def attempts(self, tenant_id: UUID, since: datetime) -> dict[UUID, Attempts]:
        # PK_SignalBuckets, IX_SignalDelta_Subject
        parts = union_all(
            *(
                select(table.c.SubjectId, table.c.Total, table.c.Failed, table.c.Hour).where(
                    table.c.TenantId == tenant_id,
                    table.c.Kind == SubjectKind.Webhook,
                    table.c.Hour >= since,
                )
                for table in (signal_buckets, signal_deltas)
            )
        ).subquery()
        sums = (func.sum(parts.c.Total), func.sum(parts.c.Failed), func.min(parts.c.Hour))
        statement = select(parts.c.SubjectId, *sums).group_by(parts.c.SubjectId)
        return {
            row[0]: Attempts(int(row[1]), int(row[2]), row[3]) for row in self._connection.execute(statement)
        }

    def newest(
        self, tenant_id: UUID, webhook_id: UUID, *, since: datetime, limit: int
    ) -> list[DeliveryOutcome]:
        # IX_WebhookDelivery_Webhook
        columns = (
            _d.EventType,
            _d.DeliveryStatus,
            _d.AttemptCount,
            _d.ScheduledAt,
            _d.DeliveredAt,
            _d.HttpStatusCode,
        )
        statement = (
            select(*columns)
            .where(
                _d.WebhookId == webhook_id,
                _d.TenantId == tenant_id,
                _d.ScheduledAt >= since,
                _d.IsTest == false(),
            )
            .order_by(_d.ScheduledAt.desc())
            .limit(limit)
        )
        return [DeliveryOutcome(*row) for row in reversed(self._connection.execute(statement).all())]


class SqlPeerChecks:
    """Satisfies `domain.recommendations.ports.PeerChecks`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def checks(self, provider: str, *, since: datetime, until: datetime, limit: int) -> dict[UUID, Tally]:
        # IX_Integration_Health has them by how well they are: their ids have nothing to do with that.
        chosen = (
            select(_i.TenantId, _i.IntegrationId)
            .where(_i.Provider == provider, _i.Status == int(IntegrationStatus.Active))
            .order_by(_i.IntegrationId)
            .limit(limit)
            .subquery()
        )
        # PK_SignalBuckets
        columns = (_b.TenantId, _b.Total, _b.Succeeded, _b.Failed, _b.Errors, _b.Latency)
        statement = (
            select(*columns)
            .select_from(chosen)
            .join(
                signal_buckets,
                and_(
                    _b.TenantId == chosen.c.TenantId,
                    _b.Kind == SubjectKind.Integration,
                    _b.Hour >= since,
                    _b.Hour < until,
                    _b.SubjectId == chosen.c.IntegrationId,
                ),
            )
        )
        found: defaultdict[UUID, list[Tally]] = defaultdict(list)
        for row in self._connection.execute(statement):
            tally = Tally(
                row.Total,
                row.Succeeded,
                row.Failed,
                errors=json.loads(row.Errors),
                latency=Sketch.from_json(row.Latency),
            )
            found[row.TenantId].append(tally)
        return {tenant_id: total_of(tallies) for tenant_id, tallies in found.items()}


class SqlDecisions:
    """Satisfies `domain.recommendations.ports.Decisions`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tenants(self, after: UUID, *, until: UUID | None, decided_before: datetime, limit: int) -> list[UUID]:
        # PK_RecommendationDecisions; there are as many as people decided
        statement = select(_r.TenantId).where(_r.TenantId > after, _r.DecidedAt < decided_before)
        if until is not None:
            statement = statement.where(_r.TenantId <= until)
        ordered = statement.group_by(_r.TenantId).order_by(_r.TenantId).limit(limit)
        return list(self._connection.execute(ordered).scalars())

    def of_tenant(self, tenant_id: UUID) -> dict[UUID, Decision]:
        # PK_RecommendationDecisions
        rows = self._connection.execute(select(recommendation_decisions).where(_r.TenantId == tenant_id))
        return {
            row.RecommendationId: Decision(
                row.RecommendationId,
                row.Status,
                row.DecidedAt,
                row.DecidedBy,
                row.Snapshot,
                row.Reason,
                row.EndsAt,
            )
            for row in rows
        }

    def put(self, tenant_id: UUID, decision: Decision) -> None:
        self.remove(tenant_id, decision.recommendation_id)
        with guarded_by_unique_key():
            self._connection.execute(
                insert(recommendation_decisions).values(
                    TenantId=tenant_id,
                    RecommendationId=decision.recommendation_id,
                    Status=decision.status,
                    Reason=decision.reason,
                    EndsAt=decision.until,
                    DecidedAt=decision.decided_at,
                    DecidedBy=decision.decided_by,
                    Snapshot=decision.snapshot,
                )
            )

    def remove(self, tenant_id: UUID, recommendation_id: UUID) -> None:
        self._connection.execute(
            delete(recommendation_decisions).where(
                _r.TenantId == tenant_id, _r.RecommendationId == recommendation_id
            )
        )
