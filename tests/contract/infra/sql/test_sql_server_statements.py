"""Every statement the repositories send, as SQL Server would receive it.

A stand-in for pyodbc takes what our dialect of pyodbc hands to the driver: the text and the
parameters. The text must be T-SQL and keep to the plain middle of the language."""

from __future__ import annotations

import re

import pytest
import sqlglot
from sqlglot import expressions as exp

from infra.sql.firsts import update_first
from infra.sql.monitoring.tables import alert_notifications
from tests.worlds.sql_server_replay import handed_over
from tests.worlds.sql_server_wire import Sent, Wire, sql_server_engine

_PARAMETERS_AT_MOST = 2_100


@pytest.fixture(scope="module")
def sent(driven: tuple[list[Sent], list[str]]) -> list[Sent]:
    return driven[0]


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Sent], list[str]]:
    return handed_over(tmp_path_factory.mktemp("sql"))


def test_every_repository_method_reaches_the_database(sent: list[Sent]) -> None:
    assert len({statement.method for statement in sent}) >= 28
    assert len({statement.text for statement in sent}) >= 40


def test_no_statement_is_sent_while_the_rows_of_another_are_read(
    driven: tuple[list[Sent], list[str]],
) -> None:
    """Microsoft's driver refuses that: the connection is busy with results for another statement."""
    assert driven[1] == []


def test_the_rotation_of_data_keys_reads_and_writes(sent: list[Sent]) -> None:
    texts = {statement.text.split()[0] for statement in sent if statement.method == "rotation"}
    assert texts == {"SELECT", "UPDATE"}


def test_every_statement_parses_as_t_sql(sent: list[Sent]) -> None:
    for text in {statement.text for statement in sent}:
        (parsed,) = sqlglot.parse(text, dialect="tsql", error_level=sqlglot.ErrorLevel.RAISE)
        assert isinstance(parsed, exp.Select | exp.Insert | exp.Update | exp.Delete), text
        assert not list(parsed.find_all(exp.Command)), text


def test_statements_keep_to_the_plain_middle_of_the_language(sent: list[Sent]) -> None:
    forbidden = (
        r"\b(MERGE|RETURNING|LIMIT|TRUE|FALSE|NOLOCK|UPDLOCK|HOLDLOCK|ROW_NUMBER|ON CONFLICT)\b|\|\||`"
    )
    for statement in sent:
        assert not re.search(forbidden, statement.text, re.IGNORECASE), statement.text


def test_rows_are_skipped_and_limited_only_in_an_order(sent: list[Sent]) -> None:
    skipping = [statement for statement in sent if re.search(r"\b(OFFSET|FETCH|TOP)\b", statement.text)]
    assert {statement.method for statement in skipping} >= {
        "webhooks.page",
        "deliveries.page",
        "outbox.unannounced",
    }
    for statement in skipping:
        for select in sqlglot.parse_one(statement.text, dialect="tsql").find_all(exp.Select):
            if select.args.get("limit") or select.args.get("offset"):
                assert select.args.get("order"), statement.text


def test_no_subquery_is_ordered_without_a_limit(sent: list[Sent]) -> None:
    """SQL Server refuses that (error 1033)."""
    for statement in sent:
        for select in sqlglot.parse_one(statement.text, dialect="tsql").find_all(exp.Select):
            if select.parent is not None and select.args.get("order"):
                assert select.args.get("limit") or select.args.get("offset"), statement.text


def test_no_statement_carries_more_parameters_than_sql_server_takes(sent: list[Sent]) -> None:
    for statement in sent:
        assert max(len(row) for row in statement.rows) <= _PARAMETERS_AT_MOST, statement.text[:200]
        assert statement.text.count("?") == len(statement.rows[0])


def test_conditions_compare_and_never_ask_whether_a_column_is_a_number(sent: list[Sent]) -> None:
    """`IS 1` is no T-SQL: a BIT is compared."""
    for statement in sent:
        assert not re.search(r"\bIS (NOT )?[^N]", statement.text), statement.text


