"""A host and its receivers as child processes on loopback, for benchmarks, soak runs and end-to-end tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from devhost import cli
from infra.clock import CHECK_SECONDS, AdjustableClock

ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 60.0
_KILL_SECONDS = 30.0
"""On a machine that others keep busy; a host that ends is noticed at once."""

serving: Sequence[str] = (sys.executable, "-m", "devhost", "start")
"""The command of a host; another one has the same options and settings."""

surroundings: Callable[[Path], Mapping[str, str]] | None = None
"""Settings for the host over a state directory, such as where its Azure services are; None: all embedded."""

preparing: Callable[[Path], None] | None = None
"""Fills a state directory that is not there yet, such as with a migrated database; None: the host does all of it."""

minting: Callable[..., str] | None = None
"""Makes a token from the arguments of `HostProcess.token`, where an issuer of its own is among the surroundings."""


def free_port() -> int:
    """Return a TCP port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(
    method: str,
    url: str,
    body: Any = None,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Any]:
    """One JSON request; (status, parsed body or None). Never raises for an HTTP status. Bytes are sent as they are."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {"content-type": "application/json", **(headers or {})}, method=method
    )
    if token:
        request.add_header("authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            text = response.read()
            return response.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        text = error.read()
        return error.code, json.loads(text) if text else None


class HostProcess:
    """`python -m devhost start`, or what stands for it, over `home`, in a process group of its own."""

    def __init__(self, home: Path, *, workers: int = 1, port: int | None = None, **environment: str) -> None:
        self.home = home
        self.port = port or free_port()
        self.workers = workers
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self.log = home.with_suffix(".log")

    def start(self) -> HostProcess:
        """Start it and wait until it answers. Raises RuntimeError, with its log, when it does not."""
        if preparing is not None and not self.home.exists():
            preparing(self.home)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
        environment = {
            **inherited,
            "HUB_HOME": str(self.home),
            "PORT": str(self.port),
            "WORKERS": str(self.workers),
            "HUB_LOG_LEVEL": "WARNING",
            **(surroundings(self.home) if surroundings is not None else {}),
            **self._environment,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                serving,
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if call("GET", f"{self.url}/health/live")[0] == 200:
                    return self
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        raise RuntimeError(f"the host did not start:\n{self.log.read_text()[-4000:]}")

    def kill(self) -> None:
        """SIGKILL; returns when its workers have noticed and ended too, so that its port is free again."""
        assert self.process is not None
        workers = _family(self.process.pid)[1:]
        self.process.kill()
        self.process.wait(10)
        deadline = time.monotonic() + _KILL_SECONDS
        while any(_is_running(pid) for pid in workers) and time.monotonic() < deadline:
            time.sleep(0.01)

    def stop(self) -> int:
        """SIGTERM, drain; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            raise

    def token(self, *arguments: str) -> str:
        """Return a token of the issuer, the development issuer's where there is no other.

        Without arguments it is the administrator's. Arguments are those of `python -m devhost token`."""
        if minting is not None:
            return minting(*arguments)
        return cli.token_of(cli.parser().parse_args(["token", *arguments]), self.home)

    def advance(self, seconds: float) -> None:
        """Move the host's clock; when this returns, every process of the host has noticed."""
        AdjustableClock(self.home / "clock").advance(seconds)
        time.sleep(2 * CHECK_SECONDS)

    def cpu_seconds(self) -> float:
        """User and system time of the host and its workers so far."""
        assert self.process is not None
        return sum(_cpu_seconds(pid) for pid in _family(self.process.pid))

    def memory_bytes(self) -> int:
        """Resident bytes of the host and its workers."""
        assert self.process is not None
        return sum(_resident(pid) for pid in _family(self.process.pid))


class ReceiverProcess:
    """`python -m bench.receiver` on a free port; it answers verification challenges and counts the rest."""

    def __init__(self, *arguments: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.receiver", str(self.port), *arguments], cwd=ROOT
        )
        for _ in range(500):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.01)
        raise RuntimeError("the receiver did not start")

    def counts(self) -> dict[str, int]:
        """Return requests and distinct events since the last reset; cheap enough to poll."""
        return dict(call("GET", f"{self.url}/counts")[1])

    def stats(self) -> dict[str, Any]:
        """Return counts and receipt latencies in milliseconds since the last reset."""
        return dict(call("GET", f"{self.url}/stats")[1])

    def order(self) -> dict[str, list[str]]:
        """Return by subject the ids of the events answered well, where it was started with `--fails`."""
        return dict(call("GET", f"{self.url}/order")[1])

    def reset(self) -> None:
        call("GET", f"{self.url}/reset")

    def cpu_seconds(self) -> float:
        return _cpu_seconds(self.process.pid)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@contextlib.contextmanager
def running(home: Path, *, workers: int = 1, **environment: str) -> Iterator[HostProcess]:
    """Run a host for the length of a block."""
    host = HostProcess(home, workers=workers, **environment).start()
    try:
        yield host
    except Exception as error:
        if host.process is not None and host.process.poll() is not None:
            raise RuntimeError(f"the host ended by itself:\n{host.log.read_text()[-4000:]}") from error
        raise
    finally:
        host.stop()


@contextlib.contextmanager
def receiving(*arguments: str) -> Iterator[ReceiverProcess]:
    """Run a receiver for the length of a block."""
    receiver = ReceiverProcess(*arguments)
    try:
        yield receiver
    finally:
        receiver.stop()


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [pid, *(int(child) for child in children.read_text().split())]
    except OSError:
        return [pid]


def _is_running(pid: int) -> bool:
    """Neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
