"""A tenant's usage over HTTP, and over the end of a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.harness import running
from tests.worlds.hub_api import Api, Receiver, fresh_tenant

pytestmark = pytest.mark.e2e


def test_an_orderly_end_loses_nothing_that_was_counted(tmp_path: Path, receiver: Receiver) -> None:
    with running(tmp_path / "hub", HUB_USAGE_STORE_SECONDS="300") as host:
        api = fresh_tenant(host)
        api.webhook(receiver.url, eventTypes=["BookingConfirmed"])
        for _ in range(3):
            api.raise_event()
        receiver.wait(3)
        assert host.stop() == 0
        host.start()
        status, listed = api("GET", "/usage?by=month")
        assert status == 200
        assert listed["total"] == 1
        [month] = listed["items"]
        # The webhook, three events, and this question.
        assert (month["calls"], month["events"], month["deliveries"], month["records"]) == (5, 3, 3, 0)
        assert listed["totals"] == {name: month[name] for name in listed["totals"]}


def test_the_list_is_paged_as_others_and_wants_the_permission(api: Api) -> None:
    api.raise_event()
    status, page = api("GET", "/usage?page=2&pageSize=1")
    assert (status, page["items"], page["page"], page["pageSize"], page["by"]) == (200, [], 2, 1, "hour")
    assert page["total"] == 1
    assert page["totals"]["events"] == 1
    assert api("GET", "/usage?by=day")[0] == 422
    assert api("GET", "/usage?from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z")[0] == 422
    status, problem = fresh_tenant(api.host, "webhook:manage")("GET", "/usage")
    assert (status, "insights:read" in problem["detail"]) == (403, True)
