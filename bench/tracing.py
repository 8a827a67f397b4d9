"""What an exporter of traces costs the delivery pipeline: `python -m bench.tracing`. Runs with and without one take
turns, so that whatever else the machine does meets both alike; one trace in `--every` is sampled."""

from __future__ import annotations

import argparse
import secrets
import statistics
import tempfile
import time
from pathlib import Path

from bench.harness import HostProcess, ReceiverProcess, call, receiving, running
from bench.pipeline import Rate, payload, subscribe, wait_for

_MOST_AHEAD = 2_000


def delivered(
    host: HostProcess, receiver: ReceiverProcess, token: str, *, requests: int, events: int, every: int
) -> Rate:
    """So many requests of so many events each, all delivered. One request in `every` is sampled by its caller, the
    others are not: chance would make runs differ."""
    receiver.reset()
    cpu, started = host.cpu_seconds(), time.monotonic()
    for number in range(requests):
        while number * events - receiver.counts()["requests"] > _MOST_AHEAD:
            time.sleep(0.01)
        sampled = number % every == 0
        trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{sampled:02x}"
        body = {"events": [{"type": "BookingConfirmed", "data": payload()} for _ in range(events)]}
        status, answer = call("POST", f"{host.url}/events", body, token=token, headers={"traceparent": trace})
        if status != 202:
            raise RuntimeError(f"events were refused: {status} {answer}")
    total = requests * events
    if wait_for(receiver, total, 60)["events"] < total:
        raise RuntimeError("not all was delivered")
    elapsed = time.monotonic() - started
    time.sleep(0.5)  # results are still being recorded
    return Rate(total / elapsed, 1000 * (host.cpu_seconds() - cpu) / total)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.tracing", description=__doc__)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--events", type=int, default=20, help="in a request")
    parser.add_argument("--every", type=int, default=10, help="one request in so many is sampled")
    options = parser.parse_args()
    size = {"requests": options.requests, "events": options.events, "every": options.every}
    ratios: list[tuple[float, float]] = []
    with (
        receiving() as receiver,
        receiving() as collector,
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "plain") as plain,
        running(Path(folder) / "traced", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as traced,
    ):
        hosts = {"without": plain, "with": traced}
        tokens = {name: host.token() for name, host in hosts.items()}
        for name, host in hosts.items():
            subscribe(host, tokens[name], f"{receiver.url}/{name}")
            delivered(host, receiver, tokens[name], **size)
        for run in range(options.runs):
            order = sorted(hosts, reverse=run % 2 == 0)
            rates = {name: delivered(hosts[name], receiver, tokens[name], **size) for name in order}
            base, ours = rates["without"], rates["with"]
            ratios.append((ours.cpu_ms / base.cpu_ms, base.per_second / ours.per_second))
            print(
                f"run {run + 1}: without {base.cpu_ms:.3f} ms CPU, {base.per_second:,.0f}/s; "
                f"with {ours.cpu_ms:.3f} ms CPU, {ours.per_second:,.0f}/s; CPU x {ratios[-1][0]:.3f}",
                flush=True,
            )
    for what, values in zip(
        ("CPU for each delivery", "time for each delivery"), zip(*ratios, strict=True), strict=True
    ):
        print(f"{what}: x {statistics.median(values):.3f}, {min(values):.3f} to {max(values):.3f}")


if __name__ == "__main__":
    main()
