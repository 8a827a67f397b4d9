"""Serve until Ctrl-C: `python -m tests.loopback.signalr --port 8888`."""

from __future__ import annotations

import argparse
import contextlib
import threading

from tests.loopback.signalr import running


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.loopback.signalr", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="any free one when left out")
    with running(port=parser.parse_args().port) as service, contextlib.suppress(KeyboardInterrupt):
        print(f"export AzureSignalRConnectionString='{service.connection_string}'", flush=True)  # noqa: T201 - what to give the app
        threading.Event().wait()


main()
