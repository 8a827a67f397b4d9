"""PayPal payments.

Sources: https://developer.paypal.com/api/rest/authentication/ (client credentials),
https://developer.paypal.com/docs/api/orders/v2/ (create order, `PayPal-Request-Id`),
https://developer.paypal.com/docs/api/payments/v2/#captures_refund,
https://developer.paypal.com/credit-card-number-generator (sandbox cards),
https://developer.paypal.com/reference/currency-codes/ (currencies without decimals),
https://developer.paypal.com/api/rest/webhooks/rest/ (webhook messages).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any
from uuid import uuid4

from pydantic import Field

from domain.providers.contract import (
    DESTINATION,
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
    TestStep,
    VerifiedEvent,
)
from infra.providers._kit.contents import json_of, object_of, text_of
from infra.providers._kit.field_types import BaseUrl
from infra.providers._kit.trial import charge, charge_and_reverse, refuse_live
from infra.providers._kit.wire import (
    CAPABILITIES,
    at,
    document,
    event_type,
    moment,
    segment,
    text_at,
)
from infra.providers.paypal.records import PayPalTransactions, granted_token
from infra.providers.paypal.webhook import check_transmission

_LIVE = "https://api-m.paypal.com"
_SANDBOX = "https://api-m.sandbox.paypal.com"
_SANDBOX_CARD = "4012888888881881"
_NO_DECIMALS = ("HUF", "JPY", "TWD")


class PayPalConfiguration(Configuration):
    client_id: str = Field(description="Client id of the REST app", min_length=1, max_length=200)
    client_secret: str = Secret("Client secret of the REST app", min_length=1, max_length=200)
    webhook_id: str | None = Field(
        None, description="Id of the webhook in the developer dashboard; every message is signed for it"
    )
    sandbox: Annotated[bool, DESTINATION] = Field(False, description="Whether the app is a sandbox app")
    base_url: BaseUrl | None = Field(
        None, description="Address of the API; unset: PayPal's live or sandbox address"
    )

    @property
    def address(self) -> str:
        return self.base_url or (_SANDBOX if self.sandbox else _LIVE)


class PayPal(Provider):
    """Tests run with a sandbox app only.

    `trusted_roots` (PEM) replaces the public roots that webhook certificates are checked against."""

    profile = ProviderProfile(
        name="PayPal",
        title="PayPal",
        integration_type=IntegrationType.PaymentGateway,
        documentation_url="https://developer.paypal.com/api/rest/",
        configuration=PayPalConfiguration,
        capabilities=CAPABILITIES,
        webhook_scheme="PAYPAL-TRANSMISSION-SIG: SHA256withRSA of `id|time|webhookId|crc32(body)`, certificate "
        "from paypal.com, 5 minutes",
        webhook_fields=("webhookId",),
        notes="The test charges a sandbox card, for which the app needs advanced card payments. Importing transactions "
        "needs the app's feature Transaction Search.",
    )
    streams = PayPalTransactions()

    def __init__(self, trusted_roots: bytes | None = None) -> None:
        self._trusted_roots = trusted_roots

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        granted = await granted_token(connection)
        return CredentialCheck(
            account=text_at(granted, "app_id"),
            scopes=tuple(str(granted.get("scope", "")).split()),
            test_mode=connection.configuration.sandbox,
        )

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        if not connection.configuration.sandbox:
            raise refuse_live("the app is a live app. Test with a sandbox app.")
        token = text_at(await charge(granted_token(connection)), "access_token")
        order = await charge(self._order(connection, token, options))
        capture = text_at(order, "purchase_units", 0, "payments", "captures", 0, "id")
        charged = TestStep("charge", f"Order {text_at(order, 'id')} {at(order, 'status')}.", capture)

        async def check() -> TestStep:
            path = f"/v2/payments/captures/{segment(capture)}"
            found = document(await connection.http.expect(_request(connection, token, "GET", path)))
            return TestStep("read", f"Capture {text_at(found, 'status')}.", text_at(found, "id"))

        async def reverse() -> TestStep:
            path = f"/v2/payments/captures/{segment(capture)}/refund"
            found = document(await connection.http.expect(_request(connection, token, "POST", path, body={})))
            return TestStep("refund", f"Refund {text_at(found, 'status')}.", text_at(found, "id"))

        return await charge_and_reverse(charged, check, reverse)

    async def probe(self, connection: Connection) -> None:
        await granted_token(connection)

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        transmission = await check_transmission(
            connection.http, connection.configuration.webhook_id, request, self._trusted_roots
        )
        event = object_of(json_of(request))
        return IncomingAnswer(
            (
                VerifiedEvent(
                    text_of(event, "id"),
                    event_type(text_of(event, "event_type")),
                    event,
                    moment(event.get("create_time")),
                    content_digest=transmission,
                ),
            )
        )

    async def _order(self, connection: Connection, token: str, options: TestOptions) -> Mapping[str, Any]:
        body = {
            "intent": "CAPTURE",
            "purchase_units": [
                {
                    "description": "Integration Hub connection test",
                    "amount": {
                        "currency_code": (options.currency or "USD").upper(),
                        "value": _value(options.amount_minor, options.currency or "USD"),
                    },
                }
            ],
            "payment_source": {
                "card": {
                    "number": _SANDBOX_CARD,
                    "expiry": f"{connection.now.year + 2}-12",
                    "name": "Hub Test",
                }
            },
        }
        request = _request(connection, token, "POST", "/v2/checkout/orders", body=body)
        return document(await connection.http.expect(request))


def _request(
    connection: Connection, token: str, method: str, path: str, *, body: Mapping[str, Any] | None = None
) -> ProviderRequest:
    headers = {"authorization": f"Bearer {token}"}
    if method == "POST":
        # https://developer.paypal.com/api/rest/reference/idempotency/
        headers |= {"paypal-request-id": str(uuid4()), "prefer": "return=representation"}
    return ProviderRequest(
        method, connection.configuration.address + path, headers=headers, json=body, idempotent=True
    )


def _value(amount_minor: int, currency: str) -> str:
    """1050 USD as `10.50`, 1050 JPY as `1050`."""
    return str(Decimal(amount_minor).scaleb(0 if currency.upper() in _NO_DECIMALS else -2))


PROVIDER = PayPal()
