"""What one run of the demo has: its address, its customers, its relay and tables."""

from dataclasses import dataclass

from .relay import Worker
from .tables import Tables
from .traffic import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    address: str
    users: list[int]
    relay: Worker
    tables: Tables
    traffic: Traffic


_stage: Stage | None = None


def set_up(stage: Stage) -> None:
    global _stage
    _stage = stage


def current() -> Stage:
    """This run's. The page exists only inside of one."""
    assert _stage is not None, "start the demo with: make demo"
    return _stage
