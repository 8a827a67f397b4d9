"""Customer relations: HubSpot (signatures checked against HubSpot's own library) and Salesforce."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest

from domain.providers.contract import ProviderFailure, SignatureRefused, TestOptions
from infra.providers.hubspot.adapter import PROVIDER as HUBSPOT
from infra.providers.salesforce.adapter import PROVIDER as SALESFORCE
from tests.fixtures.providers import salesforce as salesforce_case
from tests.fixtures.providers.hubspot import CLIENT_SECRET, DETAILS
from tests.fixtures.scripted_server import Answer, route
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import NOW, incoming, world

OPTIONS = TestOptions()
CONTACTS = "/crm/v3/objects/contacts"
URL = "https://hub.example.org/api/webhooks/incoming/1"
EVENT = {
    "eventId": 100,
    "subscriptionId": 184,
    "portalId": 62515,
    "occurredAt": 1772366399000,
    "subscriptionType": "contact.creation",
    "attemptNumber": 0,
    "objectId": 123,
}


def signed(body: bytes, *, url: str = URL, at: Any = NOW, secret: str = CLIENT_SECRET) -> dict[str, str]:
    timestamp = str(int(at.timestamp() * 1000))
    digest = hmac.digest(secret.encode(), f"POST{url}".encode() + body + timestamp.encode(), hashlib.sha256)
    return {
        "X-HubSpot-Signature-v3": base64.b64encode(digest).decode(),
        "X-HubSpot-Request-Timestamp": timestamp,
    }


async def test_hubspot_test_creates_a_contact_and_deletes_it() -> None:
    async with world(CASES["HubSpot"]) as here:
        here.server.add(
            route(f"POST {CONTACTS}", Answer(201, {"id": "512", "properties": {}})),
            route(f"DELETE {CONTACTS}/512", Answer(204)),
        )
        result = await HUBSPOT.test(here.connection, OPTIONS)
    assert here.server.lines == [f"POST {CONTACTS}", f"DELETE {CONTACTS}/512"]
    assert here.server.requests[0].json["properties"]["email"].endswith("@example.com")
    assert [step.reference for step in result.steps] == ["512", "512"]


async def test_a_contact_that_stays_behind_is_named() -> None:
    async with world(CASES["HubSpot"]) as here:
        here.server.add(
            route(f"POST {CONTACTS}", Answer(201, {"id": "512"})),
            route(f"DELETE {CONTACTS}/512", Answer(403, {})),
        )
        with pytest.raises(
            ProviderFailure, match="The contact 512 was created and could not be deleted"
        ) as caught:
            await HUBSPOT.test(here.connection, OPTIONS)
    assert caught.value.kind == "forbidden"


@pytest.mark.parametrize(("kind", "test_mode"), [("STANDARD", False), ("SANDBOX", True), (None, None)])
async def test_hubspot_account_type_says_whether_it_is_a_test_account(kind: Any, test_mode: Any) -> None:
    async with world(CASES["HubSpot"]) as here:
        here.server.always = Answer(200, DETAILS | {"accountType": kind})
        check = await HUBSPOT.validate_credentials(here.connection)
    assert check.test_mode is test_mode


async def test_hubspot_events_are_named_and_a_repeat_is_recognised() -> None:
    first = json.dumps([EVENT, EVENT | {"objectId": 124}]).encode()
    again = json.dumps([EVENT | {"attemptNumber": 1}]).encode()
    async with world(CASES["HubSpot"]) as here:
        told = await HUBSPOT.receive(here.connection, incoming(first, signed(first), url=URL))
        repeated = await HUBSPOT.receive(here.connection, incoming(again, signed(again), url=URL))
    one, other = told.events
    assert one.type == "contact.creation"
    assert one.event_id != other.event_id
    assert repeated.events[0].event_id == one.event_id
    assert one.occurred_at is not None and one.occurred_at.year == 2026


@pytest.mark.parametrize(
    ("received", "as_signed"),
    [
        (f"{URL}?next=https%3A%2F%2Fa%2Fb", f"{URL}?next=https://a/b"),
        (f"{URL}?list=a%2Cb%3b%27%28%29%2a", f"{URL}?list=a,b;'()*"),
        (f"{URL}?kept=a%20b%26c%3Dd%2B", f"{URL}?kept=a%20b%26c%3Dd%2B"),
    ],
)
async def test_hubspot_signs_a_partly_decoded_address(received: str, as_signed: str) -> None:
    body = json.dumps([EVENT]).encode()
    async with world(CASES["HubSpot"]) as here:
        answer = await HUBSPOT.receive(
            here.connection, incoming(body, signed(body, url=as_signed), url=received)
        )
    assert len(answer.events) == 1


async def test_hubspot_signatures_agree_with_its_own_library() -> None:
    library = pytest.importorskip(
        "hubspot.utils.signature", reason="hubspot-api-client is not installed (52 MB)"
    )
    body = json.dumps([EVENT]).encode()
    timestamp = str(int(NOW.timestamp() * 1000))
    made = library.Signature.get_signature(CLIENT_SECRET, body.decode(), "v3", URL, "POST", timestamp)
    headers = {"X-HubSpot-Signature-v3": made, "X-HubSpot-Request-Timestamp": timestamp}
    async with world(CASES["HubSpot"]) as here:
        assert len((await HUBSPOT.receive(here.connection, incoming(body, headers, url=URL))).events) == 1


BODY = json.dumps([EVENT]).encode()


@pytest.mark.parametrize(
    ("body", "headers", "method"),
    [
        (BODY + b" ", signed(BODY), "POST"),
        (BODY, signed(BODY), "PUT"),
        (BODY, signed(BODY, url=URL + "2"), "POST"),
        (BODY, signed(BODY, secret="other"), "POST"),
        (BODY, signed(BODY, at=NOW - timedelta(seconds=301)), "POST"),
        (BODY, signed(BODY) | {"X-HubSpot-Request-Timestamp": "1772366400001"}, "POST"),
        (BODY, {"X-HubSpot-Signature-v3": signed(BODY)["X-HubSpot-Signature-v3"]}, "POST"),
        (BODY, {}, "POST"),
    ],
    ids=[
        "changed body",
        "other method",
        "other address",
        "other secret",
        "too old",
        "other time",
        "no time",
        "no signature",
    ],
)
async def test_hubspot_webhooks_that_are_not_signed_as_received_are_refused(
    body: bytes, headers: dict[str, str], method: str
) -> None:
    async with world(CASES["HubSpot"]) as here:
        with pytest.raises(SignatureRefused) as caught:
            await HUBSPOT.receive(here.connection, incoming(body, headers, url=URL, method=method))
    assert CLIENT_SECRET not in str(caught.value)


async def test_a_signed_hubspot_webhook_that_holds_no_events_is_kept_not_refused() -> None:
    async with world(CASES["HubSpot"]) as here:
        with pytest.raises(ProviderFailure, match="no events"):
            await HUBSPOT.receive(here.connection, incoming(b"[]", signed(b"[]"), url=URL))
        body = b'[1,{"subscriptionType":"contact.creation","occurredAt":1%s}]' % (b"0" * 400)
        answer = await HUBSPOT.receive(here.connection, incoming(body, signed(body), url=URL))
    assert [event.unreadable is None for event in answer.events] == [False, False]


DATA = "/services/data/v62.0"


async def test_salesforce_test_creates_a_contact_and_deletes_it() -> None:
    async with world(CASES["Salesforce"]) as here:
        here.server.add(
            route(
                f"POST {DATA}/sobjects/Contact", Answer(201, {"id": "003D", "success": True, "errors": []})
            ),
            route(f"DELETE {DATA}/sobjects/Contact/003D", Answer(204)),
        )
        await SALESFORCE.test(here.connection, OPTIONS)
    assert here.server.lines == [f"POST {DATA}/sobjects/Contact", f"DELETE {DATA}/sobjects/Contact/003D"]
    assert "Email" not in here.server.requests[0].json


async def test_salesforce_quota_under_403_is_a_rate_limit() -> None:
    async with world(CASES["Salesforce"]) as here:
        here.server.always = salesforce_case.error(
            403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."
        )
        with pytest.raises(ProviderFailure) as caught:
            await SALESFORCE.probe(here.connection)
    assert caught.value.kind == "rate_limited"


async def test_salesforce_sandbox_is_a_test_account() -> None:
    record = salesforce_case.ORGANIZATION["records"][0] | {"IsSandbox": True}  # type: ignore[index]
    async with world(CASES["Salesforce"]) as here:
        here.server.always = Answer(200, {"records": [record]})
        check = await SALESFORCE.validate_credentials(here.connection)
    assert check.test_mode is True


async def test_salesforce_sends_no_webhooks() -> None:
    async with world(CASES["Salesforce"]) as here:
        with pytest.raises(ProviderFailure) as caught:
            await SALESFORCE.receive(here.connection, incoming(b"{}", {}))
    assert caught.value.kind == "rejected"
