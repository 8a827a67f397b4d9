"""Attributes that are built once, whichever thread asks first."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

#: Held while anything is built; a builder asks for what it is built of.
building = threading.RLock()

if TYPE_CHECKING:
    once = cached_property
else:

    class once(cached_property):  # noqa: N801 - used as a decorator
        """`functools.cached_property` with the lock it had until Python 3.12.

        Two threads that ask at the same time must not get two connection pools. Once built, the attribute is read
        without the lock."""

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is None:
                return self
            with building:
                return super().__get__(instance, owner)
