"""What importing the app needs of the operating system."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
WITHOUT_POSIX = """
import sys
sys.modules.update(fcntl=None, resource=None)
import function_app
print(len(function_app.app.get_functions()))
"""


def test_the_app_imports_where_there_is_no_fcntl_and_no_resource(tmp_path: Path) -> None:
    """As on Windows, where Core Tools and `func start` run it."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX],
        cwd=ROOT,
        env={**os.environ, "HUB_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
