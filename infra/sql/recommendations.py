"""What recommendations read, over SQL."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, func, select, union_all

from domain.insights.model import SubjectKind
from domain.recommendations.ports import Attempts, Outcome
from infra.sql.signals_tables import signal_buckets, signal_deltas
from infra.sql.tables import webhook_deliveries

_d = webhook_deliveries.c


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
