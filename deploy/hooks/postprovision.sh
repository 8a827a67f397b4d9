#!/usr/bin/env sh
# After provisioning: bring the database's schema up to date and let the app's identity in. Runs again harmlessly.
# Needs sqlcmd (go-sqlcmd) and a login of the group that administers the database; azd sets the variables.
set -eu
cd "$(dirname "$0")/../.."

: "${HUB_SQL_SERVER:?}" "${HUB_SQL_DATABASE:?}" "${HUB_IDENTITY_NAME:?}" "${HUB_IDENTITY_CLIENT_ID:?}"

run() {
  sqlcmd -S "$HUB_SQL_SERVER" -d "$HUB_SQL_DATABASE" --authentication-method ActiveDirectoryDefault -b -I "$@"
}

# Python with the app's requirements upgrades from any version, and has the database keep versions (docs/sql.md).
HUB_SQL_CONNECTION="Server=tcp:$HUB_SQL_SERVER,1433;Database=$HUB_SQL_DATABASE;Encrypt=yes;" \
  "${PYTHON:-python3}" -m infra.sql.migrate

# The app reads and writes rows; it cannot change the schema. Its user is made from its client id rather than FROM
# EXTERNAL PROVIDER, which asks the directory and fails for a pipeline that may not read it.
run -Q "IF DATABASE_PRINCIPAL_ID('$HUB_IDENTITY_NAME') IS NULL
        BEGIN
          DECLARE @sid varchar(40) =
            CONVERT(varchar(40), CAST(CAST('$HUB_IDENTITY_CLIENT_ID' AS uniqueidentifier) AS varbinary(16)), 1);
          EXEC('CREATE USER [$HUB_IDENTITY_NAME] WITH SID = ' + @sid + ', TYPE = E');
        END;
        ALTER ROLE db_datareader ADD MEMBER [$HUB_IDENTITY_NAME];
        ALTER ROLE db_datawriter ADD MEMBER [$HUB_IDENTITY_NAME];"
