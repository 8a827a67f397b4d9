"""Use cases that are done again when the database undid their transaction."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from domain.core.errors import Conflict, DomainError, Unavailable, Undone
from domain.core.transaction import each_step, in_steps, repeated
from tests import ROOT

_ROOT = ROOT


class Attempts:
    """A use case that meets these errors, one a call."""

    def __init__(self, *errors: DomainError) -> None:
        self.errors = list(errors)
        self.calls: list[tuple[int, int]] = []

    @repeated
    def act(self, first: int, *, second: int) -> int:
        """What it does."""
        self.calls.append((first, second))
        if self.errors:
            raise self.errors.pop(0)
        return first + second


def test_each_time_it_is_called_with_the_same_arguments() -> None:
    attempts = Attempts(Undone("a"), Undone("b"))
    assert attempts.act(1, second=2) == 3
    assert attempts.calls == [(1, 2)] * 3


def test_the_third_time_is_the_last() -> None:
    attempts = Attempts(*[Undone("a")] * 3)
    with pytest.raises(Undone):
        attempts.act(1, second=2)
    assert len(attempts.calls) == 3


@pytest.mark.parametrize("error", [Unavailable("The queue is away."), Conflict("No.")])
def test_nothing_else_is_repeated(error: DomainError) -> None:
    attempts = Attempts(error)
    with pytest.raises(type(error)):
        attempts.act(1, second=2)
    assert len(attempts.calls) == 1


def test_it_keeps_its_name_and_description() -> None:
    assert Attempts.act.__name__ == "act"
    assert Attempts.act.__doc__ == "What it does."


# -- bounded steps --------------------------------------------------------------------------------------------


class CountedTransactions:
    """Opens transactions, and counts those that were committed."""

    def __init__(self) -> None:
        self.committed = 0

    @contextmanager
    def write(self) -> Iterator[CountedTransactions]:
        yield self

    read = write

    def commit(self) -> None:
        self.committed += 1


@pytest.mark.parametrize(
    ("rows", "most", "done", "transactions"),
    [(0, None, 0, 1), (3, None, 3, 2), (4, None, 4, 3), (4, 2, 4, 2), (9, 2, 4, 2), (9, 0, 0, 0)],
)
def test_steps_go_on_until_fewer_rows_come_than_asked_for(
    rows: int, most: int | None, done: int, transactions: int
) -> None:
    left = rows

    def step(tx: CountedTransactions) -> int:
        nonlocal left
        taken = min(left, 2)
        left -= taken
        return taken

    opened = CountedTransactions()
    assert in_steps(opened, step, 2, most=most) == done
    assert opened.committed == transactions


def test_each_step_is_committed_before_its_result_is_used() -> None:
    opened = CountedTransactions()
    steps = each_step(opened, lambda tx: (2, tx.committed), 2, most=3)
    assert [(before, opened.committed) for before in steps] == [(0, 1), (1, 2), (2, 3)]


# -- which use cases ------------------------------------------------------------------------------------------


def _repeated_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in sorted((_ROOT / "domain").rglob("*.py")):
        source = path.read_text()
        for node in ast.walk(ast.parse(source)) if "@repeated" in source else ():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(
                isinstance(decorator, ast.Name) and decorator.id == "repeated"
                for decorator in node.decorator_list
            ):
                assert isinstance(node, ast.FunctionDef), f"{node.name} is a coroutine: {path}"
                yield f"{path.parent.name}/{path.stem}.{node.name}", node


def _texts(nodes: list[ast.stmt]) -> str:
    return "\n".join(ast.unparse(node) for node in nodes)


_FUNCTIONS = dict(_repeated_functions())
#: What acts on something other than the database.
_OUTSIDE = (
    "_queue.",
    "_send",
    "_realtime.",
    "publish",
    "vault.put",
    "vault.discard",
    ".flush(",
    "_nudge",
    "announce_end",
)


def test_the_requests_that_write_most_are_among_them() -> None:
    assert {"journal/outbox._store", "incoming/inbox._write_once", "authentication/service._remember"} <= set(
        _FUNCTIONS
    )
    assert len(_FUNCTIONS) >= 30


@pytest.mark.parametrize("name", _FUNCTIONS)
def test_each_is_one_transaction_and_acts_on_nothing_else_before_its_end(name: str) -> None:
    body = _FUNCTIONS[name].body
    [at] = [
        index for index, statement in enumerate(body) if "_transactions.write()" in ast.unparse(statement)
    ]
    block = body[at]
    assert isinstance(block, ast.With), "a loop or a branch around the transaction"
    inside = _texts(body[: at + 1])
    assert inside.count("_transactions.write()") == 1
    assert inside.count(".commit()") == 1
    for act in _OUTSIDE:
        assert act not in inside, act
    assert "_transactions." not in _texts(body[at + 1 :])
