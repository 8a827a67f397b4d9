"""What all requests and answers have in common: camelCase, moments, pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from domain.core.paging import MAX_PAGE_SIZE, Page, PageRequest
from domain.core.wire import rfc3339

S = TypeVar("S")
V = TypeVar("V")

#: A moment as RFC 3339 text ending in Z.
Moment = Annotated[datetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]


class View(BaseModel):
    """A response body."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, frozen=True, defer_build=True)


class Query(BaseModel):
    """A query string; `check_parameters` refuses parameters that are unknown."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        frozen=True,
        defer_build=True,
    )


class PageQuery(Query):
    page: int = Field(1, ge=1, le=1_000_000, description="Counts from 1")
    page_size: int = Field(50, ge=1, le=MAX_PAGE_SIZE, description="Items per page")

    def page_request(self) -> PageRequest:
        return PageRequest(self.page, self.page_size)


class PageView(View, Generic[V]):
    items: list[V]
    page: int
    page_size: int
    total: int


def page_of(page: Page[S], view: Callable[[S], V], model: type[PageView[V]]) -> PageView[V]:
    """Return a page of domain objects as its view."""
    return model.model_construct(
        items=[view(item) for item in page.items], page=page.page, page_size=page.page_size, total=page.total
    )


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _not_empty(value: list[S]) -> list[S]:
    if not value:
        raise ValueError("at least one value is required")
    return value


#: `a,b,c` in a query string.
CommaSeparated = Annotated[list[V], BeforeValidator(_split), AfterValidator(_not_empty)]
