& ($env:PYTHON ?? "python") "$PSScriptRoot/postdeploy.py"; exit $LASTEXITCODE
