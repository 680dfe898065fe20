"""Sampling: observing a share of the requests in production. Off by default."""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import Any

from asgiref.local import Local
from django.core.signals import request_finished, request_started

from django_strangler import evidence
from django_strangler.evidence.reading import known_sources

from .conf import settings
from .couplings import Coupling, Kind
from .observing import Observer, observing
from .territory import Territory

SOURCE = "coupling"
_local = Local()
_running = ExitStack()


def start() -> None:
    """Begin, once all apps are loaded; what is seen is noted as evidence."""
    stop()
    territory = Territory()
    observer = Observer(
        territory,
        is_on=lambda: getattr(_local, "is_sampled", False),
        noted=lambda coupling: evidence.note(_source(coupling), side="legacy"),
    )
    _running.enter_context(observing(observer, territory))
    request_started.connect(_begun)
    request_finished.connect(_ended)


def stop() -> None:
    """End it; for tests."""
    request_started.disconnect(_begun)
    request_finished.disconnect(_ended)
    _running.close()


def _source(coupling: Coupling) -> str:
    """As evidence has it, which all processes may write."""
    source, target, kind, *rest = coupling
    return f"{SOURCE}:{'|'.join(map(str, (source, target, kind.value, *rest)))}"[:200]


def sampled() -> set[Coupling]:
    """What production has seen, but for what was too long to be kept whole."""
    found = set()
    for name in known_sources(SOURCE):
        words = name.partition(":")[2].split("|")
        if len(words) == 6 and words[5].isdigit():
            source, target, kind, file, what, line = words
            found.add(Coupling(source, target, Kind(kind), file, what, int(line)))
    return found


def _begun(**kwargs: Any) -> None:
    _local.is_sampled = random.random() < settings().sample


def _ended(**kwargs: Any) -> None:
    _local.is_sampled = False
