#!/usr/bin/env sh
exec "${PYTHON:-python3}" "$(dirname "$0")/predeploy.py"
