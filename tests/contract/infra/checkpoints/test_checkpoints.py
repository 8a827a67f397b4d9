"""Every store of signed heads keeps the same contract: what is there stays, and the greatest size is the latest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from azure.core.credentials import AccessToken

from domain.core.errors import Unavailable
from domain.journal.audit_heads import Checkpoints
from infra.azure.blobs.checkpoints import BlobCheckpoints
from infra.embedded.checkpoints import EmbeddedCheckpoints
from tests.fixtures.keyvault_server import KeyVaultServer
from tests.loopback.azurite import running_azurite

TENANT = UUID(int=7)
STORAGE = "https://storage.azure.com"


@dataclass
class StorageCredential:
    """A token that Azurite takes: it reads its times, issuer and audience, and checks no signature."""

    scope: str = ""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        [self.scope] = scopes
        now = int(time.time())
        claims = {
            "aud": STORAGE,
            "iss": f"https://sts.windows.net/{TENANT}/",
            "iat": now - 60,
            "nbf": now - 60,
        }
        token = jwt.encode(
            {**claims, "exp": now + 3600}, "a key that nobody looks at, 32 bytes", algorithm="HS256"
        )
        return AccessToken(token, now + 3600)


@pytest.fixture(scope="module")
def blob_service(tmp_path_factory: pytest.TempPathFactory, vault_server: KeyVaultServer) -> Iterator[str]:
    home, files = tmp_path_factory.mktemp("blobs"), (vault_server.ca_file, vault_server.key_file)
    with running_azurite("blob", home, certificate=files) as address:
        yield address


def blobs(address: str, ca_file: Path) -> BlobCheckpoints:
    """A container of its own, in the service at this address."""
    return BlobCheckpoints(
        f"{address}/c{uuid4().hex}",
        credential=StorageCredential(),
        connection_verify=str(ca_file),
        retry_total=0,
    )


@pytest.fixture
def container(blob_service: str, vault_server: KeyVaultServer) -> BlobCheckpoints:
    store = blobs(blob_service, vault_server.ca_file)
    assert store.send("PUT", store.url, params={"restype": "container"}).status_code == 201
    return store


@pytest.fixture
def embedded(tmp_path: Path) -> EmbeddedCheckpoints:
    return EmbeddedCheckpoints(tmp_path)


@pytest.fixture(params=["embedded", pytest.param("container", marks=pytest.mark.azure)])
def store(request: pytest.FixtureRequest) -> Checkpoints:
    made: Checkpoints = request.getfixturevalue(request.param)
    return made


def test_where_nothing_was_kept_there_is_no_latest(store: Checkpoints) -> None:
    assert store.latest(TENANT) is None


def test_the_greatest_size_is_the_latest_in_whatever_order_they_came(store: Checkpoints) -> None:
    for size in (9, 10, 100_000, 99_999):
        store.put(TENANT, size, f"head of {size} —\n")
    assert store.latest(TENANT) == "head of 100000 —\n"


def test_what_is_kept_stays_whatever_comes_under_the_same_size(store: Checkpoints) -> None:
    store.put(TENANT, 5, "first")
    store.put(TENANT, 5, "second")
    assert store.latest(TENANT) == "first"


def test_tenants_do_not_see_each_other(store: Checkpoints) -> None:
    store.put(TENANT, 5, "mine")
    assert store.latest(UUID(int=8)) is None
    store.put(UUID(int=8), 6, "theirs")
    assert store.latest(TENANT) == "mine"


def test_of_many_at_once_one_is_kept_whole(store: Checkpoints) -> None:
    notes = [f"note {number} " + "x" * 2_000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda note: store.put(TENANT, 5, note), notes))
    assert store.latest(TENANT) in notes


@pytest.mark.azure
def test_a_container_that_does_not_answer_is_unavailable(
    blob_service: str, vault_server: KeyVaultServer
) -> None:
    missing = blobs(blob_service, vault_server.ca_file)
    nobody = blobs("https://127.0.0.1:1", vault_server.ca_file)
    calls: list[Callable[[Checkpoints], object]] = [
        lambda store: store.put(TENANT, 1, "x"),
        lambda store: store.latest(TENANT),
    ]
    for store in (missing, nobody):
        for call in calls:
            with pytest.raises(Unavailable):
                call(store)


def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "audit-checkpoints").write_text("a file where the folder should be")
    store = EmbeddedCheckpoints(tmp_path)
    with pytest.raises(Unavailable):
        store.put(TENANT, 1, "x")


def test_files_of_heads_are_for_their_owner_alone_and_read_only(tmp_path: Path) -> None:
    EmbeddedCheckpoints(tmp_path).put(TENANT, 1, "x")
    [file] = (tmp_path / "audit-checkpoints" / str(TENANT)).iterdir()
    assert file.stat().st_mode & 0o777 == 0o400
