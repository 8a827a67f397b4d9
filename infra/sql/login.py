"""Entering Azure SQL: which driver, which identity, and another try where the first one fails in passing."""

from __future__ import annotations

import importlib.util
import platform
import random
import re
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from infra.azure.outage import Away, Outage
from infra.sql.failures import is_transient

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

#: https://learn.microsoft.com/sql/connect/odbc/using-azure-active-directory#authenticating-with-an-access-token
SQL_COPT_SS_ACCESS_TOKEN = 1256
SCOPE = "https://database.windows.net/.default"
_CREDENTIALS = frozenset({"uid", "user id", "pwd", "password", "authentication", "trusted_connection"})
_DRIVER = re.compile(r"ODBC Driver (\d+) for SQL Server")
#: The folders of `mssql-python-odbc`, and the distributions whose libraries each was built against.
_FAMILIES = {
    "alpine": {"alpine"},
    "suse": {"suse", "opensuse", "sles"},
    "rhel": {"rhel", "fedora", "centos", "azurelinux", "mariner", "amzn"},
}
#: A serverless database that was paused takes up to a minute to answer (40613).
_WAITS_SECONDS = (0.5, 2.0, 5.0)
#: A try ends after this; Microsoft's driver spends it in full on a port where nobody listens.
LOGIN_SECONDS = 10
#: No further try begins later than this after the first.
_PATIENCE_SECONDS = 15.0


def with_driver(connection_string: str, installed: Sequence[str], *, packaged: str | None = None) -> str:
    """Name the newest of Microsoft's `installed` drivers in a connection string that names none.

    Where none is installed it is the file `packaged`. Raises ValueError when there is neither."""
    if "driver" in _keys(connection_string):
        return connection_string
    versions = {int(found[1]): name for name in installed if (found := _DRIVER.fullmatch(name))}
    driver = versions[max(versions)] if versions else packaged
    if driver is None:
        raise ValueError("No ODBC driver for SQL Server is installed; name one in HUB_SQL_CONNECTION")
    return f"Driver={{{driver}}};{connection_string}"


def packaged_driver() -> str | None:
    """Return the file of the driver that `requirements.txt` installs from `mssql-python-odbc`, or None.

    Windows takes registered drivers only. On Linux the driver wants unixODBC and libltdl of the system."""
    found = importlib.util.find_spec("mssql_python_odbc")
    if found is None or found.origin is None:
        return None
    libraries = Path(found.origin).parent / "libs"
    if platform.system() == "Darwin":
        files = libraries.glob(f"macos/{platform.machine()}/lib/libmsodbcsql.*.dylib")
    elif platform.system() == "Linux":
        files = libraries.glob(f"linux/{_family()}/{platform.machine()}/lib/libmsodbcsql-*")
    else:
        return None
    return max(map(str, files), default=None)


def _family() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "debian_ubuntu"
    names = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    for family, members in _FAMILIES.items():
        if names & members:
            return family
    return "debian_ubuntu"


def needs_token(connection_string: str) -> bool:
    """Return whether the string names no credentials, so that the managed identity is to enter."""
    return _CREDENTIALS.isdisjoint(_keys(connection_string))


def access_token(token: str) -> bytes:
    """Encode a token as the driver takes it: its length in bytes, then UTF-16."""
    encoded = token.encode("utf-16-le")
    return struct.pack(f"<I{len(encoded)}s", len(encoded), encoded)


class Login:
    """Opens connections for SQLAlchemy. With a `credential`, each connection gets a token that is valid then.

    `sleep` waits seconds, `monotonic` counts them. Once all tries of one caller failed, there is an `Outage`: one
    caller at a time asks whether the database is back, and the others fail at once with the error of the last one."""

    def __init__(
        self,
        credential: TokenCredential | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credential = credential
        self._sleep = sleep
        self._monotonic = monotonic
        self._outage = Outage("The database", lambda error: False, pause_seconds=0, monotonic=monotonic)

    def open(self, connect: Callable[[], Any], is_passing: Callable[[Exception], bool]) -> Any:
        """Return the connection. A failure that passes is tried again.

        There are four tries in all, for half a minute at most, and one while an outage is known."""
        try:
            with self._outage.asked(is_passing) as is_known:
                return connect() if is_known else self._tried(connect, is_passing)
        except Away as away:
            assert away.met is not None
            # A copy for each caller: SQLAlchemy, who called, knows what to do with the driver's own errors.
            raise type(away.met)(*away.met.args) from None

    def _tried(self, connect: Callable[[], Any], is_passing: Callable[[Exception], bool]) -> Any:
        latest = self._monotonic() + _PATIENCE_SECONDS
        for seconds in _WAITS_SECONDS:
            try:
                return connect()
            except Exception as error:
                if not is_passing(error) or self._monotonic() > latest:
                    raise
            # Many instances lose their connections at the same moment; they need not return at one.
            self._sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311 - not a secret
        return connect()

    def do_connect(self, dialect: Any, record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        """Open a connection for SQLAlchemy.

        https://docs.sqlalchemy.org/en/21/core/events.html"""

        def connect() -> Any:
            return dialect.connect(*arguments, **options, **self._attributes())

        return self.open(connect, lambda error: _is_passing(dialect, error))

    def _attributes(self) -> Mapping[str, Any]:
        if self._credential is None:
            return {}
        token = self._credential.get_token(SCOPE).token
        return {"attrs_before": {SQL_COPT_SS_ACCESS_TOKEN: access_token(token)}}


def _is_passing(dialect: Any, error: Exception) -> bool:
    driver_error = dialect.loaded_dbapi.Error
    if not isinstance(error, driver_error):
        return False
    return is_transient(DBAPIError("connect", None, error))


def _keys(connection_string: str) -> set[str]:
    return {part.partition("=")[0].strip().lower() for part in connection_string.split(";") if "=" in part}
