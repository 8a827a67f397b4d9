"""The test of an integration: a real round trip in test mode that leaves nothing behind."""

from dataclasses import replace

import pytest

from domain.providers.contract import ProviderFailure, TestOptions, TestResult
from tests.fixtures.providers.paypal import GRANTED
from tests.fixtures.providers.twilio import SID
from tests.fixtures.scripted_server import Answer, Route, route
from tests.worlds.message_vendors import MAIL, SMS, VENDORS, MessageVendor
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import World, world


@pytest.fixture(params=sorted(VENDORS))
def vendor(request: pytest.FixtureRequest) -> MessageVendor:
    return VENDORS[request.param]


CHARGES: dict[str, list[Route]] = {
    "Stripe": [
        route("POST /v1/payment_intents", Answer(200, {"id": "pi_3M", "status": "succeeded"})),
        route("GET /v1/payment_intents/pi_3M", Answer(200, {"id": "pi_3M", "status": "succeeded"})),
        route("POST /v1/refunds", Answer(200, {"id": "re_1N", "status": "succeeded"})),
    ],
    "PayPal": [
        route("POST /v1/oauth2/token", Answer(200, GRANTED)),
        route(
            "POST /v2/checkout/orders",
            Answer(
                201,
                {
                    "id": "5O190127TN364715T",
                    "status": "COMPLETED",
                    "purchase_units": [
                        {"payments": {"captures": [{"id": "2GG279541U471931P", "status": "COMPLETED"}]}}
                    ],
                },
            ),
        ),
        route(
            "GET /v2/payments/captures/2GG279541U471931P",
            Answer(200, {"id": "2GG279541U471931P", "status": "COMPLETED"}),
        ),
        route(
            "POST /v2/payments/captures/2GG279541U471931P/refund",
            Answer(201, {"id": "1JU08902781691411", "status": "COMPLETED"}),
        ),
    ],
    "Square": [
        route("POST /v2/payments", Answer(200, {"payment": {"id": "R2B3Z8WMVt3", "status": "COMPLETED"}})),
        route(
            "GET /v2/payments/R2B3Z8WMVt3",
            Answer(200, {"payment": {"id": "R2B3Z8WMVt3", "status": "COMPLETED"}}),
        ),
        route("POST /v2/refunds", Answer(200, {"refund": {"id": "R2B3Z8_xyz", "status": "PENDING"}})),
    ],
}
IDEMPOTENCY_HEADERS = {"Stripe": "idempotency-key", "PayPal": "paypal-request-id"}
LIVE = {
    "Stripe": {"apiKey": "sk_live_4eC39HqLyjWDarjtT1zdp7dc"},
    "PayPal": {"sandbox": False},
    "Square": {"sandbox": False},
}
PAYMENTS = pytest.mark.parametrize("name", sorted(CHARGES))


def charge_lines(name: str) -> tuple[str, str, str]:
    """Charge, read and refund as request lines."""
    charge, read, refund = [f"{step.method} {step.path}" for step in CHARGES[name]][-3:]
    return charge, read, refund


async def exercise(here: World, name: str, options: TestOptions | None = None) -> TestResult:
    return await CASES[name].provider.test(here.connection, options or TestOptions())


@PAYMENTS
async def test_a_charge_is_made_read_and_refunded_in_this_order(name: str) -> None:
    async with world(CASES[name]) as here:
        here.server.add(*CHARGES[name])
        result = await exercise(here, name)
        assert here.server.lines[-3:] == list(charge_lines(name))
        assert [step.name for step in result.steps] == ["charge", "read", "refund"]
        assert all(step.reference for step in result.steps)
        assert here.server.unexpected == []


@PAYMENTS
async def test_live_credentials_are_refused_before_anything_is_sent(name: str) -> None:
    async with world(CASES[name], changes=LIVE[name]) as here:
        here.server.add(*CHARGES[name])
        with pytest.raises(ProviderFailure, match="live") as caught:
            await exercise(here, name)
        assert caught.value.kind == "rejected"
        assert here.server.requests == []
        assert "sk_live_4eC" not in str(caught.value)


