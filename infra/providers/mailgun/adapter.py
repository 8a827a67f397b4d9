"""Mailgun e-mail.

Sources: https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/domains (GET /v4/domains),
https://documentation.mailgun.com/docs/mailgun/user-manual/sending-messages/test-mode,
https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from domain.providers.contract import (
    DESTINATION,
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
)
from infra.providers._kit.contents import object_of, text_of
from infra.providers._kit.field_types import BaseUrl, EmailAddress, WebhookTolerance
from infra.providers._kit.signatures import (
    check_hmac,
    check_unix_time,
    decode_hex,
    digest_id,
    required_secret,
    signed_bytes,
)
from infra.providers._kit.trial import checked, recipient_of, sent
from infra.providers._kit.wire import (
    CAPABILITIES,
    at,
    basic,
    document,
    event_type,
    items,
    moment,
    segment,
    signed_json,
    signed_object,
    text_at,
)
from infra.providers.mailgun.records import MailgunMessages

_ADDRESSES = {"US": "https://api.mailgun.net", "EU": "https://api.eu.mailgun.net"}


class MailgunConfiguration(Configuration):
    api_key: str = Secret("Account API key", min_length=8, max_length=255)
    domain: str = Field(description="Sending domain", pattern=r"^[A-Za-z0-9.-]{1,253}$")
    from_email: EmailAddress | None = Field(None, description="Sender; unset: postmaster at the domain")
    region: Annotated[Literal["US", "EU"], DESTINATION] = Field(
        "US", description="Region the domain lives in"
    )
    webhook_signing_key: str | None = Secret("HTTP webhook signing key", travels=False, default=None)
    webhook_tolerance_seconds: WebhookTolerance = Field(
        24 * 3600,
        description="Seconds for which a signature is good: Mailgun repeats a webhook for hours with the first one",
    )
    base_url: BaseUrl | None = Field(None, description="Address of the API; unset: that of the region")

    @property
    def address(self) -> str:
        return self.base_url or _ADDRESSES[self.region]


class Mailgun(Provider):
    """The test is one message; in test mode Mailgun accepts it, bills it, and delivers nothing."""

    profile = ProviderProfile(
        name="Mailgun",
        title="Mailgun",
        integration_type=IntegrationType.EmailService,
        documentation_url="https://documentation.mailgun.com/docs/mailgun/api-reference",
        configuration=MailgunConfiguration,
        capabilities=CAPABILITIES,
        webhook_scheme="signature in the body: hex HMAC-SHA256 of timestamp + token, 24 hours",
        webhook_fields=("webhookSigningKey",),
        notes="Mailgun does not sign the payload itself: the token is each message's id, so one signature "
        "carries one message.",
    )
    streams = MailgunMessages()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        answer = await self._domains(connection)
        listed = items(answer, "items")
        domain = connection.configuration.domain.lower()
        found = [entry for entry in listed if text_at(entry, "name").lower() == domain]
        # A list that was cut says nothing about what is beyond it.
        complete = at(answer, "total_count") == len(listed)
        if complete and not found:
            raise ProviderFailure("rejected", "The domain is not one of the account's in this region.")
        state = f"Domain state {text_at(found, 0, 'state')}." if found else "Domain not on the first page."
        return CredentialCheck(account=connection.configuration.domain, detail=state)

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        text = "This message tests the connection to Mailgun."
        message = OutgoingMessage(recipient_of(options), "Integration Hub connection test", text)
        if not options.sandbox:
            return sent(await self.send(connection, message))
        reference = await self._post(connection, message, {"o:testmode": "yes"})
        return checked("Accepted in test mode; nothing was delivered.", reference)

    async def send(self, connection: Connection, message: OutgoingMessage) -> str:
        return await self._post(connection, message, {})

    async def probe(self, connection: Connection) -> None:
        items(await self._domains(connection), "items")

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        key = required_secret(connection.configuration.webhook_signing_key)
        body = signed_object(signed_json(request.body))
        timestamp, token, given = (_signed(body, name) for name in ("timestamp", "token", "signature"))
        tolerance = connection.configuration.webhook_tolerance_seconds
        check_unix_time(timestamp, request.received_at, tolerance_seconds=tolerance)
        check_hmac([key], signed_bytes(f"{timestamp}{token}"), [decode_hex(given)])
        event = at(body, "event-data")
        return IncomingAnswer(
            (
                # The token, not the id in the unsigned payload: a replayed signature is a repeat whatever
                # payload it comes with. The timestamp is part of it because the two are signed without a
                # separator, so that digits could move from one to the other.
                VerifiedEvent(
                    digest_id(f"{timestamp}{token}"),
                    event_type(text_of(event, "event")),
                    object_of(event),
                    # Of the signature: the timestamp of the event in the payload is not signed.
                    moment(int(timestamp)),
                    unsigned=("type",),
                ),
            )
        )

    async def _post(
        self, connection: Connection, message: OutgoingMessage, options: Mapping[str, str]
    ) -> str:
        configuration = connection.configuration
        form = {
            "from": configuration.from_email or f"postmaster@{configuration.domain}",
            "to": message.recipient,
            "subject": message.subject,
            "text": message.text,
            **options,
        }
        path = f"/v3/{segment(configuration.domain)}/messages"
        answer = document(await connection.http.expect(self._request(connection, "POST", path, form)))
        return text_at(answer, "id")

    async def _domains(self, connection: Connection) -> Mapping[str, Any]:
        return document(await connection.http.expect(self._request(connection, "GET", "/v4/domains")))

    def _request(
        self, connection: Connection, method: str, path: str, form: Mapping[str, str] | None = None
    ) -> ProviderRequest:
        configuration = connection.configuration
        return ProviderRequest(
            method,
            configuration.address + path,
            headers={"authorization": basic("api", configuration.api_key)},
            form=form,
        )


def _signed(body: Mapping[str, Any], name: str) -> str:
    value = at(body, "signature", name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise SignatureRefused(f"The body carries no signature.{name}.")
    return value


PROVIDER = Mailgun()
