"""Every secret store keeps the same contract."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from domain.core.errors import Unavailable
from domain.core.ports import SecretStore
from infra.azure.keyvault.limits import MAX_VALUE_BYTES
from infra.embedded.secrets import EmbeddedSecretStore


class Pingable(SecretStore, Protocol):
    def ping(self) -> None: ...


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedSecretStore]:
    made = EmbeddedSecretStore(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture(params=["embedded", pytest.param("key_vault", marks=pytest.mark.azure)])
def store(request: pytest.FixtureRequest) -> Pingable:
    made: Pingable = request.getfixturevalue(request.param)
    return made


def test_a_secret_that_was_never_set_is_none(store: Pingable) -> None:
    assert store.get("stripe") is None
    assert store.get("stripe", "0" * 32) is None
    assert store.delete("stripe") is False
    assert store.names() == []


@pytest.mark.parametrize("value", ["", "sk_live_größe \N{SNOWMAN}", "x" * MAX_VALUE_BYTES], ids=len)
def test_a_value_comes_back_as_it_was_set(store: Pingable, value: str) -> None:
    store.set("stripe", value)
    assert store.get("stripe") == value


def test_the_latest_version_is_read_and_earlier_ones_stay(store: Pingable) -> None:
    first, second = store.set("stripe", "one"), store.set("stripe", "two")
    assert first != second
    assert store.get("stripe") == "two"
    assert store.get("stripe", first) == "one"
    assert store.get("stripe", second) == "two"
    assert store.get("stripe", "0" * 32) is None


def test_deleting_removes_every_version_and_frees_the_name(store: Pingable) -> None:
    version = store.set("stripe", "one")
    store.set("stripe", "two")
    store.set("other", "kept")
    assert store.delete("stripe") is True
    assert store.get("stripe") is None
    assert store.get("stripe", version) is None
    assert store.delete("stripe") is False
    store.set("stripe", "three")
    assert store.get("stripe") == "three"
    assert store.get("stripe", version) is None
    assert store.names() == ["other", "stripe"]


def test_names_are_listed_by_prefix_sorted_and_once_each(store: Pingable) -> None:
    for name in ["wh-2", "int-1", "wh-10", "wh-1", "w", "wh-1"]:
        store.set(name, "value")
    assert store.names("wh-") == ["wh-1", "wh-10", "wh-2"]
    assert store.names() == ["int-1", "w", "wh-1", "wh-10", "wh-2"]
    assert store.names("none") == []


@pytest.mark.parametrize("name", ["", "a/b", "a_b", "a b", "é", "x" * 128, "a\n"])
def test_a_name_outside_the_model_is_refused(store: Pingable, name: str) -> None:
    for call in (store.get, store.delete, lambda refused: store.set(refused, "value")):
        with pytest.raises(ValueError, match="secret name"):
            call(name)


def test_a_value_too_large_is_refused_without_being_quoted(store: Pingable) -> None:
    with pytest.raises(ValueError, match="at most") as caught:
        store.set("stripe", "s3cret" * 5000)
    assert "s3cret" not in str(caught.value)


def test_ping_answers_while_the_store_does(store: Pingable) -> None:
    store.ping()


def test_nothing_readable_is_on_disk_and_only_the_owner_may_look(
    embedded: EmbeddedSecretStore, tmp_path: Path
) -> None:
    embedded.set("stripe", "sk_live_visible")
    embedded.close()
    files = list((tmp_path / "home").iterdir())
    assert {"secrets.db", "master.key"} <= {file.name for file in files}
    for file in files:
        assert file.stat().st_mode & 0o077 == 0, file.name
        assert b"sk_live_visible" not in file.read_bytes()


def test_another_process_life_reads_what_the_first_one_set(
    embedded: EmbeddedSecretStore, tmp_path: Path
) -> None:
    embedded.set("stripe", "one")
    again = EmbeddedSecretStore(tmp_path / "home")
    assert again.get("stripe") == "one"
    again.close()


def test_a_row_copied_to_another_name_does_not_open(embedded: EmbeddedSecretStore, tmp_path: Path) -> None:
    embedded.set("stripe", "s3cret")
    with sqlite3.connect(tmp_path / "home" / "secrets.db") as connection:
        connection.execute("UPDATE secrets SET name = 'mine'")
    with pytest.raises(Unavailable, match="does not open") as caught:
        embedded.get("mine")
    assert "s3cret" not in str(caught.value)


def test_a_lost_or_damaged_master_key_is_reported_and_never_replaced(
    embedded: EmbeddedSecretStore, tmp_path: Path
) -> None:
    embedded.set("stripe", "one")
    key_file = tmp_path / "home" / "master.key"
    key = key_file.read_bytes()
    for content, words in [(None, "missing"), (b"short", "32 bytes")]:
        key_file.unlink() if content is None else key_file.write_bytes(content)
        again = EmbeddedSecretStore(tmp_path / "home")
        with pytest.raises(Unavailable, match=words):
            again.ping()
        with pytest.raises(Unavailable, match=words):
            again.set("stripe", "two")
        again.close()
    key_file.write_bytes(key)
    again = EmbeddedSecretStore(tmp_path / "home")
    assert again.get("stripe") == "one"
    again.close()


def _set_one(home: Path, name: str, barrier: object) -> None:
    store = EmbeddedSecretStore(home)
    barrier.wait()  # type: ignore[attr-defined]
    store.set(name, f"value of {name}")


def test_processes_starting_at_once_agree_on_one_master_key(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(4)
    workers = [spawn.Process(target=_set_one, args=(tmp_path, f"s-{n}", barrier)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    store = EmbeddedSecretStore(tmp_path)
    assert [store.get(f"s-{n}") for n in range(4)] == [f"value of s-{n}" for n in range(4)]
    assert list(tmp_path.glob("*.new")) == []
    store.close()
