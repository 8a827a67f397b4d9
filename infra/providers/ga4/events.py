"""Domain events as events of GA4's Measurement Protocol, for a web data stream.

https://developers.google.com/analytics/devguides/collection/protocol/ga4/sending-events (25 events a request, 25
parameters an event, names of 40 characters, values of 100, bodies below 130 kB; events of the last 72 hours)
https://support.google.com/analytics/answer/13316687 (names: letters, digits and underscores, a letter first; reserved
names and prefixes). The endpoint answers 2xx to whatever it gets, so that only what is checked here is ever noticed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from domain.core.json_text import compact_json
from domain.core.text_length import cut, utf16_units
from domain.providers.analytics import AnalyticsEvent, EventCall
from domain.providers.contract import Connection, EventSink, ProviderRequest

_OLDEST = timedelta(hours=72)
_MOST_PARAMETERS = 25
_VALUE_CHARACTERS = 100
_BODY_BYTES = 130_000
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_RESERVED_PREFIXES = ("_", "firebase_", "ga_", "google_", "gtag.")
_RESERVED_PARAMETERS = frozenset(("firebase_conversion", "gclid", "dclid", "srsltid", "session_number"))
RESERVED_EVENTS: Final = frozenset(
    (
        "ad_activeview",
        "ad_click",
        "ad_exposure",
        "ad_impression",
        "ad_query",
        "ad_reward",
        "adunit_exposure",
        "app_background",
        "app_clear_data",
        "app_exception",
        "app_install",
        "app_remove",
        "app_store_refund",
        "app_store_subscription_cancel",
        "app_store_subscription_convert",
        "app_store_subscription_renew",
        "app_update",
        "app_upgrade",
        "click",
        "dynamic_link_app_open",
        "dynamic_link_app_update",
        "dynamic_link_first_open",
        "error",
        "file_download",
        "firebase_campaign",
        "firebase_in_app_message_action",
        "firebase_in_app_message_dismiss",
        "firebase_in_app_message_impression",
        "first_open",
        "first_visit",
        "form_start",
        "form_submit",
        "in_app_purchase",
        "notification_dismiss",
        "notification_foreground",
        "notification_open",
        "notification_receive",
        "notification_send",
        "os_update",
        "page_view",
        "screen_view",
        "scroll",
        "session_start",
        "user_engagement",
        "video_progress",
        "video_start",
        "view_complete",
        "view_search_results",
    )
)


class GA4Events(EventSink):
    most_events = 25

    def problem_of(self, name: str, properties: Sequence[str]) -> str | None:
        if (problem := _name_problem(name)) is not None:
            return f"GA4 takes no event of this name: {problem}"
        if name in RESERVED_EVENTS:
            return "GA4 takes no event of this name: it is reserved. Map it to another."
        if len(properties) > _MOST_PARAMETERS:
            return f"The event has {len(properties)} parameters; GA4 takes {_MOST_PARAMETERS}. Map those that count."
        for given in properties:
            problem = "it is reserved." if given in _RESERVED_PARAMETERS else _name_problem(given)
            if problem is not None:
                return f"GA4 takes no parameter {cut(given, 60)}: {problem}"
        return None

    def pack(self, events: Sequence[AnalyticsEvent], now: datetime) -> EventCall:
        """Do as the port says. A call is of one client and user, so that it ends where the next user begins."""
        sent: list[AnalyticsEvent] = []
        refused: dict[str, str] = {}
        body = b""
        for event in events[: self.most_events]:
            reason = self._refusal(event, now)
            if reason is None and sent and sent[0].user_id != event.user_id:
                break
            if reason is None:
                # 25 parameters of 40 and 100 characters are far below the limit, so that one event always fits.
                larger = _body([*sent, event])
                if len(larger) >= _BODY_BYTES:
                    break
                sent, body = [*sent, event], larger
            if reason is not None:
                refused[event.event_id] = reason
        return EventCall(body, sent, refused)

    def _refusal(self, event: AnalyticsEvent, now: datetime) -> str | None:
        if event.occurred_at < now - _OLDEST:
            return "The event is older than the 72 hours that GA4 takes."
        parameters = _parameters(event.properties)
        if not all(math.isfinite(value) for value in parameters.values() if isinstance(value, float)):
            return "The event contains a number that JSON cannot represent."
        for name, value in parameters.items():
            if isinstance(value, str) and utf16_units(value) > _VALUE_CHARACTERS:
                length = utf16_units(value)
                return (
                    f"The parameter {cut(name, 60)} has {length:,} characters; GA4 takes {_VALUE_CHARACTERS}."
                )
        return self.problem_of(event.name, list(parameters))

    async def deliver(self, connection: Connection, call: EventCall) -> None:
        configuration = connection.configuration
        request = ProviderRequest(
            "POST",
            f"{configuration.base_url}/mp/collect",
            params={"measurement_id": configuration.measurement_id, "api_secret": configuration.api_secret},
            headers={"content-type": "application/json"},
            body=call.body,
        )
        await connection.http.expect(request)


def _name_problem(name: str) -> str | None:
    if name.startswith(_RESERVED_PREFIXES):
        return f"names that begin with {', '.join(_RESERVED_PREFIXES)} are reserved."
    if len(name) > 40:
        return f"it has {len(name)} characters, at most 40 are taken."
    if _NAME.fullmatch(name) is None:
        return "a name has letters, digits and underscores, a letter first."
    return None


def _parameters(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties that can be parameters: texts, numbers, and true or false as such texts."""
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in properties.items()
        if isinstance(value, str | int | float)
    }


def _body(events: Sequence[AnalyticsEvent]) -> bytes:
    first = events[0]
    content: dict[str, Any] = {"client_id": first.source_id}
    if first.user_id is not None:
        content["user_id"] = first.user_id
    content["events"] = [
        {
            "name": event.name,
            "params": _parameters(event.properties),
            "timestamp_micros": int(event.occurred_at.timestamp() * 1_000_000),
        }
        for event in events
    ]
    return compact_json(content).encode()
