"""Domain events as track calls of Segment's batch endpoint.

https://www.twilio.com/docs/segment/connections/sources/catalog/libraries/server/http-api#batch (500 KB a request,
32 KB an event, else 400; an event without `userId` needs an `anonymousId`; a `messageId` seen before is dropped)
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from domain.core.json_text import compact_json
from domain.core.wire import rfc3339
from domain.providers.analytics import AnalyticsEvent, EventCall
from domain.providers.contract import Connection, EventSink, ProviderFailure, ProviderRequest
from infra.providers._kit.wire import basic, document

_EVENT_BYTES = 32 * 1024
#: KB of a thousand bytes: a batch of this size is within the limit by either reading.
_BATCH_BYTES = 500 * 1000
_OPEN, _CLOSE = b'{"batch":[', b"]}"


class SegmentEvents(EventSink):
    most_events = 200

    def pack(self, events: Sequence[AnalyticsEvent], now: datetime) -> EventCall:
        parts: list[bytes] = []
        sent: list[AnalyticsEvent] = []
        refused: dict[str, str] = {}
        size = len(_OPEN) + len(_CLOSE)
        for event in events[: self.most_events]:
            part = _track(event)
            if part is None:
                refused[event.event_id] = "The event contains a value that JSON cannot represent."
            elif len(part) > _EVENT_BYTES:
                refused[event.event_id] = f"The event has {len(part):,} bytes; Segment takes 32 KB."
            elif size + len(part) + 1 > _BATCH_BYTES:
                break
            else:
                parts.append(part)
                sent.append(event)
                size += len(part) + 1
        return EventCall(_OPEN + b",".join(parts) + _CLOSE, sent, refused)

    async def deliver(self, connection: Connection, call: EventCall) -> None:
        configuration = connection.configuration
        request = ProviderRequest(
            "POST",
            f"{configuration.base_url}/batch",
            headers={
                "authorization": basic(configuration.write_key, ""),
                "content-type": "application/json",
            },
            body=call.body,
            idempotent=True,  # Segment drops a messageId it has seen
        )
        answer = document(await connection.http.expect(request, 200))
        if not isinstance(answer, dict) or answer.get("success") is not True:
            raise ProviderFailure("malformed", "Segment did not confirm the events.")


def _track(event: AnalyticsEvent) -> bytes | None:
    who = {"userId": event.user_id} if event.user_id else {"anonymousId": event.source_id}
    track = {
        "type": "track",
        "messageId": event.event_id,
        "event": event.name,
        **who,
        "timestamp": rfc3339(event.occurred_at),
        "properties": event.properties,
    }
    try:
        return compact_json(track).encode()
    except ValueError:
        return None
