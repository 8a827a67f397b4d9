"""What outlives a call and grows with what it is given has a bound, and this page says which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

FOLDERS = ("domain", "infra", "functions")
_GROWING = frozenset(
    ("dict", "list", "set", "deque", "OrderedDict", "defaultdict", "Counter", "WeakValueDictionary")
)
#: By file and name: what bounds it.
BOUNDED = {
    ("domain/apikeys/rate_limit.py", "RateLimiter._known"): "_REMEMBERED, the oldest goes",
    ("domain/apikeys/rate_limit.py", "RateLimiter._lines"): "lines in use; the others are collected",
    ("domain/authentication/claims.py", "_told"): "_REMEMBERED, the oldest goes",
    ("domain/authentication/intruders.py", "IntruderWatch._waiting"): "_WAITING",
    ("domain/authentication/key_usage_watch.py", "Bursts._counts"): "_COUNTED, the oldest goes",
    ("domain/authentication/key_usage_watch.py", "KeyUsageWatch._until"): "_REMEMBERED, the oldest goes",
    ("domain/authentication/service.py", "Authenticator._seen"): "USERS_REMEMBERED, the oldest goes",
    ("domain/core/group_commit.py", "GroupCommit._waiting"): "callers that wait",
    ("domain/core/slots.py", "TenantTurns._held"): "slots",
    ("domain/core/slots.py", "TenantTurns._waiting"): "callers that wait",
    ("domain/core/memory_budget.py", "MemoryBudget._held"): "senders of bodies that are held",
    ("domain/incoming/receive.py", "IncomingReceiver._tenants"): "_TENANTS_KEPT, then none",
    ("domain/incoming/receive.py", "RefusalCounter._waiting"): "_MOST_WAITING",
    ("domain/integrations/connection.py", "ConnectionCache._kept"): "_KEPT_AT_MOST, and 30 s",
    ("domain/journal/usage.py", "UsageMeter._counted"): "tenants in the hours since it was last stored",
    ("domain/privacy/suppression.py", "SuppressionList._keys"): "_KEYS_KEPT, the oldest goes",
    ("domain/recommendations/benchmarks.py", "Hourly._read"): "as many as it is made for, and an hour",
    ("domain/sync/event_mapping.py", "EventMapper._compiled"): "types of one mapping",
    ("domain/sync/mapping.py", "CompiledMapping._expressions"): "expressions of one mapping",
    ("domain/sync/sources.py", "Sources._kept"): "200, then none",
    ("domain/webhooks/deliver.py", "DeliveryEngine._posting"): "posts in flight",
    ("domain/webhooks/deliver.py", "DeliveryEngine._tasks"): "posts in flight",
    ("domain/webhooks/throttle.py", "InFlightPosts._count"): "webhooks with posts in flight",
    ("domain/webhooks/throttle.py", "InFlightPosts._slow_until"): "webhooks of the installation",
    ("domain/webhooks/throttle.py", "InFlightPosts._waiting_since"): "webhooks with posts in flight",
    ("domain/core/turns.py", "SharedTurns._ends"): "tenants seen of late",
    ("domain/core/turns.py", "SharedTurns._seen"): "tenants seen of late",
    ("domain/webhooks/admission.py", "Admission._waiting"): "deliveries that wait for room",
    ("domain/webhooks/admission.py", "ParkedDeliveries._ids"): "deliveries that are parked",
    ("domain/webhooks/deliver.py", "DeliveryEngine._callers"): "deliveries at work",
    ("domain/webhooks/deliver.py", "DeliveryEngine._tenants"): "_TENANTS_KNOWN, then none",
    ("domain/webhooks/fan_out.py", "FanOut._each"): "_TENANTS_KNOWN, then none",
    ("domain/webhooks/throttle.py", "InFlightPosts._bytes_of"): "tenants with posts in flight",
    ("domain/webhooks/throttle.py", "InFlightPosts._endpoints"): "_KNOWN_AT_MOST",
    ("domain/webhooks/throttle.py", "InFlightPosts._posts_of"): "tenants with posts in flight",
    ("domain/core/tenants.py", "KnownStandings._standings"): "tenants that are not in good standing",
    ("domain/authentication/user_limits.py", "UserLimits._people"): "_REMEMBERED, the oldest goes",
    ("infra/outbound/lookups.py", "LookupThreads._running"): "threads",
    ("infra/outbound/lookups.py", "LookupThreads._waiting"): "look-ups that wait",
    ("functions/http/kit/operations.py", "OPERATIONS"): "operations of the API",
    ("functions/http/kit/operations.py", "_METHODS"): "routes of the API",
    ("infra/app/hub.py", "Hub._use_cases"): "use cases",
    ("infra/app/hub.py", "_builders"): "use cases",
    ("infra/audit_signing.py", "SecretStoreSigner._public"): "signing keys",
    ("infra/authentication/development.py", "DevelopmentKeys._keys"): "signing keys",
    ("infra/authentication/jwks.py", "CachedKeys._keys"): "the issuer's keys",
    ("infra/authentication/verified.py", "VerifiedTokens._entries"): "_SIZE, the oldest goes",
    ("infra/azure/servicebus/queue.py", "ServiceBusQueue._links"): "names of queues",
    ("infra/azure/signalr/sender.py", "MessageSender._waiting"): "_MOST_WAITING",
    ("infra/clock.py", "_offsets"): "state directories of this machine",
    ("infra/embedded/sqlite.py", "SqliteFile._idle"): "threads that used the file at one time",
    ("infra/outbound/client.py", "OutboundClient._pools"): "loops that run",
    ("infra/outbound/connection.py", "HttpConnection._fields"): "headers of one answer, 64 KiB",
    ("infra/outbound/connection.py", "HttpConnection._raw"): "headers of one answer, 64 KiB",
    ("infra/outbound/pool.py", "ConnectionPool._idle"): "connections that may be open, the oldest goes",
    ("infra/outbound/pool.py", "ConnectionPool._names"): "names asked for within 10 s",
    ("infra/providers/_kit/circuit.py", "Circuits._hosts"): "_HOSTS_MAX, the oldest goes",
    ("infra/providers/_kit/circuit.py", "Circuits._pauses"): "_PAUSES_MAX, the oldest goes",
    ("infra/providers/ical/reading.py", "Zones._made"): "zones of one calendar",
    ("infra/providers/registry.py", "_load"): "providers",
    ("infra/sealing.py", "SecretStoreCipher._keys"): "data keys of this installation",
    ("infra/untrusted/turns.py", "WorkTurns._heavy"): "places",
    ("infra/untrusted/turns.py", "WorkTurns._running"): "places",
    ("infra/untrusted/turns.py", "WorkTurns._spent"): "_REMEMBERED",
    ("infra/untrusted/turns.py", "WorkTurns._waiting"): "work that waits for a place, a minute at most",
}


def names_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def is_growing(value: ast.expr | None) -> bool:
    """Whether the value is an empty container; a call of `deque(maxlen=...)` is none."""
    if isinstance(value, ast.Dict):
        return not value.keys
    if isinstance(value, ast.List):
        return not value.elts
    if not isinstance(value, ast.Call) or any(keyword.arg == "maxlen" for keyword in value.keywords):
        return False
    called = value.func.value if isinstance(value.func, ast.Subscript) else value.func
    name = (
        called.attr
        if isinstance(called, ast.Attribute)
        else called.id
        if isinstance(called, ast.Name)
        else ""
    )
    if name == "field":
        return any(
            keyword.arg == "default_factory" and ast.unparse(keyword.value) in _GROWING
            for keyword in value.keywords
        )
    return name in _GROWING and (not value.args or name == "defaultdict")


def growing(tree: ast.Module) -> Iterator[str]:
    """Find containers that begin empty: of the module, and the private ones of objects that others make."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and is_growing(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (ast.unparse(target) for target in targets)
    for made in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name[0] != "_"):
        for node in ast.walk(made):
            if not isinstance(node, ast.Assign | ast.AnnAssign) or not is_growing(node.value):
                continue
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if (
                    isinstance(target, ast.Attribute)
                    and isinstance(target.value, ast.Name)
                    and target.value.id == "self"
                ):
                    name = target.attr
                elif node in made.body and isinstance(target, ast.Name):
                    name = target.id
                else:
                    continue
                if name.startswith("_"):
                    yield f"{made.name}.{name}"


