"""The way to a provider: encoding, retries, circuit breaker, errors. One test goes through the real client."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from domain.core.ports import OutboundError, OutboundResponse
from domain.providers.contract import ProviderFailure, ProviderRequest
from infra.app.settings import Settings
from infra.outbound.client import OutboundClient
from infra.outbound.request import OutboundRequest
from infra.outbound.transport import OutboundTransport
from infra.providers._kit.circuit import OPEN_AFTER_FAILURES, OPEN_SECONDS, Circuits, TenantHost
from infra.providers._kit.connection import HttpProviderConnection
from infra.providers._kit.refusal import scrub
from tests.worlds.builders import START, FakeClock
from tests.worlds.outbound_servers import read_request, serving

URL = "https://api.vendor.example/v1/things"
GET, POST = ProviderRequest("GET", URL), ProviderRequest("POST", URL, json={"a": 1})
Reply = OutboundResponse | OutboundError


def answer(status: int, body: Any = b"", **headers: str) -> OutboundResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return OutboundResponse(status, {k.replace("_", "-"): v for k, v in headers.items()}, content, 5)


def partial(status: int, body: bytes = b'{"a":') -> OutboundResponse:
    return OutboundResponse(status, {}, body, 5, "The body ended before it was complete", whole=False)


class Net:
    """Answers in order; the last one again and again."""

    def __init__(self, *replies: Reply) -> None:
        self.replies, self.sent = list(replies), list[OutboundRequest]()

    async def send(self, request: OutboundRequest) -> OutboundResponse:
        self.sent.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, OutboundError):
            raise reply
        return reply

    async def close(self) -> None: ...


class Timer:
    """Time that passes by being slept."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, list[float]()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def timer() -> Timer:
    return Timer()


@pytest.fixture
def connect(timer: Timer) -> Callable[..., HttpProviderConnection]:
    circuits = Circuits(lambda: timer.now)

    def make(net: Net, **options: Any) -> HttpProviderConnection:
        defaults: dict[str, Any] = {"circuits": circuits, "clock": FakeClock(), "sleep": timer.sleep}
        return HttpProviderConnection(
            OutboundTransport(net), **{**defaults, "jitter": lambda: 1.0, **options}
        )

    return make


Connect = Callable[..., HttpProviderConnection]


# Encoding


@pytest.mark.parametrize(
    ("request_", "body", "content_type"),
    [
        (ProviderRequest("POST", URL, json={"name": "Ü"}), '{"name":"Ü"}'.encode(), "application/json"),
        (
            ProviderRequest("POST", URL, form={"a b": "c&d"}),
            b"a+b=c%26d",
            "application/x-www-form-urlencoded",
        ),
        (ProviderRequest("PUT", URL, body=b"\x00raw", headers={"Content-Type": "x/y"}), b"\x00raw", "x/y"),
        (ProviderRequest("GET", URL), b"", None),
    ],
)
async def test_bodies_are_encoded(
    connect: Connect, request_: ProviderRequest, body: bytes, content_type: str | None
) -> None:
    net = Net(answer(200))
    await connect(net).send(request_)
    assert net.sent[0].body == body and net.sent[0].headers.get("content-type") == content_type


async def test_parameters_join_those_of_the_url_percent_encoded(connect: Connect) -> None:
    net = Net(answer(200))
    await connect(net).send(ProviderRequest("GET", URL + "?a=1", params=[("q", "x y&z"), ("q", "2")]))
    assert net.sent[0].url == URL + "?a=1&q=x%20y%26z&q=2"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://xn--ls8h.example/a%3Bb", "xn--ls8h.example"),
        ("https://xn--a.example/a%3Bb", "xn--a.example"),
        ("https://\N{PILE OF POO}.example/a%3Bb", "xn--ls8h.example"),
        ("https://ab--cd.münchen.example/a%3Bb", "ab--cd.xn--mnchen-3ya.example"),
        ("https://my_app.example:8443/a%3Bb", "my_app.example:8443"),
    ],
)
async def test_a_name_that_idna_2008_does_not_decode_is_called(connect: Connect, url: str, host: str) -> None:
    net = Net(answer(200))
    assert (await connect(net).send(ProviderRequest("GET", url))).status == 200
    assert (net.sent[0].url, net.sent[0].headers["host"]) == (url, host)


