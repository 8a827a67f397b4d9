"""Square payments.

Sources: https://developer.squareup.com/reference/square/locations-api/list-locations,
https://developer.squareup.com/reference/square/payments-api/create-payment,
https://developer.squareup.com/reference/square/refunds-api/refund-payment,
https://developer.squareup.com/docs/devtools/sandbox/payments (`cnon:card-nonce-ok`),
https://developer.squareup.com/docs/webhooks/step3validate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from infra.providers._kit.field_types import BaseUrl
from infra.providers._kit.signatures import check_hmac, decode_base64, required_header, required_secret
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
from infra.providers.square.records import SquarePayments

_LIVE = "https://connect.squareup.com"
_SANDBOX = "https://connect.squareupsandbox.com"
_API_VERSION = "2025-01-23"


class SquareConfiguration(Configuration):
    access_token: str = Secret("Access token of the application", min_length=1, max_length=1024)
    webhook_signature_key: str | None = Secret(
        "Signature key of the webhook subscription", travels=False, default=None
    )
    location_id: str | None = Field(
        None, description="Location payments belong to; unset: the main location", max_length=50
    )
    sandbox: Annotated[bool, DESTINATION] = Field(False, description="Whether the token is a sandbox token")
    base_url: BaseUrl | None = Field(
        None, description="Address of the API; unset: Square's live or sandbox address"
    )

    @property
    def address(self) -> str:
        return self.base_url or (_SANDBOX if self.sandbox else _LIVE)


class Square(Provider):
    """Tests run with a sandbox token only."""

    profile = ProviderProfile(
        name="Square",
        title="Square",
        integration_type=IntegrationType.PaymentGateway,
        documentation_url="https://developer.squareup.com/reference/square",
        configuration=SquareConfiguration,
        capabilities=CAPABILITIES,
        webhook_scheme="x-square-hmacsha256-signature: base64 HMAC-SHA256 of notification URL + body",
        webhook_fields=("webhookSignatureKey",),
        notes="Messages carry no timestamp in what is signed: repeats are recognised by the event id.",
    )
    streams = SquarePayments()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        locations = await self._locations(connection)
        wanted = connection.configuration.location_id
        named = [entry for entry in locations if wanted is None or text_at(entry, "id") == wanted]
        if locations and not named:
            raise ProviderFailure("rejected", "The configured location is not one of the account's.")
        return CredentialCheck(
            account=text_at(named, 0, "merchant_id"),
            detail=f"Location {text_at(named, 0, 'name')}.",
            test_mode=connection.configuration.sandbox,
        )

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        if not connection.configuration.sandbox:
            raise refuse_live("the access token is a live token. Test with a sandbox token.")
        currency = options.currency or await self._currency(connection)
        money = {"amount": options.amount_minor, "currency": currency.upper()}
        payment = await charge(self._pay(connection, money))
        reference = text_at(payment, "payment", "id")
        charged = TestStep("charge", f"Payment {text_at(payment, 'payment', 'status')}.", reference)

        async def check() -> TestStep:
            request = _request(connection, "GET", f"/v2/payments/{segment(reference)}")
            found = document(await connection.http.expect(request))
            return TestStep(
                "read", f"Payment {text_at(found, 'payment', 'status')}.", text_at(found, "payment", "id")
            )

        async def reverse() -> TestStep:
            body = {"payment_id": reference, "amount_money": money}
            found = document(await connection.http.expect(_posted(connection, "/v2/refunds", body)))
            return TestStep(
                "refund", f"Refund {text_at(found, 'refund', 'status')}.", text_at(found, "refund", "id")
            )

        return await charge_and_reverse(charged, check, reverse)

    async def probe(self, connection: Connection) -> None:
        await self._locations(connection)

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        key = required_secret(connection.configuration.webhook_signature_key)
        given = decode_base64(required_header(request.headers, "x-square-hmacsha256-signature"))
        check_hmac([key], request.url.encode() + request.body, [given])
        event = object_of(json_of(request))
        return IncomingAnswer(
            (
                VerifiedEvent(
                    text_of(event, "event_id"),
                    event_type(text_of(event, "type")),
                    event,
                    moment(event.get("created_at")),
                ),
            )
        )

    async def _locations(self, connection: Connection) -> Sequence[Any]:
        answer = document(await connection.http.expect(_request(connection, "GET", "/v2/locations")))
        return items(answer, "locations")

    async def _currency(self, connection: Connection) -> str:
        """Return what the location charges in, the first one's when none is configured."""
        wanted = connection.configuration.location_id
        locations = await charge(self._locations(connection))
        named = [entry for entry in locations if wanted is None or at(entry, "id") == wanted]
        return str(at(named, 0, "currency") or "USD")

    async def _pay(self, connection: Connection, money: Mapping[str, Any]) -> Mapping[str, Any]:
        body: dict[str, Any] = {
            "source_id": "cnon:card-nonce-ok",
            "amount_money": money,
            "note": "Integration Hub connection test",
        }
        if connection.configuration.location_id:
            body["location_id"] = connection.configuration.location_id
        return document(await connection.http.expect(_posted(connection, "/v2/payments", body)))


def _request(
    connection: Connection, method: str, path: str, body: Mapping[str, Any] | None = None
) -> ProviderRequest:
    headers = {
        "authorization": f"Bearer {connection.configuration.access_token}",
        "square-version": _API_VERSION,
    }
    return ProviderRequest(
        method, connection.configuration.address + path, headers=headers, json=body, idempotent=True
    )


def _posted(connection: Connection, path: str, body: Mapping[str, Any]) -> ProviderRequest:
    # https://developer.squareup.com/docs/build-basics/common-api-patterns/idempotency
    return _request(connection, "POST", path, {"idempotency_key": str(uuid4()), **body})


PROVIDER = Square()
