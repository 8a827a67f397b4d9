"""Service Bus messages as the real host hands them over: in parallel arrays, in which what is empty has no place.

What it does to bodies depends on the binding's `dataType`:

- `binary`: nothing.
- `string`: they become text, and empty ones are left out, so that the worker finds too few.
- none: of a batch, each is read as JSON and written again, which changes moments. One that is not JSON fails all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from azure.functions.meta import Datum
from azure.functions.servicebus import ServiceBusMessage, ServiceBusMessageInConverter

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,7})?(?:Z|[+-]\d\d:\d\d)?")


class UnreadableBatch(Exception):
    """The real host cannot hand this batch to a function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A message under lock, whose metadata goes by the names that the Service Bus extension gives it."""

    body: bytes
    texts: Mapping[str, str | None]
    numbers: Mapping[str, int | None]
    moments: Mapping[str, datetime | None]
    delivery_count: int
    properties: Mapping[str, Any] = field(default_factory=dict)


def batch_of(arrived: Sequence[Arrived], data_type: str) -> list[ServiceBusMessage]:
    """Return the messages as a function with the cardinality "many" gets them. Raises UnreadableBatch."""
    metadata = {
        # A place that is empty is left out: the places after it move up.
        **{
            name: Datum(SimpleNamespace(string=[text for text in texts if text]), "collection_string")
            for name, texts in _columns([each.texts for each in arrived])
        },
        **{
            name: Datum(SimpleNamespace(sint64=[number or 0 for number in numbers]), "collection_sint64")
            for name, numbers in _columns([each.numbers for each in arrived])
        },
        **{
            name: _json([_written(moment) for moment in moments])
            for name, moments in _columns([each.moments for each in arrived])
        },
        "DeliveryCountArray": _json([each.delivery_count for each in arrived]),
        "ApplicationPropertiesArray": _json([dict(each.properties) for each in arrived]),
        "UserPropertiesArray": _json([dict(each.properties) for each in arrived]),
    }
    bodies = _bodies([each.body for each in arrived], data_type)
    try:
        made = ServiceBusMessageInConverter.decode(bodies, trigger_metadata=metadata)
    except IndexError as error:
        raise UnreadableBatch("A body is empty: the real host leaves it out.") from error
    assert isinstance(made, list)
    return made


def single_of(arrived: Arrived, data_type: str) -> ServiceBusMessage:
    """Return the message as a function with the cardinality "one" gets it."""
    metadata = {
        **{name: Datum(text, "string") for name, text in arrived.texts.items() if text},
        **{name: Datum(number, "int") for name, number in arrived.numbers.items() if number is not None},
        **{
            name: Datum(_written(moment), "string")
            for name, moment in arrived.moments.items()
            if moment is not None
        },
        "DeliveryCount": Datum(arrived.delivery_count, "int"),
        "ApplicationProperties": _json(dict(arrived.properties)),
        "UserProperties": _json(dict(arrived.properties)),
    }
    is_bytes = data_type.lower() == "binary"
    body = Datum(arrived.body, "bytes") if is_bytes else Datum(_text(arrived.body), "string")
    made = ServiceBusMessageInConverter.decode(body, trigger_metadata=metadata)
    assert isinstance(made, ServiceBusMessage)
    return made


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Any]]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return [(f"{name}Array", [row.get(name) for row in rows]) for name in names]


def _bodies(bodies: list[bytes], data_type: str) -> Datum:
    match data_type.lower():
        case "binary":
            return Datum(SimpleNamespace(bytes=bodies), "collection_bytes")
        case "string":
            texts = [_text(body) for body in bodies if body]
            return Datum(SimpleNamespace(string=texts), "collection_string")
        case _:
            return _json([_rewritten(body) for body in bodies])


def _rewritten(body: bytes) -> Any:
    try:
        return _localised(json.loads(body))
    except ValueError as error:
        raise UnreadableBatch(
            "A body is not JSON: without a dataType the real host fails the batch."
        ) from error


def _localised(value: Any) -> Any:
    """Return the value with every text that looks like a moment as the host's JSON reader writes it, in UTC."""
    match value:
        case dict():
            return {name: _localised(each) for name, each in value.items()}
        case list():
            return [_localised(each) for each in value]
        case str() if _MOMENT.fullmatch(value):
            moment = datetime.fromisoformat(value)
            fraction = f".{moment.microsecond:06}".rstrip("0") if moment.microsecond else ""
            zone = "" if moment.tzinfo is None else "Z" if value.endswith("Z") else "+00:00"
            at = moment.astimezone(UTC) if moment.tzinfo else moment
            return f"{at:%Y-%m-%dT%H:%M:%S}{fraction}{zone}"
        case _:
            return value


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def _json(value: Any) -> Datum:
    return Datum(json.dumps(value, default=str), "json")


def _text(body: bytes) -> str:
    return body.decode(errors="replace")
