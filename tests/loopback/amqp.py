"""Whether the AMQP library is there. It is built from source with a C compiler, so it may not be."""

from __future__ import annotations

import importlib.util

MISSING: str | None = (
    None
    if importlib.util.find_spec("proton")
    else "python-qpid-proton is not installed: it needs a C compiler (see docs/testing-azure.md)"
)
"""Why the Service Bus endpoint cannot run, or None."""
