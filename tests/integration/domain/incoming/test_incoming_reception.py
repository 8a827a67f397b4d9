"""Incoming webhooks through the use cases: verified, stored once, raised, retried, reached at rotated addresses."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.core.errors import (
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from domain.core.paging import PageRequest
from domain.core.permissions import PERMISSIONS
from domain.core.principal import Principal
from domain.incoming.model import IncomingStatus, RotateIncomingUrl, UpdateIncoming
from domain.incoming.ports import IncomingFilter
from domain.incoming.receive import Caller, IncomingReceiver, Receipt
from domain.incoming.service import IncomingCleanup
from domain.integrations.configuration import accept
from domain.integrations.credential_store import CredentialStore
from domain.integrations.model import IntegrationStatus, SuspensionCause
from domain.journal.event_types import FROM_HUB, EventOrigin
from domain.providers.contract import ProviderFailure
from infra.providers.stripe.adapter import StripeConfiguration
from tests.worlds.builders import OTHER_TENANT, OTHER_USER, TENANT, USER
from tests.worlds.incoming_desk import OWNER, Desk
from tests.worlds.incoming_world import (
    STRIPE,
    Signed,
    changed,
    seed,
    sendgrid_keys,
    signed_by_stripe,
    stripe_event,
)

OTHER = Principal(OTHER_TENANT, OTHER_USER, frozenset(PERMISSIONS))


def test_a_verified_webhook_is_stored_and_raised_for_subscribers(desk: Desk) -> None:
    assert desk.receive(desk.stripe_sends()) == Receipt(accepted=1)
    [webhook] = desk.inbox()
    assert (webhook.provider_event_id, webhook.event_type) == ("evt_1", "stripe.charge.succeeded")
    assert (webhook.status, webhook.attempts, webhook.source_ip) == (
        IncomingStatus.Processed,
        1,
        "203.0.113.9",
    )
    events = {event.type: event for event in desk.raised()}
    own = events["stripe.charge.succeeded"]
    assert json.loads(own.data)["data"]["object"]["id"] == "ch_1"
    assert own.subject == str(desk.stripe.integration_id)
    received = json.loads(events["WebhookReceived"].data)
    assert received["webhookId"] == str(webhook.incoming_webhook_id)
    assert received["eventType"] == "stripe.charge.succeeded"
    assert received["sourceIp"] == "203.0.113.9"
    assert received["receivedAt"] == "2026-03-01T09:00:00.000000Z"


def test_a_repeat_is_known_by_the_providers_event_id(desk: Desk) -> None:
    desk.receive(desk.stripe_sends())
    desk.clock.advance(seconds=60)
    assert desk.receive(desk.stripe_sends()) == Receipt(duplicates=1)
    assert desk.receive(desk.stripe_sends("evt_2")).accepted == 1
    assert len(desk.inbox()) == 2


def test_the_same_event_id_at_another_integration_is_another_event(desk: Desk) -> None:
    other = seed(desk.hub, tenant=OTHER_TENANT, user=OTHER_USER)
    assert desk.receive(desk.stripe_sends()).accepted == 1
    assert desk.receive(desk.stripe_sends(), to=other).accepted == 1


def test_one_changed_byte_is_refused_and_stores_nothing(desk: Desk) -> None:
    sent = desk.stripe_sends()
    name, value = "stripe-signature", sent.headers["stripe-signature"].encode()
    forged = [Signed(changed(sent.body, index), sent.headers) for index in range(len(sent.body))]
    forged += [Signed(sent.body, {name: changed(value, index).decode()}) for index in range(len(value))]
    for request in forged:
        with pytest.raises(Unauthenticated) as caught:
            desk.receive(request)
        assert caught.value.code == "bad-signature"
    assert desk.inbox() == []
    assert desk.queue.sent == []


def test_a_captured_request_is_refused_after_five_minutes(desk: Desk) -> None:
    sent = desk.stripe_sends()
    desk.clock.advance(seconds=300)
    assert desk.receive(sent).accepted == 1
    desk.clock.advance(seconds=1)
    with pytest.raises(Unauthenticated):
        desk.receive(sent)


def test_refusals_are_logged_and_counted_each(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "hub.security")
    bad = Signed(b"{}", {"stripe-signature": "t=1,v1=00"})
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            desk.receive(bad)
    assert len([record for record in caplog.records if record.name == "hub.security"]) == 5
    assert STRIPE["webhookSecret"] not in caplog.text
    endpoint = desk.service.settings(OWNER, desk.stripe.integration_id).endpoint
    assert endpoint.refused_count == 5
    assert endpoint.last_refusal is not None


def test_what_could_not_be_counted_is_counted_with_the_next_refusal(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Signed(b"{}", {"stripe-signature": "t=1,v1=00"})

    def away(*_: object) -> None:
        raise Unavailable("The database is away.")

    with monkeypatch.context() as patched:
        patched.setattr("infra.sql.transaction.SqlTransaction.commit", away)
        for _ in range(3):
            with pytest.raises(Unauthenticated):
                desk.receive(bad)
    with pytest.raises(Unauthenticated):
        desk.receive(bad)
    assert desk.service.settings(OWNER, desk.stripe.integration_id).endpoint.refused_count == 4
    with desk.hub.transactions.read() as tx:
        [burst] = tx.bursts.largest(10)
    assert (burst.count, burst.label) == (4, desk.stripe.name)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": status, "name": status.name}
        for status in IntegrationStatus
        if status != IntegrationStatus.Active
    ]
    + [{"is_enabled": False}],
    ids=lambda case: str(case.get("name", "disabled")),
)
def test_an_integration_that_is_not_in_use_looks_like_none(desk: Desk, changes: dict[str, Any]) -> None:
    asleep = seed(desk.hub, tenant=OTHER_TENANT, user=OTHER_USER, **changes)
    texts = set()
    for target in (asleep, UUID(int=99)):
        with pytest.raises(NotFound) as caught:
            desk.receive(desk.stripe_sends(), to=target)
        texts.add((caught.value.code, caught.value.detail))
    assert len(texts) == 1


def test_a_body_over_a_mebibyte_is_too_large_wherever_it_goes(desk: Desk) -> None:
    with pytest.raises(TooLarge):
        desk.receive(Signed(b"x" * (1024 * 1024 + 1), {}), to=UUID(int=99))
    most = stripe_event(padding="x" * (1024 * 1024 - len(stripe_event(padding=""))))
    assert len(most) == 1024 * 1024
    assert desk.receive(signed_by_stripe(most, desk.clock.now())).accepted == 1


def test_only_addresses_of_the_allow_list_get_to_the_signature(desk: Desk) -> None:
    ranges = UpdateIncoming(allowed_ips=["198.51.100.0/24", "2001:db8::/32"])
    desk.service.update(OWNER, desk.stripe.integration_id, ranges, None)
    for ip in ("203.0.113.9", None, "198.51.101.1"):
        with pytest.raises(Forbidden) as caught:
            desk.receive(desk.stripe_sends(), ip=ip)
        assert caught.value.code == "source-not-allowed"
    assert desk.receive(desk.stripe_sends(), ip="198.51.100.7").accepted == 1
    assert desk.receive(desk.stripe_sends("evt_2"), ip="2001:db8::7").accepted == 1


def test_a_rotated_address_takes_over_and_the_old_one_ends_after_the_overlap(desk: Desk) -> None:
    target = desk.stripe.integration_id
    _, token = desk.service.rotate(OWNER, target, RotateIncomingUrl(overlap_hours=1))
    assert desk.receive(desk.stripe_sends("evt_1"), token=token).accepted == 1
    assert desk.receive(desk.stripe_sends("evt_2")).accepted == 1
    desk.clock.advance(hours=1)
    with pytest.raises(NotFound):
        desk.receive(desk.stripe_sends("evt_3"))
    _, second = desk.service.rotate(OWNER, target, RotateIncomingUrl(overlap_hours=0))
    with pytest.raises(NotFound):
        desk.receive(desk.stripe_sends("evt_3"), token=token)
    assert desk.receive(desk.stripe_sends("evt_3"), token=second).accepted == 1


def test_settings_are_guarded_by_their_version_and_by_permission(desk: Desk) -> None:
    target = desk.stripe.integration_id
    command = UpdateIncoming(allowed_ips=[])
    desk.service.update(OWNER, target, command, 0)
    with pytest.raises(PreconditionFailed):
        desk.service.update(OWNER, target, command, 0)
    operator = Principal(TENANT, USER, frozenset({"integration:manage"}))
    assert desk.service.settings(operator, target).endpoint.version == 1
    with pytest.raises(Forbidden):
        desk.service.update(operator, target, command, None)
    with pytest.raises(Forbidden):
        desk.service.rotate(operator, target, RotateIncomingUrl())


def test_another_tenant_sees_neither_the_inbox_nor_the_settings(desk: Desk) -> None:
    desk.receive(desk.stripe_sends())
    [webhook] = desk.inbox()
    target, webhook_id = desk.stripe.integration_id, webhook.incoming_webhook_id
    calls = [
        lambda: desk.service.page(OTHER, target, IncomingFilter(), PageRequest()),
        lambda: desk.service.get(OTHER, target, webhook_id),
        lambda: desk.service.settings(OTHER, target),
        lambda: desk.service.rotate(OTHER, target, RotateIncomingUrl()),
        lambda: asyncio.run(desk.retries.retry(OTHER, target, webhook_id, None)),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()


def test_the_raw_body_is_kept_sealed_and_shown_byte_for_byte(desk: Desk) -> None:
    sent = desk.stripe_sends(customer="Änne Ünikum")
    desk.receive(sent)
    [webhook] = desk.inbox()
    content = desk.service.get(OWNER, desk.stripe.integration_id, webhook.incoming_webhook_id)
    assert content.body == sent.body
    assert content.headers == {"content-type": "application/json"}
    with desk.hub.transactions.read() as tx:
        stored = tx.incoming.body(TENANT, webhook.incoming_body_id)
    assert stored is not None
    assert "Ünikum" not in stored.sealed
    assert "Ünikum" not in repr(stored)


def test_the_list_is_filtered_by_status_type_and_time(desk: Desk) -> None:
    desk.receive(desk.stripe_sends("evt_1"))
    middle = desk.clock.now() + timedelta(minutes=1)
    desk.clock.advance(minutes=2)
    desk.receive(desk.stripe_sends("evt_2"))
    names = [webhook.provider_event_id for webhook in desk.inbox()]
    assert names == ["evt_2", "evt_1"]
    assert [webhook.provider_event_id for webhook in desk.inbox(since=middle)] == ["evt_2"]
    assert [webhook.provider_event_id for webhook in desk.inbox(until=middle)] == ["evt_1"]
    assert len(desk.inbox(event_types=["stripe.charge.succeeded"])) == 2
    assert desk.inbox(event_types=["stripe.other"]) == []
    assert desk.inbox(statuses=[IncomingStatus.Failed]) == []


def test_a_retry_raises_the_event_again_under_a_new_id(desk: Desk) -> None:
    desk.receive(desk.stripe_sends())
    [webhook] = desk.inbox()
    again = desk.retry(webhook)
    assert (again.status, again.attempts) == (IncomingStatus.Processed, 2)
    assert again.event_id == f"~{webhook.event_id}.2"
    events = desk.raised()
    assert sorted(event.type for event in events) == [
        "WebhookReceived",
        "stripe.charge.succeeded",
        "stripe.charge.succeeded",
    ]
    assert len({event.data for event in events}) == 2
    provider = EventOrigin.of_provider("Stripe", webhook.integration_id)
    assert {event.type: event.origin for event in events} == {
        "WebhookReceived": FROM_HUB,
        "stripe.charge.succeeded": provider,
    }


def test_content_that_cannot_be_raised_is_kept_as_failed_and_raised_once_it_can(
    desk: Desk,
) -> None:
    desk.restart(event_max_bytes=1024)
    assert desk.receive(desk.stripe_sends(description="x" * 1024)).accepted == 1
    [failed] = desk.inbox(statuses=[IncomingStatus.Failed])
    assert "BR-WH-08" in failed.error_message
    assert desk.queue.sent == []
    still = desk.retry(failed)
    assert (still.status, still.attempts) == (IncomingStatus.Failed, 2)
    desk.restart()
    desk.clock.advance(days=2)
    raised = desk.retry(still)
    assert (raised.status, raised.attempts, raised.error_message) == (IncomingStatus.Processed, 3, None)
    assert sorted(event.type for event in desk.raised()) == ["WebhookReceived", "stripe.charge.succeeded"]


def test_credentials_that_cannot_verify_a_webhook_suspend_the_integration__11_1(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: Any) -> None:
        raise ProviderFailure("unauthorized", "The key was revoked.", status=401)

    stripe = desk.hub.catalogue.get("Stripe")
    monkeypatch.setattr(type(stripe), "receive", refused)
    with pytest.raises(Unavailable):
        desk.receive(desk.stripe_sends())
    with desk.hub.transactions.read() as tx:
        stored = tx.integrations.get(TENANT, desk.stripe.integration_id)
    assert (stored.status, stored.suspension) == (
        IntegrationStatus.Suspended,
        SuspensionCause.Authentication,
    )


def test_a_verified_body_that_makes_no_sense_is_kept_as_failed_once(desk: Desk) -> None:
    sent = signed_by_stripe(b'{"object":"event","type":"charge.succeeded"}', desk.clock.now())
    assert desk.receive(sent).accepted == 1
    assert desk.receive(sent).duplicates == 1
    [failed] = desk.inbox()
    assert (failed.status, failed.event_type) == (IncomingStatus.Failed, "stripe.unreadable")
    again = desk.retry(failed)
    assert (again.status, again.attempts) == (IncomingStatus.Failed, 2)


def test_the_providers_numbers_are_raised_as_they_were_sent_and_again_by_a_retry(desk: Desk) -> None:
    numbers = "[10.10,1e400,-0,0.123456789012345678,1E2,100000000000000000000.5,12345678901234567890123]"
    body = stripe_event(amounts="?").replace(b'"?"', numbers.encode())
    desk.receive(signed_by_stripe(body, desk.clock.now()))
    desk.retry(desk.inbox()[0])
    raised = [event.data for event in desk.raised() if event.type == "stripe.charge.succeeded"]
    assert len(raised) == 2
    assert all(f'"amounts":{numbers}' in data for data in raised)


def test_what_json_cannot_carry_is_kept_as_failed(desk: Desk) -> None:
    body = stripe_event().replace(b'"ch_1"', b"NaN")
    assert desk.receive(signed_by_stripe(body, desk.clock.now())).accepted == 1
    [failed] = desk.inbox()
    assert failed.status == IncomingStatus.Failed
    content = desk.service.get(OWNER, desk.stripe.integration_id, failed.incoming_webhook_id)
    assert content.body == body


def test_half_a_character_is_replaced_and_the_body_kept_as_it_came(desk: Desk) -> None:
    body = stripe_event().replace(b'"ch_1"', b'"caf\\ud83d", "\\udc00": 1')
    assert desk.receive(signed_by_stripe(body, desk.clock.now())).accepted == 1
    [webhook] = desk.inbox()
    assert webhook.status == IncomingStatus.Processed
    content = desk.service.get(OWNER, desk.stripe.integration_id, webhook.incoming_webhook_id)
    assert content.body == body


def test_two_retries_at_once_count_as_one(desk: Desk) -> None:
    desk.receive(desk.stripe_sends())
    [webhook] = desk.inbox()
    desk.retry(webhook)
    with pytest.raises(Conflict), desk.hub.transactions.write() as tx:
        tx.incoming.update(TENANT, webhook)


def test_bodies_go_after_their_retention_and_repeats_stay_known(desk: Desk) -> None:
    desk.receive(desk.stripe_sends())
    [webhook] = desk.inbox()
    desk.clock.advance(days=31)
    assert desk.hub.use(IncomingCleanup).delete_expired() == (1, 0)
    content = desk.service.get(OWNER, desk.stripe.integration_id, webhook.incoming_webhook_id)
    assert content.body is None
    assert desk.receive(desk.stripe_sends()).duplicates == 1
    desk.clock.advance(days=340)
    assert desk.hub.use(IncomingCleanup).delete_expired() == (0, 1)
    assert desk.inbox() == []


def test_every_body_and_every_event_goes_after_its_retention(desk: Desk) -> None:
    for number in range(5):
        body = b'{"object":"event","id":"evt_%d","type":"x"}' % number
        desk.receive(signed_by_stripe(body, desk.clock.now()))
    desk.clock.advance(days=31)
    assert desk.hub.use(IncomingCleanup).delete_expired() == (5, 0)
    desk.clock.advance(days=340)
    assert desk.hub.use(IncomingCleanup).delete_expired() == (0, 5)


def test_a_retry_without_content_says_so(desk: Desk) -> None:
    sent = signed_by_stripe(b'{"object":"event","type":"x"}', desk.clock.now())
    desk.receive(sent)
    [failed] = desk.inbox()
    desk.clock.advance(days=31)
    desk.hub.use(IncomingCleanup).delete_expired()
    with pytest.raises(Conflict) as caught:
        desk.retry(failed)
    assert caught.value.code == "content-gone"


def test_verification_does_not_ask_the_secret_store_each_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.receive(desk.stripe_sends("evt_1"))

    def down(*arguments: object) -> str:
        raise Unavailable("The secret store does not answer.")

    monkeypatch.setattr(desk.hub.secrets, "get", down)
    assert desk.receive(desk.stripe_sends("evt_2")).accepted == 1
    other = seed(desk.hub, tenant=OTHER_TENANT, user=OTHER_USER)
    with pytest.raises(Unavailable):
        desk.receive(desk.stripe_sends("evt_3"), to=other)


def test_a_changed_secret_counts_at_once(desk: Desk) -> None:
    desk.receive(desk.stripe_sends("evt_1"))
    fresh = "whsec_" + "z9" * 16
    split = accept(StripeConfiguration, {**STRIPE, "webhookSecret": fresh})
    credential_store, integration_id = desk.hub.use(CredentialStore), desk.stripe.integration_id
    with desk.hub.transactions.write() as tx:
        now_there = tx.integrations.get(TENANT, integration_id)
        renamed = replace(now_there, secret_name=credential_store.put(integration_id, split))
        tx.integrations.update(TENANT, renamed)
        tx.commit()
    with pytest.raises(Unauthenticated):
        desk.receive(desk.stripe_sends("evt_2"))
    signed = signed_by_stripe(stripe_event("evt_2"), desk.clock.now(), fresh)
    assert desk.receive(signed).accepted == 1


def test_events_of_one_request_are_stored_one_by_one_and_once(desk: Desk) -> None:
    public_key, sign = sendgrid_keys()
    configuration = {"apiKey": "SG.abcdefgh", "fromEmail": "a@example.com", "webhookPublicKey": public_key}
    mail = seed(desk.hub, tenant=TENANT, user=USER, provider="SendGrid", configuration=configuration)

    def mails(*names: str) -> Signed:
        events = [{"sg_event_id": name, "event": "delivered", "timestamp": 1} for name in names]
        return sign(json.dumps(events).encode(), desk.clock.now())

    assert desk.receive(mails("a", "b", "b"), to=mail) == Receipt(accepted=2, duplicates=1)
    assert desk.receive(mails("b", "c"), to=mail) == Receipt(accepted=1, duplicates=1)
    page = desk.service.page(OWNER, mail.integration_id, IncomingFilter(), PageRequest())
    assert sorted(webhook.provider_event_id for webhook in page.items) == ["a", "b", "c"]
    assert len({webhook.incoming_body_id for webhook in page.items}) == 2


def test_a_database_that_is_down_makes_the_provider_send_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = desk.hub.database.write

    def down() -> Any:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(desk.hub.database, "write", down)
    with pytest.raises(Unavailable):
        desk.receive(desk.stripe_sends())
    monkeypatch.setattr(desk.hub.database, "write", real)
    assert desk.receive(desk.stripe_sends()).accepted == 1


def test_requests_that_share_a_transaction_are_counted_each_for_itself(desk: Desk) -> None:
    other = seed(desk.hub, tenant=OTHER_TENANT, user=OTHER_USER)

    async def both() -> list[Receipt]:
        sent = [(desk.stripe, "evt_1"), (desk.stripe, "evt_1"), (other, "evt_1"), (desk.stripe, "evt_2")] * 8
        receive = desk.hub.use(IncomingReceiver).receive
        return list(
            await asyncio.gather(
                *(
                    receive(to.integration_id, desk.request(desk.stripe_sends(name), to), Caller())
                    for to, name in sent
                )
            )
        )

    receipts = asyncio.run(both())
    assert sum(receipt.accepted for receipt in receipts) == 3
    assert sum(receipt.duplicates for receipt in receipts) == 29
    assert len(desk.raised()) == 6