@PAYMENTS
@pytest.mark.parametrize("broken", [Answer(400, {}), Answer(500, {}), Answer(200, b"{"), Answer(200, {})])
async def test_the_charge_is_refunded_also_when_reading_it_fails(name: str, broken: Answer) -> None:
    charge, read, refund = charge_lines(name)
    async with world(CASES[name]) as here:
        here.server.add(*CHARGES[name])
        here.server.add(route(read, broken))
        with pytest.raises(ProviderFailure):
            await exercise(here, name)
        assert here.server.lines[-1] == refund
        assert here.server.lines.count(charge) == here.server.lines.count(refund) == 1


@PAYMENTS
async def test_a_charge_that_could_not_be_refunded_is_named(name: str) -> None:
    _, read, refund = charge_lines(name)
    for also in ([], [route(read, Answer(500, {}))]):
        async with world(CASES[name]) as here:
            here.server.add(*CHARGES[name])
            here.server.add(route(refund, Answer(422, {})), *also)
            with pytest.raises(ProviderFailure, match=r"test charge \w+ was not reversed") as caught:
                await exercise(here, name)
            assert caught.value.kind == ("unavailable" if also else "rejected")


@PAYMENTS
async def test_a_repeat_after_an_outage_carries_the_same_idempotency_key(name: str) -> None:
    charge, _, _ = charge_lines(name)
    async with world(CASES[name]) as here:
        here.server.add(*CHARGES[name])
        good = next(step for step in CHARGES[name] if f"{step.method} {step.path}" == charge).answers[0]
        here.server.add(route(charge, Answer(503, {}), good))
        await exercise(here, name)
        tries = [request for request in here.server.requests if request.line == charge]
        keys = [
            request.json["idempotency_key"]
            if name == "Square"
            else request.headers[IDEMPOTENCY_HEADERS[name]]
            for request in tries
        ]
        assert len(keys) == 2
        assert keys[0] == keys[1] != ""


async def test_a_stripe_charge_that_needs_more_is_cancelled_instead_of_refunded() -> None:
    waiting = {"id": "pi_3M", "status": "requires_action"}
    async with world(CASES["Stripe"]) as here:
        here.server.add(
            route("POST /v1/payment_intents", Answer(200, waiting)),
            route("GET /v1/payment_intents/pi_3M", Answer(200, waiting)),
            route(
                "POST /v1/payment_intents/pi_3M/cancel", Answer(200, {"id": "pi_3M", "status": "canceled"})
            ),
        )
        result = await exercise(here, "Stripe")
        assert [step.name for step in result.steps] == ["charge", "read", "cancel"]


async def test_the_amount_and_currency_asked_for_are_charged() -> None:
    asked = TestOptions(amount_minor=250, currency="EUR")
    async with world(CASES["Stripe"]) as here:
        here.server.add(*CHARGES["Stripe"])
        await exercise(here, "Stripe", asked)
        form = here.server.requests[0].form
        assert (form["amount"], form["currency"], form["payment_method"]) == ("250", "eur", "pm_card_visa")
    async with world(CASES["Square"]) as here:
        here.server.add(*CHARGES["Square"])
        await exercise(here, "Square", asked)
        assert here.server.requests[0].json["amount_money"] == {"amount": 250, "currency": "EUR"}
        assert here.server.requests[-1].json["payment_id"] == "R2B3Z8WMVt3"


async def test_without_a_currency_asked_for_the_configured_one_or_the_locations_is_charged() -> None:
    async with world(CASES["Stripe"], changes={"currency": "CHF"}) as here:
        here.server.add(*CHARGES["Stripe"])
        await exercise(here, "Stripe")
        assert here.server.requests[0].form["currency"] == "chf"
    places = [{"id": "L1", "currency": "USD"}, {"id": "L2", "currency": "JPY"}]
    for changes, currency in (({}, "USD"), ({"locationId": "L2"}, "JPY")):
        async with world(CASES["Square"], changes=changes) as here:
            here.server.add(
                *CHARGES["Square"], route("GET /v2/locations", Answer(200, {"locations": places}))
            )
            await exercise(here, "Square")
            [charged, refunded] = [sent.json for sent in here.server.requests if sent.method == "POST"]
            assert charged["amount_money"] == refunded["amount_money"]
            assert charged["amount_money"]["currency"] == currency


