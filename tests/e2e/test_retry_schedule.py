"""BR-WH-04 over real HTTP, with the host's clock moved instead of waiting."""

from __future__ import annotations

from datetime import datetime

import pytest

from bench.harness import HostProcess
from tests.worlds.hub_api import Receiver, fresh_tenant

pytestmark = pytest.mark.e2e


def test_a_receiver_failing_four_times_gets_it_after_0_1_3_7_and_15_minutes__BR_WH_04(
    clocked_host: HostProcess, receiver: Receiver
) -> None:
    api = fresh_tenant(clocked_host)
    receiver.respond = lambda request: (200 if len(receiver.received) >= 5 else 500, {})
    webhook = api.webhook(receiver.url, retryPolicy={"maxRetries": 5, "jitter": False})
    api.raise_event()
    receiver.wait(1)
    for retry, minutes in enumerate((1, 2, 4, 8), start=1):
        [waiting] = api.eventually(lambda: api.deliveries(webhook["webhookId"], "&status=Retrying"))
        assert waiting["attemptCount"] == retry
        clocked_host.advance(minutes * 60)
        receiver.wait(retry + 1)
    [delivery] = api.eventually(lambda: api.deliveries(webhook["webhookId"], "&status=Delivered"))
    path = f"/webhooks/{webhook['webhookId']}/deliveries/{delivery['webhookDeliveryId']}"
    attempts = api("GET", path)[1]["attempts"]
    started = [datetime.fromisoformat(attempt["startedAt"]) for attempt in attempts]
    minutes_after = [(moment - started[0]).total_seconds() / 60 for moment in started]
    assert minutes_after == pytest.approx([0, 1, 3, 7, 15], abs=0.2)
    assert [attempt["httpStatusCode"] for attempt in attempts] == [500, 500, 500, 500, 200]
    assert len({request["headers"]["webhook-id"] for request in receiver.received}) == 1


def test_an_undelivered_delivery_expires_after_24_hours__BR_WH_05(
    clocked_host: HostProcess, receiver: Receiver
) -> None:
    api = fresh_tenant(clocked_host)
    webhook = api.webhook(receiver.url)
    api("PUT", f"/webhooks/{webhook['webhookId']}", {"isActive": False})
    api.raise_event()
    api.eventually(lambda: api.deliveries(webhook["webhookId"], "&isHeld=true"))
    clocked_host.advance(24 * 3600 + 60)
    api.eventually(lambda: api.deliveries(webhook["webhookId"], "&status=Expired"))