async def test_the_tls_floor_is_lowered_only_on_request(connect: Connect) -> None:
    net = Net(answer(200))
    await connect(net).send(GET)
    await connect(net, allow_tls_1_2=True).send(GET)
    assert [request.allow_tls_1_2 for request in net.sent] == [False, True]


# Retries


@pytest.mark.parametrize(
    ("request_", "reply", "tries"),
    [
        (GET, answer(503), 3),
        (GET, OutboundError("timeout", "No answer"), 3),
        (GET, OutboundError("protocol", "Broke"), 3),
        (GET, OutboundError("tls", "Bad certificate"), 1),
        (GET, OutboundError("blocked", "Not public"), 1),
        (GET, answer(404), 1),
        (GET, answer(401), 1),
        (GET, answer(501), 1),
        (POST, answer(503), 1),
        (POST, OutboundError("timeout", "No answer"), 1),
        (POST, OutboundError("connect", "Refused"), 3),
        (POST, answer(429), 3),
        (ProviderRequest("POST", URL, idempotent=True), answer(503), 3),
        (GET, partial(200), 3),
        (GET, partial(404), 1),
        (POST, partial(201), 1),
        (ProviderRequest("POST", URL, idempotent=True), partial(201), 3),
        (ProviderRequest("GET", URL, idempotent=False), answer(503), 1),
    ],
)
async def test_what_is_safe_to_repeat_is_repeated_twice(
    connect: Connect, request_: ProviderRequest, reply: Reply, tries: int
) -> None:
    net = Net(reply)
    if isinstance(reply, OutboundError):
        with pytest.raises(ProviderFailure) as failed:
            await connect(net).send(request_)
        assert failed.value.kind == "unavailable"
    else:
        assert (await connect(net).send(request_)).status == reply.status
    assert len(net.sent) == tries


async def test_only_a_body_that_is_needed_fails_a_call_whose_status_came(connect: Connect) -> None:
    response = await connect(Net(partial(200, b"[1]"))).expect(GET)
    assert (response.status, response.body) == (200, b"[1]")
    for read in (response.content, response.json):
        with pytest.raises(ProviderFailure, match="not complete: The body ended before") as failed:
            read()
        assert (failed.value.kind, failed.value.status) == ("unavailable", 200)


async def test_an_answer_beyond_its_bound_fails_where_its_body_is_needed_and_is_asked_for_once(
    connect: Connect,
) -> None:
    flaw = "The body is longer than the 8 bytes that are read of it"
    net = Net(OutboundResponse(200, {}, b'{"a":"bc', 5, flaw, is_cut=True))
    circuits = Circuits()
    for _ in range(OPEN_AFTER_FAILURES + 1):
        response = await connect(net, circuits=circuits).expect(GET)
        assert response.status == 200
        for read in (response.json, response.text, response.content):
            with pytest.raises(ProviderFailure, match="longer than the 8 bytes"):
                read()
    assert len(net.sent) == OPEN_AFTER_FAILURES + 1
    assert net.sent[0].max_response_bytes == 8 * 1024 * 1024


async def test_a_failure_keeps_its_kind_and_words_whatever_became_of_its_body(connect: Connect) -> None:
    cut = OutboundResponse(
        401, {}, b"<h1>No</h1> you may", 5, "The body ended before it was complete", whole=False
    )
    with pytest.raises(ProviderFailure) as failed:
        await connect(Net(cut)).expect(GET)
    assert (failed.value.kind, failed.value.status) == ("unauthorized", 401)


@pytest.mark.parametrize(
    ("request_", "repeatable"),
    [(GET, True), (POST, False), (ProviderRequest("POST", URL, idempotent=True), True)],
)
async def test_the_client_is_told_what_may_be_sent_twice(
    connect: Connect, request_: ProviderRequest, repeatable: bool
) -> None:
    net = Net(answer(200))
    await connect(net).send(request_)
    assert [request.repeatable for request in net.sent] == [repeatable]


