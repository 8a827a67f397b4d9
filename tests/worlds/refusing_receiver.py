"""Webhooks whose receiver refuses one type of event, so that something is to be recommended."""

from __future__ import annotations

from typing import Any

from bench.harness import HostProcess
from tests.worlds.hub_api import Api, Receiver, fresh_tenant

PATH = "/insights/recommendations"


def listed(api: Api, query: str = "") -> list[dict[str, Any]]:
    """The tenant's recommendations."""
    status, page = api("GET", f"{PATH}{query}")
    assert status == 200, page
    assert page["total"] == len(page["items"])
    return list(page["items"])


def refusing(host: HostProcess, receiver: Receiver, *, webhooks: int = 1) -> tuple[Api, list[dict[str, Any]]]:
    """A fresh tenant's webhooks, of each of which the receiver took one type of event 25 times, and refused another
    as often."""
    api = fresh_tenant(host)
    made = [api.webhook(receiver.url, eventTypes=["order.created", "user.deleted"]) for _ in range(webhooks)]
    receiver.respond = lambda request: (422 if request["json"]["type"] == "user.deleted" else 200, {})
    host.advance(3600)  # past the hour of their creation
    for n in range(1, 6):  # few at a time: the receiver's backlog is short
        events = [{"type": name, "data": {}} for name in ("order.created", "user.deleted") for _ in range(5)]
        assert api("POST", "/events", {"events": events})[0] == 202
        receiver.wait(10 * n * webhooks)
    for webhook in made:
        api.eventually(lambda id_=webhook["webhookId"]: len(api.deliveries(id_, "&status=Failed")) == 25)  # type: ignore[misc]
    host.advance(3600)
    return api, made
