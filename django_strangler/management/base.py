"""What the commands share: exit codes, common arguments, progress on a terminal."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    OutputWrapper,
)
from django.db import Error, connections

from django_strangler.exceptions import BrokerUnreachable, StranglerError
from django_strangler.monitoring.heartbeat import Heartbeat

UNREACHABLE = 4


class StranglerCommand(BaseCommand):
    """A command whose errors of ours become one line and an exit code."""

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run it; 1 is an error, 2 wrong usage, 4 a broker that cannot be reached."""
        try:
            return super().execute(*args, **options)
        except BrokerUnreachable as error:
            raise CommandError(str(error), returncode=UNREACHABLE) from error
        except StranglerError as error:
            raise CommandError(str(error)) from error
        except Error as error:
            # Every database names the table in such an error.
            is_ours = "strangler_" in str(error)
            hint = (
                " (not migrated? Run: manage.py migrate strangler)" if is_ours else ""
            )
            raise CommandError(f"The database failed{hint}: {error}") from error

    def add_database_argument(self, parser: CommandParser, **options: Any) -> None:
        """``--database``, as Django's own commands have it."""
        parser.add_argument("--database", metavar="ALIAS", type=_alias, **options)

    def add_monitoring_arguments(self, parser: CommandParser) -> None:
        """What lets others see from outside whether a process works."""
        parser.add_argument(
            "--metrics-port",
            type=_port,
            metavar="PORT",
            help="Serve metrics for Prometheus there.",
        )
        parser.add_argument(
            "--heartbeat-file",
            type=Path,
            metavar="PATH",
            help="Touch this file while it works, for probes.",
        )

    @contextmanager
    def measured(self, port: int | None, **what: Any) -> Iterator[None]:
        """Serve metrics meanwhile, on a thread of their own, if there is a port."""
        if port is None:
            yield
            return
        try:
            from django_strangler.monitoring import metrics
        except ImportError as error:
            raise CommandError(
                "--metrics-port needs: pip install 'django-strangler[prometheus]'"
            ) from error
        try:
            close = metrics.serve(port, **what)
        except OSError as error:
            raise CommandError(f"The port {port} cannot be had: {error}") from error
        try:
            yield
        finally:
            close()

    def heartbeat(self, path: Path | None, *parts: str) -> Callable[[str], object]:
        """What a process calls while it moves."""
        if path is None:
            return lambda part: None
        try:
            return Heartbeat(path, parts).beat
        except OSError as error:
            raise CommandError(f"The heartbeat file cannot be had: {error}") from error

    def confirmed(self, question: str, *, ask: bool) -> bool:
        """Ask before doing it, unless told not to."""
        if not ask:
            return True
        if not sys.stdin.isatty():
            raise CommandError("Nobody is there to ask. Pass --no-input to go on.")
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _port(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 65535:
        raise ArgumentTypeError(f"{text} is not from 1 to 65535")
    return value


def _alias(text: str) -> str:
    if text not in connections:
        raise ArgumentTypeError(f"there is no database {text!r} in DATABASES")
    return text


class Progress:
    """A bar with rate and time left on a terminal; nothing anywhere else."""

    WIDTH = 30

    def __init__(self, out: OutputWrapper | TextIO, total: int) -> None:
        self._out = out
        self._total = total
        self._started = time.monotonic()
        self._drawn = 0.0
        self.is_shown = out.isatty()

    def _write(self, text: str) -> None:
        # Django's wrapper ends each write with a new line, unless told not to.
        if isinstance(self._out, OutputWrapper):
            self._out.write(text, ending="")
        else:
            self._out.write(text)
        self._out.flush()

    def show(self, done: int, *, last: bool = False) -> None:
        """Draw how far it is, ten times a second at most."""
        now = time.monotonic()
        if not self.is_shown or (now - self._drawn < 0.1 and not last):
            return
        self._drawn = now
        total = max(self._total, done)
        rate = done / max(now - self._started, 0.001)
        full = self.WIDTH * done // total if total else self.WIDTH
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        bar = "█" * full + "·" * (self.WIDTH - full)
        end = "\n" if last else ""
        text = f"\r{bar} {done:,} of {total:,}, {rate:,.0f}/s{left}\033[K{end}"
        self._write(text)
