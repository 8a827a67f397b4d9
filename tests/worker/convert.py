"""What triggers a function, as the host's extensions put it into a request, and the answer read back.

What the real host drops, joins, rewrites or leaves out, the development host has by then."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from typing import Any

import azure.functions as func

from tests.worker.channel import protos


def http(request: func.HttpRequest) -> Any:
    """An HTTP request."""
    body = request.get_body()
    return protos.TypedData(
        http=protos.RpcHttp(
            method=request.method,
            url=request.url,
            headers={name.lower(): value for name, value in request.headers.items()},
            params=dict(request.route_params),
            query=dict(request.params),
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
    """A batch of Service Bus messages in the form that the binding's `dataType` asks for, with its metadata."""
    bodies = [message.get_body() for message in messages]
    # The last ones have none, whichever messages they came with: those that there are have moved up.
    ids = [message.message_id for message in messages if message.message_id]
    properties = json.dumps([dict(message.user_properties or {}) for message in messages], default=str)
    moments = [(message.enqueued_time_utc or datetime.now(UTC)).isoformat() for message in messages]
    metadata = {
        **({"MessageIdArray": _strings(ids)} if ids else {}),
        "UserPropertiesArray": protos.TypedData(json=properties),
        "ApplicationPropertiesArray": protos.TypedData(json=properties),
        "DeliveryCountArray": _numbers([message.delivery_count or 1 for message in messages]),
        "SequenceNumberArray": _numbers([message.sequence_number or 0 for message in messages]),
        "LockTokenArray": _strings([str(message.lock_token or "") for message in messages]),
        "EnqueuedTimeUtcArray": protos.TypedData(json=json.dumps(moments)),
    }
    if data_type == "BINARY":
        return protos.TypedData(collection_bytes=protos.CollectionBytes(bytes=bodies)), metadata
    texts = [body.decode() for body in bodies]
    if data_type == "STRING":
        return _strings(texts), metadata
    return protos.TypedData(json=f"[{','.join(texts)}]"), metadata


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


def _numbers(values: list[int]) -> Any:
    return protos.TypedData(collection_sint64=protos.CollectionSInt64(sint64=values))


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
