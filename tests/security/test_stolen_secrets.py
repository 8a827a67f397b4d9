"""Whoever may change an integration sends its stored secrets to an address of their own.

They read as `********`, and nobody who changes an address needs to know them: the hub would send them along."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.core.errors import ValidationFailed
from domain.integrations.commands import ActivateIntegration, RotateCredentials, UpdateIntegration
from domain.integrations.credential_store import CredentialStore
from domain.integrations.credentials import CredentialService
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import IntegrationStatus
from domain.oauth.tokens import OAuthTokens
from domain.providers.contract import Connection, ProviderFailure, TestOptions
from domain.providers.records import ListingRequest
from infra.providers._kit.connection import HttpProviderConnection
from infra.providers.custom_rest.records import RestRecords
from infra.providers.ical.adapter import PROVIDER as ICAL
from tests.fixtures.oauth_server import OAuthServer
from tests.worlds.builders import FakeClock
from tests.worlds.oauth_world import OWNER, OAuthWorld
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import NOW, world
from tests.worlds.vendors_world import VendorsWorld

COLLECTOR = "collector.attacker.example"
EVIL = f"https://{COLLECTOR}"
MASK = "********"
_CALDAV = {"feedUrl": None, "serverUrl": "http://127.0.0.1:9", "username": "me", "password": "of-mine"}


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VendorsWorld]:
    made = VendorsWorld(tmp_path_factory.mktemp("vendors"))
    yield made
    made.close()


@pytest.fixture
def granted(tmp_path: Path) -> Iterator[OAuthWorld]:
    server = OAuthServer()
    made = OAuthWorld(tmp_path, server, environment="development")
    yield made
    made.close()
    server.close()


def _properties(provider: str) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = CASES[provider].provider.profile.configuration.model_json_schema()[
        "properties"
    ]
    return properties


def _masked(provider: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as `GET` shows it."""
    properties = _properties(provider)
    return {name: MASK if properties[name].get("secret") else value for name, value in sent.items()}


async def test_no_address_of_any_provider_changes_while_its_secrets_are_kept(vendors: VendorsWorld) -> None:
    tried = 0
    for provider, case in CASES.items():
        changes = _CALDAV if provider == "iCal" else {}
        integration, sent = await vendors.draft(provider, **changes)
        vendors.token = case.access_token
        shown, before = _masked(provider, sent), len(vendors.audited())
        addresses = [name for name in _properties(provider) if name.endswith("Url") and name != "feedUrl"]
        for name in addresses:
            for body in ("configuration", "credentials"):
                with pytest.raises(ValidationFailed) as refused:
                    if body == "configuration":
                        await vendors.put(integration, configuration={**shown, name: EVIL})
                    else:
                        await vendors.rotate(integration, {name: EVIL})
                assert refused.value.code == "secrets-needed" and name in refused.value.detail
                needed = [error.pointer.removeprefix(f"/{body}/") for error in refused.value.errors]
                assert needed and all(_properties(provider)[pointer]["secret"] for pointer in needed)
                tried += 1
        noted = [("integration.change-refused", "secrets-needed")] * 2 * len(addresses)
        assert [(action, after["refused"]) for action, after in vendors.audited()[before:]] == noted
        await vendors.activate(integration)
    assert tried > 50 and vendors.requests
    assert not vendors.seen_at(COLLECTOR)


async def test_a_calendars_secret_address_is_not_kept_with_a_lower_tls_floor_or_beside_another(
    vendors: VendorsWorld,
) -> None:
    feed, _ = await vendors.draft("iCal")
    with pytest.raises(ValidationFailed, match="feedUrl") as refused:
        await vendors.put(feed, allowTls12=True)
    assert refused.value.code == "secrets-needed"
    server, sent = await vendors.draft("iCal", **_CALDAV)
    moved = {"feedUrl": f"{EVIL}/feed.ics", "password": MASK, "username": "me"}
    with pytest.raises(ValidationFailed, match="password") as refused:
        await vendors.put(server, configuration=moved)
    assert refused.value.code == "secrets-needed" and sent


