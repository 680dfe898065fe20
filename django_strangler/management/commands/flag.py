"""``manage.py flag``: see and change feature flags."""

from __future__ import annotations

import argparse
import getpass
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser
from django.db import router
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_strangler import feature_flags
from django_strangler.feature_flags import wording
from django_strangler.feature_flags.models import Flag, FlagChange
from django_strangler.management.base import StranglerCommand

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

# By the name of the subcommand; each takes the flag's name, `by` and `why`.
VERBS: dict[str, Callable[..., Flag | None]] = {
    "set": feature_flags.set_rollout,
    "enable": feature_flags.enable,
    "disable": feature_flags.disable,
    "include": feature_flags.include,
    "exclude": feature_flags.exclude,
    "release": feature_flags.release,
    "ramp": feature_flags.start_ramp,
    "hold": feature_flags.hold_ramp,
    "resume": feature_flags.resume_ramp,
    "rollback": feature_flags.rollback,
}


class Command(StranglerCommand):
    """One subcommand per verb of ``feature_flags``."""

    help = "Shows and changes feature flags. Every change is written into the history."

    def add_arguments(self, parser: CommandParser) -> None:
        """The subcommands."""
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
        verbs.add_parser("list", help="All flags.")
        for verb, text in (
            ("show", "One flag, whole."),
            ("history", "Who changed it, when, and why."),
        ):
            verbs.add_parser(verb, help=text).add_argument("name")
        check = verbs.add_parser("check", help="The answer for one user.")
        check.add_argument("name")
        check.add_argument("user", help="The user's id.")

        self._add_verb(verbs, "set", "Let PERCENTAGE of users in.").add_argument(
            "percentage"
        )
        self._add_verb(verbs, "enable", "Undo disable.")
        self._add_verb(verbs, "disable", "Off for everybody, now.")
        for verb, text in (
            ("include", "Let these users in at any percentage."),
            ("exclude", "Keep these users out, even at 100 %."),
            ("release", "Name these users no longer."),
        ):
            named = self._add_verb(verbs, verb, text)
            named.add_argument("users", nargs="*", metavar="USER", help="A user's id.")
            named.add_argument(
                "--group", action="append", default=[], help="Who is in it now."
            )
            named.add_argument("--staff", action="store_true", help="Who is staff now.")
        self._add_verb(verbs, "ramp", "Follow a schedule.").add_argument(
            "steps",
            nargs="+",
            metavar="STEP",
            type=_step,
            help="1@now, 5@2030-01-07T09:00 (the project's time zone), 25@+7d (after "
            "the step before; m, h, d or w).",
        )
        self._add_verb(verbs, "hold", "Stay where the ramp is.")
        self._add_verb(verbs, "resume", "Go on with the ramp.")
        self._add_verb(verbs, "rollback", "The state before the last change.")

    def _add_verb(self, verbs: Any, verb: str, text: str) -> CommandParser:
        parser: CommandParser = verbs.add_parser(verb, help=text)
        parser.add_argument("name")
        parser.add_argument("--why", default="", help="For the history.")
        parser.add_argument("--by", help="For the history; else who is logged in.")
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        """Show, or change and show."""
        verb = options["verb"]
        if verb not in VERBS:
            getattr(self, f"_{verb}")(**options)
            return
        by = options["by"] or _login()
        flag = VERBS[verb](options["name"], *_given(options), by=by, why=options["why"])
        if flag is None:
            self.stdout.write(f"{options['name']}: there is no such flag any more.")
        else:
            self.stdout.write(f"{flag.name}: {wording.rollout(flag)}")

    def _list(self, **options: Any) -> None:
        for flag in Flag.objects.using(router.db_for_write(Flag)):
            self.stdout.write(f"{flag.name}: {wording.rollout(flag)}")

    def _show(self, *, name: str, **options: Any) -> None:
        flag = Flag.objects.using(router.db_for_write(Flag)).filter(name=name).first()
        if flag is None:
            raise CommandError(f"There is no flag {name!r}. See: manage.py flag list")
        self.stdout.write(f"{flag.name}: {wording.rollout(flag)}")
        for field, value in flag.state().items():
            self.stdout.write(f"  {field}: {value}")

    def _history(self, *, name: str, **options: Any) -> None:
        changes = FlagChange.objects.using(router.db_for_write(FlagChange))
        for change in changes.filter(flag=name):
            at = (
                timezone.localtime(change.at)
                if timezone.is_aware(change.at)
                else change.at
            )
            what = wording.change(change.before, change.after)
            why = f": {change.why}" if change.why else ""
            self.stdout.write(
                f"{at:%Y-%m-%d %H:%M:%S} {change.by or 'unknown'}: {what}{why}"
            )

    def _check(self, *, name: str, user: str, **options: Any) -> None:
        decision = feature_flags.evaluate(name, user)
        answer = "on" if decision else "off"
        place = ""
        if decision.bucket is not None:
            place = f", at {decision.bucket / 0xFFFFFFFF:.4%}"
        self.stdout.write(f"{name} is {answer} for {user} ({decision.reason}{place})")


def _given(options: dict[str, Any]) -> list[Any]:
    """What a verb takes besides the name."""
    if options["verb"] == "set":
        return [options["percentage"]]
    if options["verb"] == "ramp":
        return list(options["steps"])
    if "users" not in options:
        return []
    users = [*options["users"]]
    for name in options["group"]:
        from django.contrib.auth.models import Group  # Not every project has groups.

        group = Group.objects.filter(name=name).first()
        if group is None:
            raise CommandError(f"There is no group {name!r}.")
        users.append(group)
    if options["staff"]:
        users.append(get_user_model()._default_manager.filter(is_staff=True))
    if not users:
        raise CommandError("Name users by their ids, --group or --staff.", returncode=2)
    return users


def _step(text: str) -> tuple[str, datetime | timedelta | None]:
    percentage, _, when = text.partition("@")
    if when == "now":
        return percentage, None
    if pause := re.fullmatch(r"\+(\d{1,6})([mhdw])", when):
        return percentage, timedelta(**{UNITS[pause[2]]: int(pause[1])})
    try:
        moment = parse_datetime(when)
    except ValueError:  # It looks like one.
        moment = None
    if moment is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no step: give a percentage and its time, such as 5@now, "
            "25@+2h or 50@2025-03-01T12:30."
        )
    return percentage, moment if moment.tzinfo else timezone.make_aware(moment)


def _login() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # A container may have no such user.
        return ""
