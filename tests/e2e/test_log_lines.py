"""What operators read in Azure: each line arrives once, wherever in the process it was written."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bench.harness import running
from tests.worlds.hub_api import Receiver
from tests.worlds.incoming_door import Door, now
from tests.worlds.incoming_world import changed, signed_by_stripe, stripe_event

pytestmark = pytest.mark.e2e


def test_lines_of_background_work_reach_the_host_each_once(tmp_path: Path, receiver: Receiver) -> None:
    with running(tmp_path / "hub", HUB_LOG_LEVEL="INFO") as host:
        door = Door(host)
        door.api.webhook(receiver.url)
        door.api.raise_event()
        signed = signed_by_stripe(stripe_event(), now())
        assert door.send(door.integration(), replace(signed, body=changed(signed.body, 9)))[0] == 401

        def told() -> Counter[tuple[str, int | None]]:
            """How often each line is there, of the audit log by its row."""
            lines = [json.loads(line) for line in host.log.read_text().splitlines() if line.startswith("{")]
            return Counter((line["message"], line.get("auditSequence")) for line in lines)

        deadline = time.monotonic() + 10
        while told()["webhook delivery attempted", None] == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        lines = told()
    assert lines["webhook delivery attempted", None] == 1
    assert lines["incoming webhook refused", None] == 1
    assert {count for (said, _), count in lines.items() if said == "change recorded"} == {1}
