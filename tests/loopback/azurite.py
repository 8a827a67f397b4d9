"""Azurite, Microsoft's storage emulator, and what else `make node` installs from npm."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from bench.harness import free_port

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's published account and key."""

NODE_MODULES = Path(__file__).parents[1] / "node" / "node_modules"
_START_SECONDS = 30.0


def node_package(name: str) -> tuple[str, Path]:
    """(node, the package's folder); skips where either is missing."""
    node, package = shutil.which("node"), NODE_MODULES / name
    if node is None or not package.is_dir():
        pytest.skip(f"needs Node.js and {name}: run `make node`")
    return node, package


@contextmanager
def running_azurite(
    service: Literal["blob", "queue", "table"],
    location: Path,
    *,
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[str]:
    """The address of the account at one service of Azurite, which keeps its data under `location`. With a
    `certificate` (its file and its key's) it speaks TLS and takes Entra ID's tokens too.

    The executable is `HUB_AZURITE`, on PATH, or installed by `make node`; skips where there is none."""
    program = _program(service)
    port = free_port()
    secure = ["--cert", certificate[0], "--key", certificate[1], "--oauth", "basic"] if certificate else []
    process = subprocess.Popen(
        [program, "--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", location,
         f"--{service}Host", "127.0.0.1", f"--{service}Port", str(port), *secure],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(port, process)
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{port}/{ACCOUNT}"
    finally:
        process.terminate()
        process.wait(10)


def tables_connection(address: str) -> str:
    """The connection string of a table service at this address."""
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};TableEndpoint={address};"


def _program(service: str) -> Path:
    installed = NODE_MODULES / ".bin" / "azurite"
    found = (
        os.environ.get("HUB_AZURITE") or shutil.which("azurite") or (installed.exists() and str(installed))
    )
    if not found or shutil.which("node") is None:
        pytest.skip("Azurite is neither on PATH nor named by HUB_AZURITE nor installed by `make node`")
    # One service alone: the whole of Azurite would need three ports.
    return Path(found).with_name(f"azurite-{service}")


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("Azurite did not start")
