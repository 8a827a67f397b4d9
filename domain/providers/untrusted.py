"""Work whose size a tenant or a provider decides, and the port that keeps it from stopping anything else.

Apart from the contract, because mappings of synchronised records need it too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeVar

T = TypeVar("T")

#: So many bytes are read where they are needed: the worst that was made of them, in iCalendar, takes a thread 0.4 s.
SMALL_BYTES: Final = 16 * 1024

#: `time`, `memory`: it needed more than it may have; `ended`: its process died; `busy`: it had to wait for too long.
StopReason = Literal["time", "memory", "ended", "busy"]


class WorkStopped(Exception):
    """A piece of work was given up. The text says why, and quotes nothing of what it was about."""

    def __init__(self, reason: StopReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: StopReason = reason
        self.detail = detail


class UntrustedWork(Protocol):
    """Runs functions over what somebody else wrote, so that none of them can stop the process or another tenant.

    It does not make them safe from what they do themselves: a task gets no credential and opens no connection."""

    async def perform(self, tenant: str, task: Callable[..., T], *arguments: Any) -> T:
        """Return what `task`, a function of a module, makes of the arguments. Both can be pickled.

        Work of one tenant waits for its own turn and takes no other tenant's. Raises WorkStopped, and what the task
        raises."""


class InThisProcess:
    """Implements UntrustedWork without any protection: for adapters that are tried alone."""

    async def perform(self, tenant: str, task: Callable[..., T], *arguments: Any) -> T:
        return task(*arguments)


@dataclass(frozen=True, slots=True)
class TenantWork:
    """The work of one tenant."""

    work: UntrustedWork
    tenant: str

    async def perform(self, task: Callable[..., T], *arguments: Any) -> T:
        """Do what UntrustedWork.perform does."""
        return await self.work.perform(self.tenant, task, *arguments)


UNPROTECTED = TenantWork(InThisProcess(), "")