@pytest.mark.parametrize(
    ("provider", "change"),
    [
        ("AzureBlob", {"accountName": "attacker"}),
        ("S3", {"bucket": "attacker"}),
        ("S3", {"region": "eu-attacker-1"}),
        ("Mailgun", {"region": "EU"}),
        ("PayPal", {"sandbox": False}),
        ("Square", {"sandbox": False}),
        ("Outlook", {"tenant": "attacker.example"}),
        ("REST", {"apiKeyName": "X-Shown-In-Logs"}),
        ("REST", {"apiKeyIn": "query"}),
        ("REST", {"headers": {"X-Forwarded-Host": "attacker.example"}}),
    ],
)
async def test_nothing_else_that_decides_where_or_how_a_secret_travels_changes_either(
    vendors: VendorsWorld, provider: str, change: dict[str, Any]
) -> None:
    integration, sent = await vendors.draft(provider)
    with pytest.raises(ValidationFailed) as refused:
        await vendors.put(integration, configuration={**_masked(provider, sent), **change})
    assert refused.value.code == "secrets-needed" and next(iter(change)) in refused.value.detail


async def test_the_tls_floor_falls_only_with_the_secrets_and_rises_without(vendors: VendorsWorld) -> None:
    integration, sent = await vendors.draft("Stripe")
    for body in ({}, {"configuration": _masked("Stripe", sent)}):
        with pytest.raises(ValidationFailed) as refused:
            await vendors.put(integration, allowTls12=True, **body)
        assert refused.value.code == "secrets-needed" and "allowTls12" in refused.value.detail
        assert [error.pointer for error in refused.value.errors] == ["/configuration/apiKey"]
    lowered = await vendors.put(integration, allowTls12=True, configuration=sent)
    assert lowered.integration.allow_tls_1_2
    assert not (await vendors.put(integration, allowTls12=False)).integration.allow_tls_1_2


async def test_given_again_the_secrets_go_to_the_new_address_and_kept_ones_that_only_check_stay(
    vendors: VendorsWorld,
) -> None:
    integration, sent = await vendors.draft("Stripe")
    given = {
        **_masked("Stripe", sent),
        "baseUrl": "https://new.example",
        "apiKey": "sk_test_attackers_own_key",
    }
    await vendors.put(integration, configuration=given)
    await vendors.activate(integration)
    seen = vendors.seen_at("new.example")
    assert "sk_test_attackers_own_key" in seen
    assert not any(secret in seen for secret in CASES["Stripe"].secrets)


async def test_half_of_the_secrets_is_not_enough(vendors: VendorsWorld) -> None:
    integration, sent = await vendors.draft("Segment")
    given = {**_masked("Segment", sent), "publicApiUrl": EVIL, "writeKey": "mine"}
    with pytest.raises(ValidationFailed) as refused:
        await vendors.put(integration, configuration=given)
    assert [error.pointer for error in refused.value.errors] == ["/configuration/publicApiToken"]


async def test_another_kind_of_authentication_takes_no_kept_key_along(vendors: VendorsWorld) -> None:
    integration, sent = await vendors.draft("REST")
    basic = {"auth": "basic", "username": "me", "password": "mine"}
    saved = await vendors.put(integration, configuration={**_masked("REST", sent), **basic})
    back = {**_masked("REST", sent), "auth": "apiKey"}
    with pytest.raises(ValidationFailed):
        await vendors.put(saved.integration, configuration=back)


async def test_a_path_leads_out_of_no_base_address(vendors: VendorsWorld) -> None:
    for path in ("/../attacker", "/v1/%2e%2E/%2e./attacker", "/a/..", "/..%2fattacker"):
        with pytest.raises(ValidationFailed):
            await vendors.draft("REST", healthPath=path)
    await vendors.draft("REST", healthPath="/a..b/status?next=../fine")


