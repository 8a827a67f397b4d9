"""Amazon SNS messages to HTTPS endpoints.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html
https://docs.aws.amazon.com/sns/latest/dg/http-subscription-confirmation-json.html
https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html (3,600 s of retries at most)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from domain.providers.contract import ProviderFailure, ProviderHttp, ProviderRequest, SignatureRefused
from infra.providers._kit.signatures import (
    TOLERANCE_SECONDS,
    check_equal,
    check_moment,
    decode_base64,
    parse_rfc3339,
    plain_id,
    signed_bytes,
)
from infra.providers._kit.wire import signed_json

#: A repeated message keeps the time it was first sent at.
_AGE_SECONDS = 3600 + TOLERANCE_SECONDS
_CERTIFICATE_BYTES = 64 * 1024
_KEY_BITS_MIN = 2048

_NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED = {
    "Notification": _NOTIFICATION,
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
_CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[A-Za-z0-9]{1,80}\.pem")


@dataclass(frozen=True, slots=True)
class SnsMessage:
    """A message whose signature holds. `subscribe_url` is set in confirmations."""

    type: str
    message_id: str
    text: str
    subscribe_url: str = field(default="", repr=False)


async def verified_message(http: ProviderHttp, body: bytes, topic_arn: str, now: datetime) -> SnsMessage:
    """Verify that the topic's region signed the body.

    The certificate comes from `sns.<region of the topic>.amazonaws.com` and nowhere else: anyone may publish
    files under other names of amazonaws.com, such as a bucket's. Raises SignatureRefused, ProviderFailure when
    the certificate cannot be fetched.
    """
    message = signed_json(body)
    if not isinstance(message, dict):
        raise SignatureRefused("The body is not an SNS message.")
    names = _SIGNED.get(_text(message, "Type"))
    if names is None:
        raise SignatureRefused("The message type is unknown.")
    check_equal(_text(message, "TopicArn"), topic_arn, "topic")
    check_moment(parse_rfc3339(_text(message, "Timestamp")), now, _AGE_SECONDS)
    signature = decode_base64(_text(message, "Signature"))
    address = _pinned(_text(message, "SigningCertURL"), topic_arn)
    if not _CERTIFICATE_PATH.fullmatch(urlsplit(address).path):
        raise SignatureRefused("The certificate's address is not one of SNS.")
    signed = "".join(f"{name}\n{_text(message, name)}\n" for name in names if name in message)
    request = ProviderRequest("GET", address, max_response_bytes=_CERTIFICATE_BYTES)
    certificate = (await http.expect(request, 200)).content()
    version = _text(message, "SignatureVersion")
    _check_rsa(certificate, signature, signed_bytes(signed), version=version, now=now)
    message_id = plain_id(_text(message, "MessageId"), "MessageId")
    subscribe_url = _pinned(_text(message, "SubscribeURL"), topic_arn) if "Token" in names else ""
    return SnsMessage(_text(message, "Type"), message_id, _text(message, "Message"), subscribe_url)


async def confirm(http: ProviderHttp, message: SnsMessage) -> None:
    """Visit the address of a new subscription. An unsubscription is left to stand."""
    if message.type == "SubscriptionConfirmation":
        await http.expect(ProviderRequest("GET", message.subscribe_url, idempotent=True), 200)


def _text(message: Mapping[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str):
        raise SignatureRefused(f"The message has no {name}.")
    return value


def _pinned(url: str, topic_arn: str) -> str:
    """Return the address, which must be https on the host of SNS in the topic's region."""
    _, partition, _, region, *_ = topic_arn.split(":")
    host = f"sns.{region}.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}"
    if not url.startswith(f"https://{host}/"):
        raise SignatureRefused("The message names an address that is not that of SNS in the topic's region.")
    return url


def _check_rsa(pem: bytes, signature: bytes, signed: bytes, *, version: str, now: datetime) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256
    from cryptography.x509 import load_pem_x509_certificate

    digests = {"1": SHA1, "2": SHA256}  # noqa: S303 - SNS signs version 1 with it
    if version not in digests:
        raise SignatureRefused("The signature version is unknown.")
    try:
        certificate = load_pem_x509_certificate(pem)
        key = certificate.public_key()
    except ValueError:
        raise ProviderFailure("unavailable", "The signing certificate cannot be read.") from None
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise SignatureRefused("The signing certificate has expired.")
    if not isinstance(key, RSAPublicKey) or key.key_size < _KEY_BITS_MIN:
        raise SignatureRefused("The signing certificate has no RSA key of 2048 bits.")
    try:
        # Version 1 is SHA-1, still the default of SNS topics; a forgery needs a second preimage.
        key.verify(signature, signed, PKCS1v15(), digests[version]())
    except InvalidSignature:
        raise SignatureRefused("The signature does not match.") from None
