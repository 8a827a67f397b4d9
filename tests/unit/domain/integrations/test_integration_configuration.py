"""Splitting secrets from a configuration, merging and showing it."""

import json
from typing import Annotated, Literal

import pytest
from pydantic import Field

from domain.core.errors import ValidationFailed
from domain.integrations.commands import CreateIntegration
from domain.integrations.configuration import (
    MASK,
    Split,
    accept,
    changed_fields,
    merge,
    overlay,
    read_plain,
    redacted,
)
from domain.providers.contract import Configuration, Secret


class Bearer(Configuration):
    kind: Literal["bearer"] = "bearer"
    token: str = Secret("Token")


class Basic(Configuration):
    kind: Literal["basic"] = "basic"
    user: str
    password: str = Secret("Password")


class Api(Configuration):
    api_key: str = Secret("Key", min_length=4)
    hook_secret: str | None = Secret("Hook", default=None)
    region: str = "eu"
    auth: Annotated[Bearer | Basic, Field(discriminator="kind")] | None = None
    accounts: list[Basic] = []


OLD = accept(Api, {"apiKey": "key-1", "hookSecret": "hook-1", "auth": {"kind": "bearer", "token": "tok-1"}})


def test_secrets_are_split_off_wherever_they_are() -> None:
    sent = {"apiKey": "key-1", "auth": {"kind": "basic", "user": "u", "password": "pass-1"}}
    split = accept(Api, {**sent, "accounts": [{"user": "a", "password": "pass-2"}]})
    assert split.secrets == {
        "/apiKey": "key-1",
        "/auth/password": "pass-1",
        "/accounts/0/password": "pass-2",
    }
    for secret in ("key-1", "pass-1", "pass-2"):
        assert secret not in split.plain_text() and secret in split.secret_text()
        assert secret not in repr(split)


def test_both_halves_come_back_together() -> None:
    plain, pointers = read_plain(OLD.plain_text())
    assert Api.model_validate(Split(plain, json.loads(OLD.secret_text())).whole()).api_key == "key-1"
    assert redacted(plain, pointers) == {
        "apiKey": MASK,
        "hookSecret": MASK,
        "region": "eu",
        "auth": {"kind": "bearer", "token": MASK},
        "accounts": [],
    }


@pytest.mark.parametrize("kept", [{}, {"apiKey": MASK}])
def test_an_absent_or_masked_secret_stays(kept: dict[str, str]) -> None:
    merged = merge(Api, {**kept, "region": "us", "auth": {"kind": "bearer", "token": MASK}}, OLD)
    assert merged.secrets == OLD.secrets and merged.plain["region"] == "us"


def test_what_was_shown_may_be_sent_back_as_it_is() -> None:
    shown = redacted(*read_plain(OLD.plain_text()))
    merged = merge(Api, shown, OLD)
    assert merged == OLD and changed_fields(OLD, merged) == []


def test_a_new_secret_replaces_and_null_removes() -> None:
    merged = merge(Api, {"apiKey": "key-2", "hookSecret": None}, OLD)
    assert merged.secrets == {"/apiKey": "key-2"}
    assert changed_fields(OLD, merged) == [
        "/configuration/apiKey",
        "/configuration/auth",
        "/configuration/auth/token",
        "/configuration/hookSecret",
    ]


def test_a_kept_secret_without_a_place_in_the_new_configuration_is_dropped() -> None:
    merged = merge(Api, {"auth": {"kind": "basic", "user": "u", "password": "p-2"}}, OLD)
    assert merged.secrets == {"/apiKey": "key-1", "/hookSecret": "hook-1", "/auth/password": "p-2"}


def test_credentials_are_laid_over_what_is_stored() -> None:
    merged = overlay(Api, {"apiKey": "key-2"}, OLD)
    assert merged.secrets == {**OLD.secrets, "/apiKey": "key-2"} and merged.plain == OLD.plain


def test_a_mask_is_no_secret_where_there_is_none_to_keep() -> None:
    with pytest.raises(ValidationFailed) as refused:
        accept(Api, {"apiKey": MASK})
    assert refused.value.errors[0].pointer == "/configuration/apiKey"
    with pytest.raises(ValidationFailed):
        merge(Api, {"auth": {"kind": "basic", "user": "u", "password": MASK}}, OLD)


def test_errors_point_at_the_field_and_repeat_no_value() -> None:
    with pytest.raises(ValidationFailed) as refused:
        accept(Api, {"apiKey": "xyz", "surprise": "planted-value"})
    assert {error.pointer for error in refused.value.errors} == {
        "/configuration/apiKey",
        "/configuration/surprise",
    }
    assert "xyz" not in str(refused.value.errors) and "planted-value" not in str(refused.value.errors)


def test_a_configuration_over_ten_kilobytes_is_refused() -> None:
    body = {
        "name": "n",
        "integrationType": "CRM",
        "provider": "p",
        "configuration": {"apiKey": "x" * 10_240},
    }
    with pytest.raises(ValueError, match="10,240") as refused:
        CreateIntegration.model_validate_json(json.dumps(body))
    assert "configuration" in str(refused.value)