async def test_waits_double_with_full_jitter(connect: Connect, timer: Timer) -> None:
    await connect(Net(answer(503))).send(GET)
    await connect(Net(answer(503)), jitter=lambda: 0.5).send(GET)
    assert timer.slept == [0.5, 1.0, 0.25, 0.5]


async def test_a_success_after_a_failure_is_the_answer(connect: Connect) -> None:
    net = Net(OutboundError("timeout", "No answer"), answer(200, b"ok"))
    assert (await connect(net).send(GET)).body == b"ok"


@pytest.mark.parametrize("value", ["3", (START + timedelta(seconds=3)).strftime("%a, %d %b %Y %H:%M:%S GMT")])
async def test_retry_after_is_obeyed_as_seconds_and_as_date(
    connect: Connect, timer: Timer, value: str
) -> None:
    net = Net(answer(429, retry_after=value), answer(200))
    assert (await connect(net).send(GET)).status == 200
    assert timer.slept == [3.0]


@pytest.mark.parametrize("value", ["soon", "-5", "", "²", "Mon, 01 Jan 99999999999999 00:00:00 GMT"])
async def test_an_unreadable_retry_after_is_ignored(connect: Connect, timer: Timer, value: str) -> None:
    await connect(Net(answer(429, retry_after=value), answer(200))).send(GET)
    assert timer.slept == [0.5]


async def test_a_long_wait_ends_the_call_and_holds_back_this_account_only(
    connect: Connect, timer: Timer
) -> None:
    net = Net(answer(429, retry_after="60"))
    with pytest.raises(ProviderFailure) as limited:
        await connect(net, account="a").expect(GET)
    assert (limited.value.kind, limited.value.retry_after_seconds) == ("rate_limited", 60.0)
    with pytest.raises(ProviderFailure) as held:
        await connect(net, account="a").send(GET)
    assert held.value.kind == "rate_limited" and len(net.sent) == 1 and timer.slept == []
    assert (await connect(Net(answer(200)), account="b").send(GET)).status == 200
    timer.now += 61
    assert (await connect(Net(answer(200)), account="a").send(GET)).status == 200


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry_after": "3"}, 3.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": str(int(START.timestamp()) + 4)}, 4.0),
        ({"ratelimit": '"default";r=0;t=5'}, 5.0),
    ],
)
async def test_a_403_of_a_limit_is_waited_for_whatever_the_method(
    connect: Connect, timer: Timer, headers: dict[str, str], wait: float
) -> None:
    net = Net(answer(403, {"message": "Secondary rate limit."}, **headers), answer(200))
    assert (await connect(net).expect(POST)).status == 200
    assert timer.slept == [wait]


async def test_a_403_of_a_spent_quota_holds_back_the_account_until_its_reset(connect: Connect) -> None:
    spent = answer(403, b"", x_ratelimit_remaining="0", x_ratelimit_reset=str(int(START.timestamp()) + 900))
    net = Net(spent)
    for _ in range(2):
        with pytest.raises(ProviderFailure) as caught:
            await connect(net, account="a").expect(GET)
        assert caught.value.kind == "rate_limited"
        assert caught.value.retry_after_seconds == pytest.approx(900, abs=1)
    assert len(net.sent) == 1


async def test_any_other_403_is_a_missing_permission(connect: Connect) -> None:
    net = Net(answer(403, {"message": "No."}, x_ratelimit_remaining="57", retry_after="soon"))
    with pytest.raises(ProviderFailure) as caught:
        await connect(net).expect(GET)
    assert caught.value.kind == "forbidden" and len(net.sent) == 1


async def test_a_host_in_trouble_uses_up_its_retries(connect: Connect) -> None:
    net = Net(answer(503), answer(503), answer(503), answer(200))
    for _ in range(12):
        net.replies = [answer(503), answer(200)]
        await connect(net).send(GET)
    net.replies, net.sent = [answer(503)], []
    await connect(net).send(GET)
    assert len(net.sent) == 1


# Circuit breaker


