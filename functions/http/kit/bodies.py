"""What the body of a request may have, and the memory that bodies may take up in a process."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import azure.functions as func

from domain.core.errors import TooLarge
from functions.http.kit.problems import LengthRequired
from infra.app.build import hub
from infra.app.settings import Settings

_SETTING = "request_max_bytes"


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """How many bytes a body may have.

    `name` is what the limit is for; without `most` the setting HUB_REQUEST_MAX_BYTES decides."""

    name: str
    most: int | None = None

    @property
    def told(self) -> str:
        """The limit as the OpenAPI document tells it."""
        if self.most is not None:
            return f"At most {self.most:,} bytes."
        usual = Settings.model_fields[_SETTING].default
        return f"At most {usual:,} bytes, where HUB_REQUEST_MAX_BYTES does not say otherwise."

    def check(self, request: func.HttpRequest) -> None:
        """Raise TooLarge for a body over the limit."""
        size = len(request.get_body())
        most = hub().settings.request_max_bytes if self.most is None else self.most
        if size > most:
            where = " (HUB_REQUEST_MAX_BYTES)" if self.most is None else ""
            raise TooLarge(f"The body has {size:,} bytes; {self.name} may have {most:,}{where}.")


def check_arrived(request: func.HttpRequest) -> None:
    """Raise LengthRequired for a body that was sent in chunks, and which the host therefore left out."""
    if "transfer-encoding" in request.headers and not request.get_body():
        raise LengthRequired


#: Read on the event loop, on which nothing may take long.
COMMAND = BodyLimit("a request of this operation", 128 * 1024)
DATA = BodyLimit("a request with records or mappings", 512 * 1024)
#: A payload of 1 MiB and what stands beside it.
PAYLOAD = BodyLimit("a request with a payload", 1024 * 1024 + 64 * 1024)
NOTHING = BodyLimit("a request that needs no body", 64 * 1024)
INCOMING = BodyLimit("a webhook", 1024 * 1024)
RAISED = BodyLimit("a batch of events")


def hold_body(owner: Hashable, request: func.HttpRequest) -> AbstractContextManager[None]:
    """Count the body to those that this process works on. Raises Busy where it would be too much."""
    return hub().bodies.holding(owner, len(request.get_body()))