def unbounded_caches(tree: ast.Module) -> Iterator[str]:
    """Find `@cache` and `lru_cache(maxsize=None)` of functions that outlive a call and are given something."""
    inner = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(outer)
        if node is not outer
    }
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or id(function) in inner or not function.args.args:
            continue
        for decorator in function.decorator_list:
            text = ast.unparse(decorator)
            if text in ("cache", "functools.cache") or ("lru_cache" in text and "None" in text):
                yield function.name


FOUND = {
    (names_of(path), name)
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "sql" not in path.parts
    for name in (*growing(parsed(path)), *unbounded_caches(parsed(path)))
}


def test_whatever_grows_and_stays_has_a_bound_that_is_named() -> None:
    assert sorted(FOUND - set(BOUNDED)) == []


@pytest.mark.parametrize(
    "source",
    [
        "kept = {}", "kept: dict[str, int] = {}", "kept = OrderedDict()", "kept = defaultdict(list)", "kept = []",
        "class A:\n    def __init__(self):\n        self._kept = {}",
        "class A:\n    _kept: dict[str, int] = field(default_factory=dict)",
        "class A:\n    def clear(self):\n        self._kept = set()",
        "@cache\ndef kept(name): ...", "@functools.lru_cache(maxsize=None)\ndef kept(name): ...",
    ],
)  # fmt: skip
def test_what_grows_is_found(source: str) -> None:
    tree = ast.parse(source)
    assert [*growing(tree), *unbounded_caches(tree)] != []


@pytest.mark.parametrize(
    "source",
    [
        "names = {'a': 1}", "def f():\n    kept = {}", "kept = deque(maxlen=10)",
        "@cache\ndef kept(): ...", "@lru_cache(maxsize=8)\ndef kept(name): ...",
        "def f():\n    @cache\n    def kept(name): ...",
    ],
)  # fmt: skip
def test_what_does_not_is_let_pass(source: str) -> None:
    tree = ast.parse(source)
    assert [*growing(tree), *unbounded_caches(tree)] == []
