"""Which names of a certificate stand for a host that OpenSSL's wildcards do not cover."""

from __future__ import annotations

import pytest

from infra.outbound.certificates import check_names, is_checked_here
from infra.outbound.failures import ExchangeFailed


@pytest.mark.parametrize(
    ("host", "is_left"),
    [
        ("my_app.example.com", True),
        ("_a.b", True),
        ("app.my_zone.example.com", False),
        ("app.example.com", False),
    ],
)
def test_only_a_first_label_with_an_underscore_is_left_to_us(host: str, is_left: bool) -> None:
    assert is_checked_here(host) == is_left


@pytest.mark.parametrize(
    "name", ["my_app.example.com", "MY_APP.Example.com", "*.example.com", "*.EXAMPLE.com"]
)
def test_a_host_is_named_by_itself_or_by_the_wildcard_of_its_parent(name: str) -> None:
    check_names({"subjectAltName": (("DNS", "other.example.com"), ("DNS", name))}, "my_app.example.com")


@pytest.mark.parametrize(
    ("kind", "name", "host"),
    [
        ("DNS", "*.com", "my_app.example.com"),
        ("DNS", "*", "my_app.example.com"),
        ("DNS", "*.*.com", "my_app.example.com"),
        ("DNS", "my_*.example.com", "my_app.example.com"),
        ("DNS", "*.my_app.example.com", "my_app.example.com"),
        ("DNS", "example.com", "my_app.example.com"),
        ("DNS", "*.com", "my_app.com"),
        ("DNS", "*.", "my_app"),
        ("email", "my_app.example.com", "my_app.example.com"),
        ("URI", "*.example.com", "my_app.example.com"),
    ],
)
def test_any_other_name_is_refused(kind: str, name: str, host: str) -> None:
    with pytest.raises(ExchangeFailed, match="Hostname mismatch"):
        check_names({"subjectAltName": ((kind, name),)}, host)


@pytest.mark.parametrize("certificate", [None, {}, {"subject": ((("commonName", "my_app.example.com"),),)}])
def test_a_certificate_without_names_is_refused(certificate: dict[str, object] | None) -> None:
    with pytest.raises(ExchangeFailed):
        check_names(certificate, "my_app.example.com")
