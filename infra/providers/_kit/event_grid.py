"""Azure Event Grid's handshakes and events, in its own schema and as CloudEvents.

https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema (validation event)
https://learn.microsoft.com/azure/event-grid/end-point-validation-cloud-events-schema (OPTIONS)
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md, bindings/http-protocol-binding.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from domain.providers.contract import IncomingAnswer, IncomingRequest, ProviderFailure, VerifiedEvent
from infra.providers._kit.contents import elements_of, events_of, id_of, json_of, text_of
from infra.providers._kit.wire import at, event_type, moment

_VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
_ORIGIN = re.compile(r"[\x21-\x7e]{1,255}")


def event_grid_secret(request: IncomingRequest) -> str:
    """Return the secret that a request carries, in a delivery property or the endpoint's address; "" without one."""
    return request.headers.get("x-webhook-secret") or request.query.get("secret") or ""


def event_grid_answer(request: IncomingRequest) -> IncomingAnswer:
    """Answer the handshake, or name the events, of a request whose secret was right."""
    if request.method == "OPTIONS":
        return _allowed(request.headers)
    if "ce-type" in request.headers:
        return IncomingAnswer(events_of([_binary(request)], _event))
    entries = elements_of(request)
    if _kind(entries[0]) != _VALIDATION:
        return IncomingAnswer(events_of(entries, _event))
    code = at(entries[0], "data", "validationCode")
    if not isinstance(code, str) or not code:
        raise ProviderFailure("malformed", "The handshake has no validation code.")
    return IncomingAnswer(
        body=json.dumps({"validationResponse": code}).encode(), content_type="application/json"
    )


def _allowed(asked: Mapping[str, str]) -> IncomingAnswer:
    origin = asked.get("webhook-request-origin", "")
    if not _ORIGIN.fullmatch(origin):
        raise ProviderFailure("malformed", "The handshake names no origin.")
    headers = {"WebHook-Allowed-Origin": origin}
    if "webhook-request-rate" in asked:
        headers["WebHook-Allowed-Rate"] = "*"
    return IncomingAnswer(body=b"", headers=headers)


def _binary(request: IncomingRequest) -> Mapping[str, Any]:
    """Return a CloudEvent whose attributes are headers as one whose attributes are members."""
    attributes = {
        name[3:]: value for name, value in request.headers.items() if name.startswith("ce-") and name[3:]
    }
    return {**attributes, "data": json_of(request) if request.body else None}


def _kind(entry: Any) -> Any:
    return at(entry, "eventType") or at(entry, "type")


def _event(entry: Mapping[str, Any]) -> VerifiedEvent:
    kind = text_of(entry, "eventType" if "eventType" in entry else "type")
    occurred = moment(entry.get("eventTime") or entry.get("time"))
    return VerifiedEvent(id_of(entry, "id"), event_type(kind), entry, occurred)
