"""What the commands share: exit codes, common arguments, progress on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error

from django_strangler.exceptions import BrokerUnreachable, StranglerError
from django_strangler.monitoring.heartbeat import Heartbeat

from .arguments import alias, seconds, whole_number

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
        parser.add_argument("--database", metavar="ALIAS", type=alias, **options)

    def add_log_interval(self, parser: CommandParser) -> None:
        """``--log-interval``, of a process that runs until it is stopped."""
        parser.add_argument(
            "--log-interval",
            type=seconds(0.1),
            default=10.0,
            metavar="SECONDS",
            help="How often to say what was done, when there was anything.",
        )

    def add_monitoring_arguments(self, parser: CommandParser) -> None:
        """What lets others see from outside whether a process works."""
        parser.add_argument(
            "--metrics-port",
            type=whole_number(1, 65535),
            metavar="PORT",
            help="Serve metrics for Prometheus there.",
        )
        parser.add_argument(
            "--metrics-host",
            default="127.0.0.1",
            metavar="ADDRESS",
            help="Where Prometheus may ask from: 0.0.0.0 is from any other host.",
        )
        parser.add_argument(
            "--heartbeat-file",
            type=Path,
            metavar="PATH",
            help="Touch this file while it works, for probes.",
        )

    @contextmanager
    def measured(self, port: int | None, host: str, **what: Any) -> Iterator[None]:
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
            close = metrics.serve(port, host, **what)
        except OSError as error:
            raise CommandError(f"{host}:{port} cannot be opened: {error}") from error
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
            raise CommandError(
                f"The heartbeat file cannot be written: {error}"
            ) from error

    def confirmed(self, question: str, *, ask: bool) -> bool:
        """Ask before doing it, unless told not to."""
        if not ask:
            return True
        if not sys.stdin.isatty():
            raise CommandError(
                "There is no terminal to ask on. Pass --no-input to go on."
            )
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
