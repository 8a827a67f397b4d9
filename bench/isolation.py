"""What one bad endpoint costs the others, and what a thousand slow answers cost."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.harness import receiving, running
from bench.pipeline import raise_events, subscribe, wait_for


def healthy_p95(folder: Path, *, with_hanging: bool, events: int, workers: int) -> float:
    """Milliseconds from event to receipt, 95th percentile over nine healthy endpoints."""
    with receiving() as healthy, receiving("--hang") as hanging, running(folder, workers=workers) as host:
        token = host.token()
        for number in range(9):
            subscribe(host, token, f"{healthy.url}/hook/{number}")
        if with_hanging:
            subscribe(host, token, f"{hanging.url}/hook")
        healthy.reset()
        for number in range(events):
            raise_events(host, token, 1)
            time.sleep(0.01)
            if healthy.counts()["requests"] > 9 * number + 9:
                raise RuntimeError("more deliveries than events")
        deadline = time.monotonic() + 60
        while healthy.counts()["requests"] < 9 * events and time.monotonic() < deadline:
            time.sleep(0.05)
        stats = healthy.stats()
        if stats["requests"] < 9 * events:
            raise RuntimeError(f"only {stats['requests']} of {9 * events} arrived")
        host.kill()
        return float(stats["p95"])


def thousand_slow(folder: Path, *, workers: int) -> float:
    """Seconds until 1,000 deliveries to a receiver that takes 1 s for each are done."""
    with receiving("--delay", "1") as slow, running(folder, workers=workers) as host:
        token = host.token()
        subscribe(host, token, f"{slow.url}/hook")
        started = time.monotonic()
        raise_events(host, token, 1_000)
        wait_for(slow, 1_000, 60)
        return time.monotonic() - started + 1.0


def measure(*, workers: int) -> list[tuple[str, str]]:
    """Rows of (what, result) for the report."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        alone = healthy_p95(root / "a", with_hanging=False, events=300, workers=workers)
        beside = healthy_p95(root / "b", with_hanging=True, events=300, workers=workers)
        slow = thousand_slow(root / "c", workers=workers)
    return [
        (
            "healthy endpoints' p95 beside one that hangs",
            f"{beside:.1f} ms = {beside / alone:.2f} x the {alone:.1f} ms without it",
        ),
        ("1,000 deliveries to a receiver that takes 1 s", f"{slow:.1f} s"),
    ]
