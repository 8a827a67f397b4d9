"""host.json, local.settings.json and the options of `start`.

Nothing heavy is imported here: the supervising process uses it too."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devhost.errors import HostError
from devhost.schedule import parse_timespan

_SETTING = re.compile(r"%([^%\s]+)%")


@dataclass(frozen=True, slots=True)
class HostJson:
    """The parts of host.json that the host acts on. A limit of -1 means none; times in seconds."""

    route_prefix: str = "api"
    max_outstanding_requests: int = -1
    max_concurrent_requests: int = -1
    max_message_batch_size: int = 1000
    min_message_batch_size: int = 1
    max_batch_wait_seconds: float = 30.0
    max_concurrent_calls: int = 16
    hub_name: str = "TestHubName"


def load_host_json(app_dir: Path) -> HostJson:
    """Read `app_dir`/host.json. Raises HostError when it is missing or not what it should be."""
    document = _read_object(app_dir / "host.json")
    if document is None:
        raise HostError(f"There is no host.json in {app_dir}: this is not a function app")
    extensions = document.get("extensions", {})
    http, bus = extensions.get("http", {}), extensions.get("serviceBus", {})
    defaults = HostJson()
    try:
        return HostJson(
            route_prefix=str(http.get("routePrefix", defaults.route_prefix)).strip("/"),
            max_outstanding_requests=int(http.get("maxOutstandingRequests", -1)),
            max_concurrent_requests=int(http.get("maxConcurrentRequests", -1)),
            max_message_batch_size=int(bus.get("maxMessageBatchSize", defaults.max_message_batch_size)),
            min_message_batch_size=int(bus.get("minMessageBatchSize", defaults.min_message_batch_size)),
            max_batch_wait_seconds=parse_timespan(bus.get("maxBatchWaitTime", "00:00:30")).total_seconds(),
            max_concurrent_calls=int(bus.get("maxConcurrentCalls", defaults.max_concurrent_calls)),
            hub_name=expand(extensions.get("durableTask", {}).get("hubName", defaults.hub_name), "hubName"),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise HostError(f"host.json: {error}") from error


def load_local_settings(app_dir: Path) -> None:
    """Put the "Values" of local.settings.json into the environment, which wins where both have one."""
    document = _read_object(app_dir / "local.settings.json") or {}
    for name, value in document.get("Values", {}).items():
        os.environ.setdefault(name, str(value))


def expand(value: Any, where: str, environment: Mapping[str, str] | None = None) -> Any:
    """Replace every %SETTING% in a string by that setting. Raises HostError, naming a missing one."""
    if not isinstance(value, str):
        return value
    settings = os.environ if environment is None else environment

    def setting(match: re.Match[str]) -> str:
        try:
            return settings[match[1]]
        except KeyError:
            raise HostError(f"{where} needs the setting '{match[1]}', which is not set") from None

    return _SETTING.sub(setting, value)


def home() -> Path:
    """Return the directory of the embedded state (`HUB_HOME`), absolute, created when missing for its owner alone."""
    path = Path(os.environ.get("HUB_HOME") or ".hub").resolve()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise HostError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise HostError(f"{path.name} must hold a JSON object")
    return document
