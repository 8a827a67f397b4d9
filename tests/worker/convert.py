"""What triggers a function, as the host's extensions put it into a request, and the answer read back.

The rules of the real host are applied here: what it drops, joins, rewrites or leaves out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from typing import Any

import azure.functions as func

from tests.worker.channel import protos

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?(Z|[+-]\d\d:\d\d)?")
_EMPTY = (None, "")


class NotJson(Exception):
    """A body that the host cannot read: it fails the whole batch before any function sees it."""


def http(request: func.HttpRequest) -> Any:
    """An HTTP request: query parameters without a value are dropped, and a body that came in chunks is empty."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    chunked = "chunked" in headers.get("transfer-encoding", "").lower()
    body = b"" if chunked else request.get_body()
    return protos.TypedData(
        http=protos.RpcHttp(
            method=request.method,
            url=request.url,
            headers=headers,
            params=dict(request.route_params),
            query={name: value for name, value in request.params.items() if value},
            # No body, and the field is left out.
            **({"body": protos.TypedData(bytes=body)} if body else {}),
        )
    )


def timer(request: Any) -> Any:
    """A timer's tick."""
    tick = {
        "Schedule": request.schedule,
        "ScheduleStatus": request.schedule_status,
        "IsPastDue": request.past_due,
    }
    return protos.TypedData(json=json.dumps(tick))


def batch(messages: Sequence[func.ServiceBusMessage], data_type: str) -> tuple[Any, dict[str, Any]]:
    """A batch of Service Bus messages in the form that the binding's `dataType` asks for, with its metadata.

    Raises NotJson without a `dataType`, for a body that is none."""
    bodies = [message.get_body() for message in messages]
    texts: dict[str, list[str]] = {"MessageIdArray": [], "CorrelationIdArray": [], "ContentTypeArray": []}
    for message in messages:
        # Where a message has none, the array has no place for it either.
        for array, value in (
            ("MessageIdArray", message.message_id),
            ("CorrelationIdArray", message.correlation_id),
            ("ContentTypeArray", message.content_type),
        ):
            texts[array] += [] if value in _EMPTY else [value]
    properties = json.dumps([dict(message.user_properties or {}) for message in messages], default=str)
    metadata = {name: _strings(values) for name, values in texts.items() if values}
    metadata |= {
        "UserPropertiesArray": protos.TypedData(json=properties),
        "ApplicationPropertiesArray": protos.TypedData(json=properties),
        "DeliveryCountArray": _numbers(message.delivery_count or 1 for message in messages),
        "SequenceNumberArray": _numbers(message.sequence_number or 0 for message in messages),
        "LockTokenArray": _strings([str(message.lock_token or "") for message in messages]),
        "EnqueuedTimeUtcArray": protos.TypedData(
            json=json.dumps([_iso(message.enqueued_time_utc) for message in messages])
        ),
    }
    if data_type == "BINARY":
        return protos.TypedData(collection_bytes=protos.CollectionBytes(bytes=bodies)), metadata
    written = [body.decode(errors="replace") for body in bodies]
    if data_type == "STRING":
        return _strings([text for text in written if text]), metadata
    return protos.TypedData(json=json.dumps([_rewritten(text) for text in written if text])), metadata


def response(typed: Any) -> func.HttpResponse:
    """The answer of an HTTP function, with each cookie as a header of its own."""
    kind = typed.WhichOneof("data")
    if kind != "http":
        text = getattr(typed, kind) if kind else ""
        return func.HttpResponse(text, status_code=200 if kind else 204)
    answer = typed.http
    body = answer.body
    made = func.HttpResponse(
        getattr(body, body.WhichOneof("data") or "bytes"),
        status_code=int(answer.status_code),
        headers=dict(answer.headers),
    )
    for cookie in answer.cookies:
        made.headers.add("Set-Cookie", _cookie(cookie))
    return made


def value_of(typed: Any) -> str | None:
    """The JSON text that a durable function returned; None where it returned nothing."""
    kind = typed.WhichOneof("data")
    if kind is None:
        return None
    return str(typed.json) if kind == "json" else json.dumps(getattr(typed, kind))


def _strings(values: list[str]) -> Any:
    return protos.TypedData(collection_string=protos.CollectionString(string=values))


def _numbers(values: Any) -> Any:
    return protos.TypedData(collection_sint64=protos.CollectionSInt64(sint64=list(values)))


def _iso(moment: datetime | None) -> str:
    return (moment or datetime(2026, 1, 1, tzinfo=UTC)).isoformat()


def _rewritten(text: str) -> Any:
    """What the host's JSON reader makes of a body: texts that look like moments are moments, and written its way."""
    try:
        return _moved(json.loads(text))
    except ValueError as malformed:
        raise NotJson(text[:40]) from malformed


def _moved(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _moved(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_moved(each) for each in value]
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d", r"\1", value))
        zone = moment.tzinfo is not None
        shown = moment.astimezone(UTC).replace(tzinfo=None) if zone else moment
        whole, _, fraction = shown.isoformat().partition(".")
        fraction = fraction.rstrip("0")
        return whole + (f".{fraction}" if fraction else "") + ("Z" if zone else "")
    return value


def _cookie(cookie: Any) -> str:
    made: SimpleCookie = SimpleCookie()
    made[cookie.name] = cookie.value
    morsel = made[cookie.name]
    for name in ("domain", "path"):
        if getattr(cookie, name).WhichOneof("string"):
            morsel[name] = getattr(cookie, name).value
    if cookie.expires.WhichOneof("timestamp"):
        morsel["expires"] = cookie.expires.value.ToDatetime().strftime("%a, %d %b %Y %H:%M:%S GMT")
    if cookie.max_age.WhichOneof("double"):
        morsel["max-age"] = str(int(timedelta(seconds=cookie.max_age.value).total_seconds()))
    morsel["secure"], morsel["httponly"] = cookie.secure.value, cookie.http_only.value
    if cookie.same_site != 0:
        morsel["samesite"] = {1: "Lax", 2: "Strict", 3: "None"}[cookie.same_site]
    return morsel.OutputString()
