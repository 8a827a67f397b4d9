"""Synchronisation jobs (section 2.5)."""

from __future__ import annotations

from enum import IntEnum


class SyncType(IntEnum):
    Full = 0
    Incremental = 1
    Differential = 2


class SyncDirection(IntEnum):
    Import = 0
    Export = 1
    Bidirectional = 2


class SyncStatus(IntEnum):
    Scheduled = 0
    Running = 1
    Completed = 2
    Failed = 3
    Cancelled = 4
    PartialSuccess = 5
