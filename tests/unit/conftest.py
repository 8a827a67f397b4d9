"""Unit tests touch no disk, database, socket or process: a test that does belongs into tests/integration."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import croniter  # noqa: F401 - asks a process for the platform when it is first imported
import pytest
from hypothesis.internal.charmap import charmap

_REFUSED = frozenset(
    {"open", "sqlite3.connect", "socket.bind", "socket.connect", "subprocess.Popen", "os.mkdir"}
)
#: What importing a module, reading a time zone or remembering an example of hypothesis opens.
_OF_PYTHON = re.compile(r"\.pyc?(\.\d+)?$|\.so$|__pycache__|\.hypothesis")
_OF_MACHINE = (
    "/dev/",
    "/etc/",
    "/proc/",
    "/sys/",
    "/usr/",
    sys.prefix,
    sys.base_prefix,
    sys.pycache_prefix or "/dev/",
)
_is_testing = False


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook (PEP 578): once added it stays, so it looks at nothing while no unit test runs."""
    if not _is_testing or event not in _REFUSED:
        return
    if event in ("open", "os.mkdir"):
        if not isinstance(arguments[0], str | bytes):
            return
        path = os.fsdecode(arguments[0])
        if path.startswith(_OF_MACHINE) or _OF_PYTHON.search(path):
            return
    pytest.fail(f"A unit test does {event} {arguments[0]!r}: it belongs into tests/integration.")


sys.addaudithook(_refuse)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    global _is_testing
    charmap()  # hypothesis writes its table of characters when it first needs it
    _is_testing = "/tests/unit/" in str(item.path)
    try:
        return (yield)
    finally:
        _is_testing = False
