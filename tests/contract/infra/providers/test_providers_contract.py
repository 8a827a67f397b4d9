"""Every provider in the table behaves alike: the same cases, the same failures, no credential in any text."""

import logging
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from pydantic import ValidationError

from domain.providers.contract import (
    STORED,
    Capability,
    Connection,
    CredentialCheck,
    Provider,
    ProviderFailure,
    SignatureRefused,
    TestOptions,
)
from infra.providers.registry import all_providers
from tests.fixtures.scripted_server import Answer
from tests.worlds.provider_cases import CASES, ProviderCase
from tests.worlds.provider_webhooks import Published
from tests.worlds.provider_world import NOW, incoming, world

OPERATIONS: dict[str, Callable[[Provider, Connection], Awaitable[CredentialCheck | None]]] = {
    "validate": lambda provider, connection: provider.validate_credentials(connection),
    "probe": lambda provider, connection: provider.probe(connection),
}
KINDS = {401: "unauthorized", 403: "forbidden", 429: "rate_limited", 500: "unavailable"}
EVERY = pytest.mark.parametrize("name", sorted(CASES))
EITHER = pytest.mark.parametrize("operation", sorted(OPERATIONS))


def case_of(name: str, *cases: str) -> ProviderCase:
    case = CASES[name]
    for title in cases:
        if title in case.skips:
            pytest.skip(case.skips[title])
    return case


async def failing(
    case: ProviderCase, operation: str, answer: Answer, *, impatient: bool = False
) -> ProviderFailure:
    """The failure when every answer is `answer`; asserts that its text and traceback hold no secret."""
    async with world(case, impatient=impatient) as here:
        here.server.always = answer
        with pytest.raises(ProviderFailure) as caught:
            await OPERATIONS[operation](case.provider, here.connection)
        assert here.server.requests
        assert_no_secret(case, here.connection, caught.value)
    return caught.value


def assert_no_secret(case: ProviderCase, connection: Connection, failure: ProviderFailure) -> None:
    texts = [str(failure), repr(failure), failure.detail, repr(connection)]
    texts.append("".join(traceback.format_exception_only(failure)))
    for text in texts:
        for secret in case.secrets:
            assert secret not in text


def test_every_provider_has_a_case() -> None:
    assert set(CASES) == set(all_providers())


@EVERY
def test_the_catalogue_entry_is_complete(name: str) -> None:
    profile = CASES[name].provider.profile
    assert profile.name == name
    assert profile.title
    assert profile.documentation_url.startswith("https://")
    assert {Capability.ValidateCredentials, Capability.Test, Capability.Health} <= profile.capabilities
    assert (Capability.IncomingWebhooks in profile.capabilities) == (profile.webhook_scheme is not None)
    schema = profile.configuration.model_json_schema()
    assert all(field.get("description") for field in schema["properties"].values())
    assert set(profile.webhook_fields) <= schema["properties"].keys()


@EVERY
async def test_the_webhook_fields_are_what_the_adapter_needs_to_verify(name: str) -> None:
    case = CASES[name]
    profile = case.provider.profile
    given = case.configuration("https://vendor.example.org")
    whole = {**dict.fromkeys(profile.webhook_fields, "set"), **given}
    if profile.webhook_scheme is not None:
        assert "No webhook" not in await _refusal(case, whole)
    for field in profile.webhook_fields:
        try:
            refused = await _refusal(case, {key: value for key, value in whole.items() if key != field})
        except ValidationError:
            continue  # such a configuration cannot be stored
        assert refused.startswith(("No webhook", "This integration declares no webhooks"))


async def _refusal(case: ProviderCase, configuration: dict[str, Any]) -> str:
    connection = Connection(
        case.provider.profile.configuration.model_validate(configuration, context=STORED), Published(), NOW
    )
    with pytest.raises((SignatureRefused, ProviderFailure)) as caught:
        await case.provider.receive(connection, incoming(b"{}", {}))
    return str(caught.value)


