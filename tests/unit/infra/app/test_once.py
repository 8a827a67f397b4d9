"""The composition root builds each adapter once."""

from __future__ import annotations

import threading
import time

from infra.app.once import once


class _Root:
    built = 0

    @once
    def pool(self) -> object:
        time.sleep(0.01)
        type(self).built += 1
        return object()


def test_threads_that_ask_at_once_get_the_same_thing() -> None:
    root = _Root()
    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(root.pool)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, got))) == 1
    assert _Root.built == 1
