"""What a model may say about a suggestion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.recommendations.wording_rules import (
    Proposal,
    ProposedText,
    Suggestion,
    accepted,
    by_rules,
    is_faithful,
)


def suggestion(name: str = "a", *, priority: int = 2, **evidence: int | float | str) -> Suggestion:
    return Suggestion(
        id=name,
        kind="slow-endpoint",
        title=f"Give {name} a longer timeout",
        explanation="12 of 40 deliveries timed out after 30 seconds.",
        evidence=evidence or {"timeouts": 12, "deliveries": 40, "p95Seconds": 28.5, "webhook": "Orders-EU"},
        priority=priority,
    )


def proposal(*texts: tuple[int, str, str]) -> Proposal:
    return Proposal(
        suggestions=[ProposedText(number=n, title=title, explanation=why) for n, title, why in texts]
    )


@pytest.mark.parametrize(
    "text",
    [
        "Raise the timeout of Orders-EU: 12 of 40 deliveries ran out of time.",
        "Deliveries take up to 28.5 seconds, so a timeout of 30 seconds is too tight.",
        "The p95Seconds of this webhook is 28.5.",
        "Orders-EU's receiver is slow. It needs more time, as its API shows.",
        "Twelve deliveries failed; forty were sent.",
    ],
)
def test_text_that_repeats_the_evidence_is_faithful(text: str) -> None:
    assert is_faithful(text, suggestion())


@pytest.mark.parametrize(
    "text",
    [
        "13 deliveries failed.",
        "30% of deliveries fail, and 31% soon.",
        "Deliveries take up to 28.51 seconds.",
        "Deliveries take 285 seconds.",
        "Thirteen deliveries failed.",
        "Twice as many failed as before.",
        "Half of the deliveries fail.",
        "\u0661\u0662 deliveries failed.",
        "\u00bd of the deliveries fail.",
        "Failures rose 5x.",
        "The receiver answers 5xx.",
        "1,240 deliveries failed.",
        "Switch to Contoso for this.",
        "This is like the outage of PayPal.",
        "PayPal is down.",
        "See https://evil.example/fix for help.",
        "See www.evil.example for help.",
        "See evil.example for help.",
        "Write to root@evil.example now.",
        "Click <a>here</a>.",
        "Use **force**.",
        "Run `rm`.",
        "Read [this](that).",
        "Raise the time\u202eout.",
        "Raise\u200b the timeout.",
        "Raise\x00 the timeout.",
    ],
)
def test_text_that_says_more_than_the_evidence_is_not(text: str) -> None:
    assert not is_faithful(text, suggestion())


@pytest.mark.parametrize("said", ["`user.deleted`", "user.deleted"])
def test_a_name_that_the_rules_quote_may_be_quoted_or_not(said: str) -> None:
    suggestion = Suggestion("a", "k", "Mend it", "25 of `user.deleted`, and `a.b` too.", {"failed": 25}, 1)
    assert is_faithful(suggestion.explanation, suggestion)
    assert is_faithful(f"All 25 deliveries of {said} failed.", suggestion)
    assert not is_faithful("All 25 deliveries of `rm` failed.", suggestion)
    assert not is_faithful(f"All 25 deliveries of {said}<br> failed.", suggestion)


def test_numbers_of_another_suggestion_are_no_evidence_for_this_one() -> None:
    first, second = suggestion("a", failures=7), suggestion("b", failures=9)
    worded = accepted(
        [first, second], proposal((1, "Look at it", "9 failed."), (2, "Look at it", "9 failed."))
    )
    assert worded.by_model == {"b"}
    assert worded.suggestions[0] == first


def test_thousands_are_the_same_number_with_and_without_a_comma() -> None:
    assert is_faithful("1,200 events came.", suggestion(events=1200))
    assert is_faithful("1200 events came.", suggestion(events="1,200"))
    assert not is_faithful("12,00 events came.", suggestion(events=1200))


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_number_is_allowed_exactly_when_it_is_evidence(known: int, said: int) -> None:
    suggestion = Suggestion("a", "kind", "Look at it", "It fails.", {"failures": known}, 1)
    assert is_faithful(f"It failed {said} times.", suggestion) == (said == known)


def test_the_model_orders_within_a_class_of_urgency_only() -> None:
    calm, urgent, calmer = (
        suggestion("calm", priority=2),
        suggestion("urgent", priority=1),
        suggestion("calmer", priority=2),
    )
    texts = proposal(*((n, "Look at it", "It is slow.") for n in (3, 1, 2)))
    worded = accepted([calm, urgent, calmer], texts)
    assert [shown.id for shown in worded.suggestions] == ["urgent", "calmer", "calm"]
    assert worded.worded_by == "model"


def test_one_that_the_model_forgot_stays_in_the_rules_words() -> None:
    first, second = suggestion("a"), suggestion("b")
    worded = accepted([first, second], proposal((2, "Look at it", "It is slow.")))
    assert [shown.id for shown in worded.suggestions] == ["b", "a"]
    assert worded.suggestions[1] == first
    assert worded.by_model == {"b"}


def test_one_that_the_model_made_up_is_left_out() -> None:
    first = suggestion("a")
    worded = accepted(
        [first], proposal((7, "Buy more", "It is better."), (0, "Buy", "Now."), (-1, "Buy", "Now."))
    )
    assert worded.suggestions == [first]
    assert worded.worded_by == "rules"


def test_one_proposed_twice_keeps_the_rules_words() -> None:
    first = suggestion("a")
    worded = accepted([first], proposal((1, "Look at it", "It is slow."), (1, "Look away", "It is fine.")))
    assert worded.suggestions == [first]
    assert worded.worded_by == "rules"


@pytest.mark.parametrize(
    ("title", "explanation"),
    [("", "It is slow."), ("Look at it", "   "), ("a" * 101, "It is slow."), ("Look at it", "slow " * 81)],
)
def test_texts_that_are_empty_or_too_long_are_left_out(title: str, explanation: str) -> None:
    first = suggestion("a")
    assert accepted([first], proposal((1, title, explanation))).suggestions == [first]


def test_evidence_and_ids_stay_as_they_were() -> None:
    first = suggestion("a")
    (worded,) = accepted([first], proposal((1, "Look  at\nit", "It is slow."))).suggestions
    assert (worded.title, worded.explanation) == ("Look at it", "It is slow.")
    assert (worded.id, worded.kind, worded.evidence, worded.priority) == (
        first.id,
        first.kind,
        first.evidence,
        first.priority,
    )


def test_rules_keep_the_order_within_a_class() -> None:
    suggestions = [
        suggestion(name, priority=priority) for name, priority in (("a", 3), ("b", 1), ("c", 3), ("d", 1))
    ]
    assert [shown.id for shown in by_rules(suggestions).suggestions] == ["b", "d", "a", "c"]


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(-1, 8), st.text(max_size=120), st.text(max_size=420)), max_size=8),
)
def test_whatever_the_model_says_the_suggestions_are_the_same_ones(
    priorities: list[int], texts: list[tuple[int, str, str]]
) -> None:
    suggestions = [suggestion(str(index), priority=priority) for index, priority in enumerate(priorities)]
    worded = accepted(suggestions, proposal(*texts))
    assert sorted(shown.id for shown in worded.suggestions) == sorted(given.id for given in suggestions)
    assert [shown.priority for shown in worded.suggestions] == sorted(priorities)
