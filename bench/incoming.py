"""Incoming webhooks a second, signed as Stripe signs, beside `GET /api/health/live` of the same run.

`python -m bench.incoming` prints the rows; `--seconds`, `--workers` and `--clients` change the run."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.harness import HostProcess, call, running

_SECRET = "whsec_" + "b3N0" * 8
_BALANCE = {"object": "balance", "livemode": False, "available": [{"amount": 0, "currency": "usd"}]}


@contextlib.contextmanager
def _stripe() -> Iterator[str]:
    """Just enough of Stripe for an integration to be validated; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(_BALANCE).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _connect(host: HostProcess, token: str, base_url: str) -> str:
    """Make an active Stripe integration and return the address of its webhooks."""
    body = {
        "name": "Bench",
        "integrationType": "PaymentGateway",
        "provider": "Stripe",
        "configuration": {"apiKey": "sk_test_0123456789", "webhookSecret": _SECRET, "baseUrl": base_url},
        "test": False,
    }
    status, made = call("POST", f"{host.url}/integrations", body, token=token)
    if status != 201 or made["status"] != "Active":
        raise RuntimeError(f"no integration: {status} {made}")
    return f"{host.url}/webhooks/incoming/{made['integrationId']}"


def _signed(index: int, timestamp: int) -> tuple[bytes, dict[str, str]]:
    event = {
        "id": f"evt_{index}",
        "object": "event",
        "type": "charge.succeeded",
        "created": timestamp,
        "data": {"object": {"id": f"ch_{index}", "description": "x" * 800}},
    }
    body = json.dumps(event).encode()
    digest = hmac.new(_SECRET.encode(), b"%d.%s" % (timestamp, body), hashlib.sha256).hexdigest()
    return body, {"stripe-signature": f"t={timestamp},v1={digest}", "content-type": "application/json"}


async def _rate(
    url: str, seconds: float, clients: int, *, post: bool, wanted: int
) -> tuple[float, list[float]]:
    """Return requests a second over keep-alive connections, and each one's milliseconds."""
    import aiohttp

    timestamp, numbers = int(time.time()), iter(range(10_000_000))
    took: list[float] = []
    deadline = time.monotonic() + seconds
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients)) as session:

        async def client() -> None:
            while time.monotonic() < deadline:
                body, headers = _signed(next(numbers), timestamp) if post else (None, {})
                began = time.perf_counter()
                async with session.request("POST" if post else "GET", url, data=body, headers=headers) as got:
                    await got.read()
                    if got.status != wanted:
                        raise RuntimeError(f"refused: {got.status}")
                took.append((time.perf_counter() - began) * 1000)

        await asyncio.gather(*(client() for _ in range(clients)))
    return len(took) / seconds, sorted(took)


def measure(*, workers: int, seconds: float, clients: int = 16) -> list[tuple[str, str]]:
    """Rows of (what, result) for the report."""
    with (
        _stripe() as base_url,
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "hub", workers=workers) as host,
    ):
        webhooks = _connect(host, host.token(), base_url)
        asyncio.run(_rate(f"{host.url}/health/live", 1, clients, post=False, wanted=200))
        bare, _ = asyncio.run(_rate(f"{host.url}/health/live", seconds, clients, post=False, wanted=200))
        ours, took = asyncio.run(_rate(webhooks, seconds, clients, post=True, wanted=202))
    p50, p95 = took[len(took) // 2], took[len(took) * 95 // 100]
    return [
        (
            f"webhooks verified and stored, WORKERS={workers}",
            f"{ours:,.0f}/s = {ours / bare:.0%} of /api/health/live's {bare:,.0f}/s; "
            f"p50 {p50:.1f} ms, p95 {p95:.1f} ms at {clients} clients",
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.incoming")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    for what, result in measure(workers=options.workers, seconds=options.seconds, clients=options.clients):
        print(f"{what:58} {result}", flush=True)


if __name__ == "__main__":
    main()
