"""Which addresses outbound calls may reach."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.outbound.addresses import forbidden_reason

FORBIDDEN = [
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "unspecified"),
    ("10.0.0.1", "private"),
    ("100.64.0.1", "carrier-grade NAT"),
    ("100.127.255.255", "carrier-grade NAT"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("168.63.129.16", "Azure platform"),
    ("169.254.169.254", "link-local"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.1", "IETF protocol assignment"),
    ("192.0.2.1", "documentation"),
    ("192.88.99.1", "6to4 relay"),
    ("192.168.1.1", "private"),
    ("198.18.0.1", "benchmarking"),
    ("198.51.100.1", "documentation"),
    ("203.0.113.1", "documentation"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::7f00:1", "IPv4-compatible"),
    ("::808:808", "IPv4-compatible"),
    ("::ffff:127.0.0.1", "IPv4-mapped"),
    ("::ffff:8.8.8.8", "IPv4-mapped"),
    ("::ffff:0:7f00:1", "IPv4-translated"),
    ("64:ff9b::7f00:1", "NAT64"),
    ("64:ff9b::808:808", "NAT64"),
    ("64:ff9b:1::a00:1", "NAT64"),
    ("100::1", "discard-only"),
    ("2001::1", "Teredo"),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
    ("2001:10::1", "IETF protocol assignment"),
    ("2001:db8::1", "documentation"),
    ("3fff::1", "documentation"),
    ("2002:7f00:1::", "6to4"),
    ("2002:808:808::1", "6to4"),
    ("fc00::1", "private"),
    ("fd12:3456::1", "private"),
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "scoped"),
    ("2606:4700::1%eth0", "scoped"),
    ("fec0::1", "site-local"),
    ("ff02::1", "multicast"),
    ("4000::1", "reserved"),
    ("5f00::1", "reserved"),
]

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "168.63.129.15",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:830::200e",
]

# Global by the registry, refused here: what they reach is not the open internet, or is a gateway to elsewhere.
GLOBAL_BUT_REFUSED = {
    "Azure platform",
    "6to4 relay",
    "multicast",
    "IETF protocol assignment",
    "NAT64",
    "6to4",
}
GLOBAL_BUT_REFUSED |= {
    "IPv4-mapped",
    "IPv4-compatible",
    "IPv4-translated",
    "reserved",
    "site-local",
    "documentation",
}


@pytest.mark.parametrize(("address", "reason"), FORBIDDEN)
def test_an_address_that_is_not_public_is_refused_with_its_kind(address: str, reason: str) -> None:
    assert forbidden_reason(ip_address(address), allow_loopback=False) == reason


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_admitted(address: str) -> None:
    assert forbidden_reason(ip_address(address), allow_loopback=False) is None


@pytest.mark.parametrize(("address", "reason"), FORBIDDEN)
def test_development_admits_loopback_and_nothing_else(address: str, reason: str) -> None:
    found = forbidden_reason(ip_address(address), allow_loopback=True)
    assert found == (None if reason == "loopback" else reason)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_whatever_is_admitted_is_global_unicast_by_the_registry(address: IPv4Address | IPv6Address) -> None:
    if forbidden_reason(address, allow_loopback=False) is None:
        assert address.is_global
        assert not address.is_multicast


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_a_global_address_is_refused_only_for_a_known_reason(address: IPv4Address | IPv6Address) -> None:
    if address.is_global:
        assert forbidden_reason(address, allow_loopback=False) in {None} | GLOBAL_BUT_REFUSED


@given(st.ip_addresses(v=4), st.booleans())
def test_no_ipv6_form_carries_an_ipv4_address_through(inner: IPv4Address, allow_loopback: bool) -> None:
    bits = int(inner)
    carriers = [
        bits,
        0xFFFF << 32 | bits,
        0xFFFF << 48 | bits,
        0x64FF9B << 96 | bits,
        0x64FF9B0001 << 80 | bits,
        0x2002 << 112 | bits << 80,
        0x20010000 << 96 | (bits ^ 0xFFFFFFFF),
    ]
    for carrier in map(IPv6Address, carriers):
        if carrier != IPv6Address("::1"):
            assert forbidden_reason(carrier, allow_loopback=allow_loopback) is not None
