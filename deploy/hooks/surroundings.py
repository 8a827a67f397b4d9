"""What azd's hooks have in common: which Python runs them, and what azd tells them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_OWN = (ROOT / ".venv" / "bin" / "python", ROOT / ".venv" / "Scripts" / "python.exe")


def use_own_python() -> None:
    """Go on in the virtual environment of `make run`, where there is one and `PYTHON` names no other."""
    own = next((python for python in _OWN if python.exists()), None)
    if own is None or "PYTHON" in os.environ or Path(sys.prefix) == own.parents[1]:
        return
    sys.exit(subprocess.run([own, *sys.argv], check=False).returncode)


def told(*names: str) -> list[str]:
    """Return what azd set these variables to; without one of them the hook ends with 2."""
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        print(f"{', '.join(missing)}: not set; azd sets it after provisioning.", file=sys.stderr)
        sys.exit(2)
    return [os.environ[name] for name in names]
