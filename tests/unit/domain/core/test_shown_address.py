"""How addresses are shown."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.core.shown_address import host_of, shown_address

TOKEN = "Xq7Zp2Lr9Tw4"


def digits(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:8]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/", "https://a.example/"),
        ("https://a.example", "https://a.example/"),
        ("https://a.example:8443/services/T0/B0/x", "https://a.example:8443/se..."),
        ("https://a.example/hook", "https://a.example/h..."),
        ("https://a.example/ab", "https://a.example/..."),
        ("https://a.example/?key=secret", "https://a.example/..."),
        ("https://a.example?key=secret", "https://a.example/..."),
        ("HTTPS://A.example:443/Hooks", "https://a.example/H..."),
        ("https://user:secret@a.example/hook", "https://a.example/h..."),
        ("https://a@b@c.example/", "https://c.example/"),
        ("https://[2001:db8::1]:8443/in", "https://[2001:db8::1]:8443/..."),
        ("http://localhost:9000/hooks", "http://localhost:9000/h..."),
        ("https://a.example//double/slash", "https://a.example/do..."),
    ],
)
def test_origin_and_the_beginning_of_the_path_are_shown(url: str, shown: str) -> None:
    assert shown_address(url) == f"{shown}#{digits(url)}"


@pytest.mark.parametrize(
    "text", ["", "no address", "https://[::1", "://", "https://a.example\\secret", "//a.example/x"]
)
def test_of_what_is_no_address_only_the_digits_are_shown(text: str) -> None:
    assert shown_address(text).endswith(f"...#{digits(text)}")


def test_what_was_shown_is_shown_again_as_it_is() -> None:
    shown = shown_address(f"https://a.example/{TOKEN}")
    assert shown_address(shown) == shown


def test_a_change_anywhere_changes_the_digits() -> None:
    urls = [f"https://a.example/{TOKEN}", f"https://a.example/{TOKEN}/", f"https://a.example/{TOKEN}?a=1"]
    assert len({shown_address(url) for url in urls}) == len(urls)


@given(
    where=st.sampled_from(
        [
            "https://a.example/{}",
            "https://a.example/x/{}?y",
            "https://a.example/?k={}",
            "https://{}@a.example/",
            "https://u:{}@a.example/x",
            "https://a.example/x;{}",
            "//a.example/{}",
            "{}",
        ]
    ),
    secret=st.text(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", min_size=6, max_size=60
    ),
)
def test_no_secret_is_shown_wherever_it_stands(where: str, secret: str) -> None:
    url = where.format(secret)
    assert secret not in shown_address(url).rpartition("#")[0]
    assert "a.example" not in where or host_of(url) == "a.example"
