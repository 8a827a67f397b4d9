"""Allow lists as sets of addresses."""

from __future__ import annotations

from random import Random

import pytest

from domain.apikeys.bounds import covers
from domain.apikeys.rules import ip_allowed


@pytest.mark.parametrize(
    ("allowed", "wanted", "expected"),
    [
        ([], [], True),
        ([], ["192.0.2.1"], True),
        (["0.0.0.0/0", "::/0"], [], False),
        (["192.0.2.0/24"], ["192.0.2.0/24"], True),
        (["192.0.2.0/24"], ["192.0.2.77"], True),
        (["192.0.2.0/24"], ["192.0.2.0/23"], False),
        (["192.0.2.0/25", "192.0.2.128/25"], ["192.0.2.0/24"], True),
        (["192.0.2.0/25", "192.0.2.129/32"], ["192.0.2.0/24"], False),
        (["::ffff:192.0.2.0/120"], ["192.0.2.9"], True),
        (["192.0.2.0/24"], ["::ffff:192.0.2.9"], True),
        (["::/0"], ["192.0.2.1"], False),
        (["0.0.0.0/0"], ["2001:db8::1"], False),
        (["192.0.2.0/24", "2001:db8::/32"], ["192.0.2.1", "2001:db8:1::/48"], True),
        (["192.0.2.0/24", "2001:db8::/32"], ["192.0.2.1", "2001:db9::/48"], False),
    ],
)
def test_an_allow_list_lies_within_another_by_its_addresses(
    allowed: list[str], wanted: list[str], expected: bool
) -> None:
    assert covers(allowed, wanted) is expected


def test_no_address_is_in_a_covered_list_and_not_in_the_covering_one() -> None:
    random = Random(7)
    addresses = [f"192.0.2.{last}" for last in range(16)]
    seen = set()
    for _ in range(2_000):
        allowed, wanted = (
            [f"192.0.2.{random.randrange(16)}/{random.choice((28, 29, 30, 31, 32))}" for _ in range(count)]
            for count in (random.randint(1, 4), random.randint(1, 3))
        )
        truth = all(ip_allowed(ip, allowed) for ip in addresses if ip_allowed(ip, wanted))
        assert covers(allowed, wanted) is truth, (allowed, wanted)
        seen.add(truth)
    assert seen == {True, False}
