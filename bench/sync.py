"""Synchronisation under load: `python -m bench.sync [--chaos] [--jobs] [--memory]`, all of them without an option.

Every number of throughput stands beside a bare loop of fetch and insert in the same run."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.harness import HostProcess, running
from bench.sync_world import ApiProcess, SyncClient, serving, stored

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Survival:
    """What a chaotic run came to.

    `lag` is the most records that were fetched and not stored when a kill came, in batches."""

    job: dict[str, Any]
    missing: int
    outdated: int
    unknown: int
    kills: int
    refetched_batches: float
    api: dict[str, int]
    seconds: float

    @property
    def adds_up(self) -> bool:
        job = self.job
        parts = ("recordsWritten", "recordsUnchanged", "recordsDuplicate", "recordsDeleted")
        processed = sum(int(job[part]) for part in parts)
        total = int(job["recordsProcessed"]) + int(job["recordsFailed"])
        return processed == job["recordsProcessed"] and total == job["recordsTotal"]


def survive(
    home: Path,
    *,
    records: int,
    kills: int,
    workers: int,
    rng: random.Random,
    page: int = 100,
    seconds: float = 120.0,
    delay: float = 0.0,
) -> Survival:
    """Synchronise from a chaotic API, and SIGKILL the host so many times.

    The API fails 5% of calls, limits their rate, repeats records and changes 1% of them during the run."""
    with serving(records, failing=0.05, limiting=0.01, changes=max(20, records // 100), delay=delay) as api:
        host = HostProcess(home, workers=workers, HUB_SYNC_BATCH_RECORDS=str(page * 5)).start()
        try:
            client = SyncClient(host, host.token())
            integration = client.integration(api.url, size=page)
            began = time.monotonic()
            job = client.start(integration)
            done = 0
            for number in range(kills):
                wanted = int(records * (number + rng.random()) / (kills + 1))
                if client.progressed(job, wanted)["status"] not in ("Scheduled", "Running"):
                    break
                host.kill()
                done += 1
                host.start()
            ended = client.ended(job, seconds)
            took = time.monotonic() - began
            found, truth, stats = stored(home, integration), api.truth(), api.stats()
        finally:
            host.stop()
    surplus = stats["served"] - int(ended["recordsTotal"])
    return Survival(
        job=ended,
        missing=len(truth.keys() - found.keys()),
        outdated=sum(1 for key, version in truth.items() if found.get(key, version) != version),
        unknown=len(found.keys() - truth.keys()),
        kills=done,
        refetched_batches=surplus / (page * 5) / max(1, done),
        api=stats,
        seconds=took,
    )


def bare_loop(api: ApiProcess, home: Path, *, rounds: int, page: int = _PAGE) -> float:
    """Return records a second of the least code there is: fetch a page, insert its rows, commit; each round anew."""

    async def run() -> int:
        import aiohttp

        database = sqlite3.connect(home / "bare.db")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("CREATE TABLE IF NOT EXISTS R (Id TEXT PRIMARY KEY, Data TEXT)")
        seen = 0
        async with aiohttp.ClientSession() as session:
            for number in range(rounds):
                cursor: str | None = ""
                while cursor is not None:
                    parameters = {"size": str(page), **({"cursor": cursor} if cursor else {})}
                    async with session.get(f"{api.url}/records", params=parameters) as response:
                        body = await response.json()
                    rows = [(f"{number}/{record['id']}", json.dumps(record)) for record in body["records"]]
                    database.executemany("INSERT OR REPLACE INTO R VALUES (?, ?)", rows)
                    database.commit()
                    seen += len(rows)
                    cursor = body["next"]
        database.close()
        return seen

    began = time.monotonic()
    seen = asyncio.run(run())
    return seen / (time.monotonic() - began)


def chaos(*, workers: int, records: int = 100_000) -> Iterator[tuple[str, str]]:
    """100,000 records, five kills."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = survive(
            Path(folder) / "hub",
            records=records,
            kills=5,
            workers=workers,
            rng=random.Random(11),
            seconds=600,
        )
    yield "sync chaos: records at the source", f"{records:,} ({outcome.api['changed']:,} changed meanwhile)"
    yield "sync chaos: calls failed, limited", f"{outcome.api['failed']:,}, {outcome.api['limited']:,}"
    yield "sync chaos: SIGKILLs", str(outcome.kills)
    yield (
        "sync chaos: missing, outdated, unknown",
        f"{outcome.missing}, {outcome.outdated}, {outcome.unknown}",
    )
    yield "sync chaos: status, counts add up", f"{outcome.job['status']}, {outcome.adds_up}"
    yield "sync chaos: batches fetched again per kill", f"{outcome.refetched_batches:.2f}"
    yield "sync chaos: seconds", f"{outcome.seconds:.1f}"


