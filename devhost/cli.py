"""The command line of the development host."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from devhost.config import home, load_host_json, load_local_settings
from devhost.errors import HostError

if TYPE_CHECKING:
    from infra.embedded.queue import EmbeddedQueue

DEVELOPMENT_TENANT = "00000000-0000-4000-8000-000000000001"
DEVELOPMENT_USER = "00000000-0000-4000-8000-0000000000aa"
REFUSED = 2
"""Exit code when the app or the command line cannot be served."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except HostError as error:
        print(f"devhost: {error}", file=sys.stderr)
        return REFUSED
    return code


def _start(arguments: argparse.Namespace) -> int:
    from devhost.start import start

    return start(arguments)


def _work(arguments: argparse.Namespace) -> int:
    from devhost.start import work

    return work(arguments)


def _token(arguments: argparse.Namespace) -> int:
    load_local_settings(Path(arguments.app_dir).resolve())
    print(token_of(arguments, home()))
    return 0


def token_of(arguments: argparse.Namespace, state: Path) -> str:
    """Return the token that `token` with these arguments prints for the host whose state is under `state`."""
    from domain.core.permissions import PERMISSIONS
    from infra.authentication.development import mint_token

    permissions = list(PERMISSIONS)
    if arguments.permissions is not None:
        permissions = [each.strip() for each in arguments.permissions.split(",") if each.strip()]
        unknown = [each for each in permissions if each not in PERMISSIONS]
        if unknown:
            # The token may be for a sibling service, which has permissions of its own.
            known = ", ".join(PERMISSIONS)
            print(f"devhost: the hub has no permission {', '.join(unknown)}; it has {known}", file=sys.stderr)
    return mint_token(
        state,
        tenant_id=arguments.tenant,
        user_id=arguments.user,
        permissions=permissions,
        ttl_seconds=arguments.ttl,
        name=arguments.name,
        email=arguments.email,
    )


def _secret(arguments: argparse.Namespace) -> int:
    from infra.embedded.secrets import EmbeddedSecretStore

    load_local_settings(Path(arguments.app_dir).resolve())
    value = sys.stdin.read().rstrip("\r\n")
    try:
        EmbeddedSecretStore(home()).set(arguments.name, value)
    except ValueError as error:
        raise HostError(str(error)) from None
    print(f"{arguments.name} stored in {home()}")
    return 0


def _functions(arguments: argparse.Namespace) -> int:
    from devhost.loading import Function, load_functions
    from devhost.web import route_of

    app_dir = Path(arguments.app_dir).resolve()
    load_local_settings(app_dir)
    host_json = load_host_json(app_dir)

    def source(function: Function) -> str:
        if function.kind == "httpTrigger":
            return f"{','.join(function.methods) or 'ANY'} /{route_of(function, host_json)}"
        return str(function.trigger.get("schedule") or function.trigger.get("queueName") or "")

    functions = sorted(load_functions(app_dir), key=lambda each: (each.kind, source(each).split(" ")[-1]))
    _table([("NAME", "TRIGGER", "SOURCE"), *((each.name, each.kind, source(each)) for each in functions)])
    return 0


def _queues(arguments: argparse.Namespace) -> int:
    from infra.clock import AdjustableClock
    from infra.embedded.queue import EmbeddedQueue

    load_local_settings(Path(arguments.app_dir).resolve())
    state = home()
    queue = EmbeddedQueue(state / "queue.db", AdjustableClock(state / "clock"))
    try:
        depths = queue.depths()
        named = arguments.requeue or arguments.dead
        if named and named not in depths:
            holding = ", ".join(sorted(depths)) or "none"
            print(f"The queue '{named}' holds no message. Queues that hold some: {holding}.", file=sys.stderr)
        if arguments.requeue:
            print(f"{_requeue(queue, arguments.requeue)} requeued")
        elif arguments.dead:
            rows = [("SEQUENCE", "MESSAGE", "DELIVERIES", "DEAD AT", "REASON", "BODY")]
            for letter in queue.dead_letters(arguments.dead):
                body = letter.body[:60].decode(errors="replace")
                when = letter.dead_at.isoformat(timespec="seconds") if letter.dead_at else ""
                count = str(letter.delivery_count)
                rows.append(
                    (str(letter.sequence_number), letter.message_id, count, when, letter.reason, body)
                )
            _table(rows)
        else:
            rows_of_depths = [("QUEUE", "ACTIVE", "SCHEDULED", "LOCKED", "DEAD")]
            for name, depth in sorted(depths.items()):
                counts = (depth.active, depth.scheduled, depth.locked, depth.dead)
                rows_of_depths.append((name, *(str(count) for count in counts)))  # type: ignore[arg-type]
            _table(rows_of_depths)
    finally:
        queue.close()
    return 0


