"""What recommendations read, and what was decided on them, over SQL."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, select, union_all

from domain.insights.model import SubjectKind
from domain.recommendations.decisions import Decision
from domain.recommendations.ports import Attempts, Outcome
from infra.sql.recommendation_tables import recommendation_decisions
from infra.sql.signals_tables import signal_buckets, signal_deltas
from infra.sql.statements import guarded_by_unique_key
from infra.sql.webhook_tables import webhook_deliveries

_d = webhook_deliveries.c
_r = recommendation_decisions.c


class SqlOutcomes:
    """Satisfies `domain.recommendations.ports.Outcomes`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def attempts(self, tenant_id: UUID, since: datetime) -> dict[UUID, Attempts]:
        # PK_SignalBuckets, IX_SignalDelta_Subject
        parts = union_all(
            *(
                select(table.c.SubjectId, table.c.Total, table.c.Failed).where(
                    table.c.TenantId == tenant_id,
                    table.c.Kind == SubjectKind.Webhook,
                    table.c.Hour >= since,
                )
                for table in (signal_buckets, signal_deltas)
            )
        ).subquery()
        sums = (func.sum(parts.c.Total), func.sum(parts.c.Failed))
        statement = select(parts.c.SubjectId, *sums).group_by(parts.c.SubjectId)
        return {row[0]: Attempts(int(row[1]), int(row[2])) for row in self._connection.execute(statement)}

    def newest(self, tenant_id: UUID, webhook_id: UUID, *, since: datetime, limit: int) -> list[Outcome]:
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
            .where(_d.WebhookId == webhook_id, _d.TenantId == tenant_id, _d.ScheduledAt >= since)
            .order_by(_d.ScheduledAt.desc())
            .limit(limit)
        )
        return [Outcome(*row) for row in reversed(self._connection.execute(statement).all())]


class SqlDecisions:
    """Satisfies `domain.recommendations.ports.Decisions`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

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
