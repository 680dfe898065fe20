"""The app: tables that move, and the harm that lives in a process."""

from __future__ import annotations

import os

from django.apps import AppConfig


class MovesTortureConfig(AppConfig):
    name = "tests.torture.moves"
    label = "torture_moves"

    def ready(self) -> None:
        if name := os.environ.get("TORTURE_MUTANT"):
            from .mutants import MUTANTS

            MUTANTS[name].apply()
        if point := os.environ.get("TORTURE_POINT"):
            from .points import arm

            arm(point)
