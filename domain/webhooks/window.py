"""How many posts one endpoint may have in flight: as many as it answers, found as TCP finds a network's room.

It stands alone because it knows nothing of deliveries: a window, answers, time-outs (RFC 5681, RFC 7661)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

#: Posts in flight to an endpoint that nothing is known of.
FIRST_WINDOW: Final = 32
#: After each so many seconds without any answer to the posts in flight, half as many are allowed.
SILENCE_SECONDS: Final = 5.0
#: Places that a full window wins, each time all of it was answered, beyond where it was cut before.
_STEADY: Final = 4.0


@dataclass(slots=True)
class EndpointWindow:
    """Moments are seconds of a monotonic clock.

    - An answer makes a window that is in use one wider, up to half of where it was cut last; then slowly.
    - A time-out halves it, once for the posts that were in flight together. Further ones without an answer in between
      take a place each: an endpoint whose last posts all timed out soon has one post at a time."""

    most: int
    size: float = FIRST_WINDOW
    threshold: float = math.inf
    cut_at: float = -math.inf
    is_answering: bool = True

    def __post_init__(self) -> None:
        self.size = min(self.size, self.most)

    def answered(self, in_flight: int) -> None:
        """Learn of an answer; so many posts were in flight together."""
        self.is_answering = True
        if 2 * in_flight >= self.size:  # else it was not the window that kept them from being more
            wider = 1.0 if self.size < self.threshold else _STEADY / self.size
            self.size = min(self.most, self.size + wider)

    def timed_out(self, began: float, now: float) -> None:
        """Learn of a post that began at `began` and had no answer when its time was up."""
        if began >= self.cut_at:
            if self.is_answering:  # an outage that goes on says nothing new about what the endpoint can take
                self.threshold = max(1.0, self.size / 2)
            self.size, self.cut_at, self.is_answering = max(1.0, self.size / 2), now, False
        elif not self.is_answering:
            self.size = max(1.0, self.size - 1)

    def limit(self, silent_for: float) -> int:
        """Return how many posts may be in flight to an endpoint that has left those in flight unanswered so long."""
        halvings = min(32, int(max(0.0, silent_for) // SILENCE_SECONDS))
        return max(1, int(self.size) >> halvings)

    @property
    def is_untouched(self) -> bool:
        """Whether forgetting it loses nothing."""
        return self.size == min(FIRST_WINDOW, self.most) and self.is_answering and self.threshold == math.inf
