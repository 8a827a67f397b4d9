"""What was answered with 202 survives the death of the host."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from bench.harness import HostProcess
from tests.worlds.hub_api import Receiver
from tests.worlds.incoming_door import Door, now
from tests.worlds.incoming_world import signed_by_stripe, stripe_event

pytestmark = pytest.mark.e2e
_KILL_AFTER = 60


def test_kill_9_after_202_loses_nothing(tmp_path: Path, receiver: Receiver) -> None:
    host = HostProcess(tmp_path / "hub", workers=1).start()
    try:
        door = Door(host)
        door.api.webhook(receiver.url, eventTypes=["stripe.*"])
        integration = door.integration()
        acknowledged: set[str] = set()
        enough = threading.Event()

        def send(client: int) -> None:
            for index in range(200):
                event_id = f"evt_{client}_{index}"
                try:
                    status, _ = door.send(integration, signed_by_stripe(stripe_event(event_id), now()))
                except (OSError, json.JSONDecodeError):
                    return  # the host is dead
                if status == 202:
                    acknowledged.add(event_id)
                if len(acknowledged) >= _KILL_AFTER:
                    enough.set()

        clients = [threading.Thread(target=send, args=(number,)) for number in range(4)]
        for client in clients:
            client.start()
        assert enough.wait(20)
        host.kill()
        for client in clients:
            client.join(20)
        host.start()
        listed = {event["providerEventId"] for event in door.events(integration)}
        listed |= {event["providerEventId"] for event in door.events(integration, "&page=2")}
        assert acknowledged <= listed

        def all_came() -> bool:
            host.advance(
                60
            )  # leases of the dead host lapse, and what it left under way is due after a minute
            return acknowledged <= {request["json"]["data"]["id"] for request in receiver.received}

        door.api.eventually(all_came, seconds=60, step=0.5)
        door.hub.database.close()
    finally:
        host.stop()
