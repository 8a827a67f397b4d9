"""A repeated POST gets the first answer."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from domain.core.errors import Conflict, ValidationFailed
from domain.core.idempotency import TABLE, Idempotency, StoredAnswer
from domain.core.ports import TableEntity
from infra.embedded.secrets import EmbeddedSecretStore
from infra.embedded.tables import EmbeddedTableStore
from infra.sealing import SecretStoreCipher
from tests.worlds.builders import OTHER_TENANT, TENANT, FakeClock

REQUEST = hashlib.sha256(b'POST /api/webhooks\n{"url":"https://example.com"}').hexdigest()
SECRET = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0"
ANSWER = StoredAnswer(
    201, {"Location": "/api/webhooks/1", "ETag": '"1"'}, f'{{"secret":"{SECRET}"}}'.encode()
)


class Store:
    def __init__(self, home: Path) -> None:
        self.home, self.clock = home, FakeClock()
        self.tables = EmbeddedTableStore(home / "tables.db", self.clock)
        cipher = SecretStoreCipher(EmbeddedSecretStore(home))
        self.keys = Idempotency(self.tables, cipher, self.clock, kept=timedelta(hours=24))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.tables.close()


def test_the_same_key_and_request_get_the_same_answer_with_headers_and_secret(store: Store) -> None:
    assert store.keys.begin(TENANT, "k", REQUEST) is None
    store.keys.finish(TENANT, "k", REQUEST, ANSWER)
    for _ in range(2):
        assert store.keys.begin(TENANT, "k", REQUEST) == ANSWER


def test_an_answer_is_sealed_at_rest(store: Store) -> None:
    store.keys.begin(TENANT, "the-key-itself", REQUEST)
    store.keys.finish(TENANT, "the-key-itself", REQUEST, ANSWER)
    at_rest = b"".join(
        path.read_bytes() for path in store.home.iterdir() if path.name.startswith("tables.db")
    )
    assert len(at_rest) > 1000
    for piece in (SECRET.encode(), b"/api/webhooks/1", b"the-key-itself", b"example.com"):
        assert piece not in at_rest


def test_a_different_request_under_the_same_key_is_refused(store: Store) -> None:
    store.keys.begin(TENANT, "k", REQUEST)
    for _ in range(2):
        with pytest.raises(ValidationFailed) as refused:
            store.keys.begin(TENANT, "k", REQUEST[::-1])
        assert refused.value.code == "idempotency-key-reused"
        store.keys.finish(TENANT, "k", REQUEST, ANSWER)


def test_a_repeat_while_the_first_still_runs_is_a_conflict(store: Store) -> None:
    store.keys.begin(TENANT, "k", REQUEST)
    store.clock.advance(minutes=5)
    with pytest.raises(Conflict) as refused:
        store.keys.begin(TENANT, "k", REQUEST)
    assert refused.value.code == "idempotency-key-running"


def test_a_key_left_by_a_crash_does_nothing_twice_for_24_hours(store: Store) -> None:
    store.keys.begin(TENANT, "k", REQUEST)
    store.clock.advance(minutes=5, seconds=1)
    for _ in range(2):
        with pytest.raises(Conflict) as refused:
            store.keys.begin(TENANT, "k", REQUEST)
        assert refused.value.code == "idempotency-outcome-unknown"
    store.clock.advance(hours=24)
    assert store.keys.begin(TENANT, "k", REQUEST) is None


def test_an_abandoned_key_may_be_used_again_even_for_another_request(store: Store) -> None:
    store.keys.begin(TENANT, "k", REQUEST)
    store.keys.abandon(TENANT, "k")
    assert store.keys.begin(TENANT, "k", "another") is None


def test_an_answer_is_kept_for_24_hours(store: Store) -> None:
    store.keys.begin(TENANT, "k", REQUEST)
    store.keys.finish(TENANT, "k", REQUEST, ANSWER)
    store.clock.advance(hours=24)
    assert store.keys.begin(TENANT, "k", REQUEST) == ANSWER
    store.clock.advance(seconds=1)
    assert store.keys.begin(TENANT, "k", "another") is None


def test_tenants_do_not_share_keys(store: Store) -> None:
    store.keys.begin(TENANT, "k", REQUEST)
    store.keys.finish(TENANT, "k", REQUEST, ANSWER)
    assert store.keys.begin(OTHER_TENANT, "k", REQUEST) is None


def test_of_many_at_once_one_goes_ahead(store: Store) -> None:
    def begun(_: int) -> bool:
        try:
            return store.keys.begin(TENANT, "k", REQUEST) is None
        except Conflict:
            return False

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(begun, range(16))) == 1
        store.clock.advance(hours=25)
        assert sum(threads.map(begun, range(16))) == 1


@pytest.mark.parametrize("size", [0, 1, 40_000, 1_200_000])
def test_an_answer_of_any_size_comes_back_whole_in_entities_azure_takes(store: Store, size: int) -> None:
    answer = StoredAnswer(200, {}, secrets.token_bytes(size))
    store.keys.begin(TENANT, "k", REQUEST)
    store.keys.finish(TENANT, "k", REQUEST, answer)
    assert store.keys.begin(TENANT, "k", REQUEST) == answer
    entities = store.tables.query(TABLE, str(TENANT))
    assert max(_utf16(entity) for entity in entities) < 1024 * 1024


def _utf16(entity: TableEntity) -> int:
    return sum(2 * len(str(value)) for value in entity.properties.values())


def test_old_keys_are_forgotten_with_all_their_pieces_and_young_ones_stay(store: Store) -> None:
    large = StoredAnswer(200, {}, secrets.token_bytes(1_200_000))
    for key in ("old", "older"):
        store.keys.begin(TENANT, key, REQUEST)
        store.keys.finish(TENANT, key, REQUEST, large)
    store.keys.begin(TENANT, "crashed", REQUEST)
    store.clock.advance(hours=23)
    store.keys.begin(TENANT, "young", REQUEST)
    store.keys.finish(TENANT, "young", REQUEST, ANSWER)
    assert store.keys.forget_old([TENANT, OTHER_TENANT]) == 0
    store.clock.advance(hours=2)
    assert store.keys.forget_old([TENANT]) > 3
    assert len(store.tables.query(TABLE)) == 1
    assert store.keys.begin(TENANT, "young", REQUEST) == ANSWER


class TakenMeanwhile(EmbeddedTableStore):
    """Between reading an entity and deleting it, another process begins anew under the key."""

    def query(self, table: str, *arguments: object, **options: object) -> list[TableEntity]:
        found = super().query(table, *arguments, **options)  # type: ignore[arg-type]
        for entity in found:
            self.upsert(table, entity)
        return found


def test_a_key_taken_again_while_old_ones_are_forgotten_is_not_freed(store: Store) -> None:
    store.keys.begin(TENANT, "k", REQUEST)
    store.clock.advance(hours=25)
    racing = TakenMeanwhile(store.home / "tables.db", store.clock)
    keys = Idempotency(
        racing, SecretStoreCipher(EmbeddedSecretStore(store.home)), store.clock, kept=timedelta(hours=24)
    )
    assert keys.forget_old([TENANT]) == 0
    assert len(store.tables.query(TABLE)) == 1
    racing.close()
