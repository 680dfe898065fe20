"""The app: tables that are evidence, and the faults that live in a process."""

from __future__ import annotations

import os

from django.apps import AppConfig


class TortureConfig(AppConfig):
    name = "tests.torture"
    label = "torture"

    def ready(self) -> None:
        if name := os.environ.get("TORTURE_MUTANT"):
            from .mutants import MUTANTS

            MUTANTS[name].apply()
        if point := os.environ.get("TORTURE_CRASH"):
            from .crash_points import arm

            arm(point)
