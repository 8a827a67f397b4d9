"""Pages of lists, apart because everything that lists imports only this.

On the wire: `{"items": [], "page": 1, "pageSize": 50, "total": n}`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_PAGE_SIZE = 200


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Asks for one page: `page` counts from 1, `page_size` is 1-200 items."""

    page: int = 1
    page_size: int = 50

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.page_size


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; `total` counts the items of all pages."""

    items: Sequence[T]
    page: int
    page_size: int
    total: int


def every(read: Callable[[PageRequest], Page[T]]) -> Iterator[T]:
    """Yield the items of all pages, in their order."""
    for number in count(1):
        items = read(PageRequest(number, MAX_PAGE_SIZE)).items
        yield from items
        if len(items) < MAX_PAGE_SIZE:
            return
