"""What runs in the process of its own: limits, one task after the other, and no memory of the one before."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from domain.providers.untrusted import WorkStopped
from infra.untrusted.pieces import NotCuttable, Pieces, cut, joined

#: The most bytes of a result.
RESULT_BYTES_MAX = 96 * 1024 * 1024


def prepare(memory_bytes: int) -> None:
    """Limit this process, and end it with its parent."""
    # The pool's own handler would wait for a call into C to end.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.setrecursionlimit(1_000)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    limit_memory(memory_bytes)


def limit_memory(memory_bytes: int) -> bool:
    """Let this process have so much memory, where the system can: Linux. Elsewhere its parent watches it."""
    if sys.platform != "linux":
        return False
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    return True


def perform_task(task: Callable[..., Any], arguments: Pieces) -> tuple[bool, Pieces]:
    """Return whether the task ended well, and its result or what it raised."""
    try:
        return True, cut(task(*joined(arguments)), RESULT_BYTES_MAX)
    except NotCuttable:
        error: Exception = WorkStopped("memory", "What was read is too large.")
    except MemoryError:
        error = WorkStopped("memory", "Reading it needs more memory than it may have.")
    except Exception as raised:
        error = _told(raised)
    finally:
        _forget()
    return False, cut(error, RESULT_BYTES_MAX)


def _told(error: Exception) -> Exception:
    """Return the error as it can be told: without its trace, and as another where it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own, to see whether the other side can
    except Exception:
        return WorkStopped("ended", f"It cannot be read ({type(error).__name__}).")
    return error.with_traceback(None)


def _forget() -> None:
    """Drop what libraries remember: the next task is another tenant's."""
    if (zones := sys.modules.get("icalendar.timezone")) is not None:
        zones.tzp.use_default()
    if (parser := sys.modules.get("jmespath.parser")) is not None:
        parser.Parser.purge()
    gc.collect()


def _end_with_parent() -> None:
    from multiprocessing import parent_process
    from multiprocessing.connection import wait

    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
