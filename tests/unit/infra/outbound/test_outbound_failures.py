"""How a failed outbound call is described to the tenant."""

import ssl

from infra.outbound.addresses import ForbiddenAddress
from infra.outbound.failures import describe_failure


def test_an_error_the_caller_was_handling_does_not_colour_a_later_failure() -> None:
    later = TimeoutError()
    later.__context__ = ssl.SSLError("an earlier one")
    assert describe_failure(later) == ("timeout", "No complete answer in time")


def test_a_forbidden_address_is_told_apart_through_any_wrapping_and_not_explained() -> None:
    wrapped = OSError("Cannot connect to 10.0.0.1")
    wrapped.__cause__ = ForbiddenAddress("private")
    assert describe_failure(wrapped) == ("blocked", "The host's address is not public")


def test_a_defect_of_ours_is_not_taken_for_a_failure_of_the_peer() -> None:
    assert describe_failure(KeyError("x")) is None
