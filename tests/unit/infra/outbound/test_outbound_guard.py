"""The address guard on names and sockets."""

import socket
from collections.abc import Sequence
from typing import Any

import pytest

from domain.core.ports import OutboundError
from infra.app.settings import Settings
from infra.outbound.addresses import ForbiddenAddress
from infra.outbound.client import OutboundClient
from infra.outbound.guard import AddressGuard, AddressInfo
from infra.outbound.request import OutboundRequest

PRODUCTION = Settings(environment="production")
DEVELOPMENT = Settings(environment="development")


def answer(address: str, port: int = 443) -> AddressInfo:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


class Names:
    """A name service whose answers change from one question to the next; the last one stays."""

    def __init__(self, *rounds: Sequence[str] | OSError) -> None:
        self._rounds = list(rounds)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **options: Any) -> list[AddressInfo]:
        self.asked.append(host)
        current = self._rounds.pop(0) if len(self._rounds) > 1 else self._rounds[0]
        if isinstance(current, OSError):
            raise current
        return [answer(address, port) for address in current]


async def test_a_name_with_public_addresses_only_is_resolved_to_all_of_them() -> None:
    guard = AddressGuard(allow_loopback=False, lookup=Names(["1.1.1.1", "2606:4700::1111"]))
    found = await guard.resolve("example.com", 443)
    assert [item[4][0] for item in found] == ["1.1.1.1", "2606:4700::1111"]


@pytest.mark.parametrize(
    "bad", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "fe80::1", "::ffff:8.8.8.8"]
)
@pytest.mark.parametrize("bad_first", [True, False])
async def test_one_bad_address_refuses_the_whole_name(bad: str, bad_first: bool) -> None:
    addresses = [bad, "1.1.1.1"] if bad_first else ["1.1.1.1", bad]
    guard = AddressGuard(allow_loopback=False, lookup=Names(addresses))
    with pytest.raises(ForbiddenAddress):
        await guard.resolve("example.com", 443)


async def test_an_answer_that_is_no_address_refuses_the_name() -> None:
    guard = AddressGuard(allow_loopback=True, lookup=Names(["not-an-address"]))
    with pytest.raises(ForbiddenAddress):
        await guard.resolve("example.com", 443)


async def test_an_empty_answer_does_not_resolve() -> None:
    guard = AddressGuard(allow_loopback=False, lookup=Names([]))
    with pytest.raises(socket.gaierror):
        await guard.resolve("example.com", 443)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_no_socket_is_opened_towards_a_bad_address(address: str) -> None:
    with pytest.raises(ForbiddenAddress):
        AddressGuard(allow_loopback=False).open_socket(answer(address))


def test_a_socket_is_opened_towards_a_public_address() -> None:
    with AddressGuard(allow_loopback=False).open_socket(answer("1.1.1.1")) as opened:
        assert opened.family == socket.AF_INET


async def test_check_admits_a_public_name_and_a_public_literal() -> None:
    names = Names(["1.1.1.1"])
    client = OutboundClient(PRODUCTION, lookup=names)
    await client.check("https://example.com/hook")
    await client.check("https://8.8.8.8/hook")
    assert names.asked == ["example.com"]


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::7f00:1]/",
        "https://[64:ff9b::a00:1]/",
        "https://[2002:7f00:1::]/",
        "https://10.1.2.3/",
        "https://169.254.169.254/metadata/instance",
        "https://168.63.129.16/machine?comp=goalstate",
        "https://2130706433/",
        "https://127.1/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://127。0。0。1/",
        "https://127.0.0.1./",
        "https://user@1.1.1.1/",
        "https://[fe80::1%25eth0]/",
        "http://example.com/",
        "http://localhost/",
        "http://8.8.8.8/",
    ],
)
async def test_production_refuses_it_before_any_lookup_when_checked_and_when_sent(url: str) -> None:
    names = Names(["1.1.1.1"])
    client = OutboundClient(PRODUCTION, lookup=names)
    with pytest.raises(OutboundError) as checked:
        await client.check(url)
    with pytest.raises(OutboundError) as sent:
        await client.send(request_to(url))
    assert (checked.value.kind, sent.value.kind) == ("blocked", "blocked")
    assert names.asked == []


@pytest.mark.parametrize("name", ["localhost", "localhost.", "internal.example.com"])
async def test_production_refuses_a_name_of_loopback_without_naming_the_address(name: str) -> None:
    client = OutboundClient(PRODUCTION, lookup=Names(["127.0.0.1"]))
    for call in (client.check(f"https://{name}/"), client.send(request_to(f"https://{name}/"))):
        with pytest.raises(OutboundError) as refused:
            await call
        assert refused.value.kind == "blocked"
        assert "127" not in str(refused.value)
    await client.close()


@pytest.mark.parametrize("url", ["http://example.com/", "https://10.0.0.1/", "https://[::ffff:127.0.0.1]/"])
async def test_development_opens_nothing_but_loopback(url: str) -> None:
    with pytest.raises(OutboundError) as refused:
        await OutboundClient(DEVELOPMENT, lookup=Names(["1.1.1.1"])).check(url)
    assert refused.value.kind == "blocked"


@pytest.mark.parametrize("url", ["http://localhost:1/", "http://127.0.0.1:1/", "https://[::1]:1/"])
async def test_development_admits_loopback(url: str) -> None:
    await OutboundClient(DEVELOPMENT, lookup=Names(["127.0.0.1"])).check(url)


async def test_a_name_that_does_not_resolve_is_a_connect_failure() -> None:
    names = Names(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    client = OutboundClient(PRODUCTION, lookup=names)
    for call in (
        client.check("https://nowhere.example/"),
        client.send(request_to("https://nowhere.example/")),
    ):
        with pytest.raises(OutboundError) as failed:
            await call
        assert (failed.value.kind, failed.value.detail) == ("connect", "The host name does not resolve")
    await client.close()


async def test_a_name_that_turns_to_loopback_after_the_check_is_refused_when_sent() -> None:
    names = Names(["1.1.1.1"], ["127.0.0.1"])
    client = OutboundClient(PRODUCTION, lookup=names)
    await client.check("https://rebind.example/")
    with pytest.raises(OutboundError) as refused:
        await client.send(request_to("https://rebind.example/"))
    assert refused.value.kind == "blocked"
    assert len(names.asked) == 2
    await client.close()


async def test_a_resolver_that_skipped_the_guard_still_reaches_no_bad_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unguarded(self: AddressGuard, host: str, port: int, family: int = 0) -> list[AddressInfo]:
        return [answer("127.0.0.1", port), answer("127.0.0.2", port)]

    monkeypatch.setattr(AddressGuard, "resolve", unguarded)
    client = OutboundClient(PRODUCTION)
    with pytest.raises(OutboundError) as refused:
        await client.send(request_to("https://example.com/"))
    assert refused.value.kind == "blocked"
    await client.close()


def request_to(url: str) -> OutboundRequest:
    return OutboundRequest("POST", url, body=b"{}", timeout_seconds=5)
