"""The endpoints of section 5 are there, with the permissions of section 8.1."""

from __future__ import annotations

import pytest

import function_app  # noqa: F401 - registers every endpoint
from functions.http.kit.operations import OPERATIONS

_ENDPOINTS = """
POST integrations integration:admin
GET integrations integration:manage
GET integrations/{id} integration:manage
PUT integrations/{id} integration:admin
DELETE integrations/{id} integration:admin
POST integrations/{id}/test integration:manage
GET integrations/{id}/health integration:manage
POST apikeys integration:manage
GET apikeys integration:manage
GET apikeys/{id} integration:manage
PUT apikeys/{id} integration:manage
DELETE apikeys/{id} integration:manage
POST apikeys/{id}/rotate integration:manage
POST webhooks webhook:manage
GET webhooks webhook:manage
GET webhooks/{id} webhook:manage
PUT webhooks/{id} webhook:manage
DELETE webhooks/{id} webhook:manage
GET webhooks/{id}/deliveries webhook:manage
POST webhooks/{id}/test webhook:manage
POST datasyncs integration:manage
GET datasyncs integration:manage
GET datasyncs/{id} integration:manage
DELETE datasyncs/{id} integration:manage
GET datasyncs/{id}/logs integration:manage
"""
_REGISTERED = {(operation.method, operation.route): operation for operation in OPERATIONS}


@pytest.mark.parametrize("endpoint", _ENDPOINTS.split("\n")[1:-1])
def test_an_endpoint_of_the_specification_needs_its_permission__8_1(endpoint: str) -> None:
    method, route, permission = endpoint.split()
    assert _REGISTERED[method, route].permission == permission


def test_whoever_signs_may_post_to_the_public_receiver__8_1() -> None:
    receiver = _REGISTERED["POST", "webhooks/incoming/{integrationId}"]
    assert (receiver.anonymous, receiver.permission) == (True, None)
