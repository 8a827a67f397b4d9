"""SendGrid e-mail.

Sources: https://www.twilio.com/docs/sendgrid/api-reference/api-key-permissions (scopes),
https://www.twilio.com/docs/sendgrid/for-developers/sending-email/sandbox-mode,
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features,
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event (`sg_event_id`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

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
    SignatureRefused,
    TestOptions,
    TestResult,
    VerifiedEvent,
    is_stored,
)
from infra.providers._kit.contents import elements_of, events_of, id_of, text_of
from infra.providers._kit.field_types import BaseUrl, EmailAddress, WebhookTolerance
from infra.providers._kit.signatures import (
    check_ecdsa_p256,
    check_unix_time,
    decode_base64,
    load_p256_public_key,
    required_header,
    required_secret,
)
from infra.providers._kit.trial import checked, recipient_of, sent
from infra.providers._kit.wire import (
    CAPABILITIES,
    document,
    event_type,
    items,
    moment,
)
from infra.providers.sendgrid.records import SendGridBounces


class SendGridConfiguration(Configuration):
    api_key: str = Secret("API key (SG....)", min_length=8, max_length=255)
    from_email: EmailAddress = Field(description="Verified sender")
    from_name: str | None = Field(None, description="Name shown beside the sender", max_length=200)
    webhook_public_key: str | None = Field(
        None, description="Public key of the signed event webhook (base64 or PEM)", max_length=1000
    )
    webhook_tolerance_seconds: WebhookTolerance = Field(
        300, description="Seconds for which the signed timestamp of a webhook is good"
    )
    base_url: BaseUrl = Field(
        "https://api.sendgrid.com",
        description="Address of the API; https://api.eu.sendgrid.com for EU subusers",
    )

    @field_validator("webhook_public_key")
    @classmethod
    def _key_can_work(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and not is_stored(info):
            try:
                load_p256_public_key(value)
            except SignatureRefused:
                raise ValueError("is not the public key of the signed event webhook") from None
        return value


class SendGrid(Provider):
    """The test is one message; in the sandbox SendGrid checks it and delivers nothing."""

    profile = ProviderProfile(
        name="SendGrid",
        title="Twilio SendGrid",
        integration_type=IntegrationType.EmailService,
        documentation_url="https://www.twilio.com/docs/sendgrid/api-reference",
        configuration=SendGridConfiguration,
        capabilities=CAPABILITIES,
        webhook_scheme="X-Twilio-Email-Event-Webhook-Signature: ECDSA P-256 SHA-256 of timestamp + body, 5 minutes",
        webhook_fields=("webhookPublicKey",),
        notes="The API key needs the scope mail.send.",
    )
    streams = SendGridBounces()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        scopes = await self._scopes(connection)
        if "mail.send" not in scopes:
            raise ProviderFailure(
                "forbidden", "The API key is valid and lacks the scope mail.send.", status=200
            )
        return CredentialCheck(account="SendGrid account", scopes=scopes)

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        text = "This message tests the connection to SendGrid."
        message = OutgoingMessage(recipient_of(options), "Integration Hub connection test", text)
        if not options.sandbox:
            return sent(await self.send(connection, message))
        mail = {**_mail(connection, message), "mail_settings": {"sandbox_mode": {"enable": True}}}
        # 202 would mean that the message is being delivered.
        await connection.http.expect(self._request(connection, "POST", "/v3/mail/send", mail), 200)
        return checked("Accepted in sandbox mode; nothing was delivered.")

    async def send(self, connection: Connection, message: OutgoingMessage) -> str:
        request = self._request(connection, "POST", "/v3/mail/send", _mail(connection, message))
        answer = await connection.http.expect(request, 202)
        return answer.headers.get("x-message-id", "")

    async def probe(self, connection: Connection) -> None:
        await self._scopes(connection)

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        key = required_secret(connection.configuration.webhook_public_key)
        given = decode_base64(required_header(request.headers, "X-Twilio-Email-Event-Webhook-Signature"))
        timestamp = required_header(request.headers, "X-Twilio-Email-Event-Webhook-Timestamp")
        tolerance = connection.configuration.webhook_tolerance_seconds
        check_unix_time(timestamp, request.received_at, tolerance_seconds=tolerance)
        check_ecdsa_p256(key, timestamp.encode() + request.body, given)
        return IncomingAnswer(events_of(elements_of(request), _event))

    async def _scopes(self, connection: Connection) -> Sequence[str]:
        answer = document(await connection.http.expect(self._request(connection, "GET", "/v3/scopes")))
        return tuple(str(scope) for scope in items(answer, "scopes"))

    def _request(
        self, connection: Connection, method: str, path: str, body: object = None
    ) -> ProviderRequest:
        configuration = connection.configuration
        return ProviderRequest(
            method,
            configuration.base_url + path,
            headers={"authorization": f"Bearer {configuration.api_key}"},
            json=body,
        )


def _event(entry: Mapping[str, Any]) -> VerifiedEvent:
    kind = event_type(text_of(entry, "event"))
    return VerifiedEvent(id_of(entry, "sg_event_id"), kind, entry, moment(entry.get("timestamp")))


def _mail(connection: Connection, message: OutgoingMessage) -> dict[str, object]:
    configuration = connection.configuration
    sender = {"email": configuration.from_email}
    if configuration.from_name:
        sender["name"] = configuration.from_name
    return {
        "personalizations": [{"to": [{"email": message.recipient}]}],
        "from": sender,
        "subject": message.subject,
        "content": [{"type": "text/plain", "value": message.text}],
    }


PROVIDER = SendGrid()
