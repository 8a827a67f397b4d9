"""Vonage SMS.

Sources: https://developer.vonage.com/en/api/account (get-balance), https://developer.vonage.com/en/api/sms,
https://developer.vonage.com/en/messaging/sms/guides/troubleshooting-sms (statuses),
https://developer.vonage.com/en/getting-started/concepts/webhooks (signed webhooks),
https://developer.vonage.com/en/getting-started/concepts/signing-messages (`sig`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from domain.providers.contract import (
    Configuration,
    Connection,
    CredentialCheck,
    FailureKind,
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
)
from infra.providers._kit.field_types import BaseUrl
from infra.providers._kit.refusal import scrub
from infra.providers._kit.signatures import required_secret
from infra.providers._kit.trial import recipient_of, sent
from infra.providers._kit.wire import CAPABILITIES, basic, document, items, text_at
from infra.providers.vonage.records import VonageMessages
from infra.providers.vonage.webhook import jwt_event, sig_event

# Status of a message to what it means for the caller; every other one is "rejected".
_KINDS: Mapping[str, FailureKind] = {
    "1": "rate_limited",
    "4": "unauthorized",
    "5": "unavailable",
    "8": "forbidden",
    "10": "rate_limited",
    "14": "unauthorized",
}


class VonageConfiguration(Configuration):
    api_key: str = Field(description="API key, which names the account", pattern=r"^[A-Za-z0-9]{4,64}$")
    api_secret: str = Secret("API secret", min_length=1, max_length=255)
    sender: str = Field(description="Number or name messages come from", pattern=r"^\+?[A-Za-z0-9]{1,15}$")
    signature_secret: str | None = Secret("Signature secret of webhooks", travels=False, default=None)
    signature_method: Literal["md5hash", "md5", "sha1", "sha256", "sha512"] | None = Field(
        None, description="Method of the older `sig` parameter as set in the dashboard; unset: JWT only"
    )
    base_url: BaseUrl = Field("https://rest.nexmo.com", description="Address of the account and SMS APIs")
    reports_url: BaseUrl = Field("https://api.nexmo.com", description="Address of the reports API")


class Vonage(Provider):
    """Vonage has no sandbox for SMS: the test sends one message."""

    profile = ProviderProfile(
        name="Vonage",
        title="Vonage",
        integration_type=IntegrationType.SMSService,
        documentation_url="https://developer.vonage.com/en/api/sms",
        configuration=VonageConfiguration,
        capabilities=CAPABILITIES,
        webhook_scheme="Authorization: Bearer JWT HS256 with payload_hash; older: parameter sig; 5 minutes",
        webhook_fields=("signatureSecret",),
        notes="The test sends one SMS, which is charged: Vonage has no test mode. It also charges for the reports that "
        "messages are imported from.",
    )
    streams = VonageMessages()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        balance = await self._balance(connection)
        return CredentialCheck(
            account=connection.configuration.api_key, detail=f"Balance {balance['value']} EUR."
        )

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        recipient, subject = recipient_of(options), "Integration Hub connection test"
        if options.sandbox:
            raise ProviderFailure(
                "rejected", "Vonage has no sandbox for SMS; without `sandbox` one SMS is sent, and charged."
            )
        return sent(await self.send(connection, OutgoingMessage(recipient, subject, subject)))

    async def send(self, connection: Connection, message: OutgoingMessage) -> str:
        form = {
            "from": connection.configuration.sender.removeprefix("+"),
            "to": message.recipient.removeprefix("+"),
            "text": message.subject,
        }
        request = self._request(connection, "POST", "/sms/json", form)
        answer = document(await connection.http.expect(request))
        return text_at(_sent(answer, connection.configuration.api_secret), "message-id")

    async def probe(self, connection: Connection) -> None:
        await self._balance(connection)

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        configuration = connection.configuration
        secret = required_secret(configuration.signature_secret)
        if "authorization" in request.headers or configuration.signature_method is None:
            return IncomingAnswer((jwt_event(request, secret),))
        return IncomingAnswer((sig_event(request, secret, configuration.signature_method),))

    async def _balance(self, connection: Connection) -> Mapping[str, Any]:
        request = self._request(connection, "GET", "/account/get-balance")
        balance = document(await connection.http.expect(request))
        if not isinstance(balance.get("value"), int | float):
            raise ProviderFailure("malformed", "The provider's answer has no balance.")
        return balance

    def _request(
        self, connection: Connection, method: str, path: str, form: Mapping[str, str] | None = None
    ) -> ProviderRequest:
        configuration = connection.configuration
        return ProviderRequest(
            method,
            configuration.base_url + path,
            headers={"authorization": basic(configuration.api_key, configuration.api_secret)},
            form=form,
        )


def _sent(answer: Mapping[str, Any], secret: str) -> Mapping[str, Any]:
    """Return the message, when its status says that it was taken: Vonage answers 200 to refused messages too."""
    status = text_at(answer, "messages", 0, "status")
    message: Mapping[str, Any] = items(answer, "messages")[0]
    if status != "0":
        reason = scrub(str(message.get("error-text", "no reason given")), [secret])
        raise ProviderFailure(
            _KINDS.get(status, "rejected"),
            f"Vonage refused the message: status {status}, {reason}.",
            status=200,
        )
    return message


PROVIDER = Vonage()
