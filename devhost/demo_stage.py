"""What the acts of `make demo` share: the hub, its clock, the terminal."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.client import HubClient
from infra.clock import AdjustableClock

ARRIVE_SECONDS = 60.0


class DemoFailed(Exception):
    """What the story promises did not happen."""


class Stage:
    """What every act uses: the hub, its clock, the terminal, and the numbers of the closing table."""

    def __init__(
        self, hub: HubClient, url: str, clock: AdjustableClock, console: Console, *, own: bool
    ) -> None:
        self.hub = hub
        self.url = url
        self.clock = clock
        self.console = console
        self.is_own = own
        self.numbers: list[tuple[str, str]] = []

    def act(self, title: str) -> None:
        self.console.print()
        self.console.rule(f"[bold]{title}", align="left")

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    def watch(self, what: str, total: int, count: Callable[[], int]) -> float:
        """Show a progress bar until `count` reaches `total`; return the seconds it took. Raises DemoFailed."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        began = time.monotonic()
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(what, total=total)
            while (done := count()) < total:
                progress.update(task, completed=done)
                if time.monotonic() - began > ARRIVE_SECONDS:
                    raise DemoFailed(f"{what}: {done} of {total} after {ARRIVE_SECONDS:.0f} seconds")
                time.sleep(0.05)
            progress.update(task, completed=total)
        return time.monotonic() - began

    def retry_delay_seconds(self) -> int:
        """Return the specification's minute where time may be moved; on somebody else's host, one second."""
        return 60 if self.is_own else 1

    def let_time_pass(self, seconds: int) -> None:
        """Move the clock of the demo's own host; wait on another, whose clock is not ours to move."""
        if not self.is_own:
            time.sleep(seconds)
            return
        command = [sys.executable, "-m", "devhost", "clock", "--advance", str(seconds)]
        now = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        self.say(f"[dim]$ python -m devhost clock --advance {seconds}   # now {now}[/]")
