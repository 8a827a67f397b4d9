"""The outbound client's TLS floor and certificate checks, against real servers on loopback."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from domain.core.ports import OutboundError
from infra.app.settings import Settings
from infra.outbound.client import OutboundClient
from tests.worlds.outbound_servers import OK, answering, failing, post, serving

SETTINGS = Settings(environment="development")


Certificate = tuple[Path, Path]


def certified(folder: Path, common_name: str, *names: x509.GeneralName) -> Certificate:
    """A self-signed certificate, without subjectAltName where no `names` are given, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    building = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(key_id, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), critical=False)
    )
    if names:
        building = building.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = building.sign(key, hashes.SHA256())
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    names = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("hooks.example.com")]
    return certified(tmp_path_factory.mktemp("tls"), "loopback", *names)


def tls_server(certificate: Certificate, highest: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.maximum_version = highest
    return context


def loopback(host: str, port: int, **options: Any) -> Any:
    """Every name is this machine."""
    return socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)


@pytest.fixture
async def trusting(certificate: Certificate) -> AsyncIterator[OutboundClient]:
    made = OutboundClient(SETTINGS, ca_file=certificate[0], lookup=loopback)
    yield made
    await made.close()


async def test_tls_1_3_is_spoken_by_default(trusting: OutboundClient, certificate: Certificate) -> None:
    async with serving(answering(OK), tls_server(certificate, ssl.TLSVersion.TLSv1_3)) as origin:
        assert (await post(trusting, origin)).status == 200
        assert (await post(trusting, origin.replace("127.0.0.1", "hooks.example.com"))).status == 200


async def test_a_tls_1_2_server_needs_the_requests_consent_every_time(
    trusting: OutboundClient, certificate: Certificate
) -> None:
    async with serving(answering(OK), tls_server(certificate, ssl.TLSVersion.TLSv1_2)) as origin:
        assert (await failing(trusting, origin)).kind == "tls"
        assert (await post(trusting, origin, allow_tls_1_2=True)).status == 200
        assert (await failing(trusting, origin)).kind == "tls"


async def test_a_tls_1_2_server_that_says_so_is_named_as_such(
    trusting: OutboundClient, certificate: Certificate
) -> None:
    def refuse_once(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(ssl.SSLError):
            tls_server(certificate, ssl.TLSVersion.TLSv1_2).wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        refusing = asyncio.create_task(asyncio.to_thread(refuse_once, listening))
        error = await failing(trusting, f"https://127.0.0.1:{listening.getsockname()[1]}/")
        await refusing
    assert (error.kind, error.detail) == ("tls", "The server does not offer the TLS version required")


async def test_an_unknown_certificate_is_refused(certificate: Certificate) -> None:
    client = OutboundClient(SETTINGS)
    async with serving(answering(OK), tls_server(certificate, ssl.TLSVersion.TLSv1_3)) as origin:
        assert (await failing(client, origin)).kind == "tls"
    await client.close()


async def test_a_certificate_of_another_name_is_refused(
    trusting: OutboundClient, certificate: Certificate
) -> None:
    async with serving(answering(OK), tls_server(certificate, ssl.TLSVersion.TLSv1_3)) as origin:
        error = await failing(trusting, origin.replace("127.0.0.1", "other.example.com"))
    assert (error.kind, "other.example.com" in error.detail) == ("tls", True)


async def failure_with(certificate: Certificate, host: str) -> OutboundError | None:
    """What becomes of a post to a server with a certificate that is trusted; None: an answer."""
    client = OutboundClient(SETTINGS, ca_file=certificate[0], lookup=loopback)
    try:
        async with serving(answering(OK), tls_server(certificate, ssl.TLSVersion.TLSv1_3)) as origin:
            await post(client, origin.replace("127.0.0.1", host))
    except OutboundError as error:
        return error
    finally:
        await client.close()
    return None


async def test_a_certificate_that_names_its_host_as_common_name_only_is_refused(tmp_path: Path) -> None:
    error = await failure_with(certified(tmp_path, "hooks.example.com"), "hooks.example.com")
    assert error is not None and error.kind == "tls"
    assert "hooks.example.com" in error.detail


async def test_a_common_name_adds_nothing_to_the_names_of_a_certificate(tmp_path: Path) -> None:
    names = [x509.RFC822Name("admin@example.com")]
    error = await failure_with(certified(tmp_path, "hooks.example.com", *names), "hooks.example.com")
    assert error is not None and error.kind == "tls"


#: Names that DNS has and IDNA 2008 does not decode, or that are no host names by RFC 1123.
ODD_NAMES = [
    "xn--ls8h.example",
    "xn--a.example",
    "ab--cd.example",
    "_hooks.example",
    "my_app.example",
    "3com.example",
    "hooks-.example",
]


@pytest.mark.parametrize("host", ODD_NAMES)
async def test_a_name_that_dns_has_is_connected_to_and_its_certificate_checked(
    host: str, tmp_path: Path
) -> None:
    assert await failure_with(certified(tmp_path, "a receiver", x509.DNSName(host)), host) is None
    error = await failure_with(certified(tmp_path, host, x509.DNSName(f"other.{host}")), host)
    assert error is not None and error.kind == "tls"


@pytest.mark.parametrize("host", ["xn--ls8h.example.com", "ab--cd.example.com", "my_app.example.com"])
async def test_a_wildcard_covers_such_names_too(host: str, tmp_path: Path) -> None:
    assert await failure_with(certified(tmp_path, "all", x509.DNSName("*.example.com")), host) is None


async def test_a_server_without_tls_is_a_tls_failure(trusting: OutboundClient) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with serving(handle) as origin:
        assert (await failing(trusting, origin.replace("http://", "https://"))).kind == "tls"


async def test_a_server_that_never_shakes_hands_runs_into_the_timeout(trusting: OutboundClient) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with serving(handle) as origin:
        error = await failing(trusting, origin.replace("http://", "https://"), timeout_seconds=0.2)
    assert error.kind == "timeout"
