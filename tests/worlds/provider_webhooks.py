"""Incoming webhooks for adapters, without a network unless a test gives one."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from domain.providers.contract import (
    STORED,
    Connection,
    IncomingAnswer,
    Provider,
    ProviderFailure,
    ProviderHttp,
    ProviderRequest,
    ProviderResponse,
    VerifiedEvent,
)
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import NOW, incoming

URL = "https://hub.example.org/api/webhooks/incoming/7c9e6679-7425-40de-944b-e07fc1f90ae7"
STAMP = str(int(NOW.timestamp()))


class Published:
    """Implements ProviderHttp: answers GET with what is published at the address, 404 otherwise. `asked` lists
    the addresses."""

    def __init__(self, pages: Mapping[str, bytes] | None = None) -> None:
        self._pages = pages or {}
        self.asked: list[str] = []

    async def send(self, request: ProviderRequest) -> ProviderResponse:
        self.asked.append(request.url)
        page = self._pages.get(request.url)
        return ProviderResponse(404 if page is None else 200, {}, page or b"", 1)

    async def expect(self, request: ProviderRequest, *statuses: int) -> ProviderResponse:
        response = await self.send(request)
        if response.status not in (statuses or (200,)):
            raise ProviderFailure("rejected", f"The provider answered {response.status}.")
        return response


def receiving(
    name: str,
    *,
    url: str = URL,
    method: str = "POST",
    http: ProviderHttp | None = None,
    provider: Provider | None = None,
    **changes: Any,
) -> Callable[[Mapping[str, str], bytes], Awaitable[IncomingAnswer]]:
    """A check of one message: headers and body to the adapter's answer. `changes` go over the configuration of
    the provider's case; None leaves a field out."""
    case = CASES[name]
    given = {**case.configuration("https://vendor.example.org"), **changes}
    configuration = case.provider.profile.configuration.model_validate(
        {key: value for key, value in given.items() if value is not None}, context=STORED
    )
    connection = Connection(configuration, http or Published(), NOW)

    async def receive(headers: Mapping[str, str], body: bytes) -> IncomingAnswer:
        request = incoming(body, headers, url=url, method=method)
        return await (provider or case.provider).receive(connection, request)

    return receive


def only(answer: IncomingAnswer) -> VerifiedEvent:
    """The one event of an answer."""
    assert answer.body is None
    (event,) = answer.events
    return event
