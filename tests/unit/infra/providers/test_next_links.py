"""Links to a next page: where they lead, what is kept of them, and which are refused."""

import pytest

from domain.providers.contract import ProviderFailure
from infra.providers._kit.paging import linked
from infra.providers.ical.caldav import resolved

BASE = "https://api.example:8443/base"
PAGE = f"{BASE}/v1/customers?page=1"


@pytest.mark.parametrize(
    ("link", "address"),
    [
        ("?page=2", f"{BASE}/v1/customers?page=2"),
        ("orders?page=2", f"{BASE}/v1/orders?page=2"),
        ("../v2/customers", f"{BASE}/v2/customers"),
        ("/base/v1/customers?page=2", f"{BASE}/v1/customers?page=2"),
        ("//api.example:8443/x?y", "https://api.example:8443/x?y"),
        ("https://API.example:8443/x", "https://api.example:8443/x"),
        ("https://api.example:8443?after=1", "https://api.example:8443/?after=1"),
        ("http://api.example/x?y=1", "https://api.example:8443/x?y=1"),
        ("http://api.example:8443/x", "https://api.example:8443/x"),
        ("?c=%ff%FE%2f+~a==&&x=%20;b", f"{BASE}/v1/customers?c=%ff%FE%2f+~a==&&x=%20;b"),
        ("/a;v=1/b?c=it's,(1)*", "https://api.example:8443/a;v=1/b?c=it's,(1)*"),
        (" ?q=a b&n=ä#part", f"{BASE}/v1/customers?q=a%20b&n=%C3%A4"),
    ],
)
def test_a_link_is_resolved_against_its_page_and_keeps_its_bytes(link: str, address: str) -> None:
    assert linked(BASE, link, PAGE) == address


def test_a_link_of_an_http_base_on_loopback_stays_there_whatever_its_scheme() -> None:
    assert linked("http://127.0.0.1:81", "https://127.0.0.1:81/x") == "http://127.0.0.1:81/x"


@pytest.mark.parametrize(
    "link",
    [
        "https://thief.example/x",
        "//thief.example/x",
        "http://thief.example:8443/x",
        "https://api.example/x",
        "http://api.example:9000/x",
        "https://u:p@api.example:8443/x",
        "https://api.example:8443@thief.example/x",
        "https://api.example:8443\\@thief.example/x",
        "https://api.example:x/",
        "ftp://api.example/x",
        "mailto:api@example",
    ],
)
def test_a_link_to_another_host_is_refused_with_the_reason(link: str) -> None:
    with pytest.raises(ProviderFailure, match="foreign host, which gets no credentials") as refused:
        linked(BASE, link, PAGE)
    assert (refused.value.kind, refused.value.is_lasting) == ("malformed", True)


@pytest.mark.parametrize("link", [None, 7, "", "  ", "/a\r\nHost: b", "/\x00"])
def test_what_is_no_address_is_refused(link: object) -> None:
    with pytest.raises(ProviderFailure, match="is not an address"):
        linked(BASE, link, PAGE)


@pytest.mark.parametrize(
    ("href", "address"),
    [
        ("b%40c.ics", "https://dav.example/cal/b%40c.ics"),
        ("/p/Ä%2f/", "https://dav.example/p/Ä%2f/"),
        ("http://dav.example/cal/x", "https://dav.example/cal/x"),
        ("http://dav.example:80/cal/x", "https://dav.example/cal/x"),
        ("https://p01.dav.example/x", "https://p01.dav.example/x"),
        ("http://thief.example/x", "http://thief.example/x"),
    ],
)
def test_an_address_of_a_caldav_server_behind_a_proxy_keeps_the_configured_scheme(
    href: str, address: str
) -> None:
    assert resolved("https://dav.example", "https://dav.example/cal/", href) == address
