"""Offline verification of PayPal's webhook messages.

The signed text and the certificate checks follow https://developer.paypal.com/api/rest/webhooks/rest/ and PayPal's
own SDK (https://github.com/paypal/PayPal-Python-SDK, `paypalrestsdk/notifications.py`): SHA256withRSA over
`transmissionId|transmissionTime|webhookId|crc32(body)`, with a certificate issued to a name under paypal.com.

CRC-32 is no cryptographic digest: who can read a message on its way (inside TLS) could give its signature another
body within the five minutes. That is PayPal's scheme; the body's event id is what repeats are recognised by, and a
second event of one transmission, whose id is signed, shows as such.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from domain.providers.contract import (
    IncomingRequest,
    ProviderHttp,
    ProviderRequest,
    SignatureRefused,
)
from infra.providers._kit.signatures import (
    check_moment,
    decode_base64,
    digest_id,
    parse_rfc3339,
    plain_id,
    required_header,
)

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_DOMAIN = ".paypal.com"
_CERTIFICATES_MAX_BYTES = 64 * 1024
_CHAIN_MAX = 8
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


async def check_transmission(
    http: ProviderHttp, webhook_id: str | None, request: IncomingRequest, trusted_roots: bytes | None
) -> str:
    """Return the digest of the transmission's id. Raises SignatureRefused unless PayPal signed the message.

    Raises ProviderFailure when its certificate cannot be fetched.
    What can be refused without asking PayPal is refused first."""
    if not webhook_id:
        raise SignatureRefused("No webhook id is configured for this integration.")
    if required_header(request.headers, "PAYPAL-AUTH-ALGO") != "SHA256withRSA":
        raise SignatureRefused("The signature algorithm is not SHA256withRSA.")
    transmission_id = plain_id(required_header(request.headers, "PAYPAL-TRANSMISSION-ID"), "transmission id")
    transmitted = required_header(request.headers, "PAYPAL-TRANSMISSION-TIME")
    signature = decode_base64(required_header(request.headers, "PAYPAL-TRANSMISSION-SIG"))
    url = _pinned(required_header(request.headers, "PAYPAL-CERT-URL"))
    check_moment(parse_rfc3339(transmitted), request.received_at)
    answer = await http.expect(
        ProviderRequest("GET", url, max_response_bytes=_CERTIFICATES_MAX_BYTES, timeout_seconds=5.0), 200
    )
    leaf = _trusted_leaf(answer.content(), trusted_roots, request.received_at)
    signed = f"{transmission_id}|{transmitted}|{webhook_id}|{zlib.crc32(request.body)}"
    _check_rsa(leaf, signature, signed.encode("utf-8", "surrogateescape"))
    return digest_id(transmission_id)


def _pinned(url: str) -> str:
    """Return the certificate's address, which must be https on a host under paypal.com.

    Anyone can put an address of their own into the header."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    plain = url.isascii() and "\\" not in url and "@" not in parts.netloc
    if not plain or parts.scheme != "https" or port not in (None, 443) or not host.endswith(_DOMAIN):
        raise SignatureRefused("The certificate's address is not at paypal.com.")
    return url


def _trusted_leaf(pem: bytes, trusted_roots: bytes | None, now: datetime) -> Certificate:
    """Return the first certificate, issued to a name under paypal.com and chained to a root at the time of receipt."""
    from cryptography import x509
    from cryptography.x509 import verification

    try:
        chain = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise SignatureRefused("The certificate cannot be read.") from None
    roots = _public_roots() if trusted_roots is None else x509.load_pem_x509_certificates(trusted_roots)
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store(roots))
        .time(now)
        .build_server_verifier(x509.DNSName(_paypal_name(chain[0])))
    )
    try:
        verifier.verify(chain[0], chain[1:_CHAIN_MAX])
    except verification.VerificationError:
        raise SignatureRefused("The certificate is not trusted.") from None
    return chain[0]


def _paypal_name(leaf: Certificate) -> str:
    from cryptography import x509

    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        raise SignatureRefused("The certificate names no host.") from None
    for name in names.get_values_for_type(x509.DNSName):
        if name.lower().endswith(_DOMAIN) and "*" not in name:
            return name
    raise SignatureRefused("The certificate was not issued to paypal.com.")


def _check_rsa(leaf: Certificate, signature: bytes, signed: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    key = leaf.public_key()
    if not isinstance(key, RSAPublicKey):
        raise SignatureRefused("The certificate's key is not an RSA key.")
    try:
        key.verify(signature, signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise SignatureRefused("The signature does not match.") from None


@lru_cache(maxsize=1)
def _public_roots() -> list[Certificate]:
    import certifi
    from cryptography import x509

    roots = []
    for pem in _CERTIFICATE.findall(certifi.contents()):
        # Some old roots break rules that newer parsers enforce; one of them must not take the others along.
        with contextlib.suppress(ValueError):
            roots.append(x509.load_pem_x509_certificate(pem.encode()))
    return roots
