"""The two halves of a configuration: what may be stored encrypted in the database, and the secrets, which may not."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from domain.core.errors import FieldError, ValidationFailed, json_pointer
from domain.core.shown_address import shown_address
from domain.core.wire import reason_of
from domain.providers.contract import Configuration

MASK = "********"
_ROOT = "/configuration"


@dataclass(frozen=True, slots=True)
class Split:
    """A validated configuration: `plain` lacks the secret fields, `secrets` has their values by JSON pointer."""

    plain: Mapping[str, Any]
    secrets: Mapping[str, str] = field(repr=False)

    def plain_text(self) -> str:
        """Return the text for the Configuration column, not yet encrypted.

        It holds the pointers of the secrets too: showing them needs neither the secret store nor the provider."""
        return _compact({"plain": self.plain, "secrets": sorted(self.secrets)})

    def secret_text(self) -> str:
        return _compact(self.secrets)

    def whole(self) -> dict[str, Any]:
        return _with(self.plain, self.secrets)


def read_plain(text: str) -> tuple[Mapping[str, Any], Sequence[str]]:
    """Read what `plain_text` wrote: the plain half and the pointers of the secrets."""
    stored = json.loads(text)
    return stored["plain"], stored["secrets"]


def given_fields(text: str) -> set[str]:
    """Return the top-level properties that have a value, secret ones too; `text` is what `plain_text` wrote."""
    plain, pointers = read_plain(text)
    return {name for name, value in plain.items() if value} | {pointer.split("/")[1] for pointer in pointers}


def redacted(plain: Mapping[str, Any], pointers: Sequence[str]) -> dict[str, Any]:
    """Return the configuration with every secret masked."""
    return _with(plain, dict.fromkeys(pointers, MASK))


def accept(model: type[Configuration], sent: Mapping[str, Any]) -> Split:
    """Validate the configuration of a new integration. Raises ValidationFailed."""
    _refuse_masks(sent)
    return _split(_validated(model, sent))


def merge(model: type[Configuration], sent: Mapping[str, Any], old: Split) -> Split:
    """Validate a configuration that replaces `old`. Raises ValidationFailed.

    Secrets that are absent or masked stay, but not those without a place or use in the new configuration, such as that
    of another kind of authentication."""
    whole = copy.deepcopy(dict(sent))
    kept = [pointer for pointer, value in old.secrets.items() if _keep(whole, pointer, value)]
    _refuse_masks(whole)
    try:
        return _used(model.model_validate_json(_compact(whole), by_alias=True, by_name=False), kept)
    except ValidationError as error:
        out_of_place = {
            pointer
            for pointer in kept
            for found in error.errors(include_url=False, include_input=False, include_context=False)
            if found["type"] == "extra_forbidden" and _names(found["loc"], pointer)
        }
    for pointer in out_of_place:
        _remove(whole, pointer)
    return _used(_validated(model, whole), kept)


def overlay(model: type[Configuration], sent: Mapping[str, Any], old: Split) -> Split:
    """Validate `old` with the given top-level fields replaced. Raises ValidationFailed."""
    _refuse_masks(sent)
    kept = [pointer for pointer in old.secrets if pointer.split("/")[1] not in sent]
    return _used(_validated(model, {**old.whole(), **sent}), kept)


def changed_fields(old: Split, new: Split) -> list[str]:
    """Return the pointers of the top-level plain fields and of the secrets that differ; no values."""
    plain, secrets = _differing(old.plain, new.plain), _differing(old.secrets, new.secrets)
    # A plain object that only lost or gained a secret member is told by the member.
    return sorted({f"{_ROOT}/{name}" for name in plain} | {_ROOT + pointer for pointer in secrets})


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def _validated(model: type[Configuration], value: Mapping[str, Any]) -> Configuration:
    try:
        return model.model_validate_json(_compact(value), by_alias=True, by_name=False)
    except ValidationError as error:
        refused = error.errors(include_url=False, include_input=False, include_context=False)
        errors = [FieldError(_ROOT + json_pointer(*field["loc"]), reason_of(field)) for field in refused]
        raise ValidationFailed("The configuration is not what the provider needs.", errors) from None


def _split(configuration: Configuration) -> Split:
    plain: dict[str, Any] = configuration.model_dump(mode="json", by_alias=True, exclude_none=True)
    secrets = dict(_secrets(configuration, ""))
    for pointer in secrets:
        _remove(plain, pointer)
    return Split(plain, secrets)


def with_shown_addresses(value: Any, name: str = "") -> Any:
    """Return a configuration with its addresses as they are shown, and without the queries of its paths.

    A field whose name ends in `url` is an address (section 7.1), one that ends in `path` a path."""
    if isinstance(value, Mapping):
        return {inner: with_shown_addresses(item, inner.lower()) for inner, item in value.items()}
    if isinstance(value, list):
        return [with_shown_addresses(item, name) for item in value]
    if isinstance(value, str) and name.endswith("url") and value != MASK:
        return shown_address(value)
    if isinstance(value, str) and name.endswith("path"):
        path, has_query, _ = value.partition("?")
        return f"{path}?..." if has_query else path
    return value


def _used(configuration: Configuration, kept: Sequence[str]) -> Split:
    """Return the halves without those of the kept secrets that have no use any more."""
    split, unused = _split(configuration), configuration.unused_secrets()
    dropped = {pointer for pointer in kept if pointer in unused}
    return Split(
        split.plain, {pointer: value for pointer, value in split.secrets.items() if pointer not in dropped}
    )


def _secrets(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, BaseModel):
        for name, info in type(value).model_fields.items():
            item = getattr(value, name)
            here = f"{pointer}/{info.serialization_alias or info.alias or name}"
            extra = info.json_schema_extra
            if isinstance(extra, dict) and extra.get("secret"):
                if item:  # an empty text is no secret
                    yield here, str(item)
            else:
                yield from _secrets(item, here)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _secrets(item, f"{pointer}/{index}")


def _refuse_masks(sent: Mapping[str, Any]) -> None:
    masked = [pointer for pointer, value in _leaves(sent, _ROOT) if value == MASK]
    if masked:
        detail = "Send the secret itself; no secret is stored here."
        errors = [FieldError(pointer, detail) for pointer in masked]
        raise ValidationFailed("A masked value is not a secret.", errors)


def _leaves(value: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, pointer + json_pointer(name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{pointer}/{index}")
    else:
        yield pointer, value


def _keep(whole: Any, pointer: str, value: str) -> bool:
    """Put the old secret where the new configuration leaves it out or masks it; return whether it did."""
    parent, name = _parent(whole, pointer)
    if not isinstance(parent, dict) or parent.get(name, MASK) != MASK:
        return False
    parent[name] = value
    return True


def _with(plain: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
    whole = copy.deepcopy(dict(plain))
    for pointer, value in secrets.items():
        parent, name = _parent(whole, pointer)
        if isinstance(parent, dict):
            parent[name] = value
    return whole


def _remove(whole: Any, pointer: str) -> None:
    parent, name = _parent(whole, pointer)
    if isinstance(parent, dict):
        parent.pop(name, None)


def _parent(whole: Any, pointer: str) -> tuple[Any, str]:
    *path, name = pointer[1:].split("/")
    for part in path:
        if isinstance(whole, list) and part.isdecimal() and int(part) < len(whole):
            whole = whole[int(part)]
        elif isinstance(whole, dict):
            whole = whole.get(part)
        else:
            return None, name
    return whole, name


def _names(loc: tuple[int | str, ...], pointer: str) -> bool:
    """Return whether a pydantic error location, which also holds the tags of unions, ends at the pointer's field."""
    return bool(loc) and str(loc[-1]) == pointer.rpartition("/")[2] and str(loc[0]) == pointer.split("/")[1]


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
