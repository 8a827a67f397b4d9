"""What an exporter of traces costs the delivery pipeline: `python -m bench.tracing`.

Short runs with and without one take turns, so that whatever else the machine does meets both alike; one trace in
`--every` is sampled."""

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
    """Deliver so many requests of so many events each.

    One request in `every` is sampled by its caller, the others are not: chance would make runs differ."""
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
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--events", type=int, default=20, help="in a request")
    parser.add_argument("--every", type=int, default=10, help="one request in so many is sampled")
    options = parser.parse_args()
    size = {"requests": options.requests, "events": options.events, "every": options.every}
    pairs: list[tuple[Rate, Rate]] = []
    with (
        receiving() as receiver,
        receiving() as collector,
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "without") as without,
        running(Path(folder) / "with", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as with_one,
    ):
        hosts = (without, with_one)
        tokens = [host.token() for host in hosts]
        for host, token in zip(hosts, tokens, strict=True):
            subscribe(host, token, f"{receiver.url}/hook")
            delivered(host, receiver, token, **size)
        for run in range(options.runs):
            rates = {
                which: delivered(hosts[which], receiver, tokens[which], **size)
                for which in ((0, 1) if run % 2 else (1, 0))
            }
            pairs.append((rates[0], rates[1]))
    report("CPU for each delivery, ms", [(plain.cpu_ms, other.cpu_ms) for plain, other in pairs])
    report(
        "time for each delivery, ms",
        [(1000 / plain.per_second, 1000 / other.per_second) for plain, other in pairs],
    )


def report(what: str, pairs: list[tuple[float, float]]) -> None:
    """Medians, and the ratio of each pair: median and quartiles."""
    without, with_one = (statistics.median(values) for values in zip(*pairs, strict=True))
    low, middle, high = statistics.quantiles([other / plain for plain, other in pairs], n=4)
    print(f"{what}: {without:.3f} without, {with_one:.3f} with, x {middle:.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
