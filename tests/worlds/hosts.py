"""Development hosts that tests share, receivers that a test scripts: fixtures a folder's conftest takes over.

A shared host ends with the last of these tests: it goes on looking into its queues while others run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import harness
from bench.harness import HostProcess, running
from tests.fixtures.oauth_server import CLIENT_SECRET, OAuthServer
from tests.worlds import worker_environment
from tests.worlds.azure_services import SWITCH, AzureServices, hub_beside
from tests.worlds.builders import new_database
from tests.worlds.hub_api import Api, Receiver, fresh_tenant


@pytest.fixture(scope="session", autouse=True)
def azure_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServices | None]:
    """With `HUB_TEST_AZURE` every host works over the Azure SDKs, against endpoints on loopback."""
    if not os.environ.get(SWITCH):
        yield None
        return
    with AzureServices(tmp_path_factory.mktemp("azure")) as services:
        harness.surroundings, harness.minting = services.environment, services.token
        yield services
        harness.surroundings = harness.minting = None


@pytest.fixture(scope="session", autouse=True)
def _worker() -> Iterator[None]:
    """With `HUB_TEST_WORKER` every host has the packaged app run by the library of Azure's own worker."""
    if not os.environ.get(worker_environment.SWITCH):
        yield
        return
    own = harness.serving
    harness.serving = worker_environment.serving(worker_environment.packaged())
    yield
    harness.serving = own


@pytest.fixture(scope="package", autouse=True)
def _migrated_states() -> Iterator[None]:
    """Hosts begin with a copy of one migrated database. The host of `make demo` migrates its own."""
    harness.preparing = new_database
    yield
    harness.preparing = None


@pytest.fixture(autouse=True)
def _azure_services_of_own_hosts(tmp_path: Path, azure_services: AzureServices | None) -> Iterator[None]:
    yield
    if azure_services is not None:
        azure_services.close_under(tmp_path)


@pytest.fixture(scope="package")
def oauth_app() -> Iterator[OAuthServer]:
    """The authorization server at which the host has an OAuth app of its own, for Google calendars."""
    started = OAuthServer()
    yield started
    started.close()


@pytest.fixture(scope="package")
def host(tmp_path_factory: pytest.TempPathFactory, oauth_app: OAuthServer) -> Iterator[HostProcess]:
    home: Path = tmp_path_factory.mktemp("host") / "hub"
    apps = json.dumps({"Google": oauth_app.app("oauth-app-google")})
    with running(home, workers=1, HUB_OAUTH_APPS=apps) as started:
        hub_beside(home).secrets.set("oauth-app-google", CLIENT_SECRET)
        yield started


@pytest.fixture
def api(host: HostProcess) -> Api:
    return fresh_tenant(host)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.close()


@pytest.fixture(scope="package")
def clocked_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    """A host whose clock tests move forward, each for a tenant of its own."""
    with running(tmp_path_factory.mktemp("clocked") / "hub") as started:
        yield started


@pytest.fixture
def own_host(tmp_path: Path) -> Iterator[HostProcess]:
    """A host for what a test does to the host itself."""
    with running(tmp_path / "hub") as host:
        yield host
