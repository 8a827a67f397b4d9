"""HubSpot CRM.

https://developers.hubspot.com/docs/api-reference/account-account-info-v3/details
https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/guide
https://developers.hubspot.com/docs/api-reference/latest/authentication/manage-oauth-tokens (v1 ends on 2027-02-16)
https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation (signature v3)
https://developers.hubspot.com/docs/api-reference/webhooks-webhooks-v3/guide (events; eventId is not unique)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from pydantic import Field

from domain.providers.contract import (
    Capability,
    Configuration,
    Connection,
    CredentialCheck,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    Provider,
    ProviderProfile,
    ProviderRequest,
    Secret,
    TestOptions,
    TestResult,
    VerifiedEvent,
)
from domain.providers.oauth_profile import OAuthProfile
from infra.providers._kit import trial
from infra.providers._kit.contents import elements_of, events_of
from infra.providers._kit.field_types import BaseUrl, WebhookTolerance
from infra.providers._kit.signatures import (
    check_hmac,
    check_unix_time,
    decode_base64,
    digest_id,
    required_header,
    required_secret,
)
from infra.providers._kit.wire import (
    CAPABILITIES,
    bearer,
    document,
    event_type,
    moment,
    segment,
    text_at,
)
from infra.providers.hubspot.records import HubSpotContacts

# HubSpot signs the URI with these decoded and every other escape as it is on the wire.
_DECODED = {"3A": ":", "2F": "/", "3F": "?", "40": "@", "21": "!", "24": "$", "27": "'", "28": "(", "29": ")"}
_DECODED |= {"2A": "*", "2C": ",", "3B": ";"}
_ESCAPE = re.compile("%(" + "|".join(_DECODED) + ")", re.IGNORECASE)


class HubSpotConfiguration(Configuration):
    """A HubSpot app."""

    client_id: str = Field(min_length=1, max_length=200, description="OAuth client id")
    client_secret: str = Secret("OAuth client secret; also signs webhooks", min_length=1, max_length=200)
    authorize_url: BaseUrl = Field(
        "https://app.hubspot.com/oauth/authorize", description="Authorization endpoint"
    )
    token_url: BaseUrl = Field("https://api.hubapi.com/oauth/2026-03/token", description="Token endpoint")
    webhook_tolerance_seconds: WebhookTolerance = Field(
        300, description="Seconds for which the signed timestamp of a webhook is good"
    )
    base_url: BaseUrl = Field("https://api.hubapi.com", description="HubSpot API")


class HubSpot(Provider):
    """Contacts of one HubSpot account."""

    profile = ProviderProfile(
        name="HubSpot",
        title="HubSpot",
        integration_type=IntegrationType.CRM,
        documentation_url="https://developers.hubspot.com/docs/api-reference/overview",
        configuration=HubSpotConfiguration,
        capabilities=CAPABILITIES | {Capability.Export, Capability.OAuth},
        oauth=OAuthProfile(
            authorize_url="{authorize_url}",
            token_url="{token_url}",  # noqa: S106 - an address
            scopes=("oauth", "crm.objects.contacts.read", "crm.objects.contacts.write"),
            # The older endpoints name a grant they no longer know with a code of HubSpot's own.
            revoked_errors=frozenset(("invalid_grant", "BAD_REFRESH_TOKEN")),
        ),
        webhook_scheme="hubspot-v3",
        notes="The contact of the connection test goes to the recycling bin, as every deleted contact does.",
    )
    streams = HubSpotContacts()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        details = await _details(connection)
        kind = str(details.get("accountType") or "")
        return CredentialCheck(
            account=text_at(details, "portalId"),
            detail=f"Account type {kind}" if kind else "",
            test_mode=kind != "STANDARD" if kind else None,
        )

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        """Create a contact with an address nobody owns (RFC 2606) and delete it."""
        properties = {
            "email": f"connection-test-{uuid4().hex}@example.com",
            "firstname": "Connection",
            "lastname": "Test",
        }
        create = _request(connection, "POST", "/crm/v3/objects/contacts", {"properties": properties})
        contact = text_at(document(await connection.http.expect(create, 201)), "id")
        undo = _request(connection, "DELETE", f"/crm/v3/objects/contacts/{segment(contact)}")
        await trial.delete(connection.http.expect, undo, f"The contact {contact}")
        return trial.made_and_deleted("Created a contact", contact)

    async def probe(self, connection: Connection) -> None:
        text_at(await _details(connection), "portalId")

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        """Check the Base64 HMAC-SHA256 of method, URI, body and timestamp (milliseconds) under the client secret."""
        secret = required_secret(connection.configuration.client_secret)
        timestamp = required_header(request.headers, "X-HubSpot-Request-Timestamp")
        given = decode_base64(required_header(request.headers, "X-HubSpot-Signature-v3"))
        tolerance = connection.configuration.webhook_tolerance_seconds
        check_unix_time(timestamp, request.received_at, unit="milliseconds", tolerance_seconds=tolerance)
        uri = _ESCAPE.sub(lambda escape: _DECODED[escape[1].upper()], request.url)
        check_hmac([secret], (request.method + uri).encode() + request.body + timestamp.encode(), [given])
        return IncomingAnswer(events_of(elements_of(request), _event))


async def _details(connection: Connection) -> dict[str, Any]:
    request = _request(connection, "GET", "/account-info/v3/details")
    return document(await connection.http.expect(request, 200))


def _request(connection: Connection, method: str, path: str, json: Any = None) -> ProviderRequest:
    return ProviderRequest(
        method, f"{connection.configuration.base_url}{path}", headers=bearer(connection), json=json
    )


def _event(entry: Mapping[str, Any]) -> VerifiedEvent:
    occurred = entry.get("occurredAt")
    occurred_at = moment(occurred / 1000) if isinstance(occurred, int) else None
    # All but the attempt number stays the same when HubSpot sends an event again; eventId alone is not unique.
    names = (
        "portalId",
        "subscriptionId",
        "eventId",
        "objectId",
        "occurredAt",
        "subscriptionType",
        "propertyName",
    )
    parts = [str(entry.get(name) or "") for name in names]
    kind = str(entry.get("subscriptionType") or entry.get("eventType") or "event")
    return VerifiedEvent(digest_id(*parts), event_type(kind), entry, occurred_at)


PROVIDER = HubSpot()
