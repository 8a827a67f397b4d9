"""One genuine webhook for each scheme by which the product knows a sender, with what the scheme leaves unsigned."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from domain.providers.contract import Connection, IncomingAnswer, Provider
from infra.providers.paypal.adapter import PayPal
from tests.fixtures.authority import new_authority, rsa_key
from tests.fixtures.providers import (
    azure_blob,
    custom_rest,
    hubspot,
    mailgun,
    s3,
    segment,
    square,
    stripe,
    twilio,
    vonage,
)
from tests.worlds.incoming_world import sendgrid_keys, signed_by_slack, signed_by_standard_webhooks
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_webhooks import STAMP, URL, Published
from tests.worlds.provider_world import NOW, incoming

JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
BODY = b'{"kind":"order.paid","total":7}'
STANDARD_SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


@dataclass(frozen=True)
class Genuine:
    """A request that its provider's adapter accepts.

    `flagged`: headers that the vendor does not sign and that name the event all the same; the event says so.
    `known`: nothing is signed, a secret in the request vouches for all of it."""

    name: str
    provider: str
    headers: Mapping[str, str]
    body: bytes = BODY
    url: str = URL
    method: str = "POST"
    changes: Mapping[str, Any] = field(default_factory=dict)
    pages: Mapping[str, bytes] = field(default_factory=dict)
    adapter: Provider | None = None
    flagged: frozenset[str] = frozenset()
    known: bool = False

    @property
    def secret(self) -> str:
        return str(self.changes.get("webhookSecret") or custom_rest.WEBHOOK_SECRET)

    async def received(self, **changes: Any) -> IncomingAnswer:
        """What the adapter makes of the request; `changes` are made to it on its way."""
        case = CASES[self.provider]
        given = {**case.configuration("https://vendor.example.org"), **self.changes}
        model = case.provider.profile.configuration
        connection = Connection(model.model_validate(given), Published(self.pages), NOW)
        request = {"body": self.body, "headers": self.headers, "url": self.url, "method": self.method}
        adapter = self.adapter or case.provider
        return await adapter.receive(connection, incoming(**{**request, **changes}))


def mac(secret: str, signed: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.digest(secret.encode(), signed, algorithm)


def rest(name: str, scheme: Mapping[str, Any], headers: Mapping[str, str], **options: Any) -> Genuine:
    """A custom REST API whose webhooks have this scheme."""
    changes = {"webhook": scheme, **options.pop("changes", {})}
    return Genuine(f"REST {name}", "REST", headers, changes=changes, **options)


def declared(template: str, **values: str) -> Genuine:
    """A declared HMAC over the template, signed for these values and the body."""
    scheme = {"scheme": "hmac", "template": template}
    headers = dict(JSON)
    text = template.replace("{url}", URL).replace("{method}", "POST")
    for part, value in {"timestamp": STAMP, "id": "evt-1", **values}.items():
        if f"{{{part}}}" in template:
            scheme[f"{part}Header"] = f"X-{part}"
            headers[f"x-{part}"] = value
            text = text.replace(f"{{{part}}}", value)
    first, _, last = text.partition("{body}")
    signature = mac(custom_rest.WEBHOOK_SECRET, first.encode() + BODY + last.encode())
    return rest(f"hmac {template}", scheme, {**headers, "x-signature": signature.hex()})


def _paypal() -> Genuine:
    certificate = "https://api.paypal.com/v1/notifications/certs/CERT-1"
    body = b'{"id":"WH-1","event_type":"PAYMENT.CAPTURE.COMPLETED","create_time":"2026-03-01T11:59:58Z"}'
    signed = f"69cd13f0|2026-03-01T11:59:59Z|1JE4291016473214C|{zlib.crc32(body)}".encode()
    root = new_authority()
    headers = {
        **JSON,
        "paypal-auth-algo": "SHA256withRSA",
        "paypal-transmission-id": "69cd13f0",
        "paypal-transmission-time": "2026-03-01T11:59:59Z",
        "paypal-transmission-sig": base64.b64encode(rsa_key().sign(signed, PKCS1v15(), SHA256())).decode(),
        "paypal-cert-url": certificate,
    }
    pages = {certificate: root.issue("messageverificationcerts.paypal.com")}
    return Genuine("PayPal", "PayPal", headers, body, pages=pages, adapter=PayPal(trusted_roots=root.pem))


def sns_message(**changes: str) -> dict[str, str]:
    """A notification; `changes` are made before it is signed."""
    message = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c",
        "TopicArn": s3.TOPIC_ARN,
        "Message": json.dumps({"Records": [{"eventName": "ObjectCreated:Put"}]}),
        "Timestamp": "2026-03-01T11:59:59.123Z",
        "SignatureVersion": "2",
        "SigningCertURL": _SNS_CERTIFICATE,
        **changes,
    }
    names = ("Message", "MessageId", "Timestamp", "TopicArn", "Type")
    text = "".join(f"{name}\n{message[name]}\n" for name in names)
    signature = rsa_key().sign(text.encode(), PKCS1v15(), SHA256())
    return {**message, "Signature": base64.b64encode(signature).decode()}


_SNS_CERTIFICATE = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem"


def _sns() -> Genuine:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.public_key(rsa_key().public_key())
    builder = builder.not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=1))
    pem = builder.sign(rsa_key(), SHA256()).public_bytes(Encoding.PEM)
    body = json.dumps(sns_message()).encode()
    return Genuine("S3", "S3", {"content-type": "text/plain"}, body, pages={_SNS_CERTIFICATE: pem})


def _twilio() -> list[Genuine]:
    form = {"MessageSid": "SM1", "MessageStatus": "delivered"}
    over = URL + "".join(name + value for name, value in sorted(form.items()))
    signature = base64.b64encode(mac(twilio.TOKEN, over.encode(), "sha1")).decode()
    headers = {**FORM, "x-twilio-signature": signature}
    by_form = Genuine("Twilio form", "Twilio", headers, urlencode(form).encode())
    url = f"{URL}?bodySHA256={hashlib.sha256(BODY).hexdigest()}"
    signature = base64.b64encode(mac(twilio.TOKEN, url.encode(), "sha1")).decode()
    return [by_form, Genuine("Twilio JSON", "Twilio", {**JSON, "x-twilio-signature": signature}, url=url)]


def _vonage() -> list[Genuine]:
    body = b'{"message_uuid":"a-b","status":"delivered","timestamp":"2026-03-01T12:00:00Z"}'
    claims = {"iat": int(STAMP), "jti": "1", "payload_hash": hashlib.sha256(body).hexdigest()}
    token = jwt.encode(claims, vonage.SIGNATURE_SECRET, "HS256")
    by_token = Genuine("Vonage JWT", "Vonage", {**JSON, "authorization": f"Bearer {token}"}, body)
    parameters = {"text": "Hi", "timestamp": STAMP, "type": "text"}
    signed = "".join(f"&{name}={parameters[name]}" for name in sorted(parameters))
    parameters["sig"] = mac(vonage.SIGNATURE_SECRET, signed.encode()).hex()
    older = {"signatureMethod": "sha256"}
    return [
        by_token,
        Genuine("Vonage sig", "Vonage", FORM, urlencode(parameters).encode(), changes=older),
    ]


def _all() -> list[Genuine]:
    public_key, sign = sendgrid_keys()
    by_sendgrid = sign(b'[{"event":"delivered","sg_event_id":"sg1","timestamp":1772366390}]', NOW)
    event = b'{"id":"evt_1","type":"charge.succeeded","created":1772366390}'
    stamped = mac(stripe.WEBHOOK_SECRET, STAMP.encode() + b"." + event).hex()
    payment = b'{"event_id":"sq1","type":"payment.updated","created_at":"2026-03-01T11:59:58Z"}'
    by_square = base64.b64encode(mac(square.SIGNATURE_KEY, URL.encode() + payment)).decode()
    mail = {
        "signature": {"timestamp": STAMP, "token": "t" * 50},
        "event-data": {"event": "opened", "timestamp": 1.5},
    }
    mail["signature"]["signature"] = mac(mailgun.SIGNING_KEY, f"{STAMP}{'t' * 50}".encode()).hex()  # type: ignore[index]
    milliseconds, contacts = f"{STAMP}000", b'[{"eventId":1,"subscriptionType":"contact.creation"}]'
    over = b"POST" + URL.encode() + contacts + milliseconds.encode()
    by_hubspot = base64.b64encode(mac(hubspot.CLIENT_SECRET, over)).decode()
    track = b'{"messageId":"seg1","type":"track","event":"Signed Up"}'
    secret = custom_rest.WEBHOOK_SECRET
    hub_signature = {**JSON, "x-hub-signature-256": f"sha256={mac(secret, BODY).hex()}"}
    shopify = base64.b64encode(mac(secret, BODY)).decode()
    slack = signed_by_slack(b'{"event_id":"Ev1","event":{"type":"message"}}', NOW, secret)
    standard = signed_by_standard_webhooks(b'{"type":"order.paid"}', NOW, STANDARD_SECRET)
    user = base64.b64encode(f"webhook:{secret}".encode()).decode()
    grid = b'[{"id":"eg1","eventType":"Blob.Created","eventTime":"2026-03-01T12:00:00Z"}]'
    channel = {"x-goog-channel-token": "channel-token", "x-goog-channel-id": "ch-1"}
    channel |= {"x-goog-message-number": "7", "x-goog-resource-state": "exists"}
    return [
        Genuine("Stripe", "Stripe", {**JSON, "stripe-signature": f"t={STAMP},v1={stamped}"}, event),
        _paypal(),
        Genuine("Square", "Square", {**JSON, "x-square-hmacsha256-signature": by_square}, payment),
        Genuine(
            "SendGrid",
            "SendGrid",
            by_sendgrid.headers,
            by_sendgrid.body,
            changes={"webhookPublicKey": public_key},
        ),
        Genuine("Mailgun", "Mailgun", JSON, json.dumps(mail).encode()),
        Genuine(
            "Postmark",
            "Postmark",
            {**JSON, "authorization": "Basic " + base64.b64encode(_postmark_user().encode()).decode()},
            b'{"RecordType":"Delivery","DeliveredAt":"2026-03-01T11:59:58Z"}',
            known=True,
        ),
        *_twilio(),
        *_vonage(),
        Genuine("Google", "Google", channel, b"", changes={"channelToken": "channel-token"}, known=True),
        Genuine(
            "Outlook",
            "Outlook",
            JSON,
            b'{"value":[{"clientState":"client-state","changeType":"updated","resource":"r"}]}',
            changes={"clientState": "client-state"},
            known=True,
        ),
        Genuine(
            "HubSpot",
            "HubSpot",
            {**JSON, "x-hubspot-request-timestamp": milliseconds, "x-hubspot-signature-v3": by_hubspot},
            contacts,
        ),
        Genuine(
            "Segment",
            "Segment",
            {**JSON, "x-signature": mac(segment.SHARED_SECRET, track, "sha1").hex()},
            track,
        ),
        Genuine(
            "AzureBlob", "AzureBlob", {**JSON, "x-webhook-secret": azure_blob.EVENT_SECRET}, grid, known=True
        ),
        _sns(),
        declared("{id}.{timestamp}.{body}"),
        declared("{timestamp}|{id}|{body}"),
        declared("{body}"),
        declared("{method}{url}{body}"),
        declared("{id}{timestamp}{body}"),
        rest(
            "standardWebhooks",
            {"scheme": "standardWebhooks"},
            standard.headers,
            body=standard.body,
            changes={"webhookSecret": STANDARD_SECRET},
        ),
        rest(
            "github",
            {"scheme": "github"},
            {**hub_signature, "x-github-delivery": "d-1", "x-github-event": "push"},
            flagged=frozenset(("x-github-delivery", "x-github-event")),
        ),
        rest(
            "shopify",
            {"scheme": "shopify"},
            {
                **JSON,
                "x-shopify-hmac-sha256": shopify,
                "x-shopify-webhook-id": "s-1",
                "x-shopify-topic": "orders/paid",
            },
            flagged=frozenset(("x-shopify-webhook-id", "x-shopify-topic")),
        ),
        rest("meta", {"scheme": "meta"}, hub_signature),
        rest("slack", {"scheme": "slack"}, slack.headers, body=slack.body),
        rest(
            "eventGrid", {"scheme": "eventGrid"}, {**JSON, "x-webhook-secret": secret}, body=grid, known=True
        ),
        rest("token", {"scheme": "token", "header": "X-Token"}, {**JSON, "x-token": secret}, known=True),
        rest("basic", {"scheme": "basic"}, {**JSON, "authorization": f"Basic {user}"}, known=True),
    ]


def _postmark_user() -> str:
    configuration = CASES["Postmark"].configuration("https://vendor.example.org")
    return f"{configuration['webhookUsername']}:{configuration['webhookPassword']}"


GENUINE = {genuine.name: genuine for genuine in _all()}
