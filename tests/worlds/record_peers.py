"""Providers in this process that hold records and enforce versions as their documentation says, and the vendor that
brings a real adapter to one of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from domain.core.ports import Clock
from domain.providers.contract import (
    Connection,
    IntegrationType,
    ProviderFailure,
    ProviderRequest,
    ProviderResponse,
    RecordStreams,
)
from domain.providers.records import (
    ListingRequest,
    ListPage,
    PushRequest,
    PushResult,
    SourceRecord,
    StreamProfile,
)
from infra.providers._kit.refusal import describe, failure_kind
from infra.providers.registry import all_providers
from tests.worlds.integration_world import Vendor


class Asked:
    """One request, read: names of headers in lower case, the path decoded."""

    def __init__(self, request: ProviderRequest) -> None:
        parts = urlsplit(request.url)
        pairs = request.params.items() if isinstance(request.params, Mapping) else request.params
        self.method, self.path = request.method, unquote(parts.path)
        self.query = {**dict(parse_qsl(parts.query)), **dict(pairs)}
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        self.json, self.body = request.json, request.body or b""

    def allows(self, etag: str | None) -> bool:
        """If-Match and If-None-Match (RFC 9110 section 13.1)."""
        match, none = self.headers.get("if-match"), self.headers.get("if-none-match")
        if none is not None and etag is not None:
            return False
        return match is None or match == etag or (match == "*" and etag is not None)


class RecordPeer:
    """Base of the providers: ProviderHttp over `answer`.

    - `faults` are taken by the next requests: None for none, `refused` before anything is done, `lost` after it.
    - `meanwhile` is called before a request, as other users of the provider would call.
    - `writes` counts what was changed through the API; `overwritten` are records that it wrote over a version that no
      answer had shown, which a provider without conditional requests cannot refuse."""

    provider: ClassVar[str]
    stream: ClassVar[str]
    configuration: ClassVar[Mapping[str, Any]]
    #: Whether every listing tells the moment of a deletion.
    tells_deletions: ClassVar[bool] = True
    #: Methods that the provider does not make conditional: between a look and these nobody can keep others out.
    unconditional: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.faults: list[str | None] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.requests: list[Asked] = []
        self.writes = 0
        self.overwritten: list[str] = []
        self._last = 1

    def answer(self, asked: Asked) -> ProviderResponse:
        raise NotImplementedError

    def put(self, mark: str, token: str) -> None:
        """Create the record known by `mark`, or change it, as a user at the provider does; `token` is its content."""
        raise NotImplementedError

    def delete(self, mark: str) -> None:
        raise NotImplementedError

    def held(self) -> dict[str, str]:
        """Mark to token of what is not deleted."""
        raise NotImplementedError

    @staticmethod
    def record(mark: str, token: str) -> dict[str, Any]:
        """The internal record of a mark and token."""
        raise NotImplementedError

    @staticmethod
    def read(data: Mapping[str, Any]) -> tuple[str, str]:
        """Mark and token of an internal record."""
        raise NotImplementedError

    async def send(self, request: ProviderRequest) -> ProviderResponse:
        asked = Asked(request)
        assert asked.headers.get("authorization"), "a request without credentials"
        self.requests.append(asked)
        if asked.method not in self.unconditional:
            self.meanwhile()
        fault = self.faults.pop(0) if self.faults else None
        if fault == "refused":
            raise ProviderFailure("unavailable", "No connection.")
        response = self.answer(asked)
        if fault == "lost":
            raise ProviderFailure("unavailable", "No answer.")
        return response

    async def expect(self, request: ProviderRequest, *statuses: int) -> ProviderResponse:
        response = await self.send(request)
        if response.status in statuses or (not statuses and 200 <= response.status < 300):
            return response
        raise ProviderFailure(failure_kind(response), describe(request, response, ()), status=response.status)

    def next(self) -> int:
        self._last += 1
        return self._last

    def now(self) -> datetime:
        return self.clock.now()


def answered(status: int, body: Any = None, **headers: str) -> ProviderResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    return ProviderResponse(status, headers, content, 1)


class PeerVendor(Vendor, RecordStreams):
    """The records of a peer through the provider's real adapter."""

    def __init__(self, peer: RecordPeer, name: str) -> None:
        super().__init__(name, IntegrationType.CustomAPI)
        self.peer = peer
        provider = all_providers()[peer.provider]
        source = provider.streams
        assert source is not None
        self.source: RecordStreams = source
        self.given = provider.profile.configuration.model_validate(peer.configuration)

    @property
    def streams(self) -> RecordStreams:
        return self

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return self.source.streams_of(self.given)

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        return self.source.to_internal(stream, record)

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        return await self.source.list_records(self._to_peer(connection), request)

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        return await self.source.push_record(self._to_peer(connection), request)

    def _to_peer(self, connection: Connection) -> Connection:
        return replace(connection, configuration=self.given, http=self.peer, access_token="token")
