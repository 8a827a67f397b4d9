"""Postmark e-mail.

Sources: https://postmarkapp.com/developer/api/server-api, https://postmarkapp.com/developer/api/email-api,
https://postmarkapp.com/developer/user-guide/sending-with-api (`POSTMARK_API_TEST`),
https://postmarkapp.com/developer/webhooks/webhooks-overview (HTTP Basic; nothing is signed).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from domain.providers.contract import (
    Configuration,
    Connection,
    CredentialCheck,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    OutgoingMessage,
    Provider,
    ProviderFailure,
    ProviderProfile,
    ProviderRequest,
    Secret,
    TestOptions,
    TestResult,
    TestStep,
    VerifiedEvent,
)
from infra.providers._kit.contents import json_of, object_of, text_of
from infra.providers._kit.field_types import BaseUrl, EmailAddress
from infra.providers._kit.refusal import scrub, vendor_message
from infra.providers._kit.signatures import check_basic, digest_id, required_secret
from infra.providers._kit.trial import checked, recipient_of, sent
from infra.providers._kit.wire import (
    CAPABILITIES,
    at,
    document,
    event_type,
    moment,
    text_at,
)
from infra.providers.postmark.records import PostmarkMessages

_TEST_TOKEN = "POSTMARK_API_TEST"  # noqa: S105 - Postmark's public token for messages that are not delivered

_OCCURRED = ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt", "Date")


class PostmarkConfiguration(Configuration):
    server_token: str = Secret("Server API token", min_length=8, max_length=255)
    from_email: EmailAddress = Field(description="Confirmed sender signature")
    webhook_username: str | None = Field(
        None, description="User name in the webhook URL (HTTP Basic)", pattern=r"^[^:]{1,200}$"
    )
    webhook_password: str | None = Secret(
        "Password in the webhook URL (HTTP Basic)", travels=False, default=None
    )
    base_url: BaseUrl = Field("https://api.postmarkapp.com", description="Address of the API")


class Postmark(Provider):
    """The test is one message; in the sandbox it is checked under Postmark's test token and not delivered."""

    profile = ProviderProfile(
        name="Postmark",
        title="Postmark",
        integration_type=IntegrationType.EmailService,
        documentation_url="https://postmarkapp.com/developer/api/overview",
        configuration=PostmarkConfiguration,
        capabilities=CAPABILITIES,
        webhook_scheme="HTTP Basic; Postmark signs nothing",
        webhook_fields=("webhookUsername", "webhookPassword"),
        notes="Put user name and password into the webhook URL given to Postmark, and Postmark's published "
        "addresses into the IP allow list: what is sent is not signed.",
    )
    streams = PostmarkMessages()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        server = await self._server(connection)
        return CredentialCheck(account=text_at(server, "Name"), test_mode=_is_sandbox(server))

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        text = "This message tests the connection to Postmark."
        message = OutgoingMessage(recipient_of(options), "Integration Hub connection test", text)
        server = await self._server(connection)
        found = TestStep("read", f"Server {text_at(server, 'Name')}.", text_at(server, "ID"))
        if options.sandbox:
            reference = await self._post(connection, message, token=_TEST_TOKEN)
            return checked("Accepted under the test token; nothing was delivered.", reference, found)
        reference = await self._post(connection, message)
        if _is_sandbox(server):
            return checked(
                "Accepted; the token is of a sandbox server, which delivers nothing.", reference, found
            )
        return sent(reference, found)

    async def send(self, connection: Connection, message: OutgoingMessage) -> str:
        return await self._post(connection, message)

    async def probe(self, connection: Connection) -> None:
        await self._server(connection)

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        configuration = connection.configuration
        check_basic(
            request.headers,
            required_secret(configuration.webhook_username),
            required_secret(configuration.webhook_password),
        )
        event = object_of(json_of(request))
        # Inbound messages are the one kind without a RecordType.
        kind = event_type(text_of(event, "RecordType")) if "RecordType" in event else "Inbound"
        occurred = next((event[name] for name in _OCCURRED if name in event), None)
        digest = digest_id(request.body)
        return IncomingAnswer((VerifiedEvent(digest, kind, event, moment(occurred), content_digest=digest),))

    async def _post(
        self, connection: Connection, message: OutgoingMessage, *, token: str | None = None
    ) -> str:
        mail = {
            "From": connection.configuration.from_email,
            "To": message.recipient,
            "Subject": message.subject,
            "TextBody": message.text,
        }
        request = self._request(connection, "POST", "/email", mail, token=token)
        response = await connection.http.expect(request)
        answer = document(response)
        if at(answer, "ErrorCode") != 0:
            said = scrub(vendor_message(response), [connection.configuration.server_token])
            raise ProviderFailure("rejected", f"Postmark error {text_at(answer, 'ErrorCode')}: {said}")
        return text_at(answer, "MessageID")

    async def _server(self, connection: Connection) -> Mapping[str, Any]:
        server = document(await connection.http.expect(self._request(connection, "GET", "/server")))
        text_at(server, "ID")
        return server

    def _request(
        self,
        connection: Connection,
        method: str,
        path: str,
        body: Mapping[str, str] | None = None,
        *,
        token: str | None = None,
    ) -> ProviderRequest:
        configuration = connection.configuration
        return ProviderRequest(
            method,
            configuration.base_url + path,
            headers={
                "accept": "application/json",
                "x-postmark-server-token": token or configuration.server_token,
            },
            json=body,
        )


def _is_sandbox(server: Mapping[str, Any]) -> bool:
    return server.get("DeliveryType") == "Sandbox"


PROVIDER = Postmark()
