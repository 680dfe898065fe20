"""The app: quick timeouts, and the harm that lives in a process."""

from __future__ import annotations

import os

from django.apps import AppConfig


class SagasTortureConfig(AppConfig):
    name = "tests.torture.sagas"
    label = "torture_sagas"

    def ready(self) -> None:
        from . import faults

        if name := os.environ.get("TORTURE_MUTANT"):
            from .mutants import MUTANTS

            MUTANTS[name].apply()
        if seed := os.environ.get("TORTURE_SEED"):
            faults.make_participants_fail(seed)  # Before they are found.
            faults.hurry()
