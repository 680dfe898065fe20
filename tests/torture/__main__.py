"""
Kill everything, lose nothing, and be able to prove it.

    python -m tests.torture --seconds 60 --seed 1 --database postgresql
    python -m tests.torture --check torture-1.jsonl.gz
    python -m tests.torture --mutant marks-first
    python -m tests.torture --moves --database mariadb --to postgresql --kills 60
    python -m tests.torture --sagas --database mariadb --count 1000 --kills 20

Publishers, relays and consumers are processes; a seeded nemesis hurts them, their
servers and their networks. The history of a run is written to a file, which is the
proof: it can be judged again. Ends with 0 when the verdict is GOOD, 1 for BAD and 2 for
VOID: a fault did not bite, so the run shows less than it says.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import django

from .history import History

EXIT = {"GOOD": 0, "BAD": 1, "VOID": 2}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--database", choices=["postgresql", "mariadb"], default="postgresql"
    )
    parser.add_argument(
        "--rate", type=float, default=450, help="events per second, while all is well"
    )
    parser.add_argument("--history", type=Path, help="where to write the history")
    parser.add_argument("--logs", type=Path, help="where the processes write theirs")
    parser.add_argument("--only", help="kinds of faults, separated by commas")
    parser.add_argument("--check", type=Path, help="only judge this history again")
    parser.add_argument(
        "--ignore-stalls",
        action="store_true",
        help="report stalls, also at the end, but do not judge them: the machine has "
        "other work",
    )
    parser.add_argument("--mutant", help="break a rule on purpose, by its name")
    moves = parser.add_argument_group("moves", "a table goes to another database")
    moves.add_argument("--moves", action="store_true", help="torture a move instead")
    moves.add_argument("--to", choices=["postgresql", "mariadb"], help="its target")
    moves.add_argument("--kills", type=int, help="instead of seconds (60)")
    moves.add_argument("--rows", type=int, default=60_000, help="of the first table")
    moves.add_argument("--writers", type=int, default=8, help="of all kinds, up to 8")
    moves.add_argument("--calm", action="store_true", help="hurt nobody, but measure")
    moves.add_argument("--switches", type=int, default=20, help="of a calm run")
    sagas = parser.add_argument_group("sagas", "services act as one, or undo")
    sagas.add_argument("--sagas", action="store_true", help="torture sagas instead")
    sagas.add_argument("--count", type=int, default=1000, help="of sagas; 20 kills")
    options = parser.parse_args()
    if options.kills is None:
        options.kills = 20 if options.sagas else 60
    part = "moves." if options.moves else "sagas." if options.sagas else ""
    os.environ["DJANGO_SETTINGS_MODULE"] = f"tests.torture.{part}settings"
    os.environ.pop("DATABASE_URL", None)
    django.setup()
    if options.moves:
        from .moves import run as moves_under_fire

        return moves_under_fire.torture(options)
    if options.sagas:
        from .sagas import run as sagas_under_fire

        return sagas_under_fire.torture(options)
    if options.check:
        return judge(History.read(options.check), options)
    return torture(options)


def torture(options: argparse.Namespace) -> int:
    """Run, write the history down, and judge it."""
    from . import faults
    from .mutants import MUTANTS
    from .run import run
    from .stage import staged

    kinds = options.only.split(",") if options.only else list(faults.load())
    environment = {}
    if options.mutant:
        mutant = MUTANTS[options.mutant]
        environment["TORTURE_MUTANT"] = options.mutant
        kinds = options.only.split(",") if options.only else list(mutant.faults)
        print(f"{options.mutant}: {mutant.what}", flush=True)
    logs = options.logs or Path(tempfile.mkdtemp(prefix="torture-"))
    logs.mkdir(exist_ok=True, parents=True)
    about = {
        name: getattr(options, name)
        for name in ("seconds", "seed", "database", "rate", "only", "mutant")
    }
    with staged(
        options.database,
        logs,
        seed=options.seed,
        rate=options.rate,
        environment=environment,
        nodes=1 + ("a queue loses its majority" in kinds),
    ) as stage:
        history = run(
            stage, seconds=options.seconds, seed=options.seed, kinds=kinds, about=about
        )
    if options.history:
        history.write(options.history)
    word = judge(history, options)
    if word and not options.logs:
        print(f"What the processes logged: {logs}")
    return word


def judge(history: History, options: argparse.Namespace) -> int:
    """Print the verdict; the exit status."""
    from .checker import check

    verdict = check(history)
    kinds = {fault.name for fault in history.faults if fault.proof}
    biting = sum(bool(fault.proof) for fault in history.faults)
    print(f"{biting} faults that bit, of {len(kinds)} kinds; {history.about}")
    print(verdict)
    if options.ignore_stalls:
        verdict.stalls, verdict.drained = [], 0.0
    print(verdict.word, flush=True)
    return EXIT[verdict.word]


if __name__ == "__main__":
    raise SystemExit(main())