def jobs(*, workers: int, count: int = 100, records: int = 10_000) -> Iterator[tuple[str, str]]:
    """100 jobs of 10,000 records at once, beside the bare loop."""
    with tempfile.TemporaryDirectory() as folder, serving(records) as api:
        home = Path(folder) / "hub"
        environment = {"HUB_SYNC_CONCURRENCY": str(count), "HUB_SYNC_BATCH_RECORDS": "5000"}
        with running(home, workers=workers, **environment) as host:
            client = SyncClient(host, host.token())
            made = [
                client.integration(api.url, name=f"Guests {number}", size=_PAGE) for number in range(count)
            ]
            bare = bare_loop(api, Path(folder), rounds=count // 4)
            began = time.monotonic()
            started = [client.start(integration) for integration in made]
            ended = [client.ended(integration, 1_200) for integration in started]
            took = time.monotonic() - began
        bare = (bare + bare_loop(api, Path(folder), rounds=count // 4)) / 2
    complete = sum(1 for job in ended if job["status"] == "Completed" and job["recordsWritten"] == records)
    rate = count * records / took
    yield f"sync jobs: complete of {count}", str(complete)
    yield "sync jobs: records/s", f"{rate:,.0f}"
    yield "bare loop of fetch and insert: records/s", f"{bare:,.0f}"
    yield "sync jobs: share of the bare loop", f"{rate / bare:.0%}"


def memory(*, records: int = 1_000_000) -> Iterator[tuple[str, str]]:
    """One worker, a million records: how much more memory than idle."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(records) as api,
        running(Path(folder) / "hub", workers=1, HUB_SYNC_BATCH_RECORDS="2000") as host,
    ):
        client = SyncClient(host, host.token())
        integration = client.integration(api.url, size=_PAGE)
        idle = host.memory_bytes()
        most, began = idle, time.monotonic()
        job = client.start(integration)
        state = client.job(job)
        while state["status"] in ("Scheduled", "Running") and time.monotonic() < began + 1_800:
            most = max(most, host.memory_bytes())
            time.sleep(0.5)
            state = client.job(job)
        took = time.monotonic() - began
    mebi = 1024 * 1024
    yield "sync memory: idle MiB", f"{idle / mebi:,.0f}"
    yield f"sync memory: most MiB above idle over {records:,} records", f"{(most - idle) / mebi:,.0f}"
    yield "sync memory: status, records/s", f"{state['status']}, {state['recordsProcessed'] / took:,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.sync")
    parser.add_argument("--chaos", action="store_true")
    parser.add_argument("--jobs", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    everything = not (options.chaos or options.jobs or options.memory)
    parts = []
    if options.chaos or everything:
        parts.append(chaos(workers=options.workers))
    if options.jobs or everything:
        parts.append(jobs(workers=options.workers))
    if options.memory or everything:
        parts.append(memory())
    for part in parts:
        for what, result in part:
            print(f"{what:58} {result}", flush=True)


if __name__ == "__main__":
    main()
