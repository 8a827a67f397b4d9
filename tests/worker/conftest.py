"""One host over the packaged app, with the real worker beneath it, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import harness
from bench.harness import running
from tests.worlds import worker_environment
from tests.worlds.builders import new_database
from tests.worlds.hub_api import Api, Receiver, fresh_tenant
from tests.worlds.worker_host import WorkerHost

__all__ = ["api", "package", "receiver", "worker"]


@pytest.fixture(scope="session")
def package() -> Path:
    """The app as it is deployed."""
    return worker_environment.packaged()


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Iterator[WorkerHost]:
    home = tmp_path_factory.mktemp("worker") / "hub"
    new_database(home)
    own = harness.serving
    harness.serving = worker_environment.serving(package)
    try:
        with running(home, HUB_LOG_LEVEL="INFO") as host:
            yield WorkerHost(host)
    finally:
        harness.serving = own


@pytest.fixture
def api(worker: WorkerHost) -> Api:
    return fresh_tenant(worker.host)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.close()
