"""
One extraction from end to end, under fire: make extraction

    python -m tests.extraction --seconds 360 --seed 1
    python -m tests.extraction --control        nothing is moved; the same is broken
    python -m tests.extraction --check history.json

Ends with 0 when nobody was harmed, else 1.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import django


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=360)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=90, help="requests a second")
    parser.add_argument("--customers", type=int, help="else 1,000 in six minutes")
    parser.add_argument("--database", choices=["postgresql"], default="postgresql")
    parser.add_argument("--pace", type=float, default=1, help="of faults; 2 has half")
    parser.add_argument("--calm", action="store_true", help="hurt nobody")
    parser.add_argument("--control", action="store_true", help="move nothing")
    parser.add_argument(
        "--downtime",
        type=int,
        default=0,
        help="seconds that are allowed, where the machine does other things meanwhile",
    )
    parser.add_argument(
        "--settle",
        type=float,
        default=2.5,
        help="seconds in which a process may still follow an older flag, likewise",
    )
    parser.add_argument(
        "--beside", type=Path, help="history.json of a control run, to compare with"
    )
    parser.add_argument("--report", type=Path, help="where to write the page")
    parser.add_argument("--picture", type=Path, help="where to draw the timeline")
    parser.add_argument("--logs", type=Path, help="where the processes write theirs")
    parser.add_argument("--check", type=Path, help="only judge this history again")
    options = parser.parse_args()
    options.customers = options.customers or round(1000 * options.seconds / 360)
    os.environ["DJANGO_SETTINGS_MODULE"] = "monolith.settings"
    # The default database is for nobody here.
    os.environ.update(DATABASE_URL="", DATABASE_PATH=":memory:")
    django.setup()
    from . import judge
    from .history import History
    from .report import page, picture
    from .run import run

    if options.check:
        beside = History.load(options.beside) if options.beside else None
        history = History.load(options.check)
        verdict = judge.judge(
            history,
            downtime_allowed=options.downtime,
            settle=options.settle,
            beside=beside,
        )
        if options.report:
            options.report.write_text(page(history, verdict, vars(options)))
    else:
        logs = options.logs or Path(tempfile.mkdtemp(prefix="extraction-"))
        logs.mkdir(parents=True, exist_ok=True)
        print(f"What the processes write: {logs}", flush=True)
        history, verdict = run(options, logs)
    if options.picture:
        options.picture.write_text(picture(history))
    for name, value in verdict.figures.items():
        print(f"  {name}: {value}")
    for row in verdict.phases:
        print(
            "  "
            + ", ".join(
                f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}"
                for k, v in row.items()
                if k != "at"
            )
        )
    for trouble in verdict.troubles:
        print(f"  TROUBLE: {trouble}")
    print("GOOD: nobody was harmed." if verdict.is_good else "BAD")
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
