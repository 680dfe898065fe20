"""``manage.py strangler_nginx``: nginx's configuration, from routes and flags."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_strangler.facade import access_log, nginx, planning
from django_strangler.management.base import StranglerCommand

DIFFERENT = 3


class Command(StranglerCommand):
    """Print, compare or feed on what nginx does."""

    help = (
        "Prints a configuration for nginx that agrees with routes and flags. With "
        "--check FILE, compares one that is in force: nginx -T | manage.py "
        "strangler_nginx --check -. Exits with 3 if it does not agree."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        parser.add_argument(
            "--mode",
            choices=["accel", "auth", "split"],
            help="accel: Django decides and sends nginx to the service. auth: nginx "
            "asks Django for each request. split: nginx decides by the flag's bucket. "
            "With --check, that of the file unless given.",
        )
        parser.add_argument(
            "--check", metavar="FILE", help='Compare this one; "-": stdin.'
        )
        parser.add_argument("--listen", default="80", help="Where the server listens.")
        parser.add_argument(
            "--legacy", metavar="URL", help="The monolith, if not FACADE's LEGACY_URL."
        )
        parser.add_argument(
            "--evidence-log",
            metavar="FILE",
            default="",
            help="Let nginx log there what services answered, for --read-log.",
        )
        parser.add_argument(
            "--read-log",
            action="store_true",
            help="Read such a log from stdin, until it ends, and note it as evidence.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Do one of the three."""
        if options["read_log"]:
            self.stdout.write(f"{access_log.read(sys.stdin)} answers noted.")
            return
        if options["check"] is None:
            wanted = self._render(options["mode"] or "accel", options)
            self.stdout.write(wanted, ending="")
            return
        text = self._read(options["check"])
        mode = options["mode"] or nginx.mode_of(text)
        if mode is None:
            raise CommandError(
                "The file has no part that begins with '# strangler: begin'. Is it the "
                "one that nginx reads? See: nginx -T"
            )
        found = nginx.differences(text, self._render(mode, options))
        if found:
            self.stdout.write("\n".join(found))
            self.stderr.write(
                "nginx does not agree with routes and flags. Write the file anew, "
                "then: nginx -t && nginx -s reload"
            )
            raise SystemExit(DIFFERENT)
        self.stdout.write("nginx agrees with routes and flags.")

    def _render(self, mode: Any, options: dict[str, Any]) -> str:
        return nginx.render(
            planning.plan(
                mode,
                listen=options["listen"],
                legacy_url=options["legacy"],
                evidence_log=options["evidence_log"],
            )
        )

    def _read(self, name: str) -> str:
        if name == "-":
            return sys.stdin.read()
        try:
            with open(name, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError as error:
            raise CommandError(f"{name} cannot be read: {error.strerror}.") from error
