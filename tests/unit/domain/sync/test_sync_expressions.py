"""A tenant's JMESPath stays within bounds, and says what JMESPath says otherwise."""

from __future__ import annotations

import time
from typing import Any

import jmespath
import pytest

from domain.providers.records import RecordType
from domain.sync.mapping import CompiledMapping, ExpressionEvaluator, StreamMapping, TooExpensive

SOURCE = {
    "text": "x" * 1_000,
    "list": ["y" * 100] * 1_000,
    "people": [{"n": i, "on": i > 2} for i in range(9)],
}


def made(expression: str) -> Any:
    mapping = CompiledMapping(StreamMapping.model_validate({"fields": {"company": expression}}))
    return mapping.apply({}, SOURCE, RecordType.Contact)[1].get("company")


@pytest.mark.parametrize(
    "expression",
    [
        "|".join(["[@,@]"] * 60),
        "|".join(["{a:@,b:@}"] * 40),
        "source.list|" + "|".join(["[@,@][]"] * 50),
        "source.text|" + "|".join(["join('',[@,@])"] * 30),
        "to_string(" + "|".join(["[@,@]"] * 60) + ")",
        "source.[join(join(text, list), list)]",
        "source.list[*].[@,@]|" + "|".join(["[@[*].[@,@]]"] * 30),
        "source.list|map(&[@,@,@,@],@)|" + "|".join(["map(&[@,@,@,@],@)"] * 20),
    ],
)
def test_an_expression_that_swells_fails_at_once(expression: str) -> None:
    assert len(expression) <= 500
    began = time.process_time()
    with pytest.raises(ValueError, match="/company") as refusal:
        made(expression)
    assert isinstance(refusal.value.__cause__, TooExpensive)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "expression",
    [
        "source.people[?on].n",
        "source.people[*].[n, on][]",
        "source.list[0]",
        "join('-', source.list[:3])",
        "sort_by(source.people, &n)[-1].{number: n, on: on}",
        "map(&to_string(n), source.people)",
        "source.people[].n | [0] || `1`",
        "length(source.list) == `1000` && !source.none",
        "merge(source.people[0], {n: 'one'})",
    ],
)
def test_what_stays_in_proportion_is_what_the_library_says(expression: str) -> None:
    assert made(expression) == jmespath.search(expression, {"source": SOURCE})


TWINS = {name: [{"n": [number]} for number in range(8_000)] for name in ("one", "other")}


@pytest.mark.parametrize(
    "expression",
    [
        "&&".join(["one==other"] * 40),
        "!(" + "||".join(["one!=other"] * 40) + ")",
        "contains([" + ",".join(["one"] * 40) + "],other)",
        "[" + ",".join(["length(one)"] * 35) + "]",
        "merge(" + ",".join(["one[0]"] * 2 + ["@"] * 200) + ")",
        "[" + ",".join(["to_string(one)"] * 30) + "]",
        "one",
    ],
)
def test_expressions_pay_for_what_they_look_at_and_not_only_for_what_they_make(expression: str) -> None:
    fields = {f"f{number}": expression for number in range(50)}
    mapping = CompiledMapping(StreamMapping.model_validate({"recordType": "Generic", "fields": fields}))
    began = time.process_time()
    with pytest.raises(ValueError, match="/f") as refusal:
        mapping.apply(TWINS, {}, RecordType.Generic)
    assert isinstance(refusal.value.__cause__, TooExpensive)
    assert time.process_time() - began < 1
    assert mapping.spent >= 200_000


def test_the_expressions_of_a_record_share_what_they_may_come_to() -> None:
    evaluation, expression = ExpressionEvaluator(most=5_000), jmespath.compile("list[*]")
    evaluation.search(expression, SOURCE)
    with pytest.raises(TooExpensive):
        evaluation.search(expression, SOURCE)


def test_half_a_character_in_a_literal_is_replaced() -> None:
    assert made(r'{name: `"caf\ud83d"`}') == {"name": "caf\ufffd"}


def test_the_effort_of_an_expression_is_spent_to_the_last_step_and_no_further() -> None:
    expression = jmespath.compile("people[*].n")
    whole = ExpressionEvaluator().search(expression, SOURCE)
    least = next(effort for effort in range(1, 1_000) if _within(effort, expression))
    assert ExpressionEvaluator(least).search(expression, SOURCE) == whole == list(range(9))
    with pytest.raises(TooExpensive):
        ExpressionEvaluator(least - 1).search(expression, SOURCE)


def _within(effort: int, expression: Any) -> bool:
    try:
        ExpressionEvaluator(effort).search(expression, SOURCE)
    except TooExpensive:
        return False
    return True