def _requeue(queue: EmbeddedQueue, name: str) -> int:
    """Send all dead letters of a queue anew, and return how many."""
    count = 0
    while letters := queue.dead_letters(name):
        count += len(queue.resend_dead_letters(name, [letter.sequence_number for letter in letters]))
    return count


def _clock(arguments: argparse.Namespace) -> int:
    from infra.clock import AdjustableClock

    load_local_settings(Path(arguments.app_dir).resolve())
    clock = AdjustableClock(home() / "clock")
    if arguments.reset:
        clock.reset()
    if arguments.advance is not None:
        clock.advance(arguments.advance)
    print(clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"))
    return 0


def _backup(arguments: argparse.Namespace) -> int:
    from devhost.backup import backup

    load_local_settings(Path(arguments.app_dir).resolve())
    names = backup(home(), Path(arguments.directory))
    print(f"{len(names)} files of {home()} backed up to {arguments.directory}")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from devhost.backup import restore

    load_local_settings(Path(arguments.app_dir).resolve())
    names = restore(Path(arguments.directory), home())
    print(f"{len(names)} files restored to {home()}")
    return 0


def _table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(prog="devhost", description="A local host for Azure Functions apps.")
    commands = made.add_subparsers(required=True, metavar="command")

    start = commands.add_parser("start", help="serve the app")
    start.add_argument("--port", type=int, help="0 for any free one (PORT, 7071)")
    start.add_argument("--host", default="127.0.0.1", help="address to bind")
    start.add_argument("--workers", type=int, help="serving processes (WORKERS, 1)")
    start.add_argument("--drain-seconds", type=float, default=30.0, help="most seconds a drain may take")
    start.set_defaults(run=_start)

    worker = commands.add_parser("worker", help="used by start")
    worker.add_argument("--address", required=True)
    worker.add_argument("--drain-seconds", type=float, required=True)
    for command in (start, worker):
        command.add_argument(
            "--end-at-once",
            action="store_true",
            help="end on SIGTERM without a drain, as the real worker does",
        )
    for name in ("index", "listening", "ready", "alive"):
        worker.add_argument(name, type=int)
    worker.set_defaults(run=_work)

    token = commands.add_parser("token", help="print a bearer token of the development issuer")
    token.add_argument("--tenant", type=UUID, default=UUID(DEVELOPMENT_TENANT))
    token.add_argument("--user", type=UUID, default=UUID(DEVELOPMENT_USER))
    token.add_argument("--permissions", help="comma-separated; all when left out")
    token.add_argument("--ttl", type=int, default=3600, help="seconds")
    token.add_argument("--name", default="Development Administrator")
    token.add_argument("--email", help="who gets test messages for which nobody is named")
    token.set_defaults(run=_token)

    secret = commands.add_parser("secret", help="put a secret that a setting names into the embedded store")
    secret.add_argument("name", help="such as oauth-app-google; its value is read from standard input")
    secret.set_defaults(run=_secret)

    functions = commands.add_parser("functions", help="list the app's functions")
    functions.set_defaults(run=_functions)

    queues = commands.add_parser("queues", help="show the embedded queues")
    which = queues.add_mutually_exclusive_group()
    which.add_argument("--dead", metavar="QUEUE", help="list dead letters")
    which.add_argument("--requeue", metavar="QUEUE", help="send dead letters anew")
    queues.set_defaults(run=_queues)

    clock = commands.add_parser("clock", help="show or move the app's clock")
    move = clock.add_mutually_exclusive_group()
    move.add_argument("--advance", type=float, metavar="SECONDS")
    move.add_argument("--reset", action="store_true")
    clock.set_defaults(run=_clock)

    save = commands.add_parser("backup", help="copy the state while it is used")
    save.add_argument("directory", help="new or empty")
    save.set_defaults(run=_backup)

    back = commands.add_parser("restore", help="copy a backup to HUB_HOME, which must be new or empty")
    back.add_argument("directory", help="of a backup")
    back.set_defaults(run=_restore)

    for command in (start, worker, token, secret, functions, queues, clock, save, back):
        command.add_argument("--app-dir", default=".", help="directory of function_app.py and host.json")
    return made