def test_lists_longer_than_a_chunk_are_sent_in_chunks(sent: list[Sent]) -> None:
    for method in (
        "pipeline.claim",
        "pipeline.record",
        "outbox.pending",
        "deliveries.reset",
        "pipeline.hold",
        "pipeline.park",
    ):
        texts = [
            statement.text for statement in sent if statement.method == method and " IN (" in statement.text
        ]
        assert len(texts) >= 2, method


def test_parameters_are_what_the_driver_binds_without_guessing(sent: list[Sent]) -> None:
    """Enumerations as plain integers, moments without a zone in UTC, ids as UUID."""
    from datetime import datetime
    from uuid import UUID

    for statement in sent:
        for value in (value for row in statement.rows[:3] for value in row):
            if isinstance(value, datetime):
                assert value.tzinfo is None, statement.text
            else:
                assert type(value) in (int, float, bool, str, UUID, type(None)), (type(value), statement.text)


def test_texts_are_bound_as_nvarchar_and_long_ones_as_nvarchar_max(sent: list[Sent]) -> None:
    """VARCHAR would turn what its code page lacks into question marks; a size of 0 stands for MAX."""
    sizes = {size for statement in sent for size in statement.sizes or ()}
    assert {size for size in sizes if size[0] == "SQL_WVARCHAR"} == {
        ("SQL_WVARCHAR", 4000, 0),
        ("SQL_WVARCHAR", 0, 0),
    }
    assert not [size for size in sizes if size[0] in ("SQL_VARCHAR", "STRING")]


def test_many_rows_go_as_one_array_whose_types_the_server_can_deduce(sent: list[Sent]) -> None:
    """The driver asks the server what each parameter is, which it can tell of a value alone in its place."""
    arrays = [statement for statement in sent if len(statement.rows) > 1]
    assert {"outbox.append", "pipeline.add_deliveries", "pipeline.record"} <= {
        array.method for array in arrays
    }
    for array in arrays:
        assert array.is_array, array.text
        assert array.sizes is None, "sizes would be taken for those of the first row"
        alone = array.text.count("]=?") + array.text.count("= ?")
        values = re.search(r"VALUES \(([?, ]+)\)$", array.text)
        assert array.text.count("?") == alone + (values[1].count("?") if values else 0), array.text


def test_a_search_takes_no_character_for_a_wildcard(sent: list[Sent]) -> None:
    """SQL Server's LIKE has `[` beside `%` and `_`."""
    searches = [statement for statement in sent if " LIKE " in statement.text]
    assert {search.method for search in searches} >= {
        "integrations.page",
        "integration_logs.page",
        "api_keys.page",
    }
    patterns = [
        value
        for search in searches
        for value in search.rows[0]
        if isinstance(value, str) and value.startswith("%50")
    ]
    assert set(patterns) == {"%50/%/_/[a%"}


def test_claims_and_sweeps_return_what_they_changed_by_output(sent: list[Sent]) -> None:
    for method in ("pipeline.claim", "pipeline.requeue_due", "outbox.unannounced", "deliveries.reset"):
        updates = [
            statement.text
            for statement in sent
            if statement.method == method and "OUTPUT inserted." in statement.text
        ]
        assert updates, method
        for text in updates:
            assert text.index(" SET ") < text.index(" OUTPUT "), text
            assert text.startswith("WITH ") or text.index(" OUTPUT ") < text.index(" WHERE "), text


def test_what_an_endpoint_taught_is_not_written_over_what_another_process_learned(sent: list[Sent]) -> None:
    learned = [statement.text for statement in sent if "SET [RetryHistory]=" in statement.text]
    assert len(learned) == 2, "the first outage, and its end"
    for text in learned:
        assert "[RetryHistory]" in text[text.index(" WHERE ") :], text