@pytest.mark.parametrize("by", ["configuration", "credentials"])
def test_a_persons_tokens_follow_to_no_new_address__though_the_client_is_given_again(
    granted: OAuthWorld, by: str
) -> None:
    integration = granted.connected()
    id_, refresh = integration.integration_id, granted.server.issued[-1]
    changed = {**granted.server.configuration(), "baseUrl": f"{granted.server.url}/attacker"}
    service = granted.hub.use(CredentialService)
    if by == "configuration":
        update = UpdateIntegration.model_validate({"configuration": changed})
        result = granted.run(service.update(OWNER, id_, update, None))
    else:
        rotation = RotateCredentials.model_validate({"credentials": changed})
        result = granted.run(service.rotate(OWNER, id_, rotation))
    assert result.integration.status == IntegrationStatus.Suspended
    granted.run(granted.hub.use(Lifecycle).activate(OWNER, id_, ActivateIntegration()))
    granted.clock.advance(hours=2)
    granted.refresh_ahead()
    assert not [asked for asked in granted.server.api_requests if asked.startswith("/attacker")]
    assert granted.server.count("refresh_token") == 0
    assert ("/revoke", refresh) in [(path, form.get("token")) for path, form in granted.server.requests]
    assert "integration-moved" in json.dumps(granted.alerts())
    assert granted.callback(granted.begin(id_)).status == "connected"
    assert granted.server.api_requests[-1].startswith("/attacker")


def test_tokens_of_another_address_are_handed_to_nobody__whatever_the_row_says(granted: OAuthWorld) -> None:
    integration = granted.connected()
    store = granted.hub.use(CredentialStore)
    split = store.load(integration)
    for name in ("baseUrl", "tokenUrl"):
        plain = {**split.plain, name: f"{granted.server.url}/attacker"}
        sealed = store.seal(integration.integration_id, replace(split, plain=plain).plain_text())
        tampered = replace(integration, sealed_configuration=sealed)
        assert granted.hub.use(OAuthTokens).current(tampered) is None
        with pytest.raises(ProviderFailure, match="address changed"):
            granted.hub.use(OAuthTokens).renew(tampered, granted.grant(integration.integration_id))
    assert granted.hub.use(OAuthTokens).current(integration) is not None


def test_a_consent_that_was_begun_for_one_address_is_not_completed_at_another(granted: OAuthWorld) -> None:
    integration_id = granted.integration()
    begun = granted.begin(integration_id)
    changed = {**granted.server.configuration(), "tokenUrl": f"{granted.server.url}/attacker"}
    command = UpdateIntegration.model_validate({"configuration": changed})
    granted.run(granted.hub.use(CredentialService).update(OWNER, integration_id, command, None))
    completion = granted.callback(begun)
    assert completion.status == "exchange-failed" and "address" in completion.detail
    assert granted.server.requests == []


async def test_a_calendar_server_that_names_a_foreign_host_has_no_event_sent_there_with_the_password() -> (
    None
):
    """Its answer to the discovery says where the calendar is, to which the test writes."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(207, text=_MULTISTATUS, headers={"content-type": "application/xml"})

    configuration = {"serverUrl": "https://dav.example", "username": "me", "password": "of-mine"}
    connection = Connection(
        ICAL.profile.configuration.model_validate(configuration),
        HttpProviderConnection(httpx.MockTransport(answer), clock=FakeClock()),
        NOW,
    )
    with pytest.raises(ProviderFailure, match="foreign host"):
        await ICAL.test(connection, TestOptions())
    assert {request.url.host for request in asked} == {"dav.example"}


_MULTISTATUS = f"""<d:multistatus xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:response>
<d:href>{EVIL}/cal/</d:href><d:propstat><d:prop><d:resourcetype><d:collection/><c:calendar/></d:resourcetype>
<d:current-user-principal><d:href>/me/</d:href></d:current-user-principal>
<c:calendar-home-set><d:href>/home/</d:href></c:calendar-home-set></d:prop></d:propstat></d:response>
</d:multistatus>"""


async def test_a_listing_that_goes_on_by_a_link_takes_no_new_key_to_an_old_address() -> None:
    paged = {"listRequest": {"path": "/list", "paging": {"style": "linkHeader"}}}
    async with world(CASES["REST"], changes=paged) as here:
        request = ListingRequest("records", 10, cursor=json.dumps({"link": f"{EVIL}/list?page=2"}))
        with pytest.raises(ProviderFailure, match="foreign host"):
            await RestRecords().list_records(here.connection, request)