@PAYMENTS
@pytest.mark.parametrize(
    ("status", "nothing"), [(400, True), (402, True), (403, True), (500, False), (200, False)]
)
async def test_a_charge_that_was_refused_is_told_from_one_that_may_stand(
    name: str, status: int, nothing: bool
) -> None:
    charge, *_ = charge_lines(name)
    async with world(CASES[name]) as here:
        here.server.add(*CHARGES[name])
        here.server.add(route(charge, Answer(status, {})))
        with pytest.raises(ProviderFailure) as caught:
            await exercise(here, name)
        assert caught.value.nothing_charged is nothing


@pytest.mark.parametrize(("currency", "value"), [("EUR", "2.50"), ("JPY", "250"), ("usd", "2.50")])
async def test_paypal_amounts_are_in_major_units(currency: str, value: str) -> None:
    async with world(CASES["PayPal"]) as here:
        here.server.add(*CHARGES["PayPal"])
        await exercise(here, "PayPal", TestOptions(amount_minor=250, currency=currency))
        order = here.server.requests[1].json
        assert order["purchase_units"][0]["amount"] == {"currency_code": currency.upper(), "value": value}


@pytest.mark.parametrize("name", ["SendGrid", "Mailgun", "Postmark", "Twilio", "Vonage"])
async def test_a_message_needs_a_recipient(name: str) -> None:
    async with world(CASES[name]) as here:
        with pytest.raises(ProviderFailure, match="recipient") as caught:
            await exercise(here, name)
        assert caught.value.kind == "rejected"
        assert here.server.requests == []


async def test_the_test_is_one_real_message_of_the_configured_sender_with_the_customers_own_token(
    vendor: MessageVendor,
) -> None:
    async with world(CASES[vendor.name]) as here:
        here.server.listing = vendor.answer
        result = await exercise(here, vendor.name, vendor.options)
        assert here.server.unexpected == []
        [asked] = [request for request in here.server.requests if request.method == "POST"]
        assert vendor.sent(asked) == (vendor.sender, vendor.options.recipient)
        assert not vendor.is_sandbox(asked)
        assert (result.delivered, result.steps[-1].reference) == (True, vendor.reference)


async def test_what_the_vendor_refuses_fails_the_test_in_its_words(vendor: MessageVendor) -> None:
    """Its documentation's example of a sender that nobody has verified."""
    async with world(CASES[vendor.name], changes=vendor.unverified) as here:
        here.server.listing = vendor.answer
        with pytest.raises(ProviderFailure) as caught:
            await exercise(here, vendor.name, vendor.options)
        assert vendor.refusal in caught.value.detail
        assert caught.value.kind in ("forbidden", "rejected")


async def test_in_the_sandbox_nothing_is_delivered_and_the_answer_says_so(vendor: MessageVendor) -> None:
    options = replace(vendor.options, sandbox=True)
    async with world(CASES[vendor.name]) as here:
        here.server.listing = vendor.answer
        if vendor.name == "Vonage":
            with pytest.raises(ProviderFailure, match="has no sandbox"):
                await exercise(here, vendor.name, options)
            assert here.server.requests == []
            return
        result = await exercise(here, vendor.name, options)
        [asked] = [request for request in here.server.requests if request.method == "POST"]
        assert vendor.is_sandbox(asked)
        assert result.delivered is False
        assert result.steps[-1].detail.endswith("nothing was delivered.")


async def test_a_sandbox_message_that_sendgrid_would_deliver_fails_the_test() -> None:
    async with world(CASES["SendGrid"]) as here:
        here.server.add(route("POST /v3/mail/send", Answer(202)))
        with pytest.raises(ProviderFailure):
            await exercise(here, "SendGrid", replace(MAIL, sandbox=True))


async def test_postmarks_own_sandbox_server_delivers_nothing_and_the_answer_says_so() -> None:
    async with world(CASES["Postmark"]) as here:
        here.server.listing = VENDORS["Postmark"].answer
        here.server.add(
            route("GET /server", Answer(200, {"ID": 1, "Name": "Try", "DeliveryType": "Sandbox"}))
        )
        result = await exercise(here, "Postmark", MAIL)
        assert (result.delivered, result.steps[-1].detail) == (
            False,
            "Accepted; the token is of a sandbox server, which delivers nothing.",
        )


