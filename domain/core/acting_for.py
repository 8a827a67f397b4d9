"""Whose work is being done; apart, because what shares things out far below cannot be told by every caller between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

_tenant: ContextVar[str | None] = ContextVar("acting_for", default=None)


@contextmanager
def acting_for(tenant: UUID | str) -> Iterator[None]:
    """Let what happens in the block, and in tasks that it starts, be the work of a tenant."""
    token = _tenant.set(str(tenant))
    try:
        yield
    finally:
        _tenant.reset(token)


def acting_tenant() -> str | None:
    """Return the tenant whose work is being done, None where nobody said."""
    return _tenant.get()
