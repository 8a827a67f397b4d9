"""The sliding window of one quota, as pure arithmetic: what was used, when it comes back, who used it.

Uses are counted in slots of a minute, and a slot counts until its last use is 60 minutes old. So no stretch of
60 minutes ever holds more than the limit, and a quota used up is back 60 minutes later at the latest."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import Enum

from domain.ports import TableValue

SECONDS = 3600
_SLOT_MS = 60_000
_WINDOW_MS = SECONDS * 1000
_SLOT = struct.Struct("<qI")
#: Keys remembered of one line of rotations; at most two of a line are alive at once.
_LINE = 8


class Kind(Enum):
    """`Use` takes one request of the quota if there is one, `Peek` only looks, `Refused` is counted as a
    request that was refused for another reason and takes nothing."""

    Use = 0
    Peek = 1
    Refused = 2


@dataclass(frozen=True, slots=True)
class Take:
    """One request on `key` (hexadecimal id), whose limit is `limit` uses in 60 minutes."""

    key: str
    limit: int
    kind: Kind = Kind.Use


@dataclass(frozen=True, slots=True)
class RateStatus:
    """How the quota stands after a take. Seconds: `reset_seconds` until the oldest uses leave the window,
    `retry_after_seconds` until one more is allowed (0: now)."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    retry_after_seconds: int


@dataclass(slots=True)
class Use:
    """What one key did: in the present hour, and (from `total` on) since it was made."""

    accepted: int = 0
    limited: int = 0
    refused: int = 0
    total: int = 0
    last_ms: int = 0
    total_limited: int = 0
    total_refused: int = 0


_USE = tuple(one.name for one in fields(Use))


@dataclass(slots=True)
class Window:
    """`slots` are [last use in ms since 1970, uses], oldest first. `hour` counts from 1970."""

    slots: list[list[int]] = field(default_factory=list)
    hour: int = 0
    uses: dict[str, Use] = field(default_factory=dict)

    def settle(self, takes: Sequence[Take], now: datetime) -> list[RateStatus]:
        """Decide the takes in their order, and count them. Time never runs backwards here, whatever the clock
        of the asking process says."""
        now_ms = _millis(now)
        if self.slots:
            if self.slots[-1][0] > now_ms + _WINDOW_MS:
                self.slots.clear()  # no clock is an hour ahead of another: it was set back
            else:
                now_ms = max(now_ms, self.slots[-1][0])
        self._slide(now_ms)
        used = sum(count for _, count in self.slots)
        statuses: list[RateStatus] = []
        for take in takes:
            allowed = used < take.limit
            if take.kind is Kind.Use and allowed:
                used += 1
                self._add(now_ms)
            self._count(take, allowed, now_ms)
            statuses.append(self._status(take, allowed, used, now_ms))
        return statuses

    def closed_hour(self, now: datetime) -> tuple[int, dict[str, Use]] | None:
        """The hour that ended, with what its keys did, if one has; the counters then begin anew."""
        hour = _millis(now) // _WINDOW_MS
        if hour == self.hour or hour + 1 == self.hour:
            return None
        ended = self.hour, {key: use for key, use in self.uses.items() if _seen(use)}
        kept = sorted(self.uses.items(), key=lambda one: one[1].last_ms)[-_LINE:]
        self.uses = {key: replace(use, accepted=0, limited=0, refused=0) for key, use in kept}
        self.hour = hour
        return ended if ended[1] else None

    def properties(self) -> dict[str, TableValue]:
        """As stored."""
        counts = {key: [*(getattr(use, name) for name in _USE)] for key, use in self.uses.items()}
        return {
            "slots": b"".join(_SLOT.pack(*slot) for slot in self.slots),
            "hour": self.hour,
            "uses": json.dumps(counts, separators=(",", ":")),
        }

    @classmethod
    def of(cls, properties: Mapping[str, TableValue]) -> Window:
        slots, hour, uses = properties["slots"], properties["hour"], properties["uses"]
        assert isinstance(slots, bytes) and isinstance(hour, int) and isinstance(uses, str)
        return cls(
            [[last, count] for last, count in _SLOT.iter_unpack(slots)],
            hour,
            {key: Use(*counts) for key, counts in json.loads(uses).items()},
        )

    def _slide(self, now_ms: int) -> None:
        gone = 0
        while gone < len(self.slots) and self.slots[gone][0] + _WINDOW_MS <= now_ms:
            gone += 1
        del self.slots[:gone]

    def _add(self, now_ms: int) -> None:
        if self.slots and self.slots[-1][0] // _SLOT_MS == now_ms // _SLOT_MS:
            self.slots[-1][0] = now_ms
            self.slots[-1][1] += 1
        else:
            self.slots.append([now_ms, 1])

    def _count(self, take: Take, allowed: bool, now_ms: int) -> None:
        if take.kind is Kind.Peek:
            return
        use = self.uses.setdefault(take.key, Use())
        if take.kind is Kind.Refused:
            use.refused += 1
            use.total_refused += 1
        elif allowed:
            use.accepted += 1
            use.total += 1
            use.last_ms = max(use.last_ms, now_ms)
        else:
            use.limited += 1
            use.total_limited += 1

    def _status(self, take: Take, allowed: bool, used: int, now_ms: int) -> RateStatus:
        reset = _seconds(self.slots[0][0], now_ms) if self.slots else 0
        retry = 0
        if used >= take.limit:
            left = used
            for last, count in self.slots:
                left -= count
                retry = _seconds(last, now_ms)
                if left < take.limit:
                    break
        return RateStatus(allowed, take.limit, max(0, take.limit - used), reset, retry)


def hour_name(hour: int) -> str:
    """`2026112315`: sorts as time does."""
    return datetime.fromtimestamp(hour * SECONDS, UTC).strftime("%Y%m%d%H")


def hour_of(moment: datetime) -> int:
    """Hours since 1970-01-01T00:00:00Z."""
    return int(moment.timestamp()) // SECONDS


def _millis(moment: datetime) -> int:
    # Rounded up: a use counts for whole 60 minutes.
    return math.ceil(moment.timestamp() * 1000)


def _seconds(last_ms: int, now_ms: int) -> int:
    return max(1, -(-(last_ms + _WINDOW_MS - now_ms) // 1000))


def _seen(use: Use) -> bool:
    return bool(use.accepted or use.limited or use.refused)
