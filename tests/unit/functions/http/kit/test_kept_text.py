"""Answers in which JSON text stands as it is."""

from __future__ import annotations

from typing import Any

import pytest

from domain.core.json_text import JsonText
from functions.http.kit.kept_text import json_of
from functions.http.kit.views import View


class _Shown(View):
    some_text: str
    payload: Any
    items: list[Any] = []


def test_text_stands_in_an_answer_as_it_is() -> None:
    texts = ['{"n": 10.10, "\\u0061":1e400}', '"\\\\1 \\g<0>"', "null"]
    view = _Shown(
        some_text="é", payload=JsonText(texts[0]), items=[{"x": JsonText(texts[1])}, JsonText(texts[2])]
    )
    assert json_of(view) == (
        f'{{"someText":"é","payload":{texts[0]},"items":[{{"x":{texts[1]}}},{texts[2]}]}}'
    )


def test_an_answer_without_text_is_plain_json() -> None:
    assert json_of(_Shown(some_text="a", payload=None)) == '{"someText":"a","payload":null,"items":[]}'


def test_nothing_else_that_is_no_json_gets_into_an_answer() -> None:
    with pytest.raises(Exception, match="object is no part of an answer"):
        json_of(_Shown(some_text="a", payload=object()))
