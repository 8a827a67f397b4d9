"""`make bench`: every number beside a baseline of the same run. `--seconds` shortens or lengthens it."""

from __future__ import annotations

import argparse

from bench import incoming, intake, integrations, isolation, isolation_jobs, pipeline, verify


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the sustained run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--only", choices=("intake", "pipeline", "isolation", "verify", "integrations", "incoming")
    )
    options = parser.parse_args()
    parts = {
        "intake": lambda: intake.measure(workers=options.workers, seconds=5),
        "pipeline": lambda: pipeline.measure(workers=options.workers, seconds=options.seconds),
        "isolation": lambda: [*isolation.measure(workers=options.workers), *isolation_jobs.measure()],
        "verify": lambda: verify.measure(workers=options.workers, seconds=5),
        "integrations": integrations.measure,
        "incoming": lambda: incoming.measure(workers=options.workers, seconds=5),
    }
    for name, part in parts.items():
        if options.only in (None, name):
            for what, result in part():
                print(f"{what:58} {result}", flush=True)


if __name__ == "__main__":
    main()
