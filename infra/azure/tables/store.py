"""Azure Tables by its SDK."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from domain.core.errors import Unavailable
from domain.core.ports import EntityExists, EtagMismatch, TableEntity, TableValue, TableWrite
from infra.azure.credential import managed_identity
from infra.azure.outage import Outage, is_unanswered
from infra.azure.tables.limits import check_entity, check_key, check_table, check_writes

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError
    from azure.data.tables import TableClient, TableServiceClient

T = TypeVar("T")

_RETRIES = 3
_BACKOFF_SECONDS = 0.2
_LONGEST_BACKOFF_SECONDS = 2
_CONNECT_SECONDS = 2
READ_SECONDS = 5
_READ_RETRIES = 1
"""Of those above: who got no answer within its seconds seldom gets one at the next try."""

PAUSE_SECONDS = 2.0
"""How long calls fail at once after one found the service away; then one at a time asks whether it is back. Without
it every request with an API key would wait for a service that hangs, one after another."""

_PAGE = 1000
_CHANGED_OR_GONE = frozenset(
    {"UpdateConditionNotSatisfied", "ConditionNotMet", "ResourceNotFound", "EntityNotFound", "TableNotFound"}
)
_OPERATIONS = {"insert": "create", "upsert": "upsert", "replace": "update", "delete": "delete"}


class AzureTableStore:
    """Azure Tables, or Azurite. Implements TableStore; thread-safe.

    Give a `connection_string`, or an `endpoint` to be entered with the managed identity `client_id` (none:
    see `managed_identity`). Tables are created when a write finds them missing. A call is tried at most four
    times, twice where no answer comes; after one that was never answered, calls fail at once for `PAUSE_SECONDS` of
    `monotonic`. Raises ValueError for what the service would refuse (`infra.azure.tables.limits`). In a transaction,
    replacing or deleting an entity that is not there is an EtagMismatch.
    """

    #: The network takes most of a call's time.
    parallelism = 16
    #: The service has no locks.
    serial = None

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        connection_string: str | None = None,
        client_id: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if (endpoint is None) == (connection_string is None):
            raise ValueError("Azure Tables needs either an endpoint or a connection string")
        self._endpoint = endpoint
        self._connection_string = connection_string
        self._client_id = client_id
        self._outage = Outage("Azure Tables", is_unanswered, pause_seconds=PAUSE_SECONDS, monotonic=monotonic)

    def get(self, table: str, partition_key: str, row_key: str) -> TableEntity | None:
        from azure.core.exceptions import ResourceNotFoundError

        check_key(partition_key)
        check_key(row_key)
        with self._asked():
            try:
                return _from_azure(self._table(table).get_entity(partition_key, row_key))
            except ResourceNotFoundError:
                return None

    def insert(self, table: str, entity: TableEntity) -> str:
        check_entity(entity)
        client = self._table(table)
        with self._asked():
            return self._creating(client, lambda: _etag(client.create_entity(_to_azure(entity))))

    def replace(self, table: str, entity: TableEntity, *, etag: str) -> str:
        check_entity(entity)
        options = _write_options("replace", etag)
        with self._asked():
            return _etag(self._table(table).update_entity(_to_azure(entity), **options))

    def upsert(self, table: str, entity: TableEntity) -> str:
        check_entity(entity)
        client, options = self._table(table), _write_options("upsert", None)
        with self._asked():
            return self._creating(client, lambda: _etag(client.upsert_entity(_to_azure(entity), **options)))

    def delete(self, table: str, partition_key: str, row_key: str, *, etag: str | None = None) -> bool:
        check_key(partition_key)
        check_key(row_key)
        statuses: list[int] = []
        with self._asked():
            # The SDK swallows 404; the hook sees it.
            self._table(table).delete_entity(
                partition_key,
                row_key,
                raw_response_hook=lambda response: statuses.append(response.http_response.status_code),
                **_write_options("delete", etag),
            )
        return statuses[-1] != 404

    def query(
        self,
        table: str,
        partition_key: str | None = None,
        *,
        row_key_from: str = "",
        row_key_to: str | None = None,
        limit: int = 1000,
    ) -> list[TableEntity]:
        from azure.core.exceptions import ResourceNotFoundError

        bounds = {"p": partition_key, "f": row_key_from or None, "t": row_key_to}
        comparisons = {"p": "PartitionKey eq @p", "f": "RowKey ge @f", "t": "RowKey lt @t"}
        parameters = {name: value for name, value in bounds.items() if value is not None}
        with self._asked():
            try:
                pages = self._table(table).query_entities(
                    " and ".join(comparisons[name] for name in parameters),
                    parameters=cast("dict[str, Any]", parameters),
                    results_per_page=max(1, min(limit, _PAGE)),
                )
                return [_from_azure(entity) for entity in islice(pages, limit)]
            except ResourceNotFoundError:
                return []

    def transact(self, table: str, writes: Sequence[TableWrite]) -> None:
        check_writes(writes)
        if not writes:
            return
        client = self._table(table)
        operations = [
            (_OPERATIONS[write.kind], _to_azure(write.entity), _write_options(write.kind, write.etag))
            for write in writes
        ]
        with self._asked():
            self._creating(client, lambda: client.submit_transaction(cast("Any", operations)))

    def ping(self) -> None:
        """Ask the service for one table. Raises Unavailable if it does not answer, or does not let us in."""
        with self._asked():
            next(iter(self._service.list_tables(results_per_page=1)), None)

    def close(self) -> None:
        self._service.close()

    @cached_property
    def _service(self) -> TableServiceClient:
        from azure.data.tables import TableServiceClient

        limits: dict[str, Any] = {
            "retry_total": _RETRIES,
            "retry_read": _READ_RETRIES,
            "retry_backoff_factor": _BACKOFF_SECONDS,
            "retry_backoff_max": _LONGEST_BACKOFF_SECONDS,
            "connection_timeout": _CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
        }
        if self._connection_string is not None:
            return TableServiceClient.from_connection_string(self._connection_string, **limits)
        assert self._endpoint is not None
        credential = managed_identity(self._client_id)
        return TableServiceClient(self._endpoint, credential=credential, **limits)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """One call, its errors as the port's."""
        from azure.core.exceptions import AzureError, HttpResponseError

        try:
            with self._outage.asked():
                yield
        except HttpResponseError as error:
            raise _as_domain_error(error) from error
        except AzureError as error:
            raise Unavailable(f"Azure Tables cannot be reached: {type(error).__name__}") from error

    def _table(self, table: str) -> TableClient:
        check_table(table)
        return self._service.get_table_client(table)

    def _creating(self, client: TableClient, write: Callable[[], T]) -> T:
        from azure.core.exceptions import HttpResponseError

        try:
            return write()
        except HttpResponseError as error:
            if _code(error) != "TableNotFound":
                raise
        self._service.create_table_if_not_exists(client.table_name)
        return write()


