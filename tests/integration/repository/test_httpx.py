"""How much the product depends on httpx, which has had no stable release since December 2024 (ADR 12)."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CLIENTS = {
    "infra/authentication/discovery.py",
    "infra/azure/openai/model.py",
    "infra/azure/signalr/realtime.py",
}
WAY_OUT = {
    "infra/app/build.py",
    "infra/app/hub.py",
    "infra/outbound/request.py",
    "infra/outbound/transport.py",
    "infra/providers/_kit/connection.py",
    "infra/providers/_kit/token_endpoint.py",
}
DATA = {
    "AsyncBaseTransport",
    "AsyncByteStream",
    "ByteStream",
    "Headers",
    "InvalidURL",
    "Request",
    "Response",
    "URL",
}


def _trees() -> dict[str, ast.Module]:
    sources = (path for folder in ("domain", "functions", "infra") for path in (ROOT / folder).rglob("*.py"))
    return {
        str(path.relative_to(ROOT)): ast.parse(text)
        for path in sources
        if "httpx" in (text := path.read_text())
    }


def _imports_httpx(tree: ast.Module) -> bool:
    return any(
        (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "httpx" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "httpx")
        for node in ast.walk(tree)
    )


def test_only_the_way_out_and_three_clients_of_operators_addresses_import_httpx() -> None:
    assert {path for path, tree in _trees().items() if _imports_httpx(tree)} <= WAY_OUT | CLIENTS


def test_the_way_out_uses_httpxs_data_types_and_no_client_of_it() -> None:
    used = {
        node.attr
        for path, tree in _trees().items()
        if path in WAY_OUT
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "httpx"
    }
    assert used <= DATA


def test_importing_httpx_warns_of_nothing_that_python_is_about_to_drop() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import httpx, infra.outbound.transport"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