async def test_a_circuit_opens_after_failures_lets_one_try_and_closes(connect: Connect, timer: Timer) -> None:
    net = Net(answer(500))
    for _ in range(OPEN_AFTER_FAILURES):
        await connect(net, retries=0).send(GET)
    sent = len(net.sent)
    with pytest.raises(ProviderFailure) as held:
        await connect(net).send(GET)
    assert held.value.kind == "unavailable" and held.value.retry_after_seconds == OPEN_SECONDS
    assert len(net.sent) == sent
    timer.now += OPEN_SECONDS
    await connect(net, retries=0).send(GET)  # the one try, which fails: open for twice as long
    timer.now += OPEN_SECONDS
    with pytest.raises(ProviderFailure):
        await connect(net).send(GET)
    timer.now += OPEN_SECONDS
    net.replies = [answer(200)]
    assert (await connect(net).send(GET)).status == 200
    assert (await connect(net).send(GET)).status == 200


async def test_only_one_try_goes_out_while_half_open(timer: Timer) -> None:
    circuits = Circuits(lambda: timer.now)
    for _ in range(OPEN_AFTER_FAILURES):
        circuits.failed("h")
    assert circuits.state("h") == "open"
    timer.now += OPEN_SECONDS
    assert circuits.state("h") == "half-open"
    assert circuits.admit("h") is None and circuits.admit("h") is not None
    circuits.abandoned("h")
    assert circuits.admit("h") is None
    circuits.succeeded("h")
    assert circuits.state("h") == "closed"


async def test_client_errors_and_bad_certificates_open_no_circuit(connect: Connect) -> None:
    for reply in (answer(401), answer(429), OutboundError("tls", "x"), OutboundError("blocked", "x")):
        for _ in range(OPEN_AFTER_FAILURES + 1):
            try:
                await connect(Net(reply), retries=0).send(GET)
            except ProviderFailure as failed:
                assert "held back" not in failed.detail
    assert (await connect(Net(answer(200))).send(GET)).status == 200


async def test_a_cancelled_try_leaves_the_circuit_to_the_next(timer: Timer) -> None:
    circuits = Circuits(lambda: timer.now)
    for _ in range(OPEN_AFTER_FAILURES):
        circuits.failed(TenantHost("", "https://api.vendor.example:"))
    timer.now += OPEN_SECONDS

    class Stuck(Net):
        async def send(self, request: OutboundRequest) -> OutboundResponse:
            await asyncio.Event().wait()
            raise AssertionError

    stuck = HttpProviderConnection(OutboundTransport(Stuck(answer(200))), circuits=circuits)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await stuck.send(GET)
    after = HttpProviderConnection(OutboundTransport(Net(answer(200))), circuits=circuits)
    assert (await after.send(GET)).status == 200


# Errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "rejected"),
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "rejected"),
        (429, "rate_limited"),
        (500, "unavailable"),
        (301, "malformed"),
    ],
)
async def test_a_status_becomes_its_failure(connect: Connect, status: int, kind: str) -> None:
    with pytest.raises(ProviderFailure) as failed:
        await connect(Net(answer(status)), retries=0).expect(GET)
    assert (failed.value.kind, failed.value.status) == (kind, status)
    assert failed.value.detail == f"The provider answered {status}."


async def test_wanted_statuses_are_answers(connect: Connect) -> None:
    assert (await connect(Net(answer(404))).expect(GET, 200, 404)).status == 404
    with pytest.raises(ProviderFailure):
        await connect(Net(answer(204))).expect(GET, 200)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "No such customer", "type": "invalid_request_error"}}, "No such customer"),
        (
            {"errors": [{"message": "The from address is wrong", "field": "from"}]},
            "The from address is wrong",
        ),
        (
            {"errors": [{"category": "API_ERROR", "code": "X", "detail": "Card declined"}]},
            "Card declined",
        ),
        ([{"message": "Session expired", "errorCode": "INVALID_SESSION_ID"}], "Session expired"),
        ({"ErrorCode": 10, "Message": "Bad token"}, "Bad token"),
        (
            {"error": "invalid_client", "error_description": "Client authentication failed"},
            "Client authentication failed",
        ),
        ({"message": "Forbidden"}, "Forbidden"),
        ({"title": "Unauthorized", "detail": "Check the key"}, "Check the key"),
        ({"error-code-label": "authentication failed"}, "authentication failed"),
        (
            b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>',
            "Access Denied",
        ),
    ],
)
async def test_the_vendors_own_words_are_told(connect: Connect, body: Any, said: str) -> None:
    with pytest.raises(ProviderFailure) as failed:
        await connect(Net(answer(400, body))).expect(GET)
    assert failed.value.detail == f"The provider answered 400: {said}"


