"""Concurrent writers of one process share a transaction: whoever gets the turn writes for all who wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_MOST = 64


@dataclass(slots=True)
class _Entry(Generic[T, R]):
    item: T
    done: bool = False
    result: list[R] = field(default_factory=list)
    error: Exception | None = None


class Together(Generic[T, R]):
    """`write` gets up to 64 items and returns a result for each, in order. When it fails for several, each is
    written alone, so that nobody is refused for another's item. Thread-safe; not for an event loop."""

    def __init__(self, write: Callable[[Sequence[T]], Sequence[R]]) -> None:
        self._write = write
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: list[_Entry[T, R]] = []

    def submit(self, item: T) -> R:
        """The item's result, once it is written. Raises what `write` raised for it."""
        entry: _Entry[T, R] = _Entry(item)
        with self._lock:
            self._waiting.append(entry)
        while not entry.done:
            with self._turn:
                if not entry.done:
                    self._write_waiting()
        if entry.error is not None:
            raise entry.error
        return entry.result[0]

    def _write_waiting(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting[:AT_MOST], self._waiting[AT_MOST:]
        try:
            self._attempt(batch)
            if len(batch) > 1:
                for entry in batch:
                    if entry.error is not None:
                        self._attempt([entry])
        finally:
            for entry in batch:
                entry.done = True

    def _attempt(self, batch: Sequence[_Entry[T, R]]) -> None:
        try:
            results = self._write([entry.item for entry in batch])
        except Exception as error:
            for entry in batch:
                entry.error = error
            return
        for entry, result in zip(batch, results, strict=True):
            entry.error = None
            entry.result = [result]
