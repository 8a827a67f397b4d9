"""Vendors of messages as strict as their documentation: the account's own credentials, and verified senders only.

Sources: https://support.sendgrid.com/hc/en-us/articles/18322114821403 and .../smtp-errors-and-troubleshooting (403),
https://postmarkapp.com/developer/api/overview (error codes, `POSTMARK_API_TEST`),
https://documentation.mailgun.com/docs/mailgun/user-manual/sending-messages, https://www.twilio.com/docs/api/errors,
https://www.twilio.com/docs/iam/test-credentials, https://developer.vonage.com/en/messaging/sms/guides/troubleshooting-sms.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from domain.providers.contract import TestOptions
from tests.fixtures.providers import mailgun, postmark, sendgrid, twilio, vonage
from tests.fixtures.scripted_server import Answer, Recorded

SMS = TestOptions(recipient="+15558675310")
MAIL = TestOptions(recipient="someone@example.org")


@dataclass(frozen=True, slots=True)
class MessageVendor:
    """One vendor; `unverified` is what a configuration changes to name a sender that it refuses, saying `refusal`."""

    name: str
    options: TestOptions
    sender: str
    reference: str
    refusal: str
    unverified: Mapping[str, Any] = field(repr=False)
    answer: Callable[[Recorded], Answer | None] = field(repr=False)
    sent: Callable[[Recorded], tuple[str, str]] = field(repr=False)
    is_sandbox: Callable[[Recorded], bool] = field(repr=False)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _sendgrid(request: Recorded) -> Answer | None:
    if request.line != "POST /v3/mail/send":
        return None
    if request.headers.get("authorization") != f"Bearer {sendgrid.API_KEY}":
        return sendgrid.CASE.errors[401]
    mail = request.json
    if mail["from"]["email"] != "events@example.org":
        said = f"{_SENDGRID_REFUSAL} Mail cannot be sent until this error is resolved."
        return Answer(403, {"errors": [{"message": said, "field": "from", "help": None}]})
    if mail.get("mail_settings", {}).get("sandbox_mode", {}).get("enable"):
        return Answer(200)
    return Answer(202, headers={"x-message-id": "14c5d75ce93"})


def _postmark(request: Recorded) -> Answer | None:
    if request.line != "POST /email":
        return None
    token, mail = request.headers.get("x-postmark-server-token"), request.json
    taken = {"To": mail["To"], "SubmittedAt": "2026-03-01T09:00:00Z", "ErrorCode": 0, "MessageID": "b7bc2f4a"}
    if token == "POSTMARK_API_TEST":
        return Answer(200, taken | {"Message": "Test job accepted"})
    if token != postmark.TOKEN:
        return postmark.CASE.errors[401]
    if mail["From"] != "events@example.org":
        return Answer(422, {"ErrorCode": 400, "Message": f"{_POSTMARK_REFUSAL} on your account."})
    return Answer(200, taken | {"Message": "OK"})


def _mailgun(request: Recorded) -> Answer | None:
    if request.line != "POST /v3/mg.example.org/messages":
        return None if request.method == "GET" else Answer(404, {"message": "Domain not found"})
    if request.headers.get("authorization") != _basic("api", mailgun.API_KEY):
        return mailgun.CASE.errors[401]
    if not request.form["from"].endswith("@mg.example.org"):
        return Answer(403, {"message": _MAILGUN_REFUSAL})
    return Answer(200, {"id": "<20111114174239@mg.example.org>", "message": "Queued. Thank you."})


def _twilio(request: Recorded) -> Answer | None:
    if request.method != "POST":
        return None
    form = request.form
    test = f"POST /2010-04-01/Accounts/{twilio.TEST_SID}/Messages.json"
    is_test = request.line == test
    sid, token = (twilio.TEST_SID, twilio.TEST_TOKEN) if is_test else (twilio.SID, twilio.TOKEN)
    if request.line not in (test, f"POST /2010-04-01/Accounts/{twilio.SID}/Messages.json"):
        return twilio.error(404, 20404, "The requested resource was not found")
    if request.headers.get("authorization") != _basic(sid, token):
        return twilio.CASE.errors[401]
    # The magic sender is one to test credentials only, and nothing else is.
    if form["From"] != ("+15005550006" if is_test else "+15017122661"):
        return twilio.error(400, 21606, _TWILIO_REFUSAL)
    return Answer(201, {"sid": "SM1", "status": "queued", "error_code": None, "error_message": None})


def _vonage(request: Recorded) -> Answer | None:
    if request.line != "POST /sms/json":
        return None
    if request.headers.get("authorization") != _basic("abcd1234", vonage.SECRET):
        return Answer(200, {"messages": [{"status": "4", "error-text": "Bad Credentials"}]})
    if request.form["from"] != "EVENTS":
        return Answer(200, {"messages": [{"status": "15", "error-text": _VONAGE_REFUSAL}]})
    return Answer(200, {"messages": [{"status": "0", "message-id": "0A0000000123ABCD1"}]})


_SENDGRID_REFUSAL = "The from address does not match a verified Sender Identity."
_POSTMARK_REFUSAL = "The 'From' address you supplied is not a Sender Signature"
_MAILGUN_REFUSAL = "Sender address is not allowed for this domain"
_TWILIO_REFUSAL = "The 'From' phone number provided is not a valid message-capable Twilio phone number"
_VONAGE_REFUSAL = "Illegal Sender Address - rejected"

VENDORS: Mapping[str, MessageVendor] = {
    vendor.name: vendor
    for vendor in (
        MessageVendor(
            "SendGrid",
            MAIL,
            "events@example.org",
            "14c5d75ce93",
            _SENDGRID_REFUSAL,
            {"fromEmail": "nobody@example.net"},
            _sendgrid,
            lambda asked: (
                asked.json["from"]["email"],
                asked.json["personalizations"][0]["to"][0]["email"],
            ),
            lambda asked: "mail_settings" in asked.json,
        ),
        MessageVendor(
            "Postmark",
            MAIL,
            "events@example.org",
            "b7bc2f4a",
            _POSTMARK_REFUSAL,
            {"fromEmail": "nobody@example.net"},
            _postmark,
            lambda asked: (asked.json["From"], asked.json["To"]),
            lambda asked: asked.headers["x-postmark-server-token"] == "POSTMARK_API_TEST",
        ),
        MessageVendor(
            "Mailgun",
            MAIL,
            "postmaster@mg.example.org",
            "<20111114174239@mg.example.org>",
            _MAILGUN_REFUSAL,
            {"fromEmail": "nobody@example.net"},
            _mailgun,
            lambda asked: (asked.form["from"], asked.form["to"]),
            lambda asked: asked.form.get("o:testmode") == "yes",
        ),
        MessageVendor(
            "Twilio",
            SMS,
            "+15017122661",
            "SM1",
            _TWILIO_REFUSAL,
            {"fromNumber": "+15017122662"},
            _twilio,
            lambda asked: (asked.form["From"], asked.form["To"]),
            lambda asked: twilio.TEST_SID in asked.path,
        ),
        MessageVendor(
            "Vonage",
            SMS,
            "EVENTS",
            "0A0000000123ABCD1",
            _VONAGE_REFUSAL,
            {"sender": "Nobody"},
            _vonage,
            lambda asked: (asked.form["from"], f"+{asked.form['to']}"),
            lambda asked: False,
        ),
    )
}
