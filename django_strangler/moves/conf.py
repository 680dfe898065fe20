"""``STRANGLER["MOVES"]``."""

from __future__ import annotations

from dataclasses import dataclass

from django_strangler import conf


@dataclass(frozen=True, slots=True, kw_only=True)
class MovesSettings:
    """What is the same for all moves; durations are in seconds."""

    lease: float = conf.setting(3.0, conf.seconds(0.5))
    page: int = conf.setting(5000, conf.positive)  # Rows that one transaction copies.
    chunk: int = conf.setting(2000, conf.positive)  # Marks that one follows.
    poll: float = conf.setting(0.02, conf.seconds(0.001))
    # Of the mover's time: what copying may take, and validating while following.
    share: float = conf.setting(1.0, conf.fraction)
    validate: float = conf.setting(0.1, conf.fraction)
    # Replicas that are further behind make copying wait.
    replica_lag: float = conf.setting(5.0, conf.seconds(0))
    wait: float = conf.setting(10.0, conf.seconds(0))  # moves.atomic, at a switch.
    # A switch: for how long a verification counts, what is too far behind, how long
    # writers may be kept waiting for the lock, then closed out, and when to give up.
    fresh: float = conf.setting(3600.0, conf.seconds(1))
    lag: float = conf.setting(5.0, conf.seconds(0))
    lock: float = conf.setting(0.2, conf.seconds(0.001))
    pause: float = conf.setting(2.0, conf.seconds(0.01))
    patience: float = conf.setting(60.0, conf.seconds(0))


settings = conf.section("MOVES", MovesSettings)
