"""A local Durable Functions engine: the app's real orchestrators and activities, driven over the real SDK with
the JSON the Durable extension sends, on one SQLite file."""

from __future__ import annotations

from devhost.durable.engine import DurableHost
from devhost.durable.sdk import DurableFunction

__all__ = ["DurableFunction", "DurableHost"]
