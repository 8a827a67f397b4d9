"""Google Analytics 4: Measurement Protocol and Data API v1.

https://developers.google.com/analytics/devguides/collection/protocol/ga4/validating-events (the validation server
records nothing and checks neither key; EU data goes to region1.google-analytics.com)
https://developers.google.com/analytics/devguides/reporting/data/v1/rest/v1beta/properties/getMetadata
https://developers.google.com/identity/protocols/oauth2/service-account (JWT bearer grant, RFC 7523)
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

from pydantic import Field, model_validator

from domain.providers.contract import (
    Capability,
    Configuration,
    Connection,
    CredentialCheck,
    EventSink,
    IntegrationType,
    Provider,
    ProviderFailure,
    ProviderProfile,
    ProviderRequest,
    Secret,
    TestOptions,
    TestResult,
    TestStep,
)
from infra.providers._kit.field_types import BaseUrl
from infra.providers._kit.wire import at, document, items, text_at
from infra.providers.ga4.events import GA4Events

_SCOPE = "https://www.googleapis.com/auth/analytics.readonly"
_UNCHECKED = (
    "Google checks neither the measurement id nor the API secret; with a service account and a property id the "
    "property would be. Look for the events in the property's realtime report."
)


class GA4Configuration(Configuration):
    """A GA4 data stream, and optionally a service account that may read its property."""

    measurement_id: str = Field(
        pattern=r"^G-[A-Z0-9]{4,20}$", description="Measurement id of the web data stream"
    )
    api_secret: str = Secret("Measurement Protocol API secret", min_length=1, max_length=200)
    property_id: str | None = Field(None, pattern=r"^[0-9]{1,20}$", description="Number of the GA4 property")
    service_account_key: str | None = Secret(
        "Key file of a service account (JSON) with read access to the property", default=None, max_length=5000
    )
    base_url: BaseUrl = Field(
        "https://www.google-analytics.com",
        description="Measurement Protocol; https://region1.google-analytics.com for the EU",
    )
    data_url: BaseUrl = Field("https://analyticsdata.googleapis.com/v1beta", description="Data API")
    token_url: BaseUrl = Field("https://oauth2.googleapis.com/token", description="Token endpoint")

    @model_validator(mode="after")
    def _both_or_neither(self) -> GA4Configuration:
        if (self.property_id is None) != (self.service_account_key is None):
            raise ValueError("propertyId and serviceAccountKey need each other")
        return self


class GA4(Provider):
    """Events to one GA4 property."""

    profile = ProviderProfile(
        name="GA4",
        title="Google Analytics 4",
        integration_type=IntegrationType.Analytics,
        documentation_url="https://developers.google.com/analytics/devguides/collection/protocol/ga4",
        configuration=GA4Configuration,
        capabilities=frozenset(
            (
                Capability.ValidateCredentials,
                Capability.Test,
                Capability.Health,
                Capability.Export,
            )
        ),
        notes="Google does not check the API secret. It sends no webhooks.",
    )

    @property
    def events(self) -> EventSink:
        return GA4Events()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        """Read the property's metadata as the service account; without one, say what can be said."""
        configuration: GA4Configuration = connection.configuration
        if configuration.service_account_key is None:
            return CredentialCheck(configuration.measurement_id, verified=False, detail=_UNCHECKED)
        name = await _property(connection)
        return CredentialCheck(name, scopes=(_SCOPE,), detail="The API secret itself cannot be checked")

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        """Have the validation server check an event; nothing is recorded."""
        await _validate_event(connection)
        return TestResult(
            (TestStep("validate", "The validation server accepts the event; nothing was recorded"),)
        )

    async def probe(self, connection: Connection) -> None:
        if connection.configuration.service_account_key is not None:
            await _property(connection)
        else:
            await _validate_event(connection)


async def _validate_event(connection: Connection) -> None:
    configuration: GA4Configuration = connection.configuration
    request = ProviderRequest(
        "POST",
        f"{configuration.base_url}/debug/mp/collect",
        params={"measurement_id": configuration.measurement_id, "api_secret": configuration.api_secret},
        json={
            "client_id": str(uuid4()),
            "validation_behavior": "ENFORCE_RECOMMENDATIONS",
            "events": [{"name": "hub_connection_test", "params": {"engagement_time_msec": 1}}],
        },
        idempotent=True,
    )
    messages = items(document(await connection.http.expect(request, 200)), "validationMessages")
    if messages:
        code = at(messages, 0, "validationCode")
        shown = code if isinstance(code, str) and code.isidentifier() else "no code"
        raise ProviderFailure("rejected", f"The validation server does not accept the event: {shown}.")


async def _property(connection: Connection) -> str:
    configuration: GA4Configuration = connection.configuration
    token = await _access_token(connection)
    request = ProviderRequest(
        "GET",
        f"{configuration.data_url}/properties/{configuration.property_id}/metadata",
        headers={"authorization": f"Bearer {token}"},
    )
    return text_at(document(await connection.http.expect(request, 200)), "name").removesuffix("/metadata")


async def _access_token(connection: Connection) -> str:
    configuration: GA4Configuration = connection.configuration
    request = ProviderRequest(
        "POST",
        configuration.token_url,
        form={
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": _assertion(connection),
        },
        idempotent=True,
    )
    try:
        answer = await connection.http.expect(request, 200)
    except ProviderFailure as failure:
        # RFC 6749 section 5.2: a refused assertion is a 400.
        if failure.kind == "rejected":
            raise ProviderFailure("unauthorized", failure.detail, status=failure.status) from None
        raise
    return text_at(document(answer), "access_token")


def _assertion(connection: Connection) -> str:
    import jwt

    configuration: GA4Configuration = connection.configuration
    try:
        key: Any = json.loads(configuration.service_account_key or "")
        claims = {
            "iss": key["client_email"],
            "scope": _SCOPE,
            # Google's own address also when the request goes elsewhere, such as through a proxy.
            "aud": "https://oauth2.googleapis.com/token",
            "iat": connection.now,
            "exp": connection.now + timedelta(minutes=30),
        }
        return jwt.encode(claims, key["private_key"], algorithm="RS256")
    except (ValueError, TypeError, KeyError, jwt.PyJWTError):
        raise ProviderFailure("unauthorized", "The service account key cannot be read.") from None


PROVIDER = GA4()
