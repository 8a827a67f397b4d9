"""Python 3.13 with the app's requirements and the library of Azure's worker, and the app as it is deployed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pathspec
import pytest
from filelock import FileLock

from tests import ROOT

SWITCH = "HUB_TEST_WORKER"
HOME = ROOT / ".venv-worker"
LIBRARY = "azure-functions-runtime==1.3.0"
#: The messages of the stream between host and worker, and the compiler of their description.
_RPC = "grpcio-tools==1.85.1"


long_run = pytest.mark.skipif(
    not os.environ.get(SWITCH), reason="takes longer than `make test` may; `make test-worker` runs it"
)


def _candidates() -> Iterator[str]:
    if chosen := os.environ.get("HUB_PYTHON313"):
        yield chosen
    if sys.version_info[:2] == (3, 13):
        yield sys.executable
    if found := shutil.which("python3.13"):
        yield found
    yield from (str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.13*/bin/python")))


def _python313() -> str | None:
    for candidate in _candidates():
        command = [candidate, "-c", "import sys; print(sys.version_info[:2] == (3, 13))"]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
        if tried.stdout.strip() == "True":
            return candidate
    return None


def worker_environment() -> Path:
    """The interpreter of an environment that is kept between runs; skips the test where there can be none."""
    python = _python313()
    if python is None:
        pytest.skip("the worker's library needs Python 3.13, and none was found (set HUB_PYTHON313)")
    # The development host runs there too, with the worker beneath it.
    requirements = ROOT / "devhost" / "requirements.txt"
    wanted = hashlib.sha256(requirements.read_bytes() + (LIBRARY + _RPC + python).encode()).hexdigest()
    stamp = HOME / "stamp"
    with _lock():
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(HOME, ignore_errors=True)
            subprocess.run([python, "-m", "venv", str(HOME)], check=True)
            _install(requirements)
            stamp.write_text(wanted)
    return HOME / "bin/python"


def _install(requirements: Path) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    pip = [str(HOME / "bin/python"), "-m", "pip", "install", "-q"]
    reason = ""
    for installer in ([uv, "pip", "install", "-q", "--python", str(HOME / "bin/python")], pip):
        with contextlib.suppress(FileNotFoundError):
            # The app's own by their hashes, as in Azure; the library beside them in a second step.
            for what in (["--require-hashes", "-r", str(requirements)], [LIBRARY, _RPC]):
                installed = subprocess.run([*installer, *what], capture_output=True, text=True, check=False)
                if installed.returncode:
                    reason = installed.stderr[-300:]
                    break
            else:
                return
    pytest.skip(f"the worker's library could not be installed: {reason}")


def packaged() -> Path:
    """What a deployment takes along: everything but what .funcignore names.

    The copy stays beside the environment, so that a module that has not changed need not be compiled again."""
    worker_environment()
    target = HOME / "package"
    ignored = pathspec.PathSpec.from_lines("gitignore", (ROOT / ".funcignore").read_text().splitlines())
    wanted = set(_files(ROOT, ignored))
    with _lock():
        for path in {file.relative_to(target) for file in target.rglob("*") if file.is_file()} - wanted:
            (target / path).unlink()
        for path in wanted:
            source, copy = (ROOT / path).stat(), target / path
            if not copy.exists() or _shape(copy.stat()) != _shape(source):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / path, copy)
        for folder in sorted((path for path in target.rglob("*") if path.is_dir()), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()
    return target


def serving(package: Path) -> list[str]:
    """The command of a host with the real worker beneath it, over a package of an app."""
    python, bytecode = worker_environment(), HOME / "bytecode"
    program = ["-m", "tests.worker.host", "start", "--app-dir", str(package)]
    return [str(python), "-X", f"pycache_prefix={bytecode}", *program]


def _lock() -> FileLock:
    # Not beside what it guards: the folder is deployed and searched.
    name = hashlib.sha256(str(ROOT).encode()).hexdigest()[:16]
    return FileLock(Path(tempfile.gettempdir()) / f"integration-hub-worker-{name}.lock")


def _files(folder: Path, ignored: pathspec.PathSpec) -> Iterator[Path]:
    for entry in folder.iterdir():
        path = entry.relative_to(ROOT)
        if entry.is_dir():
            if not ignored.match_file(f"{path}/"):
                yield from _files(entry, ignored)
        elif not ignored.match_file(str(path)):
            yield path


def _shape(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
