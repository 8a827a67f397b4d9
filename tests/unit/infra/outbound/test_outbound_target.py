"""How an outbound URL is read."""

from ipaddress import IPv4Address, IPv6Address

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from infra.outbound.target import BadTarget, parse_target

ODD_SPELLINGS = [
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0x7F.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://0177.0.0.1/",
    "https://127.0.0.01/",
    "https://017700000001/",
    "https://127.0.0.1./",
    "https://127.0.0.0x1/",
    "https://256.1.1.1/",
    "https://1.2.3.4.5/",
    "https://example.1/",
    "https://0x/",
    "https://%31%32%37.0.0.1/",
    "https://127.0.0.1%2f@example.com/",
    "https://local%68ost/",
    "https://１２７.0.0.1/",  # noqa: RUF001 - fullwidth digits are the point
    "https://ⓛocalhost/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[::1",
    "https://[1::2::3]/",
    "https://[127.0.0.1]/",
    "https://user@127.0.0.1/",
    "https://user:secret@example.com/",
    "https://@example.com/",
    "https://example.com\\@127.0.0.1/",
    "https:\\\\127.0.0.1/",
    "https:///127.0.0.1/",
    "https:127.0.0.1",
    "//127.0.0.1/",
    "https://",
    "https:///",
    "https://.",
    "https://..example.com/",
    "https://exa mple.com/",
    "https://example.com/a b",
    "https://example.com/\r\nHost: internal",
    "https://example.com\t/",
    " https://example.com/",
    "https://example.com/\n",
    "https://exam\u200bple.com/",
    "https://-example.com/",
    "https://" + "a" * 64 + ".com/",
    "https://" + ".".join(["a" * 60] * 5) + "/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:-1/",
    "https://example.com:80:81/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/",
    "unix:/var/run/docker.sock",
    "",
]


@pytest.mark.parametrize("url", ODD_SPELLINGS)
def test_a_url_that_could_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(BadTarget):
        parse_target(url)


def test_a_refusal_does_not_repeat_the_url() -> None:
    with pytest.raises(BadTarget) as refused:
        parse_target("https://user:hunter2@example.com/")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "host", "port", "normal"),
    [
        ("https://Example.COM", "example.com", 443, "https://example.com/"),
        ("HTTPS://example.com:443/a?b=c#d", "example.com", 443, "https://example.com/a?b=c"),
        ("https://example.com:8443?x=1", "example.com", 8443, "https://example.com:8443?x=1"),
        ("https://münchen.example/", "xn--mnchen-3ya.example", 443, "https://xn--mnchen-3ya.example/"),
        ("https://my_host.example.com./x", "my_host.example.com.", 443, "https://my_host.example.com./x"),
        ("http://localhost:8080/", "localhost", 8080, "http://localhost:8080/"),
    ],
)
def test_a_plain_url_is_brought_to_its_normal_form(url: str, host: str, port: int, normal: str) -> None:
    target = parse_target(url)
    assert (target.host, target.port, target.url, target.literal) == (host, port, normal, None)


@pytest.mark.parametrize(
    ("url", "literal"),
    [
        ("https://8.8.8.8/", IPv4Address("8.8.8.8")),
        ("https://127。0。0。1/", IPv4Address("127.0.0.1")),
        ("https://[::1]/", IPv6Address("::1")),
        ("https://[::ffff:127.0.0.1]/", IPv6Address("::ffff:127.0.0.1")),
        ("https://[::FFFF:7F00:1]:8443/", IPv6Address("::ffff:7f00:1")),
        ("https://[2606:4700:0:0:0:0:0:1111]/", IPv6Address("2606:4700::1111")),
    ],
)
def test_an_address_literal_is_recognised(url: str, literal: IPv4Address | IPv6Address) -> None:
    assert parse_target(url).literal == literal


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1", "[::1]"]
)
def test_loopback_is_recognised_by_name_and_address(host: str) -> None:
    assert parse_target(f"http://{host}/").names_loopback


@pytest.mark.parametrize("host", ["localhost.example.com", "notlocalhost", "8.8.8.8", "[2606:4700::1]"])
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not parse_target(f"http://{host}/").names_loopback


AUTHORITY = st.text(alphabet="abcx019.-_:[]@%\\/?#。１é \t", max_size=24)


@given(AUTHORITY)
def test_every_parser_on_the_way_sees_the_host_we_checked(authority: str) -> None:
    try:
        target = parse_target(f"https://{authority}")
    except BadTarget:
        return
    assert httpx.URL(target.url).raw_host.decode() == target.host
    assert URL(str(httpx.URL(target.url))).raw_host == target.host
