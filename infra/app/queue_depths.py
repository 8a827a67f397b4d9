"""The composition of the hub's own metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from domain.monitoring.alerts.ports import DeadLetterCounts
from domain.monitoring.metrics import QueueDepths

if TYPE_CHECKING:
    from infra.embedded.queue import EmbeddedQueue


class EmbeddedDepths:
    """Everything in the embedded queue."""

    def __init__(self, queue: EmbeddedQueue) -> None:
        self._queue = queue

    def message_counts(self) -> Mapping[str, Mapping[str, int]]:
        return {queue: asdict(depth) for queue, depth in self._queue.depths().items()}


class DeadLetters:
    """Of Service Bus, which tells only those with the right to manage it how many messages wait; Azure Monitor has
    that (`ActiveMessages`)."""

    def __init__(self, queue: DeadLetterCounts) -> None:
        self._queue = queue

    def message_counts(self) -> Mapping[str, Mapping[str, int]]:
        return {queue: {"dead": count} for queue, count in self._queue.dead_letter_counts().items()}


def depths_of(queue: DeadLetterCounts) -> QueueDepths:
    """As much as the queue may be asked for."""
    from infra.embedded.queue import EmbeddedQueue

    return EmbeddedDepths(queue) if isinstance(queue, EmbeddedQueue) else DeadLetters(queue)
