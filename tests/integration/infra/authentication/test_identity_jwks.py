"""Key sets: what is taken from one, when it is fetched, and what serves while it cannot be."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from domain.core.errors import Unavailable
from infra.authentication.discovery import IssuerKeys
from infra.authentication.jwks import CachedKeys
from infra.authentication.keys import SigningKey, parse_key_set


def ec_jwk(kid: str, **members: Any) -> dict[str, Any]:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return {**ECAlgorithm.to_jwk(public, as_dict=True), "kid": kid, **members}


RSA = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key(), as_dict=True)
ONE, TWO = ec_jwk("one"), ec_jwk("two")


def test_only_usable_signing_keys_are_taken() -> None:
    p384 = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)
    members = [
        ONE,
        {**RSA, "kid": "rsa"},
        {**RSA, "kid": "encryption", "use": "enc"},
        {**RSA, "kid": "rs512", "alg": "RS512"},
        {**RSA, "kid": "confused", "alg": "HS256"},
        {**p384, "kid": "p384"},
        {**p384, "kid": "p384-as-es256", "alg": "ES256"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
        RSA,
        {"kid": "nothing"},
        "not a key",
    ]
    assert parse_key_set({"keys": members}).keys() == {"one", "rsa"}


def test_a_private_part_published_by_mistake_is_not_taken_in() -> None:
    private = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    key = parse_key_set({"keys": [{**private, "kid": "1"}]})["1"]
    assert isinstance(key.jwk.key, ec.EllipticCurvePublicKey)


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, {"keys": []}, {"keys": [{"kty": "RSA"}]}])
def test_a_document_without_keys_is_no_key_set(document: object) -> None:
    with pytest.raises(ValueError, match="JWK Set"):
        parse_key_set(document)


_member = st.none() | st.integers() | st.text(max_size=8) | st.lists(st.integers(), max_size=2)
_jwk_names = st.sampled_from(["kty", "alg", "crv", "x", "y", "n", "e", "use", "issuer"])


@given(st.dictionaries(_jwk_names, _member), st.sampled_from([ONE, RSA]))
def test_a_broken_key_costs_only_itself(broken: dict[str, Any], base: dict[str, Any]) -> None:
    keys = parse_key_set({"keys": [{**base, **broken, "kid": "broken"}, {**broken, "kid": "bare"}, TWO]})
    assert "two" in keys


class Issuer:
    """A fetch whose answer and outages the test decides, with a clock."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.publish(*keys)
        self.down = False
        self.fetches = 0
        self.time = 1000.0
        self.gate: threading.Event | None = None
        self.reached = threading.Event()

    def publish(self, *keys: dict[str, Any]) -> None:
        self.keys = parse_key_set({"keys": list(keys)})

    def fetch(self) -> dict[str, SigningKey]:
        self.fetches += 1
        self.reached.set()
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.down:
            raise Unavailable("down")
        return self.keys

    def cached(self) -> CachedKeys:
        return CachedKeys(self.fetch, cache_seconds=3600, now=lambda: self.time)


def test_keys_are_fetched_once_and_kept_for_their_time() -> None:
    issuer = Issuer(ONE)
    keys = issuer.cached()
    for _ in range(50):
        assert keys.find("one")
    issuer.time += 3599
    keys.find("one")
    assert issuer.fetches == 1
    issuer.time += 1
    keys.find("one")
    assert issuer.fetches == 2


def test_a_new_key_is_found_when_a_token_names_it() -> None:
    issuer = Issuer(ONE)
    keys = issuer.cached()
    keys.find("one")
    issuer.publish(ONE, TWO)
    issuer.time += 31
    assert keys.find("two")
    assert issuer.fetches == 2


def test_a_withdrawn_key_is_gone_after_the_refresh() -> None:
    issuer = Issuer(ONE)
    keys = issuer.cached()
    assert keys.find("one")
    issuer.publish(TWO)
    issuer.time += 3600
    assert keys.find("one") is None


def test_a_storm_of_unknown_ids_fetches_once_in_30_seconds() -> None:
    issuer = Issuer(ONE)
    keys = issuer.cached()
    for second in range(90):
        for number in range(20):
            assert keys.find(f"made-up-{second}-{number}") is None
        issuer.time += 1
    assert issuer.fetches == 3


def test_a_storm_at_start_from_many_threads_fetches_once() -> None:
    issuer = Issuer(ONE)
    issuer.gate = threading.Event()
    keys = issuer.cached()
    with ThreadPoolExecutor(16) as threads:
        found = [threads.submit(keys.find, "one" if n % 2 else f"made-up-{n}") for n in range(64)]
        assert issuer.reached.wait(10)
        issuer.gate.set()
        assert [future.result() is not None for future in found] == [n % 2 == 1 for n in range(64)]
    assert issuer.fetches == 1


def test_held_keys_serve_without_waiting_while_another_thread_refreshes() -> None:
    issuer = Issuer(ONE)
    keys = issuer.cached()
    keys.find("one")
    issuer.time += 3600
    issuer.reached.clear()
    issuer.gate = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        refreshing = threads.submit(keys.find, "one")
        assert issuer.reached.wait(10)
        assert keys.find("one")
        assert not refreshing.done()
        issuer.gate.set()
        assert refreshing.result()
    assert issuer.fetches == 2


