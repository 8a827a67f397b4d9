"""A local Durable Functions engine on one SQLite file.

It drives the app's real orchestrators and activities over the real SDK, with the JSON that the Durable extension
sends."""

from __future__ import annotations

from devhost.durable.engine import DurableHost
from devhost.durable.sdk import DurableFunction

__all__ = ["DurableFunction", "DurableHost"]
