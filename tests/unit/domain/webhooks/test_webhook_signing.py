"""Signatures that the public libraries accept."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import standardwebhooks.webhooks
import svix.webhooks
from hypothesis import given
from hypothesis import strategies as st

from domain.journal.event_types import FROM_HUB, FROM_PLATFORM, FROM_TEST, EventOrigin
from domain.journal.events import DomainEvent, event_data
from domain.webhooks.signing import event_body, new_secret, signature, signed_headers
from tests.worlds.builders import START, TENANT

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)
event_ids = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._:-]{0,99}\Z")
secrets = st.binary(min_size=24, max_size=64).map(lambda raw: "whsec_" + base64.b64encode(raw).decode())


def an_event(**fields: object) -> DomainEvent:
    values: dict[str, object] = {
        "event_id": "evt-1",
        "tenant_id": TENANT,
        "type": "BookingConfirmed",
        "data": event_data({"name": "Zoë 🎉"}),
        "occurred_at": START,
        "origin": FROM_PLATFORM,
    }
    return DomainEvent(**(values | fields))  # type: ignore[arg-type]


def test_the_published_test_vector_reproduces() -> None:
    # The vector that the Standard Webhooks and Svix libraries carry in their own tests.
    made = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_prefix_of_a_secret_does_not_count() -> None:
    secret = new_secret()
    bare = secret.removeprefix("whsec_")
    assert signature(secret, "a", 1, b"{}") == signature(bare, "a", 1, b"{}")


def test_a_new_secret_is_32_random_bytes() -> None:
    made = {new_secret() for _ in range(50)}
    assert len(made) == 50
    assert all(len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32 for secret in made)
    assert all(secret.startswith("whsec_") for secret in made)


@given(secret=secrets, event_id=event_ids, data=st.dictionaries(text, json_values, max_size=5), subject=text)
def test_standard_webhooks_and_svix_verify_what_is_sent__BR_WH_02(
    secret: str, event_id: str, data: dict[str, object], subject: str
) -> None:
    body = event_body(an_event(event_id=event_id, data=event_data(data), subject=subject))
    headers = signed_headers([secret], event_id, datetime.now(UTC), body)

    verified = standardwebhooks.webhooks.Webhook(secret).verify(body, headers)
    assert verified["data"] == data
    as_svix = {name.replace("webhook-", "svix-"): value for name, value in headers.items()}
    svix.webhooks.Webhook(secret).verify(body, as_svix)


@given(body=st.binary(max_size=200).filter(lambda raw: raw != b"{}"))
def test_another_body_does_not_verify(body: bytes) -> None:
    secret = new_secret()
    assert signature(secret, "a", 1, body) != signature(secret, "a", 1, b"{}")


def test_two_secrets_sign_while_one_is_rotating_and_each_verifies_alone() -> None:
    fresh, old = new_secret(), new_secret()
    body = event_body(an_event())
    headers = signed_headers([fresh, old], "evt-1", datetime.now(UTC), body)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (fresh, old):
        standardwebhooks.webhooks.Webhook(secret).verify(body, headers)
    with pytest.raises(standardwebhooks.webhooks.WebhookVerificationError):
        standardwebhooks.webhooks.Webhook(new_secret()).verify(body, headers)


def test_the_body_names_the_event_and_carries_its_data() -> None:
    event = an_event(subject="booking/42", occurred_at=START + timedelta(milliseconds=5))
    assert json.loads(event_body(event)) == {
        "type": "BookingConfirmed",
        "timestamp": "2026-03-01T09:00:00.005000Z",
        "id": "evt-1",
        "subject": "booking/42",
        "origin": {"kind": "platform"},
        "data": {"name": "Zoë 🎉"},
    }


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        (FROM_HUB, {"kind": "hub"}),
        (FROM_TEST, {"kind": "test"}),
        (
            EventOrigin.of_provider('Sp"ot', UUID(int=9)),
            {"kind": "provider", "provider": 'Sp"ot', "integrationId": str(UUID(int=9))},
        ),
    ],
)
def test_the_body_says_who_raised_the_event(origin: EventOrigin, told: dict[str, str]) -> None:
    assert json.loads(event_body(an_event(origin=origin)))["origin"] == told


def test_an_event_from_before_origins_were_noted_keeps_the_bytes_that_were_sent() -> None:
    body = event_body(an_event(origin=None, data="{}"))
    assert body == (
        b'{"type":"BookingConfirmed","timestamp":"2026-03-01T09:00:00.000000Z","id":"evt-1","data":{}}'
    )


def test_a_body_without_a_subject_has_no_such_member() -> None:
    assert "subject" not in json.loads(event_body(an_event()))


@given(data=st.dictionaries(text, json_values, max_size=5), subject=st.none() | text)
def test_the_body_is_the_same_bytes_on_every_attempt(data: dict[str, object], subject: str | None) -> None:
    event = an_event(data=event_data(data), subject=subject)
    again = an_event(data=event_data(json.loads(event_data(data))), subject=subject)
    assert event_body(event) == event_body(again)


def test_the_id_of_the_event_is_the_id_of_the_message() -> None:
    headers = signed_headers([new_secret()], "evt-1", START, b"{}")
    assert headers["webhook-id"] == "evt-1"
    assert headers["webhook-timestamp"] == str(int(START.timestamp()))
    assert headers["content-type"] == "application/json"
