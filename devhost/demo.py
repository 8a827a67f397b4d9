"""`make demo`: the story of the hub in a terminal, on a host of its own or on the running one that HUB_URL names."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import httpx
from rich.console import Console
from rich.table import Table

from devhost.cli import DEVELOPMENT_TENANT, DEVELOPMENT_USER
from devhost.config import load_local_settings
from devhost.demo_acts import api_key, synchronisation
from devhost.demo_stage import DemoFailed, Stage
from domain.core.permissions import PERMISSIONS
from examples.client import HubClient, HubError
from examples.receiver import BadSignature, Receiver, verify
from infra.authentication.development import mint_token
from infra.clock import AdjustableClock

EVENTS = 1_000
FAILING_EVENTS = 20
_START_SECONDS = 20.0


def main() -> int:
    """Tell the story; returns the exit code."""
    console = Console()
    try:
        with ExitStack() as stack:
            stage = _set(stack, console)
            _ready(stage)
            _webhook(stack, stage)
            _recovery(stack, stage)
            synchronisation(stack, stage)
            api_key(stack, stage)
            _close(stage)
    except (DemoFailed, HubError, httpx.TransportError) as error:
        console.print(f"[red]The demo stopped: {error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _set(stack: ExitStack, console: Console) -> Stage:
    url = os.environ.get("HUB_URL")
    own = not url
    if not url:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="integration-hub-demo-")))
        # The host, and every command of the demo, work on this state and on nothing else.
        os.environ.update(HUB_HOME=str(home), HUB_LOG_LEVEL="WARNING", ServiceBusConnection="")
        url = stack.enter_context(_own_host(home))
    load_local_settings(Path.cwd())
    home = Path(os.environ.get("HUB_HOME") or ".hub")
    token = os.environ.get("HUB_TOKEN") or mint_token(
        home,
        tenant_id=UUID(DEVELOPMENT_TENANT),
        user_id=UUID(DEVELOPMENT_USER),
        permissions=list(PERMISSIONS),
        ttl_seconds=3600,
        name="Demo",
    )
    hub = stack.enter_context(HubClient(url, token))
    return Stage(hub, url, AdjustableClock(home / "clock"), console, own=own)


@contextmanager
def _own_host(home: Path) -> Iterator[str]:
    """Start a host on a free port; the value is its address. Raises DemoFailed when it does not start."""
    command = [sys.executable, "-m", "devhost", "start", "--port", "0", "--drain-seconds", "5"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        if "http://" not in first:
            raise DemoFailed(f"the host did not start.\n{(home / 'log').read_text()}")
        yield first.split()[-1]
    finally:
        process.terminate()
        process.wait(_START_SECONDS)
        process.stdout.close()


def _ready(stage: Stage) -> None:
    stage.act("1  The hub")
    answer = httpx.get(f"{stage.url}/api/health/ready", timeout=10)
    if answer.status_code != 200:
        raise DemoFailed(f"the hub is not ready: {answer.text}")
    stage.say(f"{stage.url} is ready: {', '.join(answer.json()['dependencies'])} answer.")


def _webhook(stack: ExitStack, stage: Stage) -> None:
    stage.act("2  A webhook, verified")
    name = f"demo.run{uuid4().hex[:8]}"
    receiver, webhook = _subscribe(stack, stage, f"{name}.*")
    stage.act(f"3  {EVENTS:,} events")
    events = [{"type": f"{name}.confirmed", "data": {"booking": number}} for number in range(EVENTS)]
    began = time.monotonic()
    accepted = stage.hub.call("POST", "events", {"events": events})
    stored = time.monotonic() - began
    stage.say(
        f"POST /api/events: {accepted['accepted']:,} stored in one transaction, {stored * 1000:.0f} ms."
    )
    seconds = stored + stage.watch("Delivered", EVENTS, lambda: len(receiver.seen))
    stage.say(f"{receiver.valid:,} signatures checked, {receiver.refused} refused.")
    _forge(stage, webhook["secret"])
    stage.numbers += [
        ("Events raised", f"{EVENTS:,}"),
        ("Delivered and acknowledged", f"{len(receiver.seen):,}"),
        ("Signatures valid", f"{receiver.valid:,}"),
        ("From the first byte in to the last acknowledgement", f"{seconds:.2f} s"),
        ("Deliveries a second", f"{EVENTS / seconds:,.0f}"),
    ]


def _subscribe(stack: ExitStack, stage: Stage, event_type: str) -> tuple[Receiver, dict[str, str]]:
    """Start a receiver and store its webhook; both are gone when the stack unwinds."""
    receiver = stack.enter_context(Receiver())
    stack.callback(receiver.shutdown)
    receiver.now = lambda: stage.clock.now().timestamp()
    receiver.say = lambda line: stage.say(f"[dim]receiver: {line}[/]") if "verification" in line else None
    threading.Thread(target=receiver.serve_forever, args=(0.05,), daemon=True).start()
    policy = {"initialDelaySeconds": stage.retry_delay_seconds(), "maxRetries": 5, "jitter": False}
    command = {"url": receiver.url, "eventTypes": [event_type], "retryPolicy": policy}
    webhook = stage.hub.call("POST", "webhooks", command)
    stack.callback(stage.hub.call, "DELETE", f"webhooks/{webhook['webhookId']}")
    receiver.secret = lambda: str(webhook["secret"])
    stage.say(f"POST /api/webhooks: {webhook['state']}. {webhook['verification']['detail']}")
    if webhook["state"] != "Active":
        raise DemoFailed("the receiver was not verified")
    return receiver, webhook


def _forge(stage: Stage, secret: str) -> None:
    headers = {"webhook-id": "x", "webhook-timestamp": str(int(time.time())), "webhook-signature": "v1,Zm9v"}
    try:
        verify(secret, headers, b'{"data":{"booking":0}}', now=time.time())
    except BadSignature as refusal:
        stage.say(f"A forged delivery is refused by the same check: {refusal}.")
    else:
        raise DemoFailed("a forged delivery passed the check")


def _recovery(stack: ExitStack, stage: Stage) -> None:
    stage.act("4  A receiver that fails and recovers")
    name = f"demo.run{uuid4().hex[:8]}"
    receiver, webhook = _subscribe(stack, stage, f"{name}.*")
    webhook_id = webhook["webhookId"]
    receiver.failing = True
    events = [{"type": f"{name}.paid", "data": {"payment": number}} for number in range(FAILING_EVENTS)]
    stage.hub.call("POST", "events", {"events": events})
    delay = stage.retry_delay_seconds()
    stage.watch("First attempts answered 503", FAILING_EVENTS, lambda: _tried(stage, webhook_id, 1))
    stage.let_time_pass(delay)
    stage.watch("Second attempts answered 503", FAILING_EVENTS, lambda: _tried(stage, webhook_id, 2))
    receiver.failing = False
    stage.say("The receiver is well again.")
    stage.let_time_pass(2 * delay)
    stage.watch("Third attempts delivered", FAILING_EVENTS, lambda: len(receiver.seen))
    stage.watch("Recorded", FAILING_EVENTS, lambda: _recorded(stage, webhook_id))
    first = stage.hub.deliveries(webhook_id)[0]
    path = f"webhooks/{webhook_id}/deliveries/{first['webhookDeliveryId']}"
    attempts = Table("Attempt", "Started", "Outcome", "Status", "Took", title="One delivery's attempts")
    for attempt in stage.hub.call("GET", path)["attempts"]:
        row = (attempt["attemptNumber"], attempt["startedAt"], attempt["outcome"], attempt["httpStatusCode"])
        attempts.add_row(*(str(cell) for cell in row), f"{attempt['durationMs']} ms")
    stage.console.print(attempts)
    stage.numbers += [
        ("Deliveries that failed twice", f"{FAILING_EVENTS}"),
        ("... and arrived in the end", f"{len(receiver.seen)}"),
    ]


def _tried(stage: Stage, webhook_id: str, times: int) -> int:
    waiting = stage.hub.deliveries(webhook_id, status="Retrying")
    return sum(delivery["attemptCount"] >= times for delivery in waiting)


def _recorded(stage: Stage, webhook_id: str) -> int:
    return len(stage.hub.deliveries(webhook_id, status="Delivered"))


def _close(stage: Stage) -> None:
    stage.act("7  In numbers")
    table = Table(show_header=False)
    for what, number in stage.numbers:
        table.add_row(what, number)
    stage.console.print(table)


if __name__ == "__main__":
    sys.exit(main())
