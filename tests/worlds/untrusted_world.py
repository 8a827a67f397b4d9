"""Adapters whose provider answers with whatever a test likes, and which read it in processes of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from domain.providers.contract import Connection, Provider
from domain.providers.records import RecordType, StreamProfile
from domain.providers.untrusted import TenantWork
from domain.sync.mapping import CompiledMapping, StreamMapping
from domain.sync.transforming import Transformer
from infra.providers._kit.connection import HttpProviderConnection
from infra.providers.custom_rest.adapter import PROVIDER as REST
from infra.untrusted.pool import WorkPool
from tests.worlds.provider_world import NOW

Answer = Callable[[httpx.Request], httpx.Response]


@contextmanager
def work_pool(**given: Any) -> Iterator[WorkPool]:
    """A pool with little time and memory. It ends its processes."""
    pool = WorkPool(**{"seconds": 1.5, "memory_bytes": 512 * 1024 * 1024, **given})
    try:
        yield pool
    finally:
        pool.close()


class Scripted(httpx.AsyncBaseTransport):
    """A provider without a network."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answered = self._answer(request)

        async def body() -> AsyncIterator[bytes]:
            yield answered.content

        return httpx.Response(answered.status_code, headers=answered.headers, content=body())


def connected_to(
    provider: Provider,
    configuration: dict[str, Any],
    answer: Answer,
    pool: WorkPool,
    *,
    tenant: str = "a",
    access_token: str | None = None,
) -> Connection:
    """A connection of a tenant; `pool` reads what is large."""
    work = TenantWork(pool, tenant)
    http = HttpProviderConnection(Scripted(answer), retries=0, work=work)
    model = provider.profile.configuration.model_validate(configuration)
    return Connection(model, http, NOW, access_token, work)


def process_ids() -> set[int]:
    """The processes that this one started and that live."""
    return {child.pid for child in multiprocessing.active_children() if child.pid is not None}


def work_of(pool: WorkPool, tenant: str) -> TenantWork:
    return TenantWork(pool, tenant)


def rest_transformer(mapping: dict[str, Any]) -> Transformer:
    """The transformer of a declared API's records with the mapping of its stream."""
    streams = REST.streams
    profile = StreamProfile("records", RecordType.Generic, None)
    return Transformer(streams, profile, CompiledMapping(StreamMapping.model_validate(mapping)))
