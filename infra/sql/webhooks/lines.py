"""Lines: deliveries of one subject to one ordered webhook, which go one after another (docs/adr/0015).

A delivery with a `Line` has not ended and stands in it at its `LinePlace`. One of a line has the turn; the others are
`IsWaiting`, and nobody looks at them before their turn or their expiry comes.

Whoever stores, ends or releases deliveries of a line calls `give_turns` in the same transaction. It locks the webhook
first: on SQL Server two transactions would otherwise not see what the other is about to store or end, and the turn
would go to nobody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    exists,
    false,
    literal,
    null,
    select,
    true,
    update,
)

from domain.webhooks.model import WAITING
from domain.webhooks.ports import Due
from domain.webhooks.rules import line_of
from infra.sql.journal.tables import domain_events
from infra.sql.statements import EVER, in_key_order, key_lists, unindexed
from infra.sql.types import Utc
from infra.sql.webhooks.tables import webhook_deliveries, webhooks

_d = webhook_deliveries.c
_e = domain_events.c
_w = webhooks.c
_one = webhook_deliveries.alias("one").c
_first = webhook_deliveries.alias("first").c
_turn = webhook_deliveries.alias("turn").c
_before = webhook_deliveries.alias("before").c

_NOW = bindparam("now", type_=Utc())
_REQUEUE_AT = bindparam("requeue", type_=Utc())

# IX_WebhookDelivery_Line serves all that follow: SQL Server uses it only where the condition of the index is repeated.
_HAS_TURN = exists().where(
    _turn.WebhookId == _one.WebhookId,
    _turn.Line == _one.Line,
    _turn.Line.is_not(None),
    _turn.IsWaiting == false(),
    _turn.RequeueAt.is_not(None),
)
_FIRST = (
    select(_first.WebhookDeliveryId)
    .where(
        _first.WebhookId == _one.WebhookId,
        _first.Line == _one.Line,
        _first.Line.is_not(None),
        _first.IsWaiting == true(),
        _first.ExpiresAt > _NOW,
    )
    .order_by(_first.LinePlace)
    .limit(1)
    .scalar_subquery()
)
_IN_LINES = (_one.WebhookDeliveryId.in_(bindparam("ids", expanding=True)), _one.Line.is_not(None))
_OF_LINES = select(_one.WebhookId).where(*_IN_LINES)
_LOCK = update(webhooks).where(_w.WebhookId == bindparam("webhook")).values(Version=_w.Version)
_GIVE_TURNS = (
    update(webhook_deliveries)
    .where(_d.WebhookDeliveryId.in_(select(_FIRST).where(*_IN_LINES, ~_HAS_TURN)), _d.IsWaiting == true())
    .values(
        IsWaiting=False,
        RequeueAt=case(
            (_d.IsHeld == true(), _d.ExpiresAt),
            (_d.NextRetryAt > _REQUEUE_AT, _d.NextRetryAt),
            else_=_REQUEUE_AT,
        ),
    )
    .returning(_d.WebhookId, _d.WebhookDeliveryId, _d.PayloadBytes, _d.IsHeld, _d.NextRetryAt)
)
_LEAVE = (
    update(webhook_deliveries)
    .where(_d.WebhookDeliveryId.in_(bindparam("ids", expanding=True)))
    .values(Line=None, LinePlace=None)
)
_STRANDED = (
    select(_one.WebhookDeliveryId)
    .where(
        _one.IsWaiting == true(),
        _one.Line.is_not(None),
        _one.ExpiresAt > _NOW,
        ~_HAS_TURN,
        ~exists().where(
            _before.WebhookId == _one.WebhookId,
            _before.Line == _one.Line,
            _before.Line.is_not(None),
            _before.IsWaiting == true(),
            _before.LinePlace < _one.LinePlace,
            _before.ExpiresAt > _NOW,
        ),
    )
    .order_by(_one.WebhookId, _one.Line, _one.LinePlace)
)
# the primary key
_ENTER = (
    update(webhook_deliveries)
    .where(_d.WebhookDeliveryId == bindparam("id"), _d.RequeueAt.is_not(None))
    .values(Line=bindparam("line"), LinePlace=bindparam("place"))
)
_WAIT = (
    update(webhook_deliveries)
    .where(
        _d.WebhookDeliveryId.in_(bindparam("ids", expanding=True)),
        unindexed(_d.DeliveryStatus).in_(WAITING),
    )
    .values(IsWaiting=True, RequeueAt=_d.ExpiresAt)
)
#: The delivery that has the turn where this one waits.
WAITS_FOR = case(
    (
        _d.IsWaiting == true(),
        select(_turn.WebhookDeliveryId)
        .where(
            _turn.WebhookId == _d.WebhookId,
            _turn.Line == _d.Line,
            _turn.Line.is_not(None),
            _turn.IsWaiting == false(),
            _turn.RequeueAt.is_not(None),
        )
        .order_by(_turn.LinePlace)
        .limit(1)
        .correlate(webhook_deliveries)
        .scalar_subquery(),
    ),
    else_=null(),
).label("WaitsFor")


def give_turns(
    connection: Connection, delivery_ids: Sequence[UUID], *, now: datetime, requeue_at: datetime
) -> list[Due]:
    """Give the turn in the lines of these deliveries to the first, where nobody has it.

    Return those that are due: what is held, or retried later, has its turn at its own moment."""
    due: list[Due] = []
    some = list(key_lists(delivery_ids))
    lock(
        connection, {id_ for chunk in some for id_ in connection.execute(_OF_LINES, {"ids": chunk}).scalars()}
    )
    for chunk in some:
        moments = {"ids": chunk, "now": now, "requeue": requeue_at}
        for webhook_id, delivery_id, size, is_held, retry_at in connection.execute(_GIVE_TURNS, moments):
            if not is_held and (retry_at is None or retry_at <= now):
                due.append((webhook_id, delivery_id, size))
    return due


def lock(connection: Connection, webhook_ids: Iterable[UUID]) -> None:
    """Lock webhooks until the end of the transaction, in the order that `SqlEndpointHealth.tally` writes them in."""
    if rows := [{"webhook": webhook_id} for webhook_id in sorted(webhook_ids)]:
        connection.execute(_LOCK, rows)


def pass_turns(
    connection: Connection, ended: Sequence[UUID], *, now: datetime, requeue_at: datetime
) -> list[Due]:
    """Take deliveries that have ended out of their lines; return those behind them that are due."""
    due = give_turns(connection, ended, now=now, requeue_at=requeue_at)
    for chunk in key_lists(ended):
        connection.execute(_LEAVE, {"ids": chunk})
    return due


def stranded(connection: Connection, now: datetime, limit: int) -> list[UUID]:
    return list(connection.execute(_STRANDED.limit(limit), {"now": now}).scalars())


def enter(connection: Connection, *which: ColumnElement[bool]) -> list[UUID]:
    """Put deliveries that have not ended into the lines of their subjects, to wait there; return their ids.

    Those that are being sent do not wait. Tests, and events without subject, have no line."""
    event = and_(_e.TenantId == _d.TenantId, _e.EventId == _d.EventId)
    found = connection.execute(
        select(_d.WebhookDeliveryId, _d.WebhookId, _e.Subject, _e.Sequence)
        .join(domain_events, event)
        .where(
            *which,
            _d.RequeueAt.is_not(None),
            _d.RequeueAt > EVER,
            _d.IsTest == false(),
            _e.Subject.is_not(None),
        )
    ).all()
    rows = [
        {"id": delivery_id, "line": line_of(webhook_id, subject), "place": sequence}
        for delivery_id, webhook_id, subject, sequence in found
    ]
    if rows:
        connection.execute(_ENTER, in_key_order(rows, "id"))
    entered = [row["id"] for row in rows]
    for chunk in key_lists(entered):
        connection.execute(_WAIT, {"ids": chunk})
    return entered


def dissolve(connection: Connection, tenant_id: UUID, webhook_id: UUID, *, now: datetime) -> None:
    """Take every delivery of the webhook out of its line; what waited for its turn is due."""
    in_line = (_d.TenantId == tenant_id, _d.WebhookId == webhook_id, _d.Line.is_not(None))
    connection.execute(
        update(webhook_deliveries)
        .where(*in_line)
        .values(
            Line=None,
            LinePlace=None,
            IsWaiting=False,
            RequeueAt=case(
                (and_(_d.IsWaiting == true(), _d.IsHeld == false()), literal(now, Utc())), else_=_d.RequeueAt
            ),
        )
    )
