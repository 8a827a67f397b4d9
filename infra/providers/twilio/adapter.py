"""Twilio SMS.

Sources: https://www.twilio.com/docs/iam/api/account, https://www.twilio.com/docs/iam/test-credentials (magic sender;
test credentials reach no other resource), https://www.twilio.com/docs/messaging/api/message-resource,
https://www.twilio.com/docs/usage/webhooks/webhooks-security. SharedKey signatures as in Twilio's own library
(https://github.com/twilio/twilio-python, `twilio/request_validator.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

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
)
from infra.providers._kit.field_types import BaseUrl, PhoneNumber
from infra.providers._kit.refusal import scrub
from infra.providers._kit.trial import checked, recipient_of, sent
from infra.providers._kit.wire import CAPABILITIES, at, basic, document, event_type, text_at
from infra.providers.twilio.records import TwilioMessages
from infra.providers.twilio.webhook import check_twilio_signature, twilio_events

_MAGIC_SENDER = "+15005550006"
_MESSAGE = "Integration Hub connection test"
_NOT_SENT = ("failed", "undelivered", "canceled")


class TwilioConfiguration(Configuration):
    account_sid: str = Field(description="Account SID (AC...)", pattern=r"^AC[0-9a-fA-F]{32}$")
    auth_token: str = Secret("Auth token of the account", min_length=8, max_length=255)
    from_number: PhoneNumber = Field(description="Sending number (E.164)")
    test_account_sid: str | None = Field(
        None,
        description="SID of the test credentials, which tests with `sandbox` use",
        pattern=r"^AC[0-9a-fA-F]{32}$",
    )
    test_auth_token: str | None = Secret("Token of the test credentials", default=None)
    webhook_shared_secret: str | None = Secret(
        "Secret of the webhook SharedKey, when webhooks are signed with one instead of the auth token",
        travels=False,
        default=None,
    )
    base_url: BaseUrl = Field("https://api.twilio.com", description="Address of the API")

    @model_validator(mode="after")
    def _test_credentials_are_a_pair(self) -> TwilioConfiguration:
        if (self.test_account_sid is None) != (self.test_auth_token is None):
            raise ValueError("testAccountSid and testAuthToken are given together or not at all")
        return self


class Twilio(Provider):
    """The test sends one SMS; in the sandbox, which needs test credentials, Twilio sends nothing."""

    profile = ProviderProfile(
        name="Twilio",
        title="Twilio",
        integration_type=IntegrationType.SMSService,
        documentation_url="https://www.twilio.com/docs/usage/api",
        configuration=TwilioConfiguration,
        capabilities=CAPABILITIES,
        webhook_scheme="X-Twilio-Signature: base64 HMAC-SHA1 (SharedKey: HMAC-SHA256) of URL + form, or of URL with "
        "bodySHA256",
        notes="Twilio signs no timestamp: repeats are recognised by what was signed.",
    )
    streams = TwilioMessages()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        account = await self._account(connection)
        status = text_at(account, "status")
        if status != "active":
            raise ProviderFailure("forbidden", f"The account is {event_type(status)}.", status=200)
        return CredentialCheck(
            account=text_at(account, "friendly_name"), detail=f"Account type {at(account, 'type')}."
        )

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        configuration = connection.configuration
        recipient = recipient_of(options)
        if not options.sandbox:
            return sent(await self.send(connection, OutgoingMessage(recipient, _MESSAGE, _MESSAGE)))
        sid, token = configuration.test_account_sid, configuration.test_auth_token
        if not sid:
            raise ProviderFailure(
                "rejected", "Twilio's sandbox needs testAccountSid and testAuthToken in the configuration."
            )
        form = {"To": recipient, "From": _MAGIC_SENDER, "Body": _MESSAGE}
        reference = await self._post(connection, sid, token, form)
        return checked("Accepted under the test credentials; nothing was delivered.", reference)

    async def send(self, connection: Connection, message: OutgoingMessage) -> str:
        configuration = connection.configuration
        form = {"To": message.recipient, "From": configuration.from_number, "Body": message.subject}
        return await self._post(connection, configuration.account_sid, configuration.auth_token, form)

    async def probe(self, connection: Connection) -> None:
        await self._account(connection)

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        configuration = connection.configuration
        shared_key = configuration.webhook_shared_secret
        check_twilio_signature(request, configuration.auth_token, shared_key)
        return IncomingAnswer(twilio_events(request))

    async def _post(self, connection: Connection, sid: str, token: str, form: Mapping[str, str]) -> str:
        request = ProviderRequest(
            "POST",
            f"{connection.configuration.base_url}/2010-04-01/Accounts/{sid}/Messages.json",
            headers={"authorization": basic(sid, token)},
            form=form,
        )
        message = document(await connection.http.expect(request, 201))
        if at(message, "status") in _NOT_SENT:
            said = scrub(str(message.get("error_message") or f"status {message['status']}"), [token])
            raise ProviderFailure("rejected", f"Twilio did not send the message: {said}")
        return text_at(message, "sid")

    async def _account(self, connection: Connection) -> Mapping[str, Any]:
        configuration = connection.configuration
        request = ProviderRequest(
            "GET",
            f"{configuration.base_url}/2010-04-01/Accounts/{configuration.account_sid}.json",
            headers={"authorization": basic(configuration.account_sid, configuration.auth_token)},
        )
        account = document(await connection.http.expect(request))
        text_at(account, "status")
        return account


PROVIDER = Twilio()
