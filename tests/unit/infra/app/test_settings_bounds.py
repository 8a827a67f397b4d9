"""Every bound of a setting is kept exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from infra.app.settings import Settings


def bounds() -> Iterator[Any]:
    for name, field in Settings.model_fields.items():
        for bound in field.metadata:
            for kind, sign in (("le", 1), ("ge", -1)):
                edge = getattr(bound, kind, None)
                if isinstance(edge, int | float):
                    step = sign * (1 if isinstance(edge, int) else 1e-6)
                    yield pytest.param(name, edge, edge + step, id=f"{name}-{kind}")


BOUNDS = list(bounds())


def errors_of(name: str, value: object) -> set[str]:
    try:
        Settings.model_validate({name: value})
    except ValidationError as error:
        return {found["type"] for found in error.errors() if found["loc"] == (name,)}
    return set()


@pytest.mark.parametrize(("name", "at", "past"), BOUNDS)
def test_a_setting_is_taken_at_its_bounds_and_refused_past_them(name: str, at: float, past: float) -> None:
    kinds = {"less_than_equal", "greater_than_equal"}
    assert errors_of(name, at) & kinds == set()
    assert errors_of(name, past) & kinds != set()


def test_the_bounds_of_settings_are_found() -> None:
    assert len(BOUNDS) > 40
