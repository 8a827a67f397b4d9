"""`start`: prepares the state, then serves here or supervises the workers."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import resource
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devhost.cli import DEVELOPMENT_TENANT
from devhost.config import home, load_host_json, load_local_settings
from devhost.errors import HostError
from devhost.loading import Function, load_functions
from devhost.running import InvocationsOnly
from devhost.supervisor import Supervisor, bind, exit_with_parent
from infra.observability import logs

_log = logging.getLogger("devhost")


@dataclass(frozen=True, slots=True)
class Program:
    """The module that a worker is started by, and what reads the app's functions there."""

    module: str = "devhost"
    load: Callable[[Path], list[Function]] = load_functions


_OWN = Program()


def start(arguments: argparse.Namespace, program: Program = _OWN) -> int:
    """Serve the app of `arguments.app_dir`. Returns the exit code."""
    app_dir = Path(arguments.app_dir).resolve()
    load_local_settings(app_dir)
    load_host_json(app_dir)
    port = _number(arguments.port, "PORT", 7071, low=0)
    workers = _number(arguments.workers, "WORKERS", 1, low=1)
    state = _private(home())
    try:
        sockets = bind(arguments.host, port, workers)
    except OSError as error:
        raise HostError(f"Port {port} cannot be served: {error.strerror}") from error
    address = f"http://localhost:{sockets[0].getsockname()[1]}"
    os.environ["HUB_HOME"] = str(state)
    os.environ.setdefault("HUB_PUBLIC_URL", address)
    if os.environ.get("HUB_ENVIRONMENT", "development") == "development":
        # Whoever holds a token of `make token` administers the platform too.
        os.environ.setdefault("HUB_PLATFORM_TENANT", DEVELOPMENT_TENANT)
    logs.configure(os.environ.get("HUB_LOG_LEVEL", "INFO"))
    _raise_file_limit()
    _migrate(app_dir, state)

    terminal = sys.stdout
    _log_as_the_host()

    def announce() -> None:
        print(
            f"Integration Hub   {address}\n"
            f"API docs          {address}/api/docs\n"
            f"Token             make -s token\n"
            f"Workers           {workers}\n"
            f"State             {state}\n"
            f"Stop              Ctrl-C",
            file=terminal,
            flush=True,
        )

    if workers == 1:
        from devhost.server import ServeOptions, serve

        options = ServeOptions(
            app_dir,
            address,
            drain_seconds=arguments.drain_seconds,
            ends_at_once=arguments.end_at_once,
            load=program.load,
        )
        serve(options, sockets[0], announce)
        return 0
    command = [sys.executable, "-m", program.module, "worker"]
    command += ["--app-dir", str(app_dir), "--address", address]
    command += ["--drain-seconds", str(arguments.drain_seconds)]
    command += ["--end-at-once"] if arguments.end_at_once else []
    return Supervisor(command, sockets, drain_seconds=arguments.drain_seconds).run(announce)


def work(arguments: argparse.Namespace, program: Program = _OWN) -> int:
    """Serve as one of several workers. Returns the exit code."""
    exit_with_parent(arguments.alive)
    logs.configure(os.environ.get("HUB_LOG_LEVEL", "INFO"))
    _log_as_the_host()
    from devhost.server import ServeOptions, serve

    def ready() -> None:
        os.write(arguments.ready, b"R")
        os.close(arguments.ready)

    options = ServeOptions(
        Path(arguments.app_dir),
        arguments.address,
        arguments.index,
        drain_seconds=arguments.drain_seconds,
        ends_at_once=arguments.end_at_once,
        load=program.load,
    )
    serve(options, socket.socket(fileno=arguments.listening), ready)
    return 0


def _log_as_the_host() -> None:
    """Keep of the app's lines those of running invocations, and what it prints, as the real host does.

    Both go to standard error, as the host's own lines do."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(InvocationsOnly())
    sys.stdout = sys.stderr


def _private(state: Path) -> Path:
    """Make the databases in `state`, and what is written from now on, their owner's alone: tenants' data is in them."""
    os.umask(0o077)
    for file in state.glob("*.db*"):
        if file.is_file():
            file.chmod(0o600)
    return state


def _number(given: int | None, setting: str, default: int, *, low: int) -> int:
    text = os.environ.get(setting) or str(default)
    try:
        number = int(text) if given is None else given
    except ValueError:
        raise HostError(f"{setting} must be a number, not '{text}'") from None
    if number < low:
        raise HostError(f"{setting} must be at least {low}, not {number}")
    return number


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        _log.warning("The limit of open files could not be raised", extra={"hard": hard})


def _migrate(app_dir: Path, state: Path) -> None:
    """Bring the app's embedded database up to date, if it has one: once, before any worker opens it."""
    if not (app_dir / "infra" / "sql" / "migrate.py").is_file():
        return
    sys.path.insert(0, str(app_dir))
    importlib.import_module("infra.sql.migrate").upgrade_embedded(state)
