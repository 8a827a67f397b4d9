"""Read the body of `POST /api/events`: one event or a batch, cut out of the body and checked one at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, NoReturn

import msgspec
from pydantic import ValidationError

from domain.core.errors import FieldError, TooLarge, ValidationFailed, json_pointer
from domain.core.json_text import EXPLAINED_BYTES, MalformedJson, check_json
from domain.core.wire import reason_of
from domain.journal.events import EVENTS_AT_MOST, RaiseEvent, RaiseEvents, check_payload

#: What an event may have beside its payload: names, an id, a subject, and blanks.
ENVELOPE_BYTES: Final = 64 * 1024
_ERRORS_SHOWN = 100


class Raised(NamedTuple):
    """The events of a body; `in_batch` says where the pointers of errors begin."""

    events: list[RaiseEvent]
    in_batch: bool


class _Parts(msgspec.Struct):
    """Places in the body, not copies of it."""

    events: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    events: msgspec.Raw


_PARTS: Final = msgspec.json.Decoder(_Parts)
_BATCH: Final = msgspec.json.Decoder(_Batch)
# A list is built whole before its length is looked at; a struct written as a list ends at its last field.
_ITEMS: Final = msgspec.json.Decoder(
    msgspec.defstruct(
        "_Items",
        [(f"item{n}", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for n in range(EVENTS_AT_MOST)],
        array_like=True,
        forbid_unknown_fields=True,
    )
)
_BEFORE = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"events"[ \t\r\n]*:[ \t\r\n]*')
_AFTER = re.compile(rb"[ \t\r\n]*\}[ \t\r\n]*")


def read_raised(body: bytes, *, payload_at_most: int) -> Raised:
    """Return the events of a body.

    The body is gone through once to find the events in it; then each is checked, and held as values, by itself.
    Raises MalformedJson, pydantic's ValidationError, ValidationFailed, or TooLarge (BR-WH-08)."""
    try:
        parts = _PARTS.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        _explain(body, RaiseEvent, MalformedJson(str(error)))
    if parts.events is not msgspec.UNSET:
        return Raised(_read_batch(body, payload_at_most), in_batch=True)
    payload = None if parts.data is msgspec.UNSET else parts.data
    return Raised([_read_one(body, payload, payload_at_most, "")], in_batch=False)


def _read_one(body: bytes, payload: msgspec.Raw | None, payload_at_most: int, pointer: str) -> RaiseEvent:
    if payload is not None:
        check_payload(len(memoryview(payload)), payload_at_most, pointer)
    if len(body) > payload_at_most + ENVELOPE_BYTES:
        detail = f"An event may have {ENVELOPE_BYTES:,} bytes beside its data."
        raise TooLarge(detail, [FieldError(pointer, detail)])
    return RaiseEvent.of_json(body)


def _read_batch(body: bytes, payload_at_most: int) -> list[RaiseEvent]:
    events: list[RaiseEvent] = []
    errors: list[FieldError] = []
    for index, item in enumerate(_items(body)):
        pointer = json_pointer("events", index)
        try:
            events.append(_read_item(bytes(item), payload_at_most, pointer))
        except TooLarge:
            raise
        except MalformedJson as error:
            raise MalformedJson(f"{error}, counted from the beginning of {pointer}") from None
        except ValidationFailed as error:
            errors += (FieldError(pointer + found.pointer, found.detail) for found in error.errors)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            errors += (FieldError(pointer + json_pointer(*each["loc"]), reason_of(each)) for each in found)
        if len(errors) >= _ERRORS_SHOWN:
            break
    if errors:
        raise ValidationFailed("The body is not valid; see errors.", errors[:_ERRORS_SHOWN])
    return events


def _read_item(item: bytes, payload_at_most: int, pointer: str) -> RaiseEvent:
    try:
        parts = _PARTS.decode(item)
    except (msgspec.DecodeError, RecursionError):
        parts = _Parts()
    payload = None if parts.data is msgspec.UNSET else parts.data
    return _read_one(item, payload, payload_at_most, pointer)


def _items(body: bytes) -> Iterator[msgspec.Raw]:
    """Return the places of the batch's events."""
    try:
        listed = _BATCH.decode(body).events
        items = _ITEMS.decode(listed)
    except (msgspec.DecodeError, RecursionError) as error:
        _explain(body, RaiseEvents, ValidationFailed("The body is not valid.", [FieldError("", f"{error}.")]))
    head = _BEFORE.match(body)
    if head is None or not _AFTER.fullmatch(body, head.end() + len(memoryview(listed))):
        _check_names(body)
    found = (getattr(items, name) for name in items.__struct_fields__)
    first = next(found)
    if first is msgspec.UNSET:
        RaiseEvents.model_validate({"events": []})
    return _until_unset(first, found)


def _until_unset(
    first: msgspec.Raw, others: Iterator[msgspec.Raw | msgspec.UnsetType]
) -> Iterator[msgspec.Raw]:
    yield first
    for item in others:
        if item is msgspec.UNSET:
            return
        yield item


def _check_names(body: bytes) -> None:
    """Raise for a batch with `events` twice; one whose name is written with escapes is let pass while it is small."""
    if len(body) <= EXPLAINED_BYTES:
        check_json(body)
        return
    detail = "The batch has `events` twice, or not written plainly."
    raise ValidationFailed("The body is not valid; see errors.", [FieldError("/events", detail)])


def _explain(body: bytes, model: type[RaiseEvent | RaiseEvents], otherwise: Exception) -> NoReturn:
    """Raise what is wrong with the body: with its places, unless building it as values would take too much memory."""
    if len(body) <= EXPLAINED_BYTES:
        check_json(body)
        model.model_validate_json(body, by_alias=True, by_name=False)
    raise otherwise from None
