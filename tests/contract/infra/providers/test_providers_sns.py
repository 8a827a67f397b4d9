"""Bucket notifications through Amazon SNS: the signature, and where its certificate may come from."""

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from domain.providers.contract import Connection, SignatureRefused
from infra.providers.s3.adapter import PROVIDER as S3
from tests.fixtures.providers.s3 import TOPIC_ARN
from tests.worlds.provider_peers import CannedHttp
from tests.worlds.provider_world import NOW, incoming

CERTIFICATE_URL = (
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-9c6465fa7f48f5cacd23014631ec1136.pem"
)
SUBSCRIBE_URL = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RECORD = {
    "eventVersion": "2.1",
    "eventSource": "aws:s3",
    "eventTime": "2026-03-01T11:59:58.000Z",
    "eventName": "ObjectCreated:Put",
    "s3": {"bucket": {"name": "contoso"}, "object": {"key": "a.csv", "sequencer": "0055AED6DCD90281E5"}},
}


def certificate(days: int = 365) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=500))
        .not_valid_after(NOW - timedelta(days=500) + timedelta(days=500 + days))
        .sign(KEY, SHA256())
    )
    return made.public_bytes(Encoding.PEM)


CERTIFICATE = certificate()


def message(version: str = "2", **changes: Any) -> dict[str, Any]:
    """A signed notification; `changes` are made before it is signed."""
    made: dict[str, Any] = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC_ARN,
        "Subject": "Amazon S3 Notification",
        "Message": json.dumps({"Records": [RECORD, RECORD]}),
        "Timestamp": "2026-03-01T11:59:59.123Z",
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
    }
    made = {name: value for name, value in (made | changes).items() if value is not None}
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{made[name]}\n" for name in names if name in made)
    digest = SHA1() if version == "1" else SHA256()
    return made | {"Signature": b64encode(KEY.sign(text.encode(), PKCS1v15(), digest)).decode()}


def confirmation(**changes: Any) -> dict[str, Any]:
    given = {"Type": "SubscriptionConfirmation", "Subject": None, "Token": "2336412f37"}
    return message(**(given | {"SubscribeURL": SUBSCRIBE_URL} | changes))


def peer(pem: bytes = CERTIFICATE, **changes: Any) -> tuple[CannedHttp, Connection]:
    http = CannedHttp({CERTIFICATE_URL: pem, SUBSCRIBE_URL: b"<ConfirmSubscriptionResponse/>"})
    given = {
        "bucket": "contoso",
        "accessKeyId": "AKIA1",
        "secretAccessKey": "s",
        "topicArn": TOPIC_ARN,
    } | changes
    return http, Connection(S3.profile.configuration.model_validate(given), http, NOW)


def posted(content: Any, received_at: datetime = NOW) -> Any:
    return incoming(json.dumps(content).encode(), {"content-type": "text/plain"}, received_at=received_at)


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_signed_notification_names_its_events(version: str) -> None:
    _, connection = peer()
    answer = await S3.receive(connection, posted(message(version)))
    assert [event.type for event in answer.events] == ["ObjectCreated.Put"] * 2
    assert len({event.event_id for event in answer.events}) == 2
    assert answer.events[0].occurred_at == datetime(2026, 3, 1, 11, 59, 58, tzinfo=UTC)


async def test_a_notification_without_subject_is_signed_without_it() -> None:
    _, connection = peer()
    assert len((await S3.receive(connection, posted(message(Subject=None)))).events) == 2


async def test_a_test_event_of_the_bucket_is_accepted_and_names_nothing() -> None:
    _, connection = peer()
    content = message(Message=json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"}))
    assert (await S3.receive(connection, posted(content))).events == ()


async def test_a_signed_confirmation_is_confirmed() -> None:
    http, connection = peer()
    await S3.receive(connection, posted(confirmation()))
    assert http.asked == [CERTIFICATE_URL, SUBSCRIBE_URL]


@pytest.mark.parametrize(
    "name", ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "SigningCertURL"]
)
async def test_half_a_character_is_refused_like_any_other_change(name: str) -> None:
    """JSON can hold a lone surrogate, which UTF-8 cannot."""
    _, connection = peer()
    signed = message()
    with pytest.raises(SignatureRefused):
        await S3.receive(connection, posted(signed | {name: signed[name] + "\ud800"}))


@pytest.mark.parametrize("name", ["Message", "MessageId", "Subject", "Timestamp", "Signature"])
async def test_a_changed_field_is_refused(name: str) -> None:
    _, connection = peer()
    content = message()
    content[name] = {
        "Timestamp": "2026-03-01T11:59:58.000Z",
        "Signature": b64encode(bytes(256)).decode(),
    }.get(name, content[name] + " ")
    with pytest.raises(SignatureRefused):
        await S3.receive(connection, posted(content))


@pytest.mark.parametrize(
    "url",
    [
        "https://attacker.s3.amazonaws.com/SimpleNotificationService-1.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-1.pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem",
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
        "https://evil.example@sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
        "https://sns.eu-west-1.amazonaws.com/?Action=GetTopicAttributes",
        "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-1.pem",
    ],
)
async def test_certificates_come_from_the_topics_own_sns_host_only(url: str) -> None:
    http, connection = peer()
    with pytest.raises(SignatureRefused):
        await S3.receive(connection, posted(message(SigningCertURL=url)))
    assert http.asked == []


async def test_a_confirmation_that_leads_elsewhere_is_not_visited() -> None:
    http, connection = peer()
    with pytest.raises(SignatureRefused):
        await S3.receive(connection, posted(confirmation(SubscribeURL="https://evil.example/")))
    assert http.asked == [CERTIFICATE_URL]


@pytest.mark.parametrize(
    "content",
    [
        message(TopicArn="arn:aws:sns:eu-west-1:999999999999:bucket-events"),
        message(Type="Other"),
        message(SignatureVersion="3"),
        message(Timestamp="2026-03-01T10:30:00.000Z"),
        message(Timestamp="2026-03-01T12:30:00.000Z") | {"Signature": "AAAA"},
        [],
        {},
    ],
    ids=[
        "foreign topic",
        "unknown type",
        "unknown version",
        "older than an hour",
        "not signed",
        "list",
        "empty",
    ],
)
async def test_what_the_topic_did_not_sign_just_now_is_refused(content: Any) -> None:
    _, connection = peer()
    with pytest.raises(SignatureRefused):
        await S3.receive(connection, posted(content))


async def test_an_expired_certificate_is_refused() -> None:
    _, connection = peer(certificate(days=-1))
    with pytest.raises(SignatureRefused, match="expired"):
        await S3.receive(connection, posted(message()))


async def test_nothing_is_accepted_without_a_configured_topic() -> None:
    http, connection = peer(topicArn=None)
    with pytest.raises(SignatureRefused):
        await S3.receive(connection, posted(message()))
    assert http.asked == []
