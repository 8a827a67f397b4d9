"""API keys over HTTP, against two worker processes."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from bench.harness import HostProcess, running
from tests.loopback.plain_http import PLAIN

pytestmark = pytest.mark.e2e


class Hub:
    """A client of the host, as an administrator of a tenant of its own."""

    def __init__(self, host: HostProcess) -> None:
        self.host = host
        self.tenant = str(uuid4())
        self.token = host.token("--tenant", self.tenant, "--user", str(uuid4()))
        self.client = httpx.Client(
            base_url=host.url,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=30,
            verify=PLAIN,
            limits=httpx.Limits(max_connections=200),
        )

    def issue(self, **fields: Any) -> dict[str, Any]:
        body = {"keyName": "Key", "scopes": ["integration:manage"], **fields}
        answer = self.client.post("/apikeys", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def with_key(self, key: str, path: str = "/apikeys/scopes", **headers: str) -> httpx.Response:
        return httpx.get(
            f"{self.host.url}{path}", headers={"X-API-Key": key, **headers}, timeout=30, verify=PLAIN
        )

    def verify(self, key: str, **fields: Any) -> dict[str, Any]:
        answer = self.client.post("/apikeys/verify", json={"key": key, **fields})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    home = tmp_path_factory.mktemp("apikeys") / "home"
    with running(home, workers=2, HUB_LOG_LEVEL="INFO") as started:
        yield started


@pytest.fixture
def hub(host: HostProcess) -> Iterator[Hub]:
    made = Hub(host)
    yield made
    made.client.close()


def test_the_specifications_example_is_issued_once_and_works__UC_AK_01(hub: Hub) -> None:
    body = {
        "keyName": "Mobile App API Key",
        "scopes": ["events:read", "customers:read", "bookings:write"],
        "expiresAt": "2099-12-31T23:59:59Z",
        "rateLimitPerHour": 1000,
    }
    created = hub.client.post("/apikeys", json=body)
    issued = created.json()
    assert created.headers["location"] == f"/api/apikeys/{issued['apiKeyId']}"
    assert issued["keyPrefix"] == issued["key"][:8]
    again = hub.client.get(f"/apikeys/{issued['apiKeyId']}")
    assert "key" not in again.json()
    assert again.headers["etag"].startswith('"1')
    verified = hub.verify(issued["key"], scopes=["bookings:write"])
    assert (verified["valid"], verified["code"]) == (True, "VALID")
    assert (verified["tenantId"], verified["keyId"]) == (hub.tenant, issued["apiKeyId"])
    assert verified["rateLimit"]["remaining"] == 999
    assert hub.verify(issued["key"], scopes=["events:write"])["code"] == "INSUFFICIENT_SCOPES"


def test_either_header_authenticates_and_every_answer_tells_the_quota(hub: Hub) -> None:
    key = hub.issue(rateLimitPerHour=50)["key"]
    by_header = hub.with_key(key)
    assert by_header.status_code == 200
    assert by_header.headers["ratelimit-policy"] == '"hour";q=50;w=3600'
    assert by_header.headers["ratelimit"].startswith('"hour";r=49;t=')
    assert by_header.headers["x-ratelimit-limit"] == "50"
    bearer = httpx.get(f"{hub.host.url}/apikeys/{uuid4()}", headers={"Authorization": f"Bearer {key}"})
    assert (bearer.status_code, bearer.headers["x-ratelimit-remaining"]) == (404, "48")
    missing = hub.with_key(key, "/webhooks")
    assert (missing.status_code, missing.json()["code"]) == (403, "insufficient-scope")
    assert "webhook:manage" in missing.json()["detail"]
    assert 'error="insufficient_scope", scope="webhook:manage"' in missing.headers["www-authenticate"]
    assert missing.headers["x-ratelimit-remaining"] == "48"
    both = hub.with_key(key, Authorization=f"Bearer {hub.token}")
    assert both.status_code == 401
    assert 'error="invalid_request"' in both.headers["www-authenticate"]


def test_bad_keys_are_401_and_say_no_more_than_they_should(hub: Hub) -> None:
    issued = hub.issue()
    mistyped = issued["key"][:-1] + ("A" if issued["key"][-1] != "A" else "B")
    revoked = hub.issue()
    hub.client.delete(f"/apikeys/{revoked['apiKeyId']}", params={"reason": "Leaked"})
    details = set()
    for key in (mistyped, revoked["key"], "ihk_", "nonsense"):
        answer = hub.with_key(key)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid-key")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        details.add(answer.json()["detail"])
    assert details == {"The API key is not valid."}
    assert hub.verify(mistyped)["code"] == "NOT_FOUND"
    assert hub.verify(revoked["key"])["code"] == "REVOKED"


def test_200_concurrent_requests_on_a_key_with_100_left_exactly_100_succeed(hub: Hub) -> None:
    for _ in range(3):
        key = hub.issue(rateLimitPerHour=100)["key"]
        start = threading.Barrier(40)

        def some(_: int, key: str = key, start: threading.Barrier = start) -> list[int]:
            with httpx.Client(headers={"X-API-Key": key}, timeout=30, verify=PLAIN) as client:
                start.wait()
                return [client.get(f"{hub.host.url}/apikeys/scopes").status_code for _ in range(5)]

        with ThreadPoolExecutor(40) as pool:
            statuses = Counter(status for part in pool.map(some, range(40)) for status in part)
        assert statuses == {200: 100, 429: 100}
        limited = hub.with_key(key)
        assert "limit of 100 requests an hour" in limited.json()["detail"]
        assert 3500 < int(limited.headers["retry-after"]) <= 3600
        assert limited.headers["x-ratelimit-remaining"] == "0"


def test_1000_requests_in_a_minute_with_one_key_are_all_served__9_2(hub: Hub) -> None:
    key = hub.issue(rateLimitPerHour=1000)["key"]

    def some(_: int) -> list[int]:
        with httpx.Client(headers={"X-API-Key": key}, timeout=30, verify=PLAIN) as client:
            return [client.get(f"{hub.host.url}/apikeys/scopes").status_code for _ in range(100)]

    with ThreadPoolExecutor(10) as pool:
        statuses = Counter(status for part in pool.map(some, range(10)) for status in part)
    assert statuses == {200: 1000}


def test_no_request_succeeds_once_the_revocation_has_answered(hub: Hub) -> None:
    issued = hub.issue(rateLimitPerHour=10_000)
    revoked, stop = threading.Event(), threading.Event()
    late: list[int] = []
    served = Counter[int]()

    def hammer(_: int) -> None:
        with httpx.Client(headers={"X-API-Key": issued["key"]}, timeout=30, verify=PLAIN) as client:
            while not stop.is_set():
                was_revoked = revoked.is_set()
                status = client.get(f"{hub.host.url}/apikeys/scopes").status_code
                served[status] += 1
                if was_revoked and status != 401:
                    late.append(status)

    with ThreadPoolExecutor(8) as pool:
        hammering = [pool.submit(hammer, number) for number in range(8)]
        while served[200] < 50:
            threading.Event().wait(0.01)
        assert hub.client.delete(f"/apikeys/{issued['apiKeyId']}").status_code == 204
        revoked.set()
        while served[401] < 100:
            threading.Event().wait(0.01)
        stop.set()
        for each in hammering:
            each.result()
    assert late == []
    assert set(served) == {200, 401}


def test_a_rotation_has_no_gap_and_confirming_ends_the_old_key__UC_AK_03(hub: Hub) -> None:
    old = hub.issue(rateLimitPerHour=10)
    rotated = hub.client.post(f"/apikeys/{old['apiKeyId']}/rotate", json={"gracePeriodSeconds": 600})
    new = rotated.json()
    assert (rotated.status_code, new["rotatesFrom"]) == (201, old["apiKeyId"])
    assert new["oldKeyExpiresAt"] is not None
    remaining = [hub.with_key(key).headers["x-ratelimit-remaining"] for key in (old["key"], new["key"])]
    assert remaining == ["9", "8"]
    confirmed = hub.client.post(f"/apikeys/{old['apiKeyId']}/rotate/confirm")
    assert (confirmed.status_code, confirmed.json()["apiKeyId"]) == (200, new["apiKeyId"])
    assert [hub.with_key(key).status_code for key in (old["key"], new["key"])] == [401, 200]


def test_an_allow_list_holds_and_a_forged_header_does_not_help(hub: Hub) -> None:
    home = hub.issue(allowedIps=["127.0.0.0/8", "::1"])["key"]
    elsewhere = hub.issue(allowedIps=["203.0.113.0/24"])["key"]
    assert hub.with_key(home).status_code == 200
    for headers in ({}, {"X-Forwarded-For": "203.0.113.7"}):
        answer = hub.with_key(elsewhere, **headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "ip-not-allowed")
    assert hub.verify(elsewhere, ip="203.0.113.7")["code"] == "VALID"
    assert hub.verify(elsewhere, ip="198.51.100.7")["code"] == "IP_NOT_ALLOWED"


def test_usage_is_up_to_date_and_counts_what_was_refused(hub: Hub) -> None:
    issued = hub.issue(rateLimitPerHour=2)
    for path in ("/apikeys/scopes", "/webhooks", "/apikeys/scopes", "/apikeys/scopes"):
        hub.with_key(issued["key"], path)
    for by in ("hour", "day"):
        usage = hub.client.get(f"/apikeys/{issued['apiKeyId']}/usage", params={"by": by}).json()
        assert usage["totals"] == {"accepted": 2, "limited": 1, "refused": 1}
        assert usage["rateLimit"]["remaining"] == 0


def test_a_repeated_creation_gives_the_same_key_to_the_same_caller_only(hub: Hub) -> None:
    body = {"keyName": "Key", "scopes": ["integration:manage", "webhook:manage"]}
    header = {"Idempotency-Key": str(uuid4())}
    first = hub.client.post("/apikeys", json=body, headers=header)
    second = hub.client.post("/apikeys", json=body, headers=header)
    assert second.json() == first.json()
    weak = hub.issue()["key"]
    other = httpx.post(f"{hub.host.url}/apikeys", json=body, headers={"X-API-Key": weak, **header})
    assert other.status_code == 422
    assert first.json()["key"] not in other.text


def test_the_key_string_is_in_no_file_and_no_log(hub: Hub, host: HostProcess) -> None:
    issued = hub.issue()
    hub.with_key(issued["key"])
    hub.with_key(issued["key"], "/webhooks")
    hub.verify(issued["key"])
    hub.with_key(issued["key"][:-1] + "!")
    hub.client.delete(f"/apikeys/{issued['apiKeyId']}", params={"reason": "Done"})
    body = issued["key"].encode()
    for path in (*host.home.rglob("*"), host.log):
        if path.is_file():
            content = path.read_bytes()
            assert body not in content, path.name
            assert body[4:-6] not in content, path.name
    log = host.log.read_text()
    assert issued["keyPrefix"] in log
    assert '"reason": "INSUFFICIENT_SCOPES"' in log


def test_a_changed_byte_in_the_audit_log_is_named(hub: Hub, host: HostProcess) -> None:
    for name in ("One", "Two", "Three"):
        hub.issue(keyName=name)
    page = hub.client.get("/audit", params={"action": "apikey.created"}).json()
    assert [item["after"]["keyName"] for item in page["items"]] == ["Three", "Two", "One"]
    assert page["items"][0]["ipAddress"] == "127.0.0.1"
    assert hub.client.get("/audit/verify").json()["intact"] is True
    database = sqlite3.connect(Path(host.home) / "hub.db", timeout=30)
    with database:
        changed = database.execute(
            "UPDATE AuditLog SET After = replace(After, '\"Two\"', '\"Twp\"') WHERE Sequence = 2"
            " AND After LIKE '%\"Two\"%'"
        ).rowcount
    database.close()
    assert changed == 1
    report = hub.client.get("/audit/verify").json()
    assert (report["intact"], report["firstBroken"]) == (False, 2)


def test_another_tenant_sees_nothing(hub: Hub, host: HostProcess) -> None:
    issued = hub.issue()
    stranger = Hub(host)
    for method, path in (
        ("GET", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("GET", "/usage"),
        ("POST", "/rotate"),
        ("POST", "/rotate/confirm"),
    ):
        answer = stranger.client.request(
            method, f"/apikeys/{issued['apiKeyId']}{path}", json={} if method in ("PUT", "POST") else None
        )
        assert answer.status_code == 404, (method, path, answer.text)
    assert stranger.client.get("/audit").json()["total"] == 0
    stranger.client.close()
