"""Example bodies (section 5 of the specification), by method and route."""

from __future__ import annotations

from typing import Any

_GUID = "3fa85f64-5717-4562-b3fc-2c963f66afa6"

EXAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "integrations"): {
        "Payment gateway": {
            "name": "Stripe Payment Gateway",
            "integrationType": "PaymentGateway",
            "provider": "Stripe",
            "configuration": {"apiKey": "sk_test_...", "webhookSecret": "whsec_...", "currency": "USD"},
        }
    },
    ("POST", "apikeys"): {
        "Mobile app": {
            "keyName": "Mobile App API Key",
            "scopes": ["events:read", "customers:read", "bookings:write"],
            "expiresAt": "2026-12-31T23:59:59Z",
            "rateLimitPerHour": 1000,
        }
    },
    ("POST", "webhooks"): {
        "Three event types": {
            "url": "https://example.com/webhooks/events",
            "eventTypes": ["EventCreated", "EventCancelled", "BookingConfirmed"],
            "retryPolicy": {"maxRetries": 5, "backoffMultiplier": 2},
            "timeoutSeconds": 30,
        },
        "In the order of each subject": {
            "url": "https://example.com/webhooks/bookings",
            "eventTypes": ["booking.*"],
            "ordering": "perSubject",
        },
    },
    ("PUT", "webhooks/{id}"): {
        "Other events": {"eventTypes": ["BookingConfirmed", "payment.*"], "timeoutSeconds": 10},
        "Pause": {"isActive": False},
    },
    ("POST", "webhooks/{id}/secret/rotate"): {"One hour of overlap": {"overlapSeconds": 3600}},
    ("POST", "webhooks/{id}/test"): {
        "A booking": {"eventType": "BookingConfirmed", "data": {"bookingId": 42, "seats": 2}}
    },
    ("POST", "webhooks/{id}/replay"): {
        "One hour": {"from": "2025-12-22T10:00:00Z", "to": "2025-12-22T11:00:00Z", "status": ["Failed"]}
    },
    ("POST", "datasyncs"): {
        "Incremental import": {
            "integrationId": _GUID,
            "syncType": "Incremental",
            "direction": "Import",
            "scheduledAt": "2025-12-22T10:00:00Z",
        }
    },
    ("PUT", "integrations/{id}/sync-schedule"): {
        "Each night": {"syncType": "Incremental", "expression": "0 0 3 * * *"}
    },
    ("PUT", "platform/tenants/{tenantId}/limits"): {
        "A small plan": {"webhooks": 5, "apiKeys": 3, "eventsPerHour": 10000}
    },
    ("POST", "platform/tenants/{tenantId}/suspend"): {
        "Unpaid": {"reason": "The invoice of March is not paid."}
    },
    ("POST", "ops/dead-letters/{queue}/resend"): {"Two of them": {"sequenceNumbers": ["41", "42"]}},
    ("POST", "ops/dead-letters/{queue}/discard"): {"One": {"sequenceNumbers": ["43"]}},
    ("POST", "events"): {
        "One event": {
            "id": "booking-42-confirmed",
            "type": "BookingConfirmed",
            "subject": "booking/42",
            "occurredAt": "2025-12-22T10:00:00Z",
            "data": {"bookingId": 42, "seats": 2},
        },
        "A batch": {
            "events": [
                {"type": "EventCreated", "data": {"eventId": 7, "name": "Winter Gala"}},
                {"type": "BookingConfirmed", "data": {"bookingId": 42, "seats": 2}},
            ]
        },
    },
}
