"""The ODBC driver comes with the app's own requirements where the machine has none."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from infra.sql.login import packaged_driver, with_driver

AZURE = "Server=tcp:hub.database.windows.net,1433;Database=hub;Encrypt=yes;"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of drivers, found before the installed one."""
    libraries = tmp_path / "mssql_python_odbc" / "libs"
    libraries.mkdir(parents=True)
    (tmp_path / "mssql_python_odbc" / "__init__.py").touch()
    for folder in ("linux/debian_ubuntu/x86_64", "linux/rhel/x86_64", "linux/alpine/aarch64"):
        (libraries / folder / "lib").mkdir(parents=True)
        (libraries / folder / "lib" / "libmsodbcsql-18.6.so.2.1").touch()
        (libraries / folder / "lib" / "libodbcinst.so.2").touch()
    (libraries / "macos/arm64/lib").mkdir(parents=True)
    (libraries / "macos/arm64/lib/libmsodbcsql.18.dylib").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mssql_python_odbc", raising=False)
    return libraries


@pytest.mark.parametrize(
    ("system", "machine", "release", "expected"),
    [
        ("Linux", "x86_64", {"ID": "debian"}, "linux/debian_ubuntu/x86_64"),
        ("Linux", "x86_64", {"ID": "ubuntu", "ID_LIKE": "debian"}, "linux/debian_ubuntu/x86_64"),
        ("Linux", "x86_64", {"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "linux/rhel/x86_64"),
        ("Linux", "x86_64", {"ID": "azurelinux", "ID_LIKE": "mariner"}, "linux/rhel/x86_64"),
        ("Linux", "aarch64", {"ID": "alpine"}, "linux/alpine/aarch64"),
        ("Linux", "riscv64", {"ID": "debian"}, None),
        ("Darwin", "arm64", {}, "macos/arm64"),
        ("Windows", "AMD64", {}, None),
    ],
)
def test_the_driver_of_the_package_is_the_one_for_this_system(
    package: Path,
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    machine: str,
    release: dict[str, str],
    expected: str | None,
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    driver = packaged_driver()
    assert (driver and Path(driver).parent) == (package / expected / "lib" if expected else None)
    assert driver is None or Path(driver).name.startswith("libmsodbcsql")


@pytest.mark.skipif(platform.system() != "Linux", reason="looks at the package that Linux gets")
def test_the_locked_package_brings_a_driver_for_this_machine() -> None:
    driver = packaged_driver()
    assert driver is not None
    assert Path(driver).stat().st_size > 1_000_000
    assert with_driver(AZURE, [], packaged=driver) == f"Driver={{{driver}}};{AZURE}"


def test_a_driver_that_the_system_keeps_up_to_date_comes_first() -> None:
    named = with_driver(AZURE, ["ODBC Driver 18 for SQL Server"], packaged="/somewhere/libmsodbcsql.so")
    assert named.startswith("Driver={ODBC Driver 18 for SQL Server};")
