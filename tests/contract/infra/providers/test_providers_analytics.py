"""Analytics: Segment and Google Analytics 4, which both take what they are sent without checking who sends it."""

import hashlib
import hmac
import json
from base64 import b64encode
from typing import Any

import jwt
import pytest

from domain.providers.analytics import AnalyticsEvent
from domain.providers.contract import Capability, Provider, ProviderFailure, SignatureRefused, TestOptions
from infra.providers.ga4.adapter import PROVIDER as GA4
from infra.providers.registry import all_providers
from infra.providers.segment.adapter import PROVIDER as SEGMENT
from tests.fixtures.providers.ga4 import API_SECRET, PRIVATE_KEY, SERVICE_ACCOUNT
from tests.fixtures.providers.segment import SHARED_SECRET, WRITE_KEY
from tests.fixtures.scripted_server import Answer, route
from tests.worlds.analytics_doubles import MeasurementProtocol, SegmentTracking
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import NOW, incoming, world

OPTIONS = TestOptions()
EVENT = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "ajs-1",
    "timestamp": "2026-03-01T11:59:58Z",
}
WITHOUT_TOKEN = {"publicApiToken": None}
WITHOUT_ACCOUNT = {"propertyId": None, "serviceAccountKey": None}
JUDGED = route("POST /debug/mp/collect", Answer(200, {"validationMessages": []}))


async def test_segment_says_that_a_write_key_cannot_be_checked() -> None:
    async with world(CASES["Segment"], changes=WITHOUT_TOKEN) as here:
        check = await SEGMENT.validate_credentials(here.connection)
        assert here.server.requests == []
    assert check.verified is False
    assert "cannot be checked" in check.detail


async def test_segment_test_sends_one_event_to_no_destination() -> None:
    async with world(CASES["Segment"]) as here:
        here.server.add(route("POST /v1/track", Answer(200, {"success": True})))
        result = await SEGMENT.test(here.connection, OPTIONS)
    (sent,) = here.server.requests
    assert sent.json["messageId"] == result.steps[0].reference
    assert sent.json["integrations"] == {"All": False}
    assert sent.headers["authorization"] == f"Basic {b64encode(f'{WRITE_KEY}:'.encode()).decode()}"


async def test_segment_that_does_not_confirm_an_event_fails_the_test() -> None:
    async with world(CASES["Segment"]) as here:
        here.server.add(route("POST /v1/track", Answer(200, {"success": False})))
        with pytest.raises(ProviderFailure, match="did not confirm"):
            await SEGMENT.test(here.connection, OPTIONS)


@pytest.mark.parametrize(("status", "kind"), [(404, None), (503, "unavailable"), (429, "rate_limited")])
async def test_segment_probe_without_a_token_asks_whether_it_answers(status: int, kind: str | None) -> None:
    async with world(CASES["Segment"], changes=WITHOUT_TOKEN) as here:
        here.server.always = Answer(status, {}, {"Retry-After": "30"})
        if kind is None:
            await SEGMENT.probe(here.connection)
        else:
            with pytest.raises(ProviderFailure) as caught:
                await SEGMENT.probe(here.connection)
            assert caught.value.kind == kind
        assert here.server.requests


def signature(signed: bytes, secret: str = SHARED_SECRET) -> dict[str, str]:
    return {"X-Signature": hmac.digest(secret.encode(), signed, hashlib.sha1).hex()}


@pytest.mark.parametrize("form", ["{}", "[{}]", " [ {} ]\n"])
async def test_segment_events_are_signed_alone_or_as_a_batch_of_one(form: str) -> None:
    event = json.dumps(EVENT, separators=(",", ":"))
    body = form.replace("{}", event).encode()
    async with world(CASES["Segment"]) as here:
        answer = await SEGMENT.receive(here.connection, incoming(body, signature(event.encode())))
    (told,) = answer.events
    assert (told.event_id, told.type) == ("ajs-1", "track.Order.Completed")


