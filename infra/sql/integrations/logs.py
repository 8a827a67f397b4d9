"""Logs of integrations."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert, select

from domain.core.paging import Page, PageRequest
from domain.integrations.model import IntegrationLog, LogLevel
from domain.integrations.ports import LogFilter
from infra.sql.firsts import delete_first
from infra.sql.integrations.tables import integration_logs
from infra.sql.statements import containing, page_of, within

_l = integration_logs.c


class SqlIntegrationLogs:
    """Satisfies `domain.integrations.ports.IntegrationLogs`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append(self, logs: Iterable[IntegrationLog]) -> None:
        rows = [
            {
                "IntegrationLogId": log.integration_log_id,
                "IntegrationId": log.integration_id,
                "LogLevel": int(log.log_level),
                "Message": log.message,
                "Details": log.details,
                "Exception": log.exception,
                "RequestId": log.request_id,
                "CreatedAt": log.created_at,
            }
            for log in logs
        ]
        if rows:
            self._connection.execute(insert(integration_logs), rows)

    def page(self, integration_id: UUID, filter_: LogFilter, page: PageRequest) -> Page[IntegrationLog]:
        statement = select(integration_logs).where(_l.IntegrationId == integration_id)
        if filter_.levels:
            statement = statement.where(_l.LogLevel.in_([int(level) for level in filter_.levels]))
        statement = within(statement, _l.CreatedAt, filter_.since, filter_.until)
        if filter_.text:
            statement = statement.where(containing(_l.Message, filter_.text))
        ordered = statement.order_by(_l.CreatedAt.desc(), _l.IntegrationLogId.desc())
        return page_of(self._connection, ordered, page, log_of)

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        # IX_IntegrationLog_CreatedAt
        oldest = delete_first(integration_logs, _l.CreatedAt < cutoff, order_by=_l.CreatedAt, limit=limit)
        return self._connection.execute(oldest).rowcount


def log_of(row: Any) -> IntegrationLog:
    return IntegrationLog(
        integration_log_id=row.IntegrationLogId,
        integration_id=row.IntegrationId,
        log_level=LogLevel(row.LogLevel),
        message=row.Message,
        created_at=row.CreatedAt,
        details=row.Details,
        exception=row.Exception,
        request_id=row.RequestId,
    )
