"""Segment (Twilio) sources.

https://www.twilio.com/docs/segment/connections/sources/catalog/libraries/server/http-api (200 whatever the write
key; EU workspaces have their own host), https://docs.segmentapis.com (GET / is the token's workspace)
https://www.twilio.com/docs/segment/connections/destinations/catalog/actions-webhook (X-Signature: hex HMAC-SHA1)
https://support.twilio.com/hc/en-us/articles/51193799782171 (a batch is signed by its first event alone)
"""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from pydantic import Field

from domain.core.wire import rfc3339
from domain.providers.contract import (
    Capability,
    Configuration,
    Connection,
    CredentialCheck,
    EventSink,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    Provider,
    ProviderFailure,
    ProviderProfile,
    ProviderRequest,
    Secret,
    SignatureRefused,
    TestOptions,
    TestResult,
    TestStep,
    VerifiedEvent,
)
from infra.providers._kit.contents import elements_of, object_of
from infra.providers._kit.field_types import BaseUrl
from infra.providers._kit.rate_limits import asked_wait, is_rate_limit
from infra.providers._kit.signatures import (
    check_hmac,
    decode_hex,
    digest_id,
    required_header,
    required_secret,
)
from infra.providers._kit.wire import at, basic, document, event_type, moment, text_at
from infra.providers.segment.events import SegmentEvents

_UNCHECKED = (
    "Segment accepts events with any write key, so it cannot be checked; a Public API token would be. "
    "Look for the test event in the source's debugger."
)


class SegmentConfiguration(Configuration):
    """A Segment source, and what its webhook destination signs with."""

    write_key: str = Secret("Write key of the source", min_length=1, max_length=200)
    public_api_token: str | None = Secret(
        "Public API token, which lets the account be checked", default=None, max_length=300
    )
    shared_secret: str | None = Secret(
        "Shared secret of the Webhooks (Actions) destination; switch its batching off",
        travels=False,
        default=None,
        max_length=300,
    )
    base_url: BaseUrl = Field(
        "https://api.segment.io/v1", description="Tracking API; https://eu1.api.segmentapis.com/v1 in the EU"
    )
    public_api_url: BaseUrl = Field(
        "https://api.segmentapis.com", description="Public API; https://eu1.api.segmentapis.com in the EU"
    )


class Segment(Provider):
    """Events to one Segment source."""

    profile = ProviderProfile(
        name="Segment",
        title="Segment",
        integration_type=IntegrationType.Analytics,
        documentation_url="https://www.twilio.com/docs/segment",
        configuration=SegmentConfiguration,
        capabilities=frozenset(
            (
                Capability.ValidateCredentials,
                Capability.Test,
                Capability.Health,
                Capability.IncomingWebhooks,
                Capability.Export,
            )
        ),
        webhook_scheme="segment-hmac-sha1",
        webhook_fields=("sharedSecret",),
        notes="A write key cannot be checked: Segment answers 200 to any.",
    )

    @property
    def events(self) -> EventSink:
        return SegmentEvents()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        """Read the workspace of the Public API token; without a token, say what can be said."""
        if connection.configuration.public_api_token is None:
            return CredentialCheck(account="Segment source", verified=False, detail=_UNCHECKED)
        workspace = await _workspace(connection)
        return CredentialCheck(
            account=text_at(workspace, "name"), detail="The write key itself cannot be checked"
        )

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        """Track one event that goes to no destination. It cannot be taken back; it shows in the debugger only."""
        configuration: SegmentConfiguration = connection.configuration
        message_id = f"hub-test-{uuid4()}"
        track = ProviderRequest(
            "POST",
            f"{configuration.base_url}/track",
            headers={"authorization": basic(configuration.write_key, "")},
            json={
                "anonymousId": message_id,
                "event": "Integration Hub Connection Test",
                "messageId": message_id,
                "timestamp": rfc3339(connection.now),
                "integrations": {"All": False},
            },
            idempotent=True,  # Segment drops a messageId it has seen
        )
        answer = document(await connection.http.expect(track, 200))
        if answer.get("success") is not True:
            raise ProviderFailure("malformed", "Segment did not confirm the event.")
        return TestResult(
            (TestStep("track", "Sent an event that is forwarded to no destination", message_id),)
        )

    async def probe(self, connection: Connection) -> None:
        """Read the workspace where it can be read, else ask whether the tracking API answers at all."""
        configuration: SegmentConfiguration = connection.configuration
        if configuration.public_api_token is not None:
            await _workspace(connection)
            return
        response = await connection.http.send(ProviderRequest("GET", configuration.base_url))
        if is_rate_limit(response):
            wait = asked_wait(response, connection.now)
            raise ProviderFailure(
                "rate_limited",
                f"Segment answered {response.status} and asks to wait.",
                status=response.status,
                retry_after_seconds=wait,
            )
        if response.status >= 500:
            detail = f"Segment answered {response.status}."
            raise ProviderFailure("unavailable", detail, status=response.status)

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        """Check the hex HMAC-SHA1 of the body.

        The signature of a batch covers its first event only, so a batch of several is refused."""
        secret = required_secret(connection.configuration.shared_secret)
        given = decode_hex(required_header(request.headers, "X-Signature"))
        check_hmac([secret], _signed_part(request.body), [given], "sha1")
        entry = object_of(elements_of(request)[0])
        event_id = entry.get("messageId")
        return IncomingAnswer(
            (
                VerifiedEvent(
                    event_id if isinstance(event_id, str) and event_id else digest_id(request.body),
                    event_type(str(entry.get("type") or ""), str(entry.get("event") or "")),
                    entry,
                    moment(entry.get("timestamp")),
                ),
            )
        )


def _signed_part(body: bytes) -> bytes:
    """Return the bytes Segment signed: the body, or inside a list its only element as it stands there."""
    written = body.strip()
    if not written.startswith(b"["):
        return body
    try:
        content = written.decode()
        start = len(content) - len(content[1:].lstrip())
        _, end = json.JSONDecoder().raw_decode(content, start)
    except (ValueError, RecursionError):
        raise SignatureRefused("The body is not valid JSON.") from None
    if content[end:].strip() != "]":
        raise SignatureRefused(
            "The batch holds more than the one event that Segment signs: switch batching off."
        )
    return content[start:end].encode()


async def _workspace(connection: Connection) -> Any:
    configuration: SegmentConfiguration = connection.configuration
    request = ProviderRequest(
        "GET",
        f"{configuration.public_api_url}/",
        headers={
            "authorization": f"Bearer {configuration.public_api_token}",
            "accept": "application/vnd.segment.v1+json",
        },
    )
    workspace = at(document(await connection.http.expect(request, 200)), "data", "workspace")
    text_at(workspace, "id")
    return workspace


PROVIDER = Segment()
