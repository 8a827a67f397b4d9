"""Messages to people through the providers' own APIs: sent for real, not as tests."""

from typing import Any

import pytest

from domain.providers.contract import OutgoingMessage, ProviderFailure
from tests.fixtures.providers.twilio import SID
from tests.fixtures.scripted_server import Answer, Recorded, route
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import world

MAIL = OutgoingMessage("ops@example.org", "[Critical] It fails", "It fails.\nRunbook: docs/alerts.md")
SMS = OutgoingMessage("+15558675310", "[Critical] It fails", "not sent")


def postmark(request: Recorded) -> dict[str, Any]:
    return {"To": request.json["To"], "Subject": request.json["Subject"], "Text": request.json["TextBody"]}


def sendgrid(request: Recorded) -> dict[str, Any]:
    body = request.json
    assert "mail_settings" not in body
    [personal] = body["personalizations"]
    return {
        "To": personal["to"][0]["email"],
        "Subject": body["subject"],
        "Text": body["content"][0]["value"],
    }


def mailgun(request: Recorded) -> dict[str, Any]:
    assert "o:testmode" not in request.form
    return {"To": request.form["to"], "Subject": request.form["subject"], "Text": request.form["text"]}


def twilio(request: Recorded) -> dict[str, Any]:
    return {"To": request.form["To"], "Text": request.form["Body"]}


def vonage(request: Recorded) -> dict[str, Any]:
    return {"To": request.form["to"], "Text": request.form["text"]}


WANTED_MAIL = {"To": MAIL.recipient, "Subject": MAIL.subject, "Text": MAIL.text}
_TAKEN: dict[str, Any] = {
    "SendGrid": ("POST /v3/mail/send", Answer(202, b"", {"X-Message-Id": "sg-1"}), sendgrid, "sg-1"),
    "Mailgun": (None, Answer(200, {"id": "<mg-1>", "message": "Queued."}), mailgun, "<mg-1>"),
    "Postmark": ("POST /email", Answer(200, {"ErrorCode": 0, "MessageID": "pm-1"}), postmark, "pm-1"),
    "Twilio": (
        f"POST /2010-04-01/Accounts/{SID}/Messages.json",
        Answer(201, {"sid": "SM1", "status": "queued"}),
        twilio,
        "SM1",
    ),
    "Vonage": (
        "POST /sms/json",
        Answer(200, {"messages": [{"status": "0", "message-id": "vo-1"}]}),
        vonage,
        "vo-1",
    ),
}
PROVIDERS = pytest.mark.parametrize("name", sorted(_TAKEN))


def _message(name: str) -> OutgoingMessage:
    return SMS if name in ("Twilio", "Vonage") else MAIL


def _line(name: str, configuration: Any) -> str:
    return _TAKEN[name][0] or f"POST /v3/{configuration.domain}/messages"


@PROVIDERS
async def test_a_message_is_sent_as_it_is(name: str) -> None:
    _, answer, read, reference = _TAKEN[name]
    async with world(CASES[name]) as here:
        here.server.add(route(_line(name, here.connection.configuration), answer))
        assert await CASES[name].provider.send(here.connection, _message(name)) == reference
        [request] = here.server.requests
        got = read(request)
        if name in ("Twilio", "Vonage"):
            assert got == {
                "To": SMS.recipient.removeprefix("+") if name == "Vonage" else SMS.recipient,
                "Text": SMS.subject,
            }
        else:
            assert got == WANTED_MAIL
        assert here.server.unexpected == []


@PROVIDERS
@pytest.mark.parametrize(("status", "kind"), [(401, "unauthorized"), (503, "unavailable")])
async def test_a_refusal_is_told_for_what_it_is(name: str, status: int, kind: str) -> None:
    async with world(CASES[name]) as here:
        here.server.always = Answer(status, {})
        with pytest.raises(ProviderFailure) as caught:
            await CASES[name].provider.send(here.connection, _message(name))
        assert caught.value.kind == kind


@pytest.mark.parametrize("name", sorted(set(CASES) - set(_TAKEN)))
async def test_the_other_providers_send_no_messages(name: str) -> None:
    async with world(CASES[name]) as here:
        with pytest.raises(ProviderFailure) as caught:
            await CASES[name].provider.send(here.connection, MAIL)
        assert caught.value.kind == "rejected"
        assert here.server.requests == []
