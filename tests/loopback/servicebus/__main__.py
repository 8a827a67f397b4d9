"""Serve until Ctrl-C: `python -m tests.loopback.servicebus --port 5672`."""

from __future__ import annotations

import argparse
import contextlib

from tests.loopback.servicebus import QUEUES, QueueRules, running


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.loopback.servicebus", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="any free one when left out")
    parser.add_argument("--lock-seconds", type=float, default=QueueRules().lock_seconds)
    arguments = parser.parse_args()
    rules = dict.fromkeys(QUEUES, QueueRules(lock_seconds=arguments.lock_seconds))
    with running(rules, port=arguments.port) as namespace, contextlib.suppress(KeyboardInterrupt):
        for name, value in namespace.environment.items():
            print(f"export {name}='{value}'", flush=True)  # noqa: T201 - what to give the app
        namespace.wait()


main()