async def test_segment_batches_are_refused_because_only_their_first_event_is_signed() -> None:
    event = json.dumps(EVENT)
    body = f"[{event},{json.dumps(EVENT | {'event': 'forged'})}]".encode()
    async with world(CASES["Segment"]) as here:
        with pytest.raises(SignatureRefused, match="batching"):
            await SEGMENT.receive(here.connection, incoming(body, signature(event.encode())))


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"type":"track"}', {}),
        (b'{"type":"track"}', signature(b'{"type":"track"}', "other")),
        (b'{"type":"page"}', signature(b'{"type":"track"}')),
        (b"[", signature(b"[")),
        (b"[]", signature(b"")),
    ],
    ids=["no signature", "other secret", "changed", "cut", "empty"],
)
async def test_segment_webhooks_that_are_not_signed_are_refused(body: bytes, headers: dict[str, str]) -> None:
    async with world(CASES["Segment"]) as here:
        with pytest.raises(SignatureRefused) as caught:
            await SEGMENT.receive(here.connection, incoming(body, headers))
    assert SHARED_SECRET not in str(caught.value)


async def test_segment_webhooks_are_refused_while_no_secret_is_configured() -> None:
    async with world(CASES["Segment"], changes={"sharedSecret": None}) as here:
        with pytest.raises(SignatureRefused):
            await SEGMENT.receive(here.connection, incoming(b"{}", signature(b"{}", "")))


async def test_ga4_says_that_an_api_secret_cannot_be_checked() -> None:
    async with world(CASES["GA4"], changes=WITHOUT_ACCOUNT) as here:
        check = await GA4.validate_credentials(here.connection)
    assert (check.account, check.verified) == ("G-ABCD123456", False)


async def test_ga4_service_account_signs_its_claims() -> None:
    async with world(CASES["GA4"]) as here:
        await GA4.validate_credentials(here.connection)
    asked, _ = here.server.requests
    claims = jwt.decode(
        asked.form["assertion"],
        PRIVATE_KEY.public_key(),
        algorithms=["RS256"],
        audience="https://oauth2.googleapis.com/token",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims["iss"] == json.loads(SERVICE_ACCOUNT)["client_email"]
    assert claims["iat"] == int(NOW.timestamp())
    assert asked.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"


async def test_ga4_refused_assertion_is_unauthorized() -> None:
    async with world(CASES["GA4"]) as here:
        here.server.always = Answer(
            400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        )
        with pytest.raises(ProviderFailure) as caught:
            await GA4.validate_credentials(here.connection)
    assert caught.value.kind == "unauthorized"


@pytest.mark.parametrize(
    "key", ["not json", "{}", json.dumps({"client_email": "a@b", "private_key": "kept-secret"})]
)
async def test_ga4_key_that_cannot_be_read_is_not_repeated(key: str) -> None:
    async with world(CASES["GA4"], changes={"serviceAccountKey": key}) as here:
        with pytest.raises(ProviderFailure) as caught:
            await GA4.probe(here.connection)
    assert caught.value.kind == "unauthorized"
    assert key not in f"{caught.value!r} {here.connection!r}" or key == "{}"


async def test_ga4_test_asks_the_validation_server_only() -> None:
    async with world(CASES["GA4"]) as here:
        here.server.add(JUDGED)
        await GA4.test(here.connection, OPTIONS)
    (asked,) = here.server.requests
    assert asked.line == "POST /debug/mp/collect"
    assert asked.query == {"measurement_id": "G-ABCD123456", "api_secret": API_SECRET}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"validationMessages": [{"validationCode": "NAME_INVALID", "description": "x"}]}, "rejected"),
        ({}, "malformed"),
    ],
)
async def test_ga4_validation_messages_fail_the_test(answer: Any, kind: str) -> None:
    async with world(CASES["GA4"], changes=WITHOUT_ACCOUNT) as here:
        here.server.always = Answer(200, answer)
        with pytest.raises(ProviderFailure) as caught:
            await GA4.probe(here.connection)
    assert caught.value.kind == kind
    assert API_SECRET not in str(caught.value)


