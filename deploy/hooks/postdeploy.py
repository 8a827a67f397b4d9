"""After a deployment: wait until the app answers, and see that it runs on the Python it was made for.

Where a remote build installed packages for another Python than the app's, the platform finds no function in it and
every address answers 404."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import httpx
from surroundings import told, use_own_python

_PATIENCE_SECONDS = 600.0
_PAUSE_SECONDS = 10.0


def problem(
    url: str,
    version: str,
    *,
    patience: float = _PATIENCE_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """Return what is wrong with the app at `url` when it was asked for `patience` seconds; None once it is well.

    `version` is the Python (major.minor) that the template asks for."""
    seen = "nothing"
    waited = 0.0
    while waited < patience:
        try:
            answer = httpx.get(f"{url}/api/health/live", timeout=30)
            seen = str(answer.status_code)
            if answer.status_code == 200:
                runs = answer.json().get("python")
                return None if runs == version else f"The app runs on Python {runs}, not on {version}."
        except httpx.HTTPError as failure:
            seen = str(failure) or type(failure).__name__
        sleep(_PAUSE_SECONDS)
        waited += _PAUSE_SECONDS
    return (
        f"{url}/api/health/live did not answer within {patience / 60:.0f} minutes (last: {seen}). With 404 the "
        f"platform found no functions: a remote build may have installed packages for another Python than {version}. "
        "Build them here instead: docs/deployment.md, 'When the remote build goes wrong'."
    )


def main() -> int:
    """Wait and look, and return the exit code."""
    url, version = told("HUB_URL", "HUB_PYTHON_VERSION")
    wrong = problem(url.rstrip("/"), version)
    print(wrong or f"{url} answers, on Python {version}.", file=sys.stderr if wrong else sys.stdout)
    return 1 if wrong else 0


if __name__ == "__main__":
    use_own_python()
    sys.exit(main())
