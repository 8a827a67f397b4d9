"""Unit tests touch no disk, database, socket or process: a test that does belongs into tests/integration."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import croniter  # noqa: F401 - asks a process for the platform when it is first imported
import pytest

_REFUSED = frozenset({"sqlite3.connect", "socket.bind", "socket.connect", "subprocess.Popen", "os.mkdir"})
#: What importing a module, reading a time zone or remembering an example of hypothesis opens.
_OF_PYTHON = (".py", ".pyc", ".so")
_OF_MACHINE = ("/dev/", "/etc/", "/proc/", "/sys/", "/usr/", sys.prefix, sys.base_prefix)
_is_testing = False


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook (PEP 578): once added it stays, so it looks at nothing while no unit test runs."""
    if not _is_testing:
        return
    if (
        event in _REFUSED
        and "__pycache__" not in str(arguments[0])
        and ".hypothesis" not in str(arguments[0])
    ):
        pytest.fail(f"A unit test does {event} {arguments[0]!r}: it belongs into tests/integration.")
    if event == "open" and isinstance(arguments[0], str | bytes):
        path = os.fsdecode(arguments[0])
        if not path.endswith(_OF_PYTHON) and not path.startswith(_OF_MACHINE) and ".hypothesis" not in path:
            pytest.fail(f"A unit test opens {path}: it belongs into tests/integration.")


sys.addaudithook(_refuse)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    global _is_testing
    _is_testing = "/tests/unit/" in str(item.path)
    try:
        return (yield)
    finally:
        _is_testing = False
