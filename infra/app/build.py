"""The one composition: the product, bench and every test build their hub here."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from infra.app.hub import Hub
from infra.app.once import building
from infra.app.settings import Settings
from infra.observability import logs

if TYPE_CHECKING:
    import httpx

    from domain.core.ports import Cipher, Clock, IdGenerator
    from domain.core.realtime import Realtime
    from domain.core.tracing import Tracer
    from domain.integrations.connection import Catalogue
    from domain.integrations.ports import AccessTokens
    from domain.journal.audit_heads import Checkpoints
    from domain.monitoring.alerts.ports import Notifier
    from domain.providers.untrusted import UntrustedWork
    from domain.recommendations.ai import LanguageModel
    from domain.recommendations.ports import Providers
    from infra.app.hub import HubHttp, HubQueue, HubSecrets, HubTables
    from infra.sql.engine import Database

T = TypeVar("T")


def build(
    settings: Settings,
    *,
    clock: Clock | None = None,
    ids: IdGenerator | None = None,
    database: Database | None = None,
    queue: HubQueue | None = None,
    tables: HubTables | None = None,
    secrets: HubSecrets | None = None,
    cipher: Cipher | None = None,
    checkpoints: Checkpoints | None = None,
    http: HubHttp | None = None,
    provider_transport: httpx.AsyncBaseTransport | None = None,
    untrusted_work: UntrustedWork | None = None,
    realtime: Realtime | None = None,
    tracer: Tracer | None = None,
    catalogue: Catalogue | None = None,
    access_tokens: AccessTokens | None = None,
    notifier: Notifier | None = None,
    providers: Providers | None = None,
    language_model: LanguageModel | None = None,
) -> Hub:
    """Return a hub over `settings`. Each argument stands in for the adapter that the settings would choose."""
    given = locals()
    return Hub(given.pop("settings"), given)


_hub: Hub | None = None


def hub() -> Hub:
    """Return the hub of this process, built from the environment on first use."""
    global _hub  # noqa: PLW0603 - the one place where the process keeps its adapters
    if _hub is None:
        with building:
            if _hub is None:
                logs.to_standard_output()
                made = build(Settings())
                logs.set_level(made.settings.log_level)
                atexit.register(made.finish)
                _hub = made
    return _hub


def use(use_case: type[T]) -> T:
    """Return the process's one instance of a use case.

    A trigger imports the use case inside its function where nothing else needs that module at the start of the
    app: every module counts at a cold start."""
    return hub().use(use_case)


@contextmanager
def serving(made: Hub | None) -> Iterator[None]:
    """Let `made` be the hub of this process within the block, or none be built yet. For tests."""
    global _hub  # noqa: PLW0603
    before, _hub = _hub, made
    try:
        yield
    finally:
        _hub = before
