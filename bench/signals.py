"""What signals and learned retries cost the delivery pipeline: `python -m bench.signals`.

Short runs take turns on three hosts, so that whatever else the machine does meets all alike: one that counts no
deliveries, one as it is, and one as it is whose webhook retries by what it learned."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Final

from bench.harness import ROOT, HostProcess, call, receiving, running
from bench.pipeline import Rate, subscribe
from bench.tracing import delivered, report

#: Python runs a module of this name at every start, in a host's workers too.
_AT_START: Final = "sitecustomize.py"
_WITHOUT_SIGNALS: Final = """\
from domain.webhooks import recording

recording.delivery_signals = lambda results, now: []
"""
_NEVER: Final = 10**9


def without_signals(folder: Path) -> dict[str, str]:
    """Return the environment of a host whose deliveries are not counted."""
    (folder / _AT_START).write_text(_WITHOUT_SIGNALS)
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


def _counted(host: HostProcess, token: str) -> int:
    """Count the attempts among the signals of its tenant."""
    status, answer = call("GET", f"{host.url}/insights/signals?kind=Tenant", token=token)
    if status != 200:
        raise RuntimeError(f"signals were refused: {status} {answer}")
    return int(answer["totals"]["total"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.signals", description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--events", type=int, default=20, help="in a request")
    options = parser.parse_args()
    size = {"requests": options.requests, "events": options.events, "every": _NEVER}
    with receiving() as receiver, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            running(folder / "uncounted", **without_signals(folder)) as uncounted,
            running(folder / "counted") as counted,
            running(folder / "learning") as learning,
        ):
            hosts = {"uncounted": uncounted, "counted": counted, "learning": learning}
            tokens = {which: host.token() for which, host in hosts.items()}

            def run(which: str) -> Rate:
                return delivered(hosts[which], receiver, tokens[which], **size)

            for which in hosts:
                policy = {"retryPolicy": {"strategy": "adaptive"}} if which == "learning" else {}
                subscribe(hosts[which], tokens[which], f"{receiver.url}/hook", **policy)
                run(which)
            if _counted(uncounted, tokens["uncounted"]) or not _counted(counted, tokens["counted"]):
                raise RuntimeError("the hosts are not what they were made to be")
            order = list(hosts)
            rounds = [
                {which: run(which) for which in order[turn % 3 :] + order[: turn % 3]}
                for turn in range(options.runs)
            ]
    for what, before, after in (
        ("signals", "uncounted", "counted"),
        ("adaptive retry", "counted", "learning"),
    ):
        pairs = [(run[before].cpu_ms, run[after].cpu_ms) for run in rounds]
        report(f"CPU for each delivery, ms, {what}", pairs)
        print(f"  all runs together: x {sum(two for _, two in pairs) / sum(one for one, _ in pairs):.3f}")


if __name__ == "__main__":
    main()
