#!/usr/bin/env sh
# After provisioning: bring the database's schema up to date and let the app's identity in. Runs again harmlessly.
# Needs Python with requirements.txt, the ODBC driver 18, and a login of whoever administers the database; azd sets the
# variables.
set -eu
cd "$(dirname "$0")/../.."

: "${HUB_SQL_SERVER:?}" "${HUB_SQL_DATABASE:?}" "${HUB_IDENTITY_NAME:?}" "${HUB_IDENTITY_CLIENT_ID:?}"

python=${PYTHON:-python3}
[ -n "${PYTHON:-}" ] || [ ! -x .venv/bin/python ] || python=.venv/bin/python

# Anything else that names a database or an identity here would be the app's, not ours.
unset HUB_MANAGED_IDENTITY_CLIENT_ID
export HUB_SQL_CONNECTION="Server=tcp:$HUB_SQL_SERVER,1433;Database=$HUB_SQL_DATABASE;Encrypt=yes;"

# It upgrades from any version, and has the database keep versions (docs/sql.md).
"$python" -m infra.sql.migrate
echo "The database $HUB_SQL_DATABASE has the schema of this version."
"$python" -m infra.sql.grant "$HUB_IDENTITY_NAME" "$HUB_IDENTITY_CLIENT_ID"
echo "$HUB_IDENTITY_NAME may read and write its rows."
