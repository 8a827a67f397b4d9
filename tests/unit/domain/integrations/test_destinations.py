"""Which changes need the secrets again, and what tokens are bound to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from domain.core.errors import ValidationFailed
from domain.integrations.configuration import Split, accept, merge, overlay
from domain.integrations.destinations import bound_to, check_given, is_bound, moved
from domain.providers.contract import DESTINATION, Configuration, Secret

_Url = Annotated[str, DESTINATION]


class Door(Configuration):
    url: _Url
    password: str | None = Secret("Password", default=None)


class Venue(Configuration):
    """A door of each kind: required, with a default, optional, in an object, in a list, secret itself."""

    base_url: _Url = Field("https://api.example")
    region_url: _Url | None = Field(None)
    key_in: Annotated[Literal["header", "query"], DESTINATION] = Field("header")
    feed: _Url | None = Secret("Feed", default=None)
    currency: str = Field("USD")
    key: str | None = Secret("Key", default=None)
    signing: str | None = Secret("Signing key", travels=False, default=None)
    door: Door | None = Field(None)
    doors: list[Door] = Field([])

    def unused_secrets(self) -> tuple[str, ...]:
        return ("/key",) if self.currency == "NONE" else ()


START: dict[str, Any] = {"key": "k", "signing": "s", "doors": [{"url": "https://a.example", "password": "p"}]}


def _changed(
    change: dict[str, Any], start: dict[str, Any] = START
) -> tuple[list[str], Split, dict[str, Any]]:
    old, sent = accept(Venue, start), {**start, **change}
    sent = {name: value for name, value in sent.items() if name not in ("key", "signing") or name in change}
    new = merge(Venue, sent, old)
    return moved(Venue, old, new), new, sent


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"currency": "EUR"}, []),
        ({"baseUrl": "https://api.example"}, []),
        ({"baseUrl": "https://evil.example"}, ["/baseUrl"]),
        ({"regionUrl": "https://evil.example"}, ["/regionUrl"]),
        ({"keyIn": "query"}, ["/keyIn"]),
        ({"feed": "https://evil.example"}, ["/feed"]),
        ({"door": {"url": "https://evil.example"}}, ["/door/url"]),
        ({"doors": [{"url": "https://evil.example"}]}, ["/doors/0/url"]),
        ({"doors": [{"url": "https://a.example"}, {"url": "https://b.example"}]}, ["/doors/1/url"]),
        ({"doors": []}, ["/doors/0/url"]),
    ],
)
def test_a_field_moves_secrets_when_it_is_marked_and_differs(
    change: dict[str, Any], fields: list[str]
) -> None:
    assert _changed(change)[0] == fields


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        ({"currency": "EUR"}, []),
        ({"baseUrl": "https://evil.example"}, ["/doors/0/password", "/key"]),
        ({"baseUrl": "https://evil.example", "key": "k"}, ["/doors/0/password"]),
        ({"baseUrl": "https://evil.example", "key": "********", "doors": []}, ["/key"]),
        ({"baseUrl": "https://evil.example", "key": "new", "doors": []}, []),
        ({"baseUrl": "https://evil.example", "key": None, "doors": []}, []),
        ({"baseUrl": "https://evil.example", "currency": "NONE", "doors": []}, []),
        ({"keyIn": "query", "doors": [{"url": "https://a.example", "password": "p"}]}, ["/key"]),
    ],
)
def test_every_kept_secret_that_travels_is_needed_again(change: dict[str, Any], needed: list[str]) -> None:
    start = {**START, "doors": [{"url": "https://a.example", "password": "p"}]}
    kept = {"doors": [{"url": "https://a.example"}], **change}
    fields, new, sent = _changed(kept, start)
    try:
        check_given(Venue, new, sent, fields, root="/configuration")
        found = []
    except ValidationFailed as refused:
        assert refused.code == "secrets-needed"
        found = [error.pointer.removeprefix("/configuration") for error in refused.errors]
    assert found == needed


def test_a_rotation_that_names_an_address_alone_needs_the_rest_again() -> None:
    old, sent = accept(Venue, START), {"baseUrl": "https://evil.example"}
    new = overlay(Venue, sent, old)
    with pytest.raises(ValidationFailed, match="baseUrl") as refused:
        check_given(Venue, new, sent, moved(Venue, old, new), root="/credentials")
    assert [error.pointer for error in refused.value.errors] == [
        "/credentials/doors/0/password",
        "/credentials/key",
    ]


@pytest.mark.parametrize(
    ("then", "now", "is_good"),
    [
        ({}, {}, True),
        ({}, {"currency": "EUR"}, True),
        ({}, {"baseUrl": "https://api.example"}, True),
        ({}, {"baseUrl": "https://evil.example"}, False),
        ({"baseUrl": "https://b.example"}, {"baseUrl": "https://b.example"}, True),
        ({"baseUrl": "https://b.example"}, {}, False),
        ({}, {"regionUrl": "https://evil.example"}, False),
        ({"door": {"url": "https://a.example"}}, {"door": {"url": "https://evil.example"}}, False),
    ],
)
def test_tokens_are_good_for_the_addresses_they_were_given_for(
    then: dict[str, Any], now: dict[str, Any], is_good: bool
) -> None:
    bound = bound_to(Venue, then)
    assert is_bound(Venue, now, bound) is is_good
    assert not any("example" in digest for digest in bound.values())