def test_held_keys_outlast_their_time_while_the_issuer_is_down() -> None:
    issuer = Issuer(ONE)
    keys = issuer.cached()
    keys.find("one")
    issuer.down = True
    issuer.time += 3600
    for _ in range(60):
        assert keys.find("one")
        issuer.time += 1
    assert issuer.fetches == 3


def test_an_unknown_id_while_the_issuer_is_down_is_unavailable_rather_than_wrong() -> None:
    issuer = Issuer(ONE)
    keys = issuer.cached()
    keys.find("one")
    issuer.down = True
    issuer.time += 31
    for _ in range(2):
        with pytest.raises(Unavailable):
            keys.find("two")
    issuer.down = False
    issuer.publish(ONE, TWO)
    issuer.time += 31
    assert keys.find("two")


def test_an_issuer_down_from_the_start_is_tried_every_5_seconds() -> None:
    issuer = Issuer(ONE)
    issuer.down = True
    keys = issuer.cached()
    for _ in range(10):
        with pytest.raises(Unavailable):
            keys.find("one")
        issuer.time += 1
    assert issuer.fetches == 2
    issuer.down = False
    assert keys.find("one")


def test_the_generation_moves_only_when_the_set_does() -> None:
    issuer = Issuer(ONE)
    keys = issuer.cached()
    keys.find("one")
    first = keys.generation
    issuer.publish(ONE)
    issuer.time += 3600
    keys.find("one")
    assert (keys.generation, issuer.fetches) == (first, 2)
    issuer.publish(ec_jwk("one"))
    issuer.time += 3600
    keys.find("one")
    assert keys.generation != first


class Server:
    """An HTTP server on loopback that answers from a table of paths."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.paths: list[str] = []
        answers, paths = self.answers, self.paths

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                paths.append(self.path)
                status, body = answers.get(self.path, (404, b""))
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/keys")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, path: str, document: object, status: int = 200) -> None:
        self.answers[path] = (status, json.dumps(document).encode())


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.answer("/keys", {"keys": [ONE]})
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


DISCOVERY = "/.well-known/openid-configuration"


def fetch(issuer: str, jwks_url: str | None = None) -> dict[str, SigningKey]:
    return IssuerKeys(issuer, jwks_url, allow_loopback_http=True).fetch()


def test_keys_are_found_by_discovery(server: Server) -> None:
    server.answer(DISCOVERY, {"issuer": server.url, "jwks_uri": f"{server.url}/keys"})
    assert fetch(server.url).keys() == {"one"}
    assert server.paths == [DISCOVERY, "/keys"]


def test_a_given_address_is_used_without_discovery(server: Server) -> None:
    assert fetch("https://issuer.example", f"{server.url}/keys").keys() == {"one"}
    assert server.paths == ["/keys"]


def test_a_multi_tenant_issuer_is_discovered_at_common(server: Server) -> None:
    template = server.url + "/{tenantid}/v2.0"
    server.answer(f"/common/v2.0{DISCOVERY}", {"issuer": template, "jwks_uri": f"{server.url}/keys"})
    assert fetch(template).keys() == {"one"}


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://other.example", "jwks_uri": "{url}/keys"},
        {"issuer": "{url}", "jwks_uri": "http://keys.example/keys"},
        {"issuer": "{url}", "jwks_uri": "file:///etc/passwd"},
        {"issuer": "{url}"},
        ["{url}"],
    ],
)
def test_a_discovery_document_that_leads_astray_is_refused(server: Server, document: object) -> None:
    server.answers[DISCOVERY] = (200, json.dumps(document).replace("{url}", server.url).encode())
    with pytest.raises(Unavailable):
        fetch(server.url)
    assert "/keys" not in server.paths


@pytest.mark.parametrize(
    "answer",
    [(500, b""), (302, b""), (200, b"<html>"), (200, b"\xff"), (200, b"{}"), (200, b"[" * 100_000),
     (200, b" " * (512 * 1024) + b"{}")],
    ids=["error", "redirect", "html", "bytes", "empty", "nested", "huge"],
)  # fmt: skip
def test_an_answer_that_is_no_key_set_is_unavailable(server: Server, answer: tuple[int, bytes]) -> None:
    server.answers["/odd"] = answer
    with pytest.raises(Unavailable, match=r"keys cannot be fetched"):
        fetch(server.url, f"{server.url}/odd")
    assert server.paths == ["/odd"]


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        fetch("http://127.0.0.1:1")


def test_rollover_and_outage_against_a_real_server(server: Server) -> None:
    time = 0.0
    source = IssuerKeys(server.url, f"{server.url}/keys", allow_loopback_http=True)
    keys = CachedKeys(source.fetch, cache_seconds=3600, now=lambda: time)
    assert keys.find("one")
    server.answer("/keys", {"keys": [ONE, TWO]})
    assert keys.find("two") is None
    time += 30
    assert keys.find("two")
    server.answer("/keys", {}, status=503)
    time += 3600
    for number in range(50):
        assert keys.find("two")
        with pytest.raises(Unavailable):
            keys.find(f"made-up-{number}")
    assert server.paths == ["/keys"] * 3