@pytest.mark.parametrize(
    "body", [b"", b"<html>Gateway</html>", b"[" * 5000, b'{"a":1}', b"\xff\xfe", b"null"]
)
async def test_a_body_without_a_message_is_not_quoted(connect: Connect, body: bytes) -> None:
    with pytest.raises(ProviderFailure) as failed:
        await connect(Net(answer(400, body))).expect(GET)
    assert failed.value.detail == "The provider answered 400."


async def test_no_credential_is_repeated_from_the_vendors_answer(connect: Connect) -> None:
    secret = "s3cr3t/with+odd chars"
    request = ProviderRequest(
        "GET", URL, headers={"Authorization": "Token abc-own-token-1", "X-Api-Key": "k-999-k"}
    )
    echoed = (
        f"key {secret} or s3cr3t%2Fwith%2Bodd%20chars or abc-own-token-1 or k-999-k, "
        "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln, sk_live_0123456789abcdef"
    )
    with pytest.raises(ProviderFailure) as failed:
        await connect(Net(answer(401, {"message": echoed})), secrets=[secret]).expect(request)
    for planted in (secret, "s3cr3t%2F", "abc-own-token-1", "k-999-k", "eyJ", "sk_live_0123"):
        assert planted not in failed.value.detail
    assert "********" in failed.value.detail


def test_a_shown_text_is_one_short_line() -> None:
    shown = scrub("a\r\nb\x00" + "c" * 1000, [])
    assert shown.startswith("a b") and len(shown) == 300 and shown.isprintable()


# The real client


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    made = OutboundClient(Settings(environment="development"))
    yield made
    await made.close()


async def test_over_the_wire_a_429_is_waited_for_and_repeated(client: OutboundClient, timer: Timer) -> None:
    replies = [
        b"HTTP/1.1 429 Slow\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}',
    ]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(replies.pop(0))
            await writer.drain()

    async with serving(handle) as origin:
        connection = HttpProviderConnection(OutboundTransport(client), sleep=timer.sleep)
        response = await connection.expect(ProviderRequest("GET", origin + "/x"))
    assert response.json() == {"a": 1} and timer.slept == [2.0]


async def test_over_the_wire_a_refused_connection_is_unavailable(
    client: OutboundClient, timer: Timer
) -> None:
    with pytest.raises(ProviderFailure) as failed:
        await HttpProviderConnection(OutboundTransport(client), sleep=timer.sleep).send(
            ProviderRequest("POST", "http://127.0.0.1:9/x")
        )
    assert failed.value.kind == "unavailable" and "127.0.0.1" not in failed.value.detail
    assert len(timer.slept) == 2


async def test_over_the_wire_an_answer_of_8_mib_is_read_and_one_byte_more_is_not(
    client: OutboundClient,
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await read_request(reader))[0].split(" ")[1]
        body = b'"' + b"x" * (int(path[1:]) - 2) + b'"'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    connection = HttpProviderConnection(OutboundTransport(client))
    async with serving(handle) as origin:
        most = ProviderRequest("GET", "").max_response_bytes
        assert most == 8 * 1024 * 1024
        exact = await connection.send(ProviderRequest("GET", f"{origin}/{most}"))
        assert len(exact.json()) == most - 2
        longer = await connection.send(ProviderRequest("GET", f"{origin}/{most + 1}"))
        with pytest.raises(ProviderFailure, match="longer than the 8388608 bytes"):
            longer.json()