@pytest.mark.parametrize("missing", ["propertyId", "serviceAccountKey"])
def test_ga4_service_account_and_property_need_each_other(missing: str) -> None:
    given = dict(CASES["GA4"].configuration("https://ga.example.org")) | {missing: None}
    with pytest.raises(ValueError, match="need each other"):
        GA4.profile.configuration.model_validate(given)


async def test_ga4_sends_no_webhooks() -> None:
    async with world(CASES["GA4"]) as here:
        with pytest.raises(ProviderFailure) as caught:
            await GA4.receive(here.connection, incoming(b"{}", {}))
    assert caught.value.kind == "rejected"


def _events(count: int, name: str = "booking_confirmed", **properties: Any) -> list[AnalyticsEvent]:
    return [AnalyticsEvent(f"e{number}", name, NOW, properties, "source", "ada") for number in range(count)]


async def test_ga4_takes_a_call_of_25_events_at_its_regional_address() -> None:
    double = MeasurementProtocol(NOW)
    async with world(CASES["GA4"]) as here:
        here.server.listing = double.answer
        call = GA4.events.pack(_events(30, value=42), here.connection.now)
        await GA4.events.deliver(here.connection, call)
        (sent,) = here.server.requests
    assert sent.query == {"measurement_id": "G-ABCD123456", "api_secret": API_SECRET}
    assert (len(double.events), double.problems) == (25, [])


async def test_segment_takes_a_batch_under_its_write_key_and_drops_what_it_has_seen() -> None:
    double = SegmentTracking()
    async with world(CASES["Segment"]) as here:
        here.server.listing = double.answer
        call = SEGMENT.events.pack(_events(3, value=42), here.connection.now)
        for _ in range(2):
            await SEGMENT.events.deliver(here.connection, call)
        sent = here.server.requests[0]
    assert sent.headers["authorization"] == f"Basic {b64encode(f'{WRITE_KEY}:'.encode()).decode()}"
    assert list(double.events) == double.dropped == ["e0", "e1", "e2"]


@pytest.mark.parametrize(
    ("provider", "answer", "kind"),
    [
        (SEGMENT, Answer(400, {"message": "Exceeded payload limit"}), "rejected"),
        (SEGMENT, Answer(401), "unauthorized"),
        (SEGMENT, Answer(429, headers={"Retry-After": "7"}), "rate_limited"),
        (SEGMENT, Answer(200, {"success": False}), "malformed"),
        (SEGMENT, Answer(200, []), "malformed"),
        (GA4, Answer(503), "unavailable"),
        (GA4, Answer(413), "rejected"),
    ],
)
async def test_events_that_are_not_taken_fail_in_the_vendors_way(
    provider: Provider, answer: Answer, kind: str
) -> None:
    sink = provider.events
    assert sink is not None
    async with world(CASES[provider.profile.name]) as here:
        here.server.always = answer
        with pytest.raises(ProviderFailure) as failure:
            await sink.deliver(here.connection, sink.pack(_events(1), here.connection.now))
    assert failure.value.kind == kind


async def test_a_call_to_ga4_is_not_repeated_by_itself() -> None:
    """It knows no event again: a call whose answer was lost is made again by the job alone."""
    async with world(CASES["GA4"], impatient=True) as here:
        here.server.always = Answer(hangs=True)
        with pytest.raises(ProviderFailure):
            await GA4.events.deliver(here.connection, GA4.events.pack(_events(1), here.connection.now))
        assert len(here.server.requests) == 1


@pytest.mark.parametrize("provider", all_providers().values(), ids=lambda provider: provider.profile.name)
def test_a_provider_advertises_what_it_can_do_with_records_and_events(provider: Provider) -> None:
    capabilities = provider.profile.capabilities
    assert (Capability.Import in capabilities) == (provider.streams is not None)
    if provider.streams is None:
        assert (Capability.Export in capabilities) == (provider.events is not None)
