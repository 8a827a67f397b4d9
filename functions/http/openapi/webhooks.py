"""The requests that the hub sends, for the `webhooks` of the OpenAPI document (Standard Webhooks)."""

from __future__ import annotations

from domain.journal.event_types import OriginKind
from functions.http.openapi.components import Json

_MOMENT: Json = {"type": "string", "format": "date-time"}
_TYPE: Json = {"type": "string", "description": "Type of the event", "examples": ["BookingConfirmed"]}

SCHEMAS: Json = {
    "OutgoingEvent": {
        "type": "object",
        "description": "The body of an event; the same bytes on every attempt.",
        "required": ["type", "timestamp", "id", "data"],
        "properties": {
            "type": _TYPE,
            "timestamp": {**_MOMENT, "description": "When it happened"},
            "id": {"type": "string", "description": "The event's id, as in the header `webhook-id`"},
            "subject": {
                "type": "string",
                "description": "What the event is about; absent when it has no subject",
                "examples": ["booking/42"],
            },
            "origin": {"$ref": "#/components/schemas/EventOrigin"},
            "data": {"type": "object", "description": "The payload of the event"},
        },
    },
    "EventOrigin": {
        "type": "object",
        "description": "Who raised the event. Act on it, not on how a type is named. Absent of events that were "
        "stored before the hub noted it.",
        "required": ["kind"],
        "properties": {
            "kind": {
                "type": "string",
                "enum": [kind.name.lower() for kind in OriginKind],
                "description": "`platform`: another module, through `POST /api/events` or the queue. `hub`: the hub "
                "itself. `provider`: a provider, whose signature the hub verified. `test`: a person who tries the "
                "webhook.",
            },
            "provider": {"type": "string", "description": "Of `provider` alone", "examples": ["Stripe"]},
            "integrationId": {
                "type": "string",
                "format": "uuid",
                "description": "Of `provider` alone: the integration that received it",
            },
        },
    },
    "VerificationRequest": {
        "type": "object",
        "description": "Asks the receiver to confirm that it wants events.",
        "required": ["type", "timestamp", "id", "data"],
        "properties": {
            "type": {"type": "string", "const": "webhook.verification"},
            "timestamp": _MOMENT,
            "id": {"type": "string"},
            "origin": {"$ref": "#/components/schemas/EventOrigin"},
            "data": {
                "type": "object",
                "required": ["challenge", "webhookId"],
                "properties": {
                    "challenge": {"type": "string", "description": "Send it back unchanged"},
                    "webhookId": {"type": "string", "format": "uuid"},
                },
            },
        },
    },
    "VerificationAnswer": {
        "type": "object",
        "required": ["challenge"],
        "properties": {
            "challenge": {"type": "string", "description": "`data.challenge` of the request, unchanged"}
        },
    },
}


def _header(name: str, description: str, example: str, *, required: bool = True) -> Json:
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": {"type": "string", "examples": [example]},
    }


_HEADERS: list[Json] = [
    _header(
        "webhook-id",
        "The event's id, the same on every attempt, to recognise repeats.",
        "019b4c3e-8f4c-7c6e-9d0e-2f6d5f1c8a11",
    ),
    _header("webhook-timestamp", "When this attempt was signed, in Unix seconds.", "1766397600"),
    _header(
        "webhook-signature",
        "`v1,` and the base64 HMAC-SHA256 of `id.timestamp.body` with the secret; two signatures, separated by "
        "a space, during a rotation.",
        "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    ),
]
_TRACEPARENT = _header(
    "traceparent",
    "W3C trace context of the request that raised the event, if it had one.",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    required=False,
)


def _body(schema: str, example: Json) -> Json:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
    return {"required": True, "content": {"application/json": content}}


_EVENT_EXAMPLE: Json = {
    "type": "BookingConfirmed",
    "timestamp": "2025-12-22T10:00:00.000000Z",
    "id": "booking-42-confirmed",
    "subject": "booking/42",
    "origin": {"kind": "platform"},
    "data": {"bookingId": 42, "seats": 2},
}
_VERIFICATION_EXAMPLE: Json = {
    "type": "webhook.verification",
    "timestamp": "2025-12-22T10:00:00.000000Z",
    "id": "019b4c3e-8f4c-7c6e-9d0e-2f6d5f1c8a11",
    "origin": {"kind": "hub"},
    "data": {
        "challenge": "Zx1mJ0c7p2V8k3qT5wYbN4rL6hG9sDfA0uEiOxPzKcM",
        "webhookId": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    },
}

WEBHOOKS: Json = {
    "event": {
        "post": {
            "operationId": "deliverEvent",
            "summary": "Receive an event",
            "description": "Sent to every active webhook that subscribes to the event's type. Delivery is at least "
            "once: recognise repeats by `webhook-id`. Redirects are not followed.",
            "tags": ["Webhooks"],
            "security": [],
            "parameters": [*_HEADERS, _TRACEPARENT],
            "requestBody": _body("OutgoingEvent", _EVENT_EXAMPLE),
            "responses": {
                "2XX": {"description": "Delivered; the body is ignored."},
                "408": {"description": "Retried according to the webhook's retry policy."},
                "410": {"description": "The webhook is disabled, because its receiver is gone."},
                "429": {"description": "Retried, not before `Retry-After`."},
                "4XX": {"description": "Failed; not retried."},
                "503": {"description": "Retried, not before `Retry-After`."},
                "5XX": {
                    "description": "Retried like a timeout or network error, according to the retry policy."
                },
            },
        }
    },
    "verification": {
        "post": {
            "operationId": "verifyReceiver",
            "summary": "Verify a receiver",
            "description": "Sent when a webhook is created, when its URL changes, and on request. The webhook gets "
            "no events until the receiver has answered.",
            "tags": ["Webhooks"],
            "security": [],
            "parameters": _HEADERS,
            "requestBody": _body("VerificationRequest", _VERIFICATION_EXAMPLE),
            "responses": {
                "2XX": {
                    "description": "Verified, if the challenge is right.",
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/VerificationAnswer"}}
                    },
                },
                "default": {"description": "Not verified; the webhook stays PendingVerification."},
            },
        }
    },
}
