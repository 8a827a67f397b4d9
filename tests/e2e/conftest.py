"""The hosts that end-to-end tests share."""

from __future__ import annotations

from tests.worlds.hosts import (
    _azure_services_of_own_hosts,
    _migrated_states,
    _worker,
    api,
    azure_services,
    clocked_host,
    host,
    oauth_app,
    own_host,
    receiver,
)

__all__ = [
    "_azure_services_of_own_hosts",
    "_migrated_states",
    "_worker",
    "api",
    "azure_services",
    "clocked_host",
    "host",
    "oauth_app",
    "own_host",
    "receiver",
]