def test_a_claim_repeats_the_state_it_moves_from(sent: list[Sent]) -> None:
    claim = next(
        statement.text
        for statement in sent
        if statement.method == "pipeline.claim" and statement.text.startswith("UPDATE")
    )
    condition = claim[claim.index(" WHERE ") :]
    for column in ("DeliveryStatus", "IsHeld", "ExpiresAt", "NextRetryAt"):
        assert f"[{column}]" in condition, claim


@pytest.mark.parametrize(
    ("method", "state"),
    [
        ("pipeline.requeue_due", "[RequeueAt] <= ?"),
        ("outbox.unannounced", "[FannedOutAt] IS NULL AND [DomainEvents].[AnnouncedAt] < ?"),
        ("notifications.claim", "[Status] = 0 AND [AlertNotifications].[DueAt] <= ?"),
    ],
)
def test_the_next_that_are_due_are_claimed_from_the_table_itself(
    sent: list[Sent], method: str, state: str
) -> None:
    """Ids out of a subquery would come from versions, and be those another process took meanwhile."""
    claim = next(statement for statement in sent if statement.method == method)
    text = " ".join(claim.text.split())
    assert re.match(r"WITH first_rows AS \(SELECT TOP \d+ ", text), text
    inner, changed = text.split(") UPDATE first_rows SET ")
    assert state in inner[inner.index(" WHERE ") : inner.index(" ORDER BY ")], text
    assert " OUTPUT inserted." in changed
    assert "first_rows" not in changed.split(" OUTPUT ")[1], text


def test_what_is_old_is_deleted_from_the_table_itself(sent: list[Sent]) -> None:
    """A row that is not old any more when its lock is had stays."""
    deletes = [
        statement
        for statement in sent
        if re.search(r"\bTOP \d+ ", statement.text) and "DELETE FROM" in statement.text
    ]
    assert {delete.method for delete in deletes} >= {
        "pipeline.delete_before",
        "outbox.delete_before",
        "signals.compact",
        "signals.delete_before",
        "sync_jobs.delete_before",
        "sync_records.delete_tombstones",
    }
    for delete in deletes:
        assert re.search(r"ORDER BY [^()]+\)\s+DELETE FROM first_rows( OUTPUT deleted\.|$)", delete.text), (
            delete.text
        )


def test_no_statement_changes_what_a_subquery_counted_off(sent: list[Sent]) -> None:
    for statement in sent:
        if re.search(r"\b(UPDATE|DELETE)\b", statement.text):
            assert not re.search(r"\bIN \(SELECT TOP\b", statement.text), statement.text


def test_a_filtered_index_is_asked_for_in_its_own_words(sent: list[Sent]) -> None:
    """SQL Server makes its plan before it knows a parameter, so `Status = ?` never meets `WHERE Status = 0`."""
    for method in ("notifications.claim", "sync_jobs.waiting", "sync_jobs.to_queue"):
        text = next(statement.text for statement in sent if statement.method == method)
        assert "[Status] = 0" in text, text


def test_a_statement_that_is_kept_takes_the_values_of_each_time() -> None:
    """The text is made once and kept; what stands in it is of its own time."""
    wire = Wire()
    with sql_server_engine(wire).connect() as connection:
        for number in (3, 4):
            first = update_first(
                alert_notifications,
                alert_notifications.c.Attempts < number,
                order_by=alert_notifications.c.DueAt,
                limit=10 * number,
            )
            connection.execute(first.values(Attempts=alert_notifications.c.Attempts + 2 * number))
    assert [statement.rows for statement in wire.sent] == [[(3, 6)], [(4, 8)]]
    assert [re.findall(r"TOP \d+", statement.text) for statement in wire.sent] == [["TOP 30"], ["TOP 40"]]
    assert "SET [Attempts]=(first_rows.[Attempts] + ?)" in wire.sent[0].text
