"""What counts as a repeat: by id, by an unsigned id of a header, by content, and for how long."""

from __future__ import annotations

import base64
import hmac
from typing import Any

import pytest

from domain.core.errors import Unauthenticated
from domain.incoming.model import UpdateIncoming
from domain.incoming.receive import Receipt
from domain.integrations.model import Integration
from tests.worlds.builders import TENANT, USER
from tests.worlds.incoming_desk import OWNER, Desk
from tests.worlds.incoming_world import Signed, seed, signed_by_github

BODY = b'{"event":"stock-low"}'
KNOWN = Receipt(duplicates=1, repeated_by_content=True)


def custom(desk: Desk, scheme: str, **webhook: Any) -> Integration:
    configuration = {
        "baseUrl": "https://api.example.org",
        "webhook": {"scheme": scheme, **webhook},
        "webhookSecret": "sekrit",
    }
    return seed(desk.hub, tenant=TENANT, user=USER, provider="REST", configuration=configuration)


def test_github_names_type_and_id_in_headers_that_are_not_signed(desk: Desk) -> None:
    there = custom(desk, "github")
    assert desk.receive(signed_by_github(BODY, "sekrit", "d-1"), to=there).accepted == 1
    assert desk.receive(signed_by_github(BODY, "sekrit", "d-1"), to=there) == Receipt(duplicates=1)
    desk.clock.advance(seconds=1)
    assert desk.receive(signed_by_github(BODY, "sekrit", "d-2"), to=there).accepted == 1
    second, first = desk.inbox(of=there)
    assert (first.provider_event_id, first.event_type, first.unsigned_fields) == (
        "d-1",
        "rest.push",
        "id,type",
    )
    assert (first.same_body_as, second.same_body_as) == (None, first.incoming_webhook_id)


def test_more_than_ten_equal_bodies_an_hour_under_new_ids_are_one_burst_with_its_true_count(
    desk: Desk,
) -> None:
    there = custom(desk, "github")
    counts = []
    for number in range(14):
        desk.receive(signed_by_github(BODY, "sekrit", f"d-{number}"), to=there)
        counts.append(_same_bodies(desk))
    assert counts == [0] * 11 + [11, 12, 13]
    for number in range(14):
        desk.receive(signed_by_github(b'{"n":%d}' % number, "sekrit", f"other-{number}"), to=there)
    assert _same_bodies(desk) == 13


def test_shopify_and_declared_headers_name_type_and_id(desk: Desk) -> None:
    shop = custom(desk, "shopify")
    signature = base64.b64encode(hmac.digest(b"sekrit", BODY, "sha256")).decode()
    headers = {
        "x-shopify-hmac-sha256": signature,
        "x-shopify-topic": "orders/create",
        "x-shopify-webhook-id": "w-1",
    }
    assert desk.receive(Signed(BODY, headers), to=shop).accepted == 1
    [webhook] = desk.inbox(of=shop)
    assert (webhook.provider_event_id, webhook.event_type) == ("w-1", "rest.orders.create")
    with pytest.raises(Unauthenticated):
        desk.receive(Signed(BODY + b" ", headers), to=shop)
    mine = custom(
        desk, "token", header="X-Key", typeHeader="X-Kind", idHeader="X-Id", eventTypePointer="/none"
    )
    desk.receive(Signed(BODY, {"x-key": "sekrit", "x-kind": "sold", "x-id": "7"}), to=mine)
    [webhook] = desk.inbox(of=mine)
    assert (webhook.provider_event_id, webhook.event_type, webhook.unsigned_fields) == (
        "7",
        "rest.sold",
        "id,type",
    )


def test_an_id_in_the_signed_body_comes_before_one_in_a_header(desk: Desk) -> None:
    there = custom(desk, "github", eventIdPointer="/id", eventTypePointer="/kind")
    desk.receive(signed_by_github(b'{"id":"b-1","kind":"paid"}', "sekrit", "d-1"), to=there)
    [webhook] = desk.inbox(of=there)
    assert (webhook.provider_event_id, webhook.event_type, webhook.unsigned_fields) == (
        "b-1",
        "rest.paid",
        None,
    )


def _timed(desk: Desk) -> Signed:
    stamp = str(int(desk.clock.now().timestamp()))
    digest = hmac.digest(b"sekrit", f"{stamp}.".encode() + BODY, "sha256").hex()
    return Signed(BODY, {"x-signature": digest, "x-ts": stamp})


def test_with_a_signed_timestamp_an_equal_body_is_a_repeat_within_the_tolerance_only(desk: Desk) -> None:
    there = custom(desk, "hmac", timestampHeader="X-Ts", template="{timestamp}.{body}")
    first = _timed(desk)
    assert desk.receive(first, to=there).accepted == 1
    desk.clock.advance(seconds=299)
    assert desk.receive(_timed(desk), to=there) == KNOWN
    assert desk.receive(first, to=there) == KNOWN
    for _ in range(3):
        desk.clock.advance(seconds=301)
        assert desk.receive(_timed(desk), to=there).accepted == 1
        assert desk.receive(_timed(desk), to=there) == KNOWN
    assert len({webhook.provider_event_id for webhook in desk.inbox(of=there)}) == 4


def test_where_neither_id_nor_timestamp_is_signed_an_equal_body_is_a_repeat_until_a_window_is_set(
    desk: Desk,
) -> None:
    there = custom(desk, "token", header="X-Key")
    sent = Signed(BODY, {"x-key": "sekrit"})
    assert desk.receive(sent, to=there).accepted == 1
    desk.clock.advance(days=300)
    assert desk.receive(sent, to=there) == KNOWN
    command = UpdateIncoming(allowed_ips=[], repeat_window=3600)
    assert (
        desk.service.update(OWNER, there.integration_id, command, None).endpoint.repeat_window_seconds == 3600
    )
    assert desk.receive(sent, to=there).accepted == 1
    desk.clock.advance(seconds=3599)
    assert desk.receive(sent, to=there) == KNOWN
    desk.clock.advance(seconds=1)
    assert desk.receive(sent, to=there).accepted == 1
    kept = desk.service.update(OWNER, there.integration_id, UpdateIncoming(allowed_ips=[]), None)
    assert kept.endpoint.repeat_window_seconds == 3600


def _same_bodies(desk: Desk) -> int:
    with desk.hub.transactions.read() as tx:
        return sum(burst.count for burst in tx.bursts.largest(10))
