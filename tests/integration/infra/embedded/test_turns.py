"""Turns at a SQLite file among processes, by flock and, as on Windows, by msvcrt."""

import fcntl
import importlib.util
import os
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from infra.embedded import turns


def _locking(file: int, mode: int, count: int) -> None:
    """`msvcrt.locking`: refuses with EACCES a byte that another handle has locked, and to unlock what is not."""
    assert os.lseek(file, 0, os.SEEK_CUR) == 0 and count == 1, "the lock is on the first byte"
    try:
        fcntl.flock(file, (fcntl.LOCK_EX | fcntl.LOCK_NB) if mode == 2 else fcntl.LOCK_UN)
    except BlockingIOError:
        raise PermissionError(13, "Permission denied") from None


@pytest.fixture(params=["flock", "msvcrt"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as this system, or as Windows, imports it."""
    if request.param == "flock":
        return turns
    fake = SimpleNamespace(locking=_locking, LK_NBLCK=2, LK_UNLCK=0)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        patch.setitem(sys.modules, "msvcrt", fake)
        patch.setitem(sys.modules, "fcntl", None)
        spec = importlib.util.spec_from_file_location("turns_on_windows", turns.__file__)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def test_a_process_waits_for_the_turn_of_another(by: ModuleType, tmp_path: Path) -> None:
    mine, other = (by.Turns(tmp_path / "hub.db", most_seconds=5) for _ in range(2))
    order: list[str] = []

    def later() -> None:
        with other.mine():
            order.append("other")

    with mine.mine():
        thread = threading.Thread(target=later)
        thread.start()
        time.sleep(0.05)
        order.append("mine")
    thread.join(5)
    assert order == ["mine", "other"]
    mine.close()
    other.close()


def test_who_waited_in_vain_goes_on_and_leaves_the_turn_to_its_holder(by: ModuleType, tmp_path: Path) -> None:
    mine, other = (by.Turns(tmp_path / "hub.db", most_seconds=0.02) for _ in range(2))
    with mine.mine():
        for _ in range(2):
            with other.mine() as left:
                assert left == 0
    with other.mine() as left:
        assert left > 0
    mine.close()
    other.close()
