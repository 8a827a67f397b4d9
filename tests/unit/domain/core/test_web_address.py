"""Which addresses the product calls, and how they are read."""

from ipaddress import IPv4Address, IPv6Address

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from yarl import URL

from domain.core.errors import ValidationFailed
from domain.core.web_address import BadAddress, NotHttps, read_address, require_https
from domain.integrations.rules import check_urls
from domain.webhooks.rules import check_url
from infra.authentication.discovery import IssuerKeys
from infra.azure.openai.access import KeyModelAccess
from infra.azure.openai.model import AzureOpenAI
from infra.providers._kit.field_types import HttpsUrl

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
    "https://\uff41.example/",
    "https://\u2488com/",
    "https://xn--\u00fc.example/",
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
    with pytest.raises(BadAddress):
        read_address(url)


def test_a_refusal_does_not_repeat_the_url() -> None:
    with pytest.raises(BadAddress) as refused:
        read_address("https://user:hunter2@example.com/")
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
        ("https://xn--ls8h.la/a%3Bb", "xn--ls8h.la", 443, "https://xn--ls8h.la/a%3Bb"),
        ("https://XN--A.example/", "xn--a.example", 443, "https://xn--a.example/"),
        ("https://ab--cd.example/", "ab--cd.example", 443, "https://ab--cd.example/"),
        ("https://r3---sn-x.3com.example/", "r3---sn-x.3com.example", 443, "https://r3---sn-x.3com.example/"),
        ("https://hooks-.-a.example/", "hooks-.-a.example", 443, "https://hooks-.-a.example/"),
        ("https://_hooks.example/", "_hooks.example", 443, "https://_hooks.example/"),
        ("https://\N{PILE OF POO}.la/", "xn--ls8h.la", 443, "https://xn--ls8h.la/"),
        ("https://i\u2764\ufe0f.example/", "xn--i-7iq.example", 443, "https://xn--i-7iq.example/"),
        (
            "https://my_münchen.example/",
            "xn--my_mnchen-t9a.example",
            443,
            "https://xn--my_mnchen-t9a.example/",
        ),
        ("https://ab--cd.münchen.example/", "ab--cd.xn--mnchen-3ya.example", 443, None),
        ("https://straße.example/", "xn--strae-oqa.example", 443, "https://xn--strae-oqa.example/"),
    ],
)
def test_a_plain_url_is_brought_to_its_normal_form(
    url: str, host: str, port: int, normal: str | None
) -> None:
    address = read_address(url)
    normal = normal or f"https://{host}/"
    assert (address.host, address.port, address.url, address.literal) == (host, port, normal, None)


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
    assert read_address(url).literal == literal


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"])
def test_http_is_for_three_names_of_this_machine_and_only_where_allowed(host: str) -> None:
    url = f"http://{host}:8080/hook"
    assert require_https(url, allow_loopback=True).port == 8080
    with pytest.raises(NotHttps):
        require_https(url, allow_loopback=False)


@pytest.mark.parametrize(
    "host",
    [
        "localhost.",
        "a.localhost",
        "127.0.0.2",
        "[::ffff:127.0.0.1]",
        "localhost.example.com",
        "notlocalhost",
        "8.8.8.8",
        "[2606:4700::1]",
    ],
)
def test_http_to_any_other_host_is_refused(host: str) -> None:
    with pytest.raises(NotHttps):
        require_https(f"http://{host}/", allow_loopback=True)


@pytest.mark.parametrize(
    "url", ["https://example.com/#part", "https://example.com/#", "https://example.com#a"]
)
def test_an_address_with_a_fragment_is_refused(url: str) -> None:
    with pytest.raises(BadAddress):
        require_https(url, allow_loopback=True)


@pytest.mark.parametrize("url", ["ftp://example.com/", "javascript://example.com/%0a", "//example.com/"])
def test_another_scheme_is_told_apart_from_an_address_that_cannot_be_read(url: str) -> None:
    with pytest.raises(NotHttps):
        read_address(url)


# One rule for all who take an address: what each of them refuses, every other one refuses.
REFUSED_BY_ALL = [
    "https://user:secret@example.com/",
    "https://2130706433/",
    "https://example.com:0/",
    "https://example.com/#part",
    "https://example.com/\u200b",
    "http://a.localhost/",
    "http://127.0.0.2/",
    "http://example.com/",
]


@pytest.mark.parametrize("url", REFUSED_BY_ALL)
def test_whoever_takes_an_address_refuses_the_same__BR_WH_01(url: str) -> None:
    with pytest.raises(ValidationFailed):
        check_url(url, allow_localhost=True)
    with pytest.raises(ValidationFailed):
        check_urls({"baseUrl": url}, allow_loopback=True)
    with pytest.raises(ValidationError):
        TypeAdapter(HttpsUrl).validate_python(url)
    with pytest.raises(ValueError, match="must be https and well formed"):
        IssuerKeys(url, url, allow_loopback_http=True)
    with pytest.raises(ValueError, match="must be https and well formed"):
        AzureOpenAI(url, "gpt", KeyModelAccess("key"), allow_loopback_http=True)


AUTHORITY = st.text(alphabet="abcx019.-_:[]@%\\/?#。１é \t", max_size=24)


@given(AUTHORITY)
def test_every_parser_on_the_way_sees_the_host_we_checked(authority: str) -> None:
    try:
        address = read_address(f"https://{authority}")
    except BadAddress:
        return
    assert httpx.URL(address.url).raw_host.decode() == address.host
    assert URL(str(httpx.URL(address.url))).raw_host == address.host
