"""Every field that decides where or how a secret travels is marked, so that whoever changes it gives the secrets again.

Two looks at each provider, also at one that is added later: what its requests become when a field changes, and what
its fields are called."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args
from urllib.parse import urlsplit

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from domain.integrations.destinations import is_destination
from domain.providers.contract import (
    Connection,
    Provider,
    ProviderFailure,
    ProviderRequest,
    ProviderResponse,
    TestOptions,
)
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import NOW

EVERY = pytest.mark.parametrize("name", sorted(CASES))
HOME = "https://home.example"
_NAMES = re.compile(
    r"url|host|domain|endpoint|server|region|account|bucket|shop|store|instance|tenant|sandbox|header|proxy|auth$",
    re.IGNORECASE,
)
#: Fields that are called so and decide nothing of the kind, with the reason.
_HARMLESS = {
    "Mailgun.domain": "a segment of the path, escaped",
    "Twilio.accountSid": "a segment of the path, of a fixed form",
    "Twilio.testAccountSid": "a segment of the path, of a fixed form",
    "REST.accountPointer": "where an answer is read",
    "REST.webhook.header": "of requests that come in",
    "REST.webhook.timestampHeader": "of requests that come in",
    "REST.webhook.idHeader": "of requests that come in",
    "REST.webhook.typeHeader": "of requests that come in",
    "REST.listRequest.paging.style": "how a list goes on, at the same host",
}
#: Values of which one fits most patterns.
_OTHERS = (
    "zz9",
    "ZZ9zz9",
    "zz-9",
    "+15550009999",
    "zz@zz.example",
    "G-ZZ9999",
    "/zz9",
    "999",
    "v61.0",
    "AC" + "9" * 32,
)
_REST = {"auth": "basic", "username": "me", "password": "of-mine", "apiKey": None}
_CALDAV = {"feedUrl": None, "serverUrl": HOME, "username": "me", "password": "of-mine"}


class Watcher:
    """A ProviderHttp that writes requests down and answers none."""

    def __init__(self) -> None:
        self.requests: list[ProviderRequest] = []

    async def send(self, request: ProviderRequest) -> ProviderResponse:
        self.requests.append(request)
        raise ProviderFailure("unavailable", "Nobody answers.")

    async def expect(self, request: ProviderRequest, *statuses: int) -> ProviderResponse:
        return await self.send(request)


def _start(name: str) -> dict[str, Any]:
    """A configuration that leaves addresses to the provider's own where it can."""
    case, model = CASES[name], CASES[name].provider.profile.configuration
    given = {**case.configuration(HOME), **(_CALDAV if name == "iCal" else {})}
    optional = {info.alias for info in model.model_fields.values() if not info.is_required()}
    return {
        field: value
        for field, value in given.items()
        if value is not None and not (field in optional and field.endswith("Url") and name != "iCal")
    }


async def _requests(provider: Provider, given: Mapping[str, Any]) -> list[ProviderRequest]:
    configuration = provider.profile.configuration.model_validate(given)
    watcher = Watcher()
    connection = Connection(configuration, watcher, NOW, "an-access-token")
    calls = (
        lambda: provider.validate_credentials(connection),
        lambda: provider.probe(connection),
        lambda: provider.test(connection, TestOptions(recipient="+15550001111")),
        lambda: provider.test(connection, TestOptions(recipient="+15550001111", sandbox=True)),
    )
    for call in calls:
        with contextlib.suppress(ProviderFailure):
            await call()  # type: ignore[no-untyped-call]
    return watcher.requests


async def _ways(provider: Provider, given: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    """Where each request goes, and by the names of which headers and parameters it carries what it carries."""
    ways: set[tuple[Any, ...]] = set()
    for request in await _requests(provider, given):
        parts = urlsplit(request.url)
        names = sorted(request.headers), sorted(dict(request.params)), sorted(request.form or {})
        scheme = request.headers.get("authorization", "").partition(" ")[0]
        ways.add((parts.scheme, parts.netloc, scheme, *map(tuple, names)))
    oauth = provider.profile.oauth
    if oauth is not None:
        configuration = provider.profile.configuration.model_validate(given)
        for template in filter(None, (oauth.authorize_url, oauth.token_url, oauth.revoke_url)):
            ways.add(
                ("oauth", re.sub(r"\{(\w+)\}", lambda found: str(getattr(configuration, found[1])), template))
            )
    return ways


def _other_values(value: Any, info: FieldInfo) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
    else:
        yield from (choice for choice in _choices(info.annotation) if choice != value)
        yield from _OTHERS


def _choices(annotation: Any) -> Iterator[Any]:
    for part in get_args(annotation):
        if isinstance(part, str):
            yield part
        yield from _choices(part)


def _is_secret(info: FieldInfo) -> bool:
    extra = info.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("secret"))


@EVERY
async def test_a_field_that_is_not_marked_changes_neither_host_nor_header(name: str) -> None:
    provider = CASES[name].provider
    for changes in ({}, _REST) if name == "REST" else ({},):
        start = {field: value for field, value in {**_start(name), **changes}.items() if value is not None}
        usual, changed = await _ways(provider, start), 0
        for field, info in provider.profile.configuration.model_fields.items():
            alias = info.alias or field
            if _is_secret(info) or is_destination(info):
                continue
            default = None if info.is_required() else info.default
            for other in _other_values(start.get(alias, default), info):
                try:
                    ways = await _ways(provider, {**start, alias: other})
                except ValidationError:
                    continue
                changed += 1
                assert ways == usual, f"{name}.{alias} decides where or how a secret travels: mark it"
        assert changed or name in ("GA4", "Segment")


@EVERY
def test_what_is_called_like_an_address_is_marked(name: str) -> None:
    for path, info in _all_fields(CASES[name].provider.profile.configuration, name):
        called = path.rpartition(".")[2]
        is_url = called.lower().endswith("url")
        if is_url or (_NAMES.search(called) and not _is_secret(info)):
            assert is_destination(info) != (path in _HARMLESS), path


def _all_fields(model: type[BaseModel], path: str) -> Iterator[tuple[str, FieldInfo]]:
    for field, info in model.model_fields.items():
        here = f"{path}.{info.alias or field}"
        yield here, info
        for inner in _models(info.annotation):
            yield from _all_fields(inner, here)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


@EVERY
async def test_a_secret_that_only_checks_what_comes_in_is_in_no_request(name: str) -> None:
    case, model = CASES[name], CASES[name].provider.profile.configuration
    start = _start(name)
    written = "\n".join(
        f"{request.url} {dict(request.headers)} {request.params} {request.form} {request.json} {request.body!r}"
        for request in await _requests(case.provider, start)
    )
    for field, info in model.model_fields.items():
        extra = info.json_schema_extra
        value = start.get(info.alias or field)
        if isinstance(extra, dict) and extra.get("travels") is False and value:
            assert value not in written and base64.b64encode(value.encode()).decode() not in written


def test_the_schema_that_clients_read_tells_marked_fields() -> None:
    schema = CASES["REST"].provider.profile.configuration.model_json_schema()
    told = {name for name, field in schema["properties"].items() if field.get("destination")}
    assert {"baseUrl", "apiKeyName", "apiKeyIn", "auth", "headers"} <= told and "healthPath" not in told
