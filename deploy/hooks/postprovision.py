"""After provisioning: bring the database's schema up to date and let the app's identity in. Runs again harmlessly.

Needs what requirements.txt installs, and a login of whoever administers the database; azd sets the variables."""

from __future__ import annotations

import os
import subprocess
import sys

from surroundings import ROOT, told, use_own_python


def main() -> int:
    """Migrate and grant, and return the exit code of the first that failed."""
    server, database, name, client_id = told(
        "HUB_SQL_SERVER", "HUB_SQL_DATABASE", "HUB_IDENTITY_NAME", "HUB_IDENTITY_CLIENT_ID"
    )
    connection = f"Server=tcp:{server},1433;Database={database};Encrypt=yes;"
    # Anything else that names an identity here would be the app's, not ours.
    environment = {key: value for key, value in os.environ.items() if key != "HUB_MANAGED_IDENTITY_CLIENT_ID"}
    environment["HUB_SQL_CONNECTION"] = connection
    steps = (
        # It upgrades from any version, and has the database keep versions (docs/sql.md).
        (["infra.sql.migrate"], f"The database {database} has the schema of this version."),
        (["infra.sql.grant", name, client_id], f"{name} may read and write its rows."),
    )
    for arguments, done in steps:
        command = [sys.executable, "-m", *arguments]
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        if code:
            return code
        print(done, flush=True)
    return 0


if __name__ == "__main__":
    use_own_python()
    sys.exit(main())
