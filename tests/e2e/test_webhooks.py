"""Webhooks over real HTTP, as a user meets them."""

from __future__ import annotations

import time
import urllib.request

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as StandardWebhook
from svix.webhooks import Webhook as SvixWebhook

from tests.worlds.hub_api import Api, Receiver
from tests.worlds.json_texts import objects

pytestmark = pytest.mark.e2e


def test_an_event_reaches_its_subscriber_signed(api: Api, receiver: Receiver) -> None:
    webhook = api.webhook(receiver.url)
    assert webhook["state"] == "Active"
    event_id = api.raise_event(data={"bookingId": "b-1", "name": "Zoë"}, subject="booking/b-1")
    [request] = receiver.wait(1)
    headers = request["headers"]
    body = StandardWebhook(webhook["secret"]).verify(request["body"], headers)
    svix = {f"svix-{name}": headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature")}
    SvixWebhook(webhook["secret"]).verify(request["body"], svix)
    assert body["type"] == "BookingConfirmed"
    assert body["data"] == {"bookingId": "b-1", "name": "Zoë"}
    assert body["timestamp"].endswith("Z")
    assert request["headers"]["webhook-id"] == event_id


def test_a_delivery_tells_its_whole_story__UC_WH_02(api: Api, receiver: Receiver) -> None:
    webhook = api.webhook(receiver.url)
    event_id = api.raise_event()
    receiver.wait(1)
    [delivery] = api.eventually(lambda: api.deliveries(webhook["webhookId"], "&status=Delivered"))
    status, detail = api(
        "GET", f"/webhooks/{webhook['webhookId']}/deliveries/{delivery['webhookDeliveryId']}"
    )
    assert status == 200
    assert detail["eventId"] == event_id
    assert detail["payload"] == {"n": 1}
    assert detail["attemptCount"] == 1
    [attempt] = detail["attempts"]
    assert (attempt["attemptNumber"], attempt["outcome"], attempt["httpStatusCode"]) == (1, "Delivered", 200)
    assert attempt["responseBody"] == '{"seen":true}'
    [listed] = [
        listed
        for listed in api("GET", "/webhooks")[1]["items"]
        if listed["webhookId"] == webhook["webhookId"]
    ]
    assert listed["successCount"] == 1
    assert listed["lastTriggeredAt"]


def test_a_receiver_that_does_not_answer_the_challenge_gets_no_events_until_it_does__UC_WH_01(
    api: Api, receiver: Receiver
) -> None:
    receiver.answers_challenge = False
    webhook = api.webhook(receiver.url)
    assert webhook["state"] == "PendingVerification"
    assert webhook["verification"]["verified"] is False
    receiver.received.clear()
    witness = Receiver()
    api.webhook(witness.url)
    api.raise_event()
    witness.wait(1)  # the event has been fanned out
    witness.close()
    receiver.answers_challenge = True
    status, verified = api("POST", f"/webhooks/{webhook['webhookId']}/verify")
    assert (status, verified["state"]) == (200, "Active")
    event_id = api.raise_event()
    [request] = receiver.wait(1)
    assert request["headers"]["webhook-id"] == event_id


def test_both_secrets_sign_while_one_is_rotating(api: Api, receiver: Receiver) -> None:
    webhook = api.webhook(receiver.url)
    status, rotated = api("POST", f"/webhooks/{webhook['webhookId']}/secret/rotate")
    assert status == 200
    assert rotated["secret"] != webhook["secret"]
    api.raise_event()
    [request] = receiver.wait(1)
    for secret in (webhook["secret"], rotated["secret"]):
        StandardWebhook(secret).verify(request["body"], request["headers"])
    assert "secret" not in api("GET", f"/webhooks/{webhook['webhookId']}")[1]


def test_a_test_event_answers_with_what_the_receiver_said(api: Api, receiver: Receiver) -> None:
    webhook = api.webhook(receiver.url)
    receiver.respond = lambda request: (418, {})
    status, delivery = api("POST", f"/webhooks/{webhook['webhookId']}/test")
    assert status == 200
    assert (delivery["deliveryStatus"], delivery["httpStatusCode"]) == ("Failed", 418)
    assert delivery["attempts"][0]["responseBody"] == '{"seen":true}'


def test_retry_and_replay_send_again_what_failed(api: Api, receiver: Receiver) -> None:
    webhook = api.webhook(receiver.url)
    path = f"/webhooks/{webhook['webhookId']}"
    receiver.respond = lambda request: (400, {})
    for _ in range(2):
        api.raise_event()
    failed = api.eventually(
        lambda: (
            (found := api.deliveries(webhook["webhookId"], "&status=Failed")) and len(found) == 2 and found
        )
    )
    receiver.respond = lambda request: (200, {})
    status, _ = api("POST", f"{path}/deliveries/{failed[0]['webhookDeliveryId']}/retry")
    assert status == 202
    api.eventually(lambda: len(api.deliveries(webhook["webhookId"], "&status=Delivered")) == 1)
    status, replayed = api("POST", f"{path}/replay", {"from": failed[-1]["scheduledAt"]})
    assert (status, replayed["replayed"]) == (202, 1)
    api.eventually(lambda: len(api.deliveries(webhook["webhookId"], "&status=Delivered")) == 2)
    status, refused = api("POST", f"{path}/deliveries/{failed[0]['webhookDeliveryId']}/retry")
    assert (status, refused["code"]) == (409, "not-retryable")


def test_events_of_a_paused_webhook_are_held_and_sent_on_resume(api: Api, receiver: Receiver) -> None:
    webhook = api.webhook(receiver.url)
    path = f"/webhooks/{webhook['webhookId']}"
    assert api("PUT", path, {"isActive": False})[1]["state"] == "Paused"
    api.raise_event()
    api.eventually(lambda: api.deliveries(webhook["webhookId"], "&isHeld=true"))
    assert receiver.received == []
    assert api("PUT", path, {"isActive": True})[1]["state"] == "Active"
    receiver.wait(1, seconds=70)


def test_the_next_of_a_subject_waits_for_one_that_fails_and_says_so(api: Api, receiver: Receiver) -> None:
    policy = {"initialDelaySeconds": 3600, "jitter": False}
    webhook = api.webhook(receiver.url, ordering="perSubject", retryPolicy=policy)
    assert webhook["ordering"] == "perSubject"
    webhook_id = webhook["webhookId"]
    receiver.respond = lambda request: (500, {})
    first, second, other = (api.raise_event(subject=f"order/{number}") for number in (1, 1, 2))
    api.eventually(lambda: len(api.deliveries(webhook_id, "&status=Retrying")) == 2)
    by_event = {delivery["eventId"]: delivery for delivery in api.deliveries(webhook_id)}
    assert by_event[first]["waitsFor"] is by_event[other]["waitsFor"] is None
    waiting = by_event[second]
    assert (waiting["deliveryStatus"], waiting["attemptCount"]) == ("Pending", 0)
    assert waiting["waitsFor"] == by_event[first]["webhookDeliveryId"]
    path = f"/webhooks/{webhook_id}/deliveries/{waiting['webhookDeliveryId']}"
    assert api("GET", path)[1]["waitsFor"] == waiting["waitsFor"]
    status, problem = api("POST", f"{path}/retry")
    assert (status, problem["code"]) == (409, "not-retryable")
    receiver.respond = lambda request: (200, {})
    assert api("PUT", f"/webhooks/{webhook_id}", {"ordering": "none"})[1]["ordering"] == "none"
    api.eventually(lambda: api.deliveries(webhook_id, "&status=Delivered"))
    assert api("GET", path)[1]["deliveryStatus"] == "Delivered"


def test_raising_an_event_twice_delivers_it_once(api: Api, receiver: Receiver) -> None:
    api.webhook(receiver.url)
    for _ in range(2):
        status, answer = api("POST", "/events", {"id": "booking-1", "type": "BookingConfirmed", "data": {}})
        assert status == 202
    assert answer == {"accepted": 0, "duplicates": 1, "eventIds": ["booking-1"]}
    receiver.wait(1)
    time.sleep(0.3)
    assert len(receiver.received) == 1


def test_only_matching_subscriptions_get_an_event(api: Api, receiver: Receiver) -> None:
    api.webhook(receiver.url + "/exact", eventTypes=["BookingConfirmed"])
    api.webhook(receiver.url + "/prefix", eventTypes=["booking.*"])
    api.webhook(receiver.url + "/other", eventTypes=["EventCancelled"])
    api.raise_event("BookingConfirmed")
    api.raise_event("booking.seat.changed")
    assert {request["path"] for request in receiver.wait(2)} == {"/hook/exact", "/hook/prefix"}


def test_delivery_events_reach_only_who_names_them_and_make_no_loop(api: Api, receiver: Receiver) -> None:
    api.webhook(receiver.url + "/all")
    api.webhook(receiver.url + "/sent", eventTypes=["WebhookSent"])
    api.raise_event()
    requests = receiver.wait(2)
    time.sleep(0.5)
    assert sorted(request["path"] for request in receiver.received) == ["/hook/all", "/hook/sent"]
    [sent] = [request["json"] for request in requests if request["path"] == "/hook/sent"]
    assert sent["type"] == "WebhookSent"
    assert set(sent["data"]) == {"webhookDeliveryId", "webhookId", "statusCode", "deliveredAt"}


def test_an_idempotency_key_creates_one_webhook_and_repeats_the_secret(api: Api, receiver: Receiver) -> None:
    body = {"url": receiver.url, "eventTypes": ["*"]}
    first = api("POST", "/webhooks", body, Idempotency_Key="abc")
    again = api("POST", "/webhooks", body, Idempotency_Key="abc")
    assert first == again
    assert api("GET", "/webhooks")[1]["total"] == 1
    status, refused = api("POST", "/webhooks", {**body, "timeoutSeconds": 9}, Idempotency_Key="abc")
    assert (status, refused["code"]) == (422, "idempotency-key-reused")


def test_a_stale_if_match_changes_nothing(api: Api, receiver: Receiver) -> None:
    webhook = api.webhook(receiver.url)
    path = f"/webhooks/{webhook['webhookId']}"
    assert api("PUT", path, {"timeoutSeconds": 7}, If_Match='"2"')[0] == 200
    status, refused = api("PUT", path, {"timeoutSeconds": 9}, If_Match='"2"')
    assert (status, refused["code"]) == (412, "precondition-failed")
    assert api("GET", path)[1]["timeoutSeconds"] == 7


def test_a_deleted_webhook_is_gone_with_its_deliveries(api: Api, receiver: Receiver) -> None:
    webhook = api.webhook(receiver.url)
    path = f"/webhooks/{webhook['webhookId']}"
    assert api("DELETE", path) == (204, None)
    assert api("GET", path)[0] == 404
    assert api("GET", f"{path}/deliveries")[0] == 404
    assert api("DELETE", path)[0] == 404


_FORMS = (
    '{"n":[0.123456789012345678,1e400,10.10,1e2,1E-7,-0,-0.0,100000000000000000000.5,12345678901234567890123]}',
    '{ "\\u0061" : "\\ud83d\\ude00\\/",\r\n\t"b":[ ],"c":"\x7f\u2028é" }',
)


def received_data(receiver: Receiver, count: int) -> dict[str, str]:
    """The bytes behind `"data":` of each event that came, as text, by its id."""
    requests = receiver.wait(count)
    bodies = {request["headers"]["webhook-id"]: request["body"].decode() for request in requests}
    return {event_id: body.split(',"data":', 1)[1].removesuffix("}") for event_id, body in bodies.items()}


def text_of(api: Api, path: str) -> str:
    request = urllib.request.Request(
        f"{api.host.url}{path}", headers={"authorization": f"Bearer {api.token}"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return str(response.read().decode())


def test_any_json_reaches_the_receiver_as_it_was_written(api: Api, receiver: Receiver) -> None:
    webhook = api.webhook(receiver.url)

    @settings(max_examples=4, deadline=None, database=None)
    @given(texts=st.lists(objects, min_size=12, max_size=12))
    @example(texts=[*_FORMS])
    def check(texts: list[str]) -> None:
        before = len(receiver.received)
        listed = ", ".join(f'{{"type":"A","data":{text}}}' for text in texts)
        status, accepted = api("POST", "/events", f'{{"events": [{listed}]}}'.encode())
        assert status == 202, accepted
        came = received_data(receiver, before + len(texts))
        assert [came[event_id] for event_id in accepted["eventIds"]] == texts

    check()
    assert webhook["state"] == "Active"


@pytest.mark.parametrize("text", _FORMS)
def test_retry_replay_test_and_reads_change_nothing_of_the_data(
    api: Api, receiver: Receiver, text: str
) -> None:
    webhook_id = api.webhook(receiver.url)["webhookId"]
    receiver.respond = lambda request: (404 if len(receiver.received) < 3 else 200, {})
    assert api("POST", "/events", f'{{"type":"A","id":"e-1","data": {text} }}'.encode())[0] == 202
    [delivery] = api.eventually(lambda: api.deliveries(webhook_id, "&status=Failed"))
    address = f"/webhooks/{webhook_id}/deliveries/{delivery['webhookDeliveryId']}"
    assert api("POST", f"{address}/retry")[0] == 202
    api.eventually(lambda: api("GET", address)[1]["attemptCount"] == 2)
    api.eventually(lambda: api.deliveries(webhook_id, "&status=Failed"))
    assert (
        api("POST", f"/webhooks/{webhook_id}/replay", {"from": delivery["scheduledAt"]})[1]["replayed"] == 1
    )
    receiver.wait(3)
    bodies = [request["body"] for request in receiver.received]
    assert bodies[0].endswith(f',"data":{text}}}'.encode())
    assert set(bodies) == {bodies[0]}
    assert f'"payload":{text}' in text_of(api, address)
    assert api("POST", f"/webhooks/{webhook_id}/test", f'{{"data":{text}}}'.encode())[0] == 200
    assert receiver.wait(4)[3]["body"].endswith(f',"data":{text}}}'.encode())
