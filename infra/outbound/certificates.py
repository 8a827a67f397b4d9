"""TLS contexts, and the one name of a certificate that OpenSSL does not check; apart, so that it can be read alone."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.outbound.failures import ExchangeFailed


class TlsContexts:
    """A context for each TLS floor, which takes a while to read the roots; the rarer ones are made when needed."""

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._made = {
            (floor, True): _context(floor, ca_file, checks_names=True)
            for floor in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
        }

    def get(self, floor: ssl.TLSVersion, *, checks_names: bool) -> ssl.SSLContext:
        """Return the context of a floor; without `checks_names` it leaves the host's name to `check_names`."""
        key = (floor, checks_names)
        if key not in self._made:
            self._made[key] = _context(floor, self._ca_file, checks_names=checks_names)
        return self._made[key]


def _context(floor: ssl.TLSVersion, ca_file: Path | None, *, checks_names: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = floor
    # RFC 9525 section 4.1: the names are those in subjectAltName; a common name is text for people.
    context.hostname_checks_common_name = False
    context.check_hostname = checks_names
    context.set_alpn_protocols(["http/1.1"])
    return context


def is_checked_here(host: str) -> bool:
    """Return whether `check_names` checks the host: OpenSSL's wildcards cover no underscore, those of browsers do."""
    return "_" in host.partition(".")[0]


def check_names(certificate: Mapping[str, Any] | None, host: str) -> None:
    """Raise ExchangeFailed unless a DNS name of a trusted certificate is the host, or `*.` before its parent."""
    given = (certificate or {}).get("subjectAltName", ())
    names = {value.lower() for kind, value in given if kind == "DNS"}
    parent = host.partition(".")[2]
    if host not in names and not ("." in parent and f"*.{parent}" in names):
        raise ExchangeFailed(
            "tls",
            f"The certificate was not accepted: Hostname mismatch, certificate is not valid for '{host}'.",
        )
