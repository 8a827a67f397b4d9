"""A verified webhook is stored whatever its body is: compressed, of another form, or partly unreadable."""

from __future__ import annotations

import gzip
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest

from domain.core.errors import TooLarge, Unauthenticated
from domain.incoming.model import IncomingStatus
from domain.incoming.receive import Receipt
from domain.integrations.model import Integration
from infra.providers.sendgrid.adapter import SendGrid
from tests.worlds.builders import TENANT, USER
from tests.worlds.incoming_desk import Desk
from tests.worlds.incoming_world import Signed, seed, sendgrid_keys, signed_by_stripe, stripe_event

REST = {"baseUrl": "https://api.example.org", "webhook": {"scheme": "hmac"}, "webhookSecret": "sekrit"}


@pytest.mark.parametrize("covers", ["the bytes as sent", "the content"])
def test_a_compressed_webhook_is_taken_whichever_bytes_its_signature_covers(desk: Desk, covers: str) -> None:
    body = stripe_event("evt_gzip")
    packed = gzip.compress(body)
    headers = _mac(packed if covers == "the bytes as sent" else body) | {"content-encoding": "gzip"}
    there = _custom(desk, eventIdPointer="/id")
    assert desk.receive(Signed(packed, headers), to=there).accepted == 1
    [webhook] = desk.inbox(of=there)
    assert (webhook.provider_event_id, webhook.status) == ("evt_gzip", IncomingStatus.Processed)
    assert desk.retry(webhook).status is IncomingStatus.Processed


def test_a_vendor_that_compresses_what_it_signed_is_understood(desk: Desk) -> None:
    signed = signed_by_stripe(stripe_event("evt_2"), desk.clock.now())
    packed = Signed(gzip.compress(signed.body), signed.headers | {"content-encoding": "gzip"})
    assert desk.receive(packed).accepted == 1


def test_a_compressed_body_over_a_mebibyte_is_too_large_and_a_broken_one_is_no_bad_signature(
    desk: Desk,
) -> None:
    there = _custom(desk)
    bomb = gzip.compress(b" " * 3_000_000)
    with pytest.raises(TooLarge, match="decompressed"):
        desk.receive(Signed(bomb, _mac(bomb) | {"content-encoding": "gzip"}), to=there)
    broken = gzip.compress(b'{"a":1}')[:-4]
    assert desk.receive(Signed(broken, _mac(broken) | {"content-encoding": "gzip"}), to=there).accepted == 1
    [kept] = desk.inbox(of=there)
    assert (kept.status, kept.error_message) == (IncomingStatus.Failed, "The body is not valid gzip.")
    with pytest.raises(Unauthenticated, match="does not match"):
        desk.receive(Signed(broken, _mac(b"other") | {"content-encoding": "gzip"}), to=there)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-www-form-urlencoded", b"token=x&command=%2Fweather"),
        ("application/json", b"[1,2]"),
        ("text/plain", b"stock low"),
        ("application/xml", b"<order/>"),
        ("application/json", b'{"n":1e400}'),
        ("application/json", b"[" * 3_000 + b"]" * 3_000),
        ("application/json", b'{"n":%s}' % (b"7" * 6_000)),
        ("application/json", b'{"half":"\\ud83d"}'),
        ("application/octet-stream", bytes(range(256))),
    ],
)
def test_a_verified_body_is_stored_whatever_it_is(desk: Desk, content_type: str, body: bytes) -> None:
    there = _custom(desk)
    sent = Signed(body, _mac(body) | {"content-type": content_type})
    first = desk.receive(sent, to=there)
    assert first.accepted >= 1
    again = desk.receive(sent, to=there)
    assert (again.accepted, again.duplicates) == (0, first.accepted)
    for webhook in desk.inbox(of=there):
        assert (webhook.status is IncomingStatus.Failed) == (webhook.error_message is not None)
        desk.retry(webhook)


def test_one_event_that_cannot_be_read_costs_its_batch_nothing_and_can_be_retried(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, sign = sendgrid_keys()
    there = _sendgrid(desk, public)
    events: list[Any] = [
        {"sg_event_id": "a", "event": "open"},
        {"event": "open", "email": "b@x.example"},
        {"sg_event_id": "c"},
        "neither",
    ]
    sent = sign(json.dumps(events).encode(), desk.clock.now())
    assert desk.receive(sent, to=there) == Receipt(accepted=4)
    again = desk.receive(sent, to=there)
    assert (again.accepted, again.duplicates) == (0, 4)
    rows = {row.error_message: row for row in desk.inbox(of=there)}
    assert set(rows) == {None, "The event has no event.", "The element is not a JSON object."}
    failed = rows["The event has no event."]
    assert failed.event_type == "sendgrid.unreadable"
    again = desk.retry(failed)
    assert (again.status, again.error_message) == (IncomingStatus.Failed, "The event has no event.")
    _reading_defaults(monkeypatch)
    assert desk.retry(again).status is IncomingStatus.Processed
    assert "c" in {row.provider_event_id for row in desk.inbox(of=there)}


def _reading_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a release in which the adapter reads an event without a name."""
    before = SendGrid.receive

    async def lenient(self: SendGrid, connection: Any, request: Any) -> Any:
        answer = await before(self, connection, request)
        read = (
            replace(event, event_id="c", type="unnamed", unreadable=None)
            if event.unreadable == "The event has no event."
            else event
            for event in answer.events
        )
        return replace(answer, events=tuple(read))

    monkeypatch.setattr(SendGrid, "receive", lenient)


def _custom(desk: Desk, **webhook: Any) -> Integration:
    configuration = {**REST, "webhook": {"scheme": "hmac", **webhook}}
    return seed(desk.hub, tenant=TENANT, user=USER, provider="REST", configuration=configuration)


def _sendgrid(desk: Desk, public: str) -> Integration:
    configuration = {"apiKey": "SG.12345678", "fromEmail": "a@x.example", "webhookPublicKey": public}
    return seed(desk.hub, tenant=TENANT, user=USER, provider="SendGrid", configuration=configuration)


def _mac(message: bytes) -> dict[str, str]:
    return {
        "x-signature": hmac.digest(b"sekrit", message, "sha256").hex(),
        "content-type": "application/json",
    }
