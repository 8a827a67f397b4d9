"""Stripe payments.

Sources: https://docs.stripe.com/api/balance/balance_retrieve, https://docs.stripe.com/api/payment_intents/create,
https://docs.stripe.com/api/refunds/create, https://docs.stripe.com/testing (`pm_card_visa`),
https://docs.stripe.com/webhooks#verify-manually, https://docs.stripe.com/keys#test-live-modes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import uuid4

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from domain.providers.contract import (
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
    SignatureRefused,
    TestOptions,
    TestResult,
    TestStep,
    VerifiedEvent,
    is_stored,
)
from infra.providers._kit.contents import json_of, object_of, text_of
from infra.providers._kit.field_types import BaseUrl, WebhookTolerance
from infra.providers._kit.signatures import (
    check_hmac,
    check_unix_time,
    decoded_signatures,
    required_header,
    required_secret,
)
from infra.providers._kit.trial import charge, charge_and_reverse, refuse_live
from infra.providers._kit.wire import (
    CAPABILITIES,
    at,
    document,
    event_type,
    items,
    moment,
    segment,
    text_at,
)
from infra.providers.stripe.records import StripeCharges

#: Other values of the same page of the dashboard: API keys, the endpoint's id.
_OTHER_VALUES = ("sk_", "rk_", "pk_", "we_")


class StripeConfiguration(Configuration):
    api_key: str = Secret("Secret or restricted key (sk_..., rk_...)", min_length=8, max_length=255)
    webhook_secret: str | None = Secret(
        "Signing secret of the webhook endpoint (whsec_...)", travels=False, default=None
    )
    currency: Annotated[str, StringConstraints(to_lower=True, pattern=r"^[A-Za-z]{3}$")] = Field(
        "usd", description="ISO 4217 code of charges"
    )
    webhook_tolerance_seconds: WebhookTolerance = Field(
        300, description="Seconds for which the signed timestamp of a webhook is good"
    )
    base_url: BaseUrl = Field("https://api.stripe.com", description="Address of the API")

    @field_validator("webhook_secret")
    @classmethod
    def _secret_can_work(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and value.startswith(_OTHER_VALUES) and not is_stored(info):
            raise ValueError("is an API key or the endpoint's id; the signing secret starts with whsec_")
        return value

    @property
    def test_mode(self) -> bool:
        return self.api_key.startswith(("sk_test_", "rk_test_"))


class Stripe(Provider):
    """Tests run with a test-mode key only."""

    profile = ProviderProfile(
        name="Stripe",
        title="Stripe",
        integration_type=IntegrationType.PaymentGateway,
        documentation_url="https://docs.stripe.com/api",
        configuration=StripeConfiguration,
        capabilities=CAPABILITIES,
        webhook_scheme="Stripe-Signature: t and v1, hex HMAC-SHA256 of `t.body`, 5 minutes",
        webhook_fields=("webhookSecret",),
        notes="A restricted key needs read access to the balance, and to charges and events for importing.",
    )
    streams = StripeCharges()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        balance = await self._balance(connection)
        live = balance.get("livemode") is True
        currencies = ", ".join(text_at(entry, "currency").upper() for entry in items(balance, "available"))
        return CredentialCheck(
            account="Stripe live mode" if live else "Stripe test mode",
            test_mode=not live,
            detail=f"Balance in {currencies}." if currencies else "",
        )

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        if not connection.configuration.test_mode:
            raise refuse_live("the API key is a live key. Test with a test-mode key (sk_test_ or rk_test_).")
        intent = await charge(self._charge(connection, options))
        reference = text_at(intent, "id")
        charged = TestStep("charge", f"Payment intent, status {at(intent, 'status')}.", reference)

        async def check() -> TestStep:
            request = self._request(connection, "GET", f"/v1/payment_intents/{segment(reference)}")
            found = document(await connection.http.expect(request))
            return TestStep("read", f"Status {text_at(found, 'status')}.", text_at(found, "id"))

        async def reverse() -> TestStep:
            return await self._reverse(connection, reference, captured=at(intent, "status") == "succeeded")

        return await charge_and_reverse(charged, check, reverse)

    async def probe(self, connection: Connection) -> None:
        await self._balance(connection)

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        secret = required_secret(connection.configuration.webhook_secret)
        timestamp, given = _signature_parts(required_header(request.headers, "Stripe-Signature"))
        tolerance = connection.configuration.webhook_tolerance_seconds
        check_unix_time(timestamp, request.received_at, tolerance_seconds=tolerance)
        check_hmac([secret], timestamp.encode() + b"." + request.body, given)
        event = object_of(json_of(request))
        return IncomingAnswer(
            (
                VerifiedEvent(
                    text_of(event, "id"),
                    event_type(text_of(event, "type")),
                    event,
                    moment(event.get("created")),
                ),
            )
        )

    async def _balance(self, connection: Connection) -> Mapping[str, Any]:
        balance = document(await connection.http.expect(self._request(connection, "GET", "/v1/balance")))
        items(balance, "available")
        return balance

    async def _charge(self, connection: Connection, options: TestOptions) -> Mapping[str, Any]:
        form = {
            "amount": str(options.amount_minor),
            "currency": (options.currency or connection.configuration.currency).lower(),
            "payment_method": "pm_card_visa",
            "payment_method_types[0]": "card",
            "confirm": "true",
            "description": "Integration Hub connection test",
        }
        return document(
            await connection.http.expect(self._request(connection, "POST", "/v1/payment_intents", form=form))
        )

    async def _reverse(self, connection: Connection, intent: str, *, captured: bool) -> TestStep:
        """Refund a captured charge; cancel one that was never captured, which has nothing to refund."""
        if captured:
            name, path, form = "refund", "/v1/refunds", {"payment_intent": intent}
        else:
            name, path, form = "cancel", f"/v1/payment_intents/{segment(intent)}/cancel", {}
        request = self._request(connection, "POST", path, form=form)
        done = document(await connection.http.expect(request))
        return TestStep(name, f"Status {text_at(done, 'status')}.", text_at(done, "id"))

    def _request(
        self,
        connection: Connection,
        method: str,
        path: str,
        *,
        form: Mapping[str, str] | None = None,
    ) -> ProviderRequest:
        headers = {"authorization": f"Bearer {connection.configuration.api_key}"}
        if method == "POST":
            # https://docs.stripe.com/api/idempotent_requests: a repeat after a lost answer charges nothing twice
            headers["idempotency-key"] = str(uuid4())
        return ProviderRequest(
            method,
            connection.configuration.base_url + path,
            headers=headers,
            form=form,
            idempotent=True,
        )


def _signature_parts(header: str) -> tuple[str, list[bytes]]:
    """Return the timestamp as written and every `v1` signature; other schemes are ignored."""
    pairs = [part.strip().partition("=")[::2] for part in header.split(",")]
    timestamps = [value for name, value in pairs if name == "t"]
    signatures = [value for name, value in pairs if name == "v1"]
    if len(timestamps) != 1 or not signatures:
        raise SignatureRefused("The header Stripe-Signature needs one t and at least one v1.")
    return timestamps[0], decoded_signatures(signatures, "hex")


PROVIDER = Stripe()
