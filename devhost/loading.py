"""The function app as the host sees it: its functions with their bindings, checked before anything is served."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devhost.config import expand
from devhost.errors import HostError

DURABLE_KINDS = {
    "orchestrationTrigger": "orchestration",
    "activityTrigger": "activity",
    "entityTrigger": "entityName",
}
"""Durable trigger types and the binding property that may override the function's name."""

TRIGGER_KINDS = frozenset({"httpTrigger", "timerTrigger", "serviceBusTrigger", *DURABLE_KINDS})
_OTHER_BINDINGS = frozenset({"http", "durableClient"})


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the app.

    `trigger` is its trigger binding with settings expanded, `client_parameters` the names of the parameters that
    take a durable client. `elsewhere` runs an orchestrator a second time, in another process."""

    name: str
    kind: str
    trigger: Mapping[str, Any]
    call: Callable[..., Any]
    is_async: bool
    wants_context: bool
    client_parameters: tuple[str, ...]
    directory: str
    elsewhere: Callable[[str], str] | None = None

    @property
    def parameter(self) -> str:
        """The parameter that takes what triggered the function."""
        return str(self.trigger["name"])

    @property
    def methods(self) -> tuple[str, ...]:
        """HTTP methods served, upper-case; empty means all."""
        return tuple(str(method).upper() for method in self.trigger.get("methods") or ())

    @property
    def is_durable(self) -> bool:
        return self.kind in DURABLE_KINDS


def load_functions(app_dir: Path) -> list[Function]:
    """Import `app_dir`/function_app.py and read its functions.

    Raises HostError for what cannot be served: no module-level `app`, two functions of one name, an unknown
    binding, a missing setting."""
    functions = [_function(each, app_dir) for each in _indexed(app_dir)]
    seen: set[str] = set()
    for function in functions:
        if function.name.lower() in seen:
            raise HostError(f"Two functions are named '{function.name}'")
        seen.add(function.name.lower())
    return functions


def _indexed(app_dir: Path) -> list[Any]:
    if not (app_dir / "function_app.py").is_file():
        raise HostError(f"There is no function_app.py in {app_dir}")
    sys.path.insert(0, str(app_dir))
    module = importlib.import_module("function_app")
    app = getattr(module, "app", None)
    if app is None or not hasattr(app, "get_functions"):
        raise HostError("function_app.py has no module-level `app` made by azure.functions")
    try:
        return list(app.get_functions())
    except ValueError as error:
        raise HostError(f"The functions cannot be indexed: {error}") from error


def _function(indexed: Any, app_dir: Path) -> Function:
    name = indexed.get_function_name()
    bindings = [json.loads(binding) for binding in indexed.get_raw_bindings()]
    for binding in bindings:
        if binding["type"] not in TRIGGER_KINDS | _OTHER_BINDINGS:
            raise HostError(f"Function '{name}': bindings of type '{binding['type']}' are not served here")
    triggers = [binding for binding in bindings if binding["type"] in TRIGGER_KINDS]
    if len(triggers) != 1:
        raise HostError(f"Function '{name}' has {len(triggers)} triggers; it must have one")
    if indexed.get_settings_dict("retry_policy"):
        raise HostError(f"Function '{name}': retry policies are not served here")
    trigger = {key: expand(value, f"Function '{name}'") for key, value in triggers[0].items()}
    kind = trigger["type"]
    call = indexed.get_user_function()
    bound = {binding["name"] for binding in bindings}
    return Function(
        name=str(trigger.get(DURABLE_KINDS[kind]) or name) if kind in DURABLE_KINDS else name,
        kind=kind,
        trigger=trigger,
        call=call,
        is_async=inspect.iscoroutinefunction(call),
        wants_context="context" not in bound and "context" in inspect.signature(call).parameters,
        client_parameters=tuple(each["name"] for each in bindings if each["type"] == "durableClient"),
        directory=str(app_dir),
    )
