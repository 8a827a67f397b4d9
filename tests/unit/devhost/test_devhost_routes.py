"""Route templates, as the Functions host reads them."""

from __future__ import annotations

import pytest

from devhost.constraints import constraint
from devhost.errors import HostError
from devhost.routes import RouteTable

GUID = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"


def table(*routes: str) -> RouteTable[str]:
    served: RouteTable[str] = RouteTable()
    for route in routes:
        served.add(route, ("GET",), route)
    return served


@pytest.mark.parametrize(
    ("route", "path", "parameters"),
    [
        ("api/webhooks/{id:guid}", f"/api/webhooks/{GUID}", {"id": GUID}),
        ("api/webhooks/{id:guid}", f"/API/WebHooks/{GUID}/", {"id": GUID}),
        ("api/webhooks/{id:guid}", "/api/webhooks/7", None),
        ("api/a/{x?}", "/api/a", {}),
        ("api/a/{x?}", "/api/a/1", {"x": "1"}),
        ("api/a/{x?}", "/api/a/1/2", None),
        ("api/a/{x=7}", "/api/a", {"x": "7"}),
        ("api/a/{x:int=7}", "/api/a", {"x": "7"}),
        ("api/a/{x:int?}", "/api/a/no", None),
        ("api/{*rest}", "/api", {}),
        ("api/{*rest}", "/api/a/b/c", {"rest": "a/b/c"}),
        ("files/{name}.{ext}", "/files/photo.png", {"name": "photo", "ext": "png"}),
        ("files/v{major:int}-{minor:int}", "/files/v1-2", {"major": "1", "minor": "2"}),
        ("{first}", "/only", {"first": "only"}),
        ("{first?}", "/", {}),
        ("a/{code:regex(^[[a-z]]{{2}}$)}", "/a/de", {"code": "de"}),
        ("a/{code:regex(^[[a-z]]{{2}}$)}", "/a/deu", None),
        ("a/{x}", "/a/", None),
        ("a/{x}", "/a/ä ö", {"x": "ä ö"}),
    ],
)
def test_a_path_matches_its_template(route: str, path: str, parameters: dict[str, str] | None) -> None:
    found = table(route).find("GET", path)
    assert (None if found is None else dict(found[1])) == parameters


def test_the_more_specific_route_wins_whatever_the_order_of_registration() -> None:
    routes = ["a/{*rest}", "a/{x}", "a/{x:int}", "a/{x}/c", "a/b", "a/b/{y}"]
    for ordered in (routes, routes[::-1]):
        served = table(*ordered)
        chosen = {
            path: served.find("GET", path) for path in ("/a/b", "/a/1", "/a/z", "/a/b/c", "/a/z/c", "/a/z/d")
        }
        assert {path: found[0] for path, found in chosen.items() if found} == {
            "/a/b": "a/b",
            "/a/1": "a/{x:int}",
            "/a/z": "a/{x}",
            "/a/b/c": "a/b/{y}",
            "/a/z/c": "a/{x}/c",
            "/a/z/d": "a/{*rest}",
        }


def test_a_method_no_function_serves_is_not_found() -> None:
    assert table("a/{x}", "b").find("POST", "/b") is None
    assert table("a/{x}", "b").find("HEAD", "/a/1") is None


def test_a_route_without_methods_serves_all() -> None:
    served: RouteTable[str] = RouteTable()
    served.add("a", (), "all")
    assert served.find("PATCH", "/a") == ("all", {})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("a/{x}", ("GET",)), ("A/{y}", ("POST", "GET"))),
        (("a", ()), ("a", ("PUT",))),
        (("a", ("PUT",)), ("a", ())),
        (("a/{x:int}", ("GET",)), ("a/{y:int}", ("GET",))),
    ],
)
def test_two_functions_on_one_route_and_method_are_refused(
    first: tuple[str, tuple[str, ...]], second: tuple[str, tuple[str, ...]]
) -> None:
    served: RouteTable[str] = RouteTable()
    served.add(*first, "first")
    with pytest.raises(HostError, match="Two functions serve"):
        served.add(*second, "second")


def test_one_route_may_be_shared_by_methods_and_by_constraints() -> None:
    served: RouteTable[str] = RouteTable()
    served.add("a/{x}", ("GET",), "get")
    served.add("a/{x}", ("POST",), "post")
    served.add("a/{x:int}", ("GET",), "number")
    assert [served.find(*each)[0] for each in (("GET", "/a/b"), ("POST", "/a/1"), ("GET", "/a/1"))] == [  # type: ignore[index]
        "get",
        "post",
        "number",
    ]


@pytest.mark.parametrize("route", ["a/{x", "a/{x:nosuch}", "a/{*x}/b", "a/{x}/{X}", "a/{x:min(z)}", "a/{ }"])
def test_a_template_that_cannot_be_read_is_refused(route: str) -> None:
    with pytest.raises(HostError):
        table(route)


@pytest.mark.parametrize(
    ("name", "argument", "good", "bad"),
    [
        ("int", None, ["0", "-12", "2147483647"], ["", "a", "1.0", "2147483648", "\u0661"]),
        ("long", None, ["9223372036854775807"], ["9223372036854775808", "x"]),
        ("bool", None, ["true", "FALSE"], ["1", "yes"]),
        ("guid", None, [GUID, GUID.upper(), GUID.replace("-", ""), "{" + GUID + "}"], ["", "x", GUID + "0"]),
        ("alpha", None, ["abcXYZ"], ["ab1", "ä"]),
        ("decimal", None, ["1.50", "-3"], ["1e5", "x", "NaN"]),
        ("double", None, ["1e5", "-1.5"], ["x"]),
        ("float", None, ["1.5"], ["x"]),
        ("datetime", None, ["2026-01-31", "2026-01-31T10:00:00", "01/31/2026"], ["2026-02-31", "x"]),
        ("min", "18", ["18", "99"], ["17", "x"]),
        ("max", "3", ["3", "-1"], ["4", "x"]),
        ("range", "1,3", ["1", "3"], ["0", "4"]),
        ("length", "3", ["abc"], ["ab", "abcd"]),
        ("length", "1,2", ["a", "ab"], ["", "abc"]),
        ("minlength", "2", ["ab"], ["a"]),
        ("maxlength", "2", ["ab"], ["abc"]),
        ("regex", "^\\d+$", ["12"], ["1a"]),
        ("required", None, ["x"], [""]),
    ],
)
def test_a_constraint_accepts_what_it_names(
    name: str, argument: str | None, good: list[str], bad: list[str]
) -> None:
    check = constraint(name, argument)
    assert [text for text in good if not check(text)] == []
    assert [text for text in bad if check(text)] == []
