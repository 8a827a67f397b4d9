"""Where the secrets of a configuration go: which fields decide it, what is bound to it, and what a change needs.

The fields are those that a provider's model marks with `Destination` (domain/providers/contract.py)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from domain.core.errors import FieldError, ValidationFailed
from domain.integrations.configuration import MASK, Split
from domain.providers.contract import Configuration, Destination

#: In a body of `PUT /api/integrations/{id}`: true lets the secrets travel with less protection.
TLS_FLOOR = "/allowTls12"
_DIGITS = 16

_Field = tuple[str, FieldInfo, Any]


def moved(model: type[Configuration], old: Split, new: Split) -> list[str]:
    """Return the pointers of the fields that decide where or how a secret travels, and differ."""
    before, after = _destinations(model, old), _destinations(model, new)
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def check_given(
    model: type[Configuration], new: Split, sent: Mapping[str, Any], changed: Collection[str], *, root: str
) -> None:
    """Require every secret that travels to be in `sent` when the fields in `changed` have changed.

    A secret that only checks what comes in may stay. Raises ValidationFailed (`secrets-needed`), which names the
    secrets as pointers into the body, whose configuration is at `root`."""
    staying = {pointer for pointer, info, _ in _fields(model, new.whole(), "") if not _travels(info)}
    kept = [
        pointer for pointer in sorted(new.secrets) if pointer not in staying and not _given(sent, pointer)
    ]
    if not changed or not kept:
        return
    fields, secrets = (", ".join(name[1:] for name in names) for names in (sorted(changed), kept))
    detail = (
        f"This changes where or how secrets travel ({fields}), and secrets that are kept go nowhere else than before: "
        f"give {secrets} again."
    )
    why = f"Give it again, because of the change of {fields}."
    raise ValidationFailed(
        detail, [FieldError(root + pointer, why) for pointer in kept], code="secrets-needed"
    )


def bound_to(model: type[Configuration], plain: Mapping[str, Any]) -> dict[str, str]:
    """Return what is kept beside tokens of where they may go: digests of the fields that are set."""
    return {
        pointer: _digest(value)
        for pointer, info, value in _fields(model, plain, "")
        if is_destination(info) and _at(plain, pointer) is not None
    }


def is_bound(model: type[Configuration], plain: Mapping[str, Any], bound: Mapping[str, str]) -> bool:
    """Return whether tokens may go where this configuration leads. A field that was not set had its default."""
    return all(
        _digest(value) == bound.get(pointer, _digest(_default(info)))
        for pointer, info, value in _fields(model, plain, "")
        if is_destination(info)
    )


def is_destination(info: FieldInfo) -> bool:
    """Return whether the field, or any part of its type, is marked as a destination."""
    return any(isinstance(mark, Destination) for mark in info.metadata) or _is_marked(info.annotation)


# -- steps ------------------------------------------------------------------------------------------------


def _destinations(model: type[Configuration], split: Split) -> dict[str, Any]:
    return {
        pointer: value for pointer, info, value in _fields(model, split.whole(), "") if is_destination(info)
    }


def _fields(model: type[BaseModel], value: Mapping[str, Any], pointer: str) -> Iterator[_Field]:
    """Yield pointer, declaration and value of every field, its default where it is not set; inner ones too."""
    for name, info in model.model_fields.items():
        alias = info.serialization_alias or info.alias or name
        here, found = f"{pointer}/{alias}", value.get(alias, _default(info))
        yield here, info, found
        parts = list(enumerate(found)) if isinstance(found, list) else [("", found)]
        for inner in _models(info.annotation):
            for position, part in parts:
                if isinstance(part, Mapping):
                    yield from _fields(inner, part, f"{here}/{position}" if position != "" else here)


def _default(info: FieldInfo) -> Any:
    default = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
    return default.model_dump(mode="json", by_alias=True) if isinstance(default, BaseModel) else default


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _is_marked(annotation: Any) -> bool:
    marks = getattr(annotation, "__metadata__", ())
    return any(isinstance(mark, Destination) for mark in marks) or any(map(_is_marked, get_args(annotation)))


def _travels(info: FieldInfo) -> bool:
    extra = info.json_schema_extra
    return not (isinstance(extra, dict) and extra.get("travels") is False)


def _given(sent: Mapping[str, Any], pointer: str) -> bool:
    return _at(sent, pointer) not in (None, MASK)


def _at(value: Any, pointer: str) -> Any:
    for part in pointer[1:].split("/"):
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, Mapping):
            value = value.get(part)
        else:
            return None
    return value


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
