& ($env:PYTHON ?? "python") "$PSScriptRoot/predeploy.py"; exit $LASTEXITCODE
