"""One run: the workload, the faults one after the other, and what is left to judge."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from typing import Any

from . import faults, schedule
from .checker import DRAINED_WITHIN
from .history import Fault, History
from .stage import Stage
from .watch import Watch

WARM_UP = 4.0


def run(
    stage: Stage,
    *,
    seconds: float,
    seed: int,
    kinds: Sequence[str],
    about: dict[str, Any],
) -> History:
    """Let it work, hurt it, let it come to an end, and collect the evidence."""
    history = History(about=about)
    registry = faults.load()
    stage.began = time.monotonic()
    watch = Watch(stage.database, stage.began)
    stage.crew.fill()
    watch.start()
    time.sleep(WARM_UP)
    steps = schedule.steps(kinds, seed)
    while stage.now < seconds:
        step = next(steps)
        time.sleep(step.pause)
        history.faults.append(_do(stage, registry[step.name], step.chance))
        stage.crew.fill()
    stage.crew.publishing = False
    last = time.monotonic()
    stage.crew.dismiss("publisher")
    stage.wait_until_idle(2 * DRAINED_WITHIN)
    # From here on it is the harness that keeps the relays from working.
    history.waits = watch.finish()
    stage.allow_everything()
    stage.wait_until_drained(2 * DRAINED_WITHIN)
    history.drained = round(time.monotonic() - last, 1)
    print(f"{'':10}drained {history.drained:.1f} s after the last fault", flush=True)
    stage.crew.close()
    stage.collect(history)
    return history


def _do(stage: Stage, kind: faults.Kind, chance: Any) -> Fault:
    began = stage.now
    try:
        bite = kind.act(stage, chance)
    except Exception:  # noqa: BLE001  (It is void, and the run goes on.)
        traceback.print_exc()
        bite = faults.Bite()
    done = Fault(
        name=kind.name,
        began=round(began, 2),
        ended=round(stage.now, 2),
        proof=bite.proof,
        hit=bite.hit,
        outage=kind.outage,
    )
    shown = bite.proof or "VOID: nothing shows that it bit"
    print(f"{began:7.1f} s  {kind.name}: {shown}", flush=True)
    return done
