"""What one tenant's health checks, webhooks and syncs cost another: each figure with the neighbour and without.

`python -m bench.isolation_jobs` runs it by itself; everything is in this process, over the embedded adapters."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from uuid import UUID, uuid4

from domain.incoming.receive import Caller, IncomingReceiver
from domain.integrations.configuration import accept
from domain.integrations.connection import Catalogue
from domain.integrations.credential_store import CredentialStore
from domain.integrations.health import HealthMonitor
from domain.integrations.model import Integration, IntegrationStatus
from domain.providers.contract import (
    Capability,
    Configuration,
    Connection,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    Provider,
    ProviderProfile,
    VerifiedEvent,
)
from domain.sync.dispatch import Dispatcher
from domain.sync.model import SyncDirection, SyncJob, SyncStatus, SyncType
from infra.app.build import build
from infra.app.hub import Hub
from infra.app.settings import Settings

_A, _B, _USER = uuid4(), uuid4(), uuid4()


class _Settings(Configuration):
    hangs: bool = False


class _Vendor(Provider):
    """Answers a check within 20 ms, or never."""

    profile = ProviderProfile(
        name="Bench",
        title="Bench",
        integration_type=IntegrationType.CustomAPI,
        documentation_url="https://bench.example",
        configuration=_Settings,
        capabilities=frozenset({Capability.Health, Capability.IncomingWebhooks}),
        webhook_scheme="bench",
    )

    async def probe(self, connection: Connection) -> None:
        await asyncio.sleep(3600 if connection.configuration.hangs else 0.02)

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        return IncomingAnswer([VerifiedEvent(request.body.decode(), "bench", {}, request.received_at)])


@contextmanager
def _hub() -> Iterator[Hub]:
    with tempfile.TemporaryDirectory() as folder:
        hub = build(Settings(home=Path(folder)), catalogue=Catalogue({"Bench": _Vendor()}))
        try:
            yield hub
        finally:
            hub.finish()
            hub.database.close()


def _integrations(hub: Hub, tenant: UUID, count: int, *, hangs: bool = False) -> list[Integration]:
    store, now = hub.use(CredentialStore), datetime.now(UTC)
    split = accept(_Settings, {"hangs": hangs})
    made = []
    with hub.transactions.write() as tx:
        tx.users.see(tenant, _USER, "Bench", now)
        for number in range(count):
            integration_id = hub.ids.new()
            integration = Integration(
                integration_id=integration_id,
                tenant_id=tenant,
                name=f"Bench {number}",
                integration_type=IntegrationType.CustomAPI,
                provider="Bench",
                status=IntegrationStatus.Active,
                sealed_configuration=store.seal(integration_id, split.plain_text()),
                secret_name=None,
                created_at=now,
                created_by=_USER,
                validated_at=now,
            )
            tx.integrations.add(tenant, integration)
            made.append(integration)
        tx.commit()
    return made


def health(*, hanging: int) -> float:
    """Seconds until another tenant's 100 integrations have been checked and the results stored."""
    with _hub() as hub:
        _integrations(hub, _A, hanging, hangs=True)
        own = {each.integration_id for each in _integrations(hub, _B, 100)}

        async def run() -> float:
            started = time.perf_counter()
            checking = asyncio.create_task(hub.use(HealthMonitor).check_due())
            await asyncio.to_thread(_until_all_checked, hub, own)
            elapsed = time.perf_counter() - started
            checking.cancel()
            with suppress(asyncio.CancelledError):
                await checking
            return elapsed

        return asyncio.run(run())


def _until_all_checked(hub: Hub, wanted: set[UUID]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with hub.transactions.read() as tx:
            if all(found and found.last_health_check for found in map(tx.integrations.find, wanted)):
                return
        time.sleep(0.02)
    raise RuntimeError("not all were checked within a minute")


def incoming(*, flood: int) -> float:
    """95th percentile of the milliseconds that another tenant's webhooks take, one after another."""
    with _hub() as hub:
        (hostile,), (own,) = _integrations(hub, _A, 1), _integrations(hub, _B, 1)
        receive = hub.use(IncomingReceiver).receive

        def sent(to: Integration, name: str) -> Awaitable[object]:
            request = IncomingRequest("POST", "https://b", {}, {}, name.encode(), datetime.now(UTC))
            return receive(to.integration_id, request, Caller())

        async def run() -> float:
            await sent(hostile, "first")
            await sent(own, "first")
            others = [asyncio.ensure_future(sent(hostile, f"e{number}")) for number in range(flood)]
            await asyncio.sleep(0)
            times = []
            for number in range(40):
                started = time.perf_counter()
                await sent(own, f"e{number}")
                times.append(1000 * (time.perf_counter() - started))
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            return quantiles(times, n=20)[-1]

        return asyncio.run(run())


def syncs(*, waiting: int) -> float:
    """Milliseconds until the dispatcher has started another tenant's job, which is due last."""
    with _hub() as hub:
        jobs = [_job(each, hours=1) for each in _integrations(hub, _A, waiting)]
        (own,) = _integrations(hub, _B, 1)
        last = _job(own, hours=0)
        with hub.transactions.write() as tx:
            for job in [*jobs, last]:
                tx.sync_jobs.add(job.tenant_id, job)
            tx.commit()
        started = time.perf_counter()
        ids = {start.data_sync_job_id for start in hub.use(Dispatcher).claim()}
        if last.data_sync_job_id not in ids:
            return float("inf")
        return 1000 * (time.perf_counter() - started)


def _job(of: Integration, *, hours: int) -> SyncJob:
    now = datetime.now(UTC)
    return SyncJob(
        data_sync_job_id=uuid4(),
        tenant_id=of.tenant_id,
        integration_id=of.integration_id,
        sync_type=SyncType.Full,
        direction=SyncDirection.Import,
        status=SyncStatus.Scheduled,
        scheduled_at=now - timedelta(hours=hours),
        created_at=now,
        created_by=_USER,
    )


def _row(alone: float, beside: float, unit: str) -> str:
    return f"{beside:.2f} {unit} = {beside / alone:.2f} x the {alone:.2f} {unit} without them"


def measure() -> list[tuple[str, str]]:
    """Rows of (what, result) for the report."""
    quick: Callable[..., float] = health
    return [
        ("100 health checks beside 250 that hang", _row(quick(hanging=0), quick(hanging=250), "s")),
        (
            "a webhook's p95 beside 10,000 of another tenant",
            _row(incoming(flood=0), incoming(flood=10_000), "ms"),
        ),
        (
            "a sync starts beside 1,000 that are due before it",
            f"{syncs(waiting=1_000):.0f} ms, in the first round",
        ),
    ]


if __name__ == "__main__":
    for what, result in measure():
        print(f"{what:58} {result}", flush=True)
