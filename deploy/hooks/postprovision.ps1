& ($env:PYTHON ?? "python") "$PSScriptRoot/postprovision.py"; exit $LASTEXITCODE