async def test_an_error_that_postmark_answers_with_200_is_in_its_words() -> None:
    inactive = {"ErrorCode": 406, "Message": "You tried to send to recipients that are inactive."}
    async with world(CASES["Postmark"]) as here:
        here.server.add(route("POST /email", Answer(200, inactive)))
        with pytest.raises(ProviderFailure, match="error 406: You tried to send to recipients that are"):
            await exercise(here, "Postmark", MAIL)


async def test_twilios_sandbox_needs_its_test_credentials() -> None:
    async with world(CASES["Twilio"], changes={"testAccountSid": None, "testAuthToken": None}) as here:
        with pytest.raises(ProviderFailure, match="testAccountSid"):
            await exercise(here, "Twilio", replace(SMS, sandbox=True))
        assert here.server.requests == []


async def test_a_message_that_twilio_took_and_failed_at_once_fails_the_test() -> None:
    failed = {"sid": "SM1", "status": "failed", "error_code": 30034, "error_message": "Unregistered number"}
    async with world(CASES["Twilio"]) as here:
        here.server.add(route(f"POST /2010-04-01/Accounts/{SID}/Messages.json", Answer(201, failed)))
        with pytest.raises(ProviderFailure, match="Unregistered number"):
            await exercise(here, "Twilio", SMS)


async def test_a_sendgrid_key_that_may_not_send_is_forbidden() -> None:
    async with world(CASES["SendGrid"]) as here:
        here.server.add(route("GET /v3/scopes", Answer(200, {"scopes": ["alerts.read"]})))
        with pytest.raises(ProviderFailure, match=r"mail\.send") as caught:
            await CASES["SendGrid"].provider.validate_credentials(here.connection)
        assert caught.value.kind == "forbidden"


async def test_a_mailgun_domain_of_another_account_or_region_is_rejected() -> None:
    async with world(CASES["Mailgun"], changes={"domain": "other.example.org"}) as here:
        with pytest.raises(ProviderFailure, match="domain") as caught:
            await CASES["Mailgun"].provider.validate_credentials(here.connection)
        assert caught.value.kind == "rejected"


async def test_a_suspended_twilio_account_is_forbidden() -> None:
    account = {"sid": SID, "friendly_name": "x", "status": "suspended", "type": "Full"}
    async with world(CASES["Twilio"]) as here:
        here.server.add(route(f"GET /2010-04-01/Accounts/{SID}.json", Answer(200, account)))
        with pytest.raises(ProviderFailure, match="suspended") as caught:
            await CASES["Twilio"].provider.validate_credentials(here.connection)
        assert caught.value.kind == "forbidden"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("1", "rate_limited"),
        ("4", "unauthorized"),
        ("5", "unavailable"),
        ("9", "rejected"),
        ("29", "rejected"),
    ],
)
async def test_vonage_refuses_messages_with_status_200(status: str, kind: str) -> None:
    refused = {
        "message-count": "1",
        "messages": [{"status": status, "error-text": "Quota Exceeded - rejected"}],
    }
    async with world(CASES["Vonage"]) as here:
        here.server.add(route("POST /sms/json", Answer(200, refused)))
        with pytest.raises(ProviderFailure, match=f"status {status}") as caught:
            await exercise(here, "Vonage", SMS)
        assert caught.value.kind == kind


async def test_vonage_sends_one_message_and_never_repeats_it() -> None:
    taken = {"message-count": "1", "messages": [{"status": "0", "message-id": "0A0000000123ABCD1"}]}
    async with world(CASES["Vonage"]) as here:
        here.server.add(route("POST /sms/json", Answer(200, taken)))
        result = await exercise(here, "Vonage", SMS)
        assert result.steps[0].reference == "0A0000000123ABCD1"
        assert here.server.requests[0].form == {
            "from": "EVENTS",
            "to": "15558675310",
            "text": "Integration Hub connection test",
        }
        here.server.add(route("POST /sms/json", Answer(500, {})))
        with pytest.raises(ProviderFailure):
            await exercise(here, "Vonage", SMS)
        assert len(here.server.requests) == 2