def _as_domain_error(error: HttpResponseError) -> Exception:
    code = _code(error)
    if code == "EntityAlreadyExists":
        return EntityExists(code)
    if code in _CHANGED_OR_GONE:
        return EtagMismatch(code)
    if error.status_code in {400, 413}:
        return ValueError(f"Azure Tables refused the request: {code}")
    return Unavailable(f"Azure Tables does not serve the request: {code}")


def _code(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", None)
    response: Any = error.response
    if code is None and response is not None:
        code = response.headers.get("x-ms-error-code")
    return str(getattr(code, "value", code) or error.status_code)


def _write_options(kind: str, etag: str | None) -> dict[str, Any]:
    from azure.core import MatchConditions
    from azure.data.tables import UpdateMode

    options: dict[str, Any] = {"mode": UpdateMode.REPLACE} if kind in {"replace", "upsert"} else {}
    if etag is not None:
        options |= {"etag": etag, "match_condition": MatchConditions.IfNotModified}
    return options


def _to_azure(entity: TableEntity) -> dict[str, Any]:
    keys = {"PartitionKey": entity.partition_key, "RowKey": entity.row_key}
    return keys | {name: _edm(value) for name, value in entity.properties.items()}


def _edm(value: TableValue) -> Any:
    from azure.data.tables import EdmType, EntityProperty

    # The SDK sends a plain int as 32 bits and refuses larger ones.
    return EntityProperty(value, EdmType.INT64) if type(value) is int else value


def _from_azure(entity: Any) -> TableEntity:
    properties = {
        name: _plain(value) for name, value in entity.items() if name not in {"PartitionKey", "RowKey"}
    }
    etag = entity.metadata["etag"]
    return TableEntity(entity["PartitionKey"], entity["RowKey"], properties, etag)


def _plain(value: Any) -> TableValue:
    from azure.data.tables import EntityProperty

    if isinstance(value, EntityProperty):
        value = value.value
    if isinstance(value, datetime):
        return datetime.combine(value.date(), value.time(), UTC)
    return cast("TableValue", value)


def _etag(written: Mapping[str, Any]) -> str:
    return cast("str", written["etag"])
