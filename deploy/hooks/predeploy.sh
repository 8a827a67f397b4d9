#!/usr/bin/env sh
# Before a deployment: say that it is one (predeploy.py).
set -eu
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3}
[ -n "${PYTHON:-}" ] || [ ! -x .venv/bin/python ] || python=.venv/bin/python
exec "$python" deploy/hooks/predeploy.py