@EVERY
def test_every_credential_is_declared_secret(name: str) -> None:
    case = CASES[name]
    given = case.configuration("https://vendor.example.org")
    fields = case.provider.profile.configuration.model_json_schema()["properties"]
    for field_name, value in given.items():
        if value in case.secrets:
            assert fields[field_name].get("secret") is True, f"{field_name} is a credential"


@EVERY
def test_configuration_refuses_unknown_fields_and_addresses_that_are_none(name: str) -> None:
    case = CASES[name]
    model = case.provider.profile.configuration
    given = dict(case.configuration("https://vendor.example.org"))
    model.model_validate(given)
    with pytest.raises(ValueError, match="extra"):
        model.model_validate(given | {"nonsense": 1})
    addresses = [key for key, value in given.items() if str(value).startswith("https://vendor.example.org")]
    for address in addresses:
        with pytest.raises(ValueError, match=address):
            model.model_validate(given | {address: "ftp://vendor.example.org"})


@EVERY
async def test_good_credentials_say_whose_they_are(name: str) -> None:
    case = case_of(name, "validate")
    async with world(case) as here:
        check = await case.provider.validate_credentials(here.connection)
        assert check.account == case.account
        assert check.verified is case.expected_verified
        assert here.server.unexpected == []
        if not case.expected_verified:
            assert check.detail


@EVERY
async def test_a_healthy_provider_passes_the_probe(name: str) -> None:
    case = case_of(name, "probe")
    async with world(case) as here:
        await case.provider.probe(here.connection)
        assert here.server.requests
        assert here.server.unexpected == []


@EVERY
@EITHER
@pytest.mark.parametrize("status", sorted(KINDS))
async def test_each_refusal_has_its_kind(name: str, operation: str, status: int) -> None:
    case = case_of(name, operation, str(status))
    answer = case.errors.get(status, Answer(status, {}))
    assert answer.status == status
    failure = await failing(case, operation, answer)
    assert failure.kind == case.kinds.get(status, KINDS[status])
    assert failure.status == status


@EVERY
@EITHER
async def test_retry_after_in_seconds_and_as_a_date_is_passed_on(name: str, operation: str) -> None:
    case = case_of(name, operation, "429")
    answer = case.errors.get(429, Answer(429, {}))
    for value in ("120", format_datetime(NOW + timedelta(seconds=120), usegmt=True)):
        failure = await failing(case, operation, replace(answer, headers={"Retry-After": value}))
        assert failure.kind == "rate_limited"
        assert failure.retry_after_seconds == 120


@EVERY
@EITHER
async def test_no_answer_in_time_is_unavailable(name: str, operation: str) -> None:
    case = case_of(name, operation)
    failure = await failing(case, operation, Answer(hangs=True), impatient=True)
    assert failure.kind == "unavailable"


@EVERY
@EITHER
async def test_a_body_that_is_not_what_is_documented_is_malformed(name: str, operation: str) -> None:
    case = case_of(name, operation, "malformed")
    async with world(case) as here:
        for body in (b'{"cut', b"<html>maintenance</html>", b"", b"[[[", b'"text"', b"null", b"[]"):
            here.server.always = Answer(200, body, {"content-type": "application/json"})
            with pytest.raises(ProviderFailure) as caught:
                await OPERATIONS[operation](case.provider, here.connection)
            assert caught.value.kind == "malformed", body


@EVERY
async def test_a_credential_echoed_by_the_provider_is_repeated_in_no_text_and_no_log(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    case = case_of(name, "validate")
    caplog.set_level(logging.DEBUG)
    echoed: dict[str, Any] = {"error": {"message": "Invalid: " + " ".join(case.secrets)}}
    options = TestOptions(recipient="+15558675310")
    async with world(case) as here:
        here.server.always = Answer(401, echoed)
        for attempt in (
            case.provider.validate_credentials(here.connection),
            case.provider.probe(here.connection),
            case.provider.test(here.connection, options),
        ):
            with pytest.raises(ProviderFailure) as caught:
                await attempt
            assert_no_secret(case, here.connection, caught.value)
    for secret in case.secrets:
        assert secret not in caplog.text
