"""People who administer the platform look at dead letters over HTTP, send them again or give them up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from domain.core.paging import PageRequest
from domain.core.permissions import AUDIT_READ, PLATFORM_ADMIN
from domain.core.principal import Principal
from domain.journal.audit import AuditFilter
from domain.journal.audit_log import AuditService
from domain.monitoring.dead_letters import DeadLetter
from tests.worlds.builders import TENANT
from tests.worlds.http_app import serving
from tests.worlds.owned_world import PLATFORM_TENANT, PLATFORM_USER, Answer, OwnedWorld, operations

PATH = "/api/ops/dead-letters"


def letter(
    world: OwnedWorld, number: int, body: bytes, reason: str = "MaxDeliveryCountExceeded"
) -> DeadLetter:
    return DeadLetter(number, f"m-{number}", body, {}, 10, world.clock.now(), None, reason, "Ten times.")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OwnedWorld]:
    made = OwnedWorld(tmp_path)
    deliveries = (
        b'{"tenantId":"%s","deliveryIds":["d-1","d-2"],"data":{"card":"secret"}}' % str(TENANT).encode()
    )
    made.queue.letters = {
        "domain-events": {n: letter(made, n, b'{"id":"e-%d","type":"A"}' % n) for n in (3, 5, 9)},
        "webhook-deliveries": {4: letter(made, 4, deliveries)},
        "alerts": {2: letter(made, 2, b"\xff not JSON", "Expired")},
    }
    with serving(made.hub):
        yield made
    made.close()


def asked(world: OwnedWorld, method: str, path: str, body: object = None) -> Answer:
    """Ask for a path as it stands in a request line."""
    headers = world.token(frozenset({PLATFORM_ADMIN}), tenant=PLATFORM_TENANT, user=PLATFORM_USER)
    path, _, query = path.partition("?")
    steps = path.removeprefix(PATH).strip("/").split("/")
    template, named = PATH, {}
    if len(steps) == 2:
        named = {"queue": steps[0]} | ({"sequenceNumber": steps[1]} if method == "GET" else {})
        template += "/{queue}/" + ("{sequenceNumber}" if method == "GET" else steps[1])
    operation = next(each for each in operations() if (each.method, each.path) == (method, template))
    return world.send(operation, headers, ids=named, body=body, query=dict(parse_qsl(query)))


def test_they_are_listed_by_queue_and_page_with_ids_and_without_what_tenants_wrote(world: OwnedWorld) -> None:
    seen, cursor = [], ""
    while True:
        page = asked(world, "GET", f"{PATH}?pageSize=2{cursor}").body
        seen += [(item["queue"], item["sequenceNumber"]) for item in page["items"]]
        if page["next"] is None:
            break
        assert len(page["items"]) == 2
        cursor = f"&cursor={page['next']}"
    events = [("domain-events", number) for number in ("3", "5", "9")]
    assert seen == [*events, ("webhook-deliveries", "4"), ("alerts", "2")]
    [only] = asked(world, "GET", f"{PATH}?queue=webhook-deliveries").body["items"]
    assert only["ids"] == {"tenantId": str(TENANT), "deliveryIds": ["d-1", "d-2"]}
    assert (only["reason"], only["deliveryCount"], only["messageId"]) == (
        "MaxDeliveryCountExceeded",
        10,
        "m-4",
    )
    one = asked(world, "GET", f"{PATH}/webhook-deliveries/4")
    assert one.body == only
    assert "card" not in one.text
    assert asked(world, "GET", f"{PATH}/alerts/2").body["ids"] == {}


def test_they_are_sent_again_or_given_up_and_that_is_audited(world: OwnedWorld) -> None:
    chosen = {"sequenceNumbers": ["9", "3", "3", "77"]}
    answer = asked(world, "POST", f"{PATH}/domain-events/resend", chosen)
    assert answer.body == {"sequenceNumbers": ["3", "9"], "missing": ["77"]}
    assert [message.message_id for _, message in world.queue.sent] == ["m-3", "m-9"]
    assert asked(world, "POST", f"{PATH}/domain-events/resend", chosen).body["sequenceNumbers"] == []
    given_up = asked(world, "POST", f"{PATH}/alerts/discard", {"sequenceNumbers": ["2"]})
    assert given_up.body == {"sequenceNumbers": ["2"], "missing": []}
    left = asked(world, "GET", PATH).body["items"]
    assert [item["messageId"] for item in left] == ["m-5", "m-4"]
    reader = Principal(PLATFORM_TENANT, PLATFORM_USER, frozenset({AUDIT_READ}))
    page = world.hub.use(AuditService).page(reader, AuditFilter(action="dead-letters.*"), PageRequest())
    told = [(row.action, row.target_id, row.actor_user_id, row.after) for row in page.items]
    resent = '{"sequenceNumbers":["3","9","77"]}'
    assert sorted(told) == sorted([
        ("dead-letters.resent", "domain-events", PLATFORM_USER, resent),
        ("dead-letters.resent", "domain-events", PLATFORM_USER, resent),
        ("dead-letters.discarded", "alerts", PLATFORM_USER, '{"sequenceNumbers":["2"]}'),
    ])  # fmt: skip


def test_nothing_is_taken_while_the_queue_is_away(world: OwnedWorld) -> None:
    world.queue.down = True
    for method, path, body in (
        ("GET", PATH, None),
        ("POST", f"{PATH}/domain-events/discard", {"sequenceNumbers": ["3"]}),
    ):
        assert asked(world, method, path, body).status == 503
    world.queue.down = False
    assert len(asked(world, "GET", PATH).body["items"]) == 5


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", f"{PATH}/nowhere/4", None, 404),
        ("GET", f"{PATH}/domain-events/4", None, 404),
        ("GET", f"{PATH}/domain-events/four", None, 404),
        ("GET", f"{PATH}?queue=nowhere", None, 422),
        ("GET", f"{PATH}?cursor=domain-events", None, 422),
        ("GET", f"{PATH}?cursor=nowhere:4", None, 422),
        ("GET", f"{PATH}?queue=alerts&cursor=domain-events:4", None, 422),
        ("POST", f"{PATH}/nowhere/resend", {"sequenceNumbers": ["4"]}, 404),
        ("POST", f"{PATH}/alerts/resend", {"sequenceNumbers": []}, 422),
        ("POST", f"{PATH}/alerts/resend", {"sequenceNumbers": ["-1"]}, 422),
        ("POST", f"{PATH}/alerts/resend", {"sequenceNumbers": [str(n) for n in range(501)]}, 422),
    ],
)
def test_what_is_not_there_or_not_understood_changes_nothing(
    world: OwnedWorld, method: str, path: str, body: object, status: int
) -> None:
    assert asked(world, method, path, body).status == status
    assert world.queue.sent == []
    assert sum(map(len, world.queue.letters.values())) == 5
