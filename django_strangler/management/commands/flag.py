"""``manage.py flag``: see and change feature flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser
from django.db import router
from django.utils import timezone

from django_strangler import evidence, feature_flags
from django_strangler.exceptions import InvalidRamp
from django_strangler.feature_flags import ramps, watch, wording
from django_strangler.feature_flags.models import Action, Flag, FlagChange, Guard
from django_strangler.feature_flags.naming import Named, look_up, strangers
from django_strangler.management.base import StranglerCommand
from django_strangler.management.people import login
from django_strangler.printable import printable

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
    "resume": feature_flags.resume,
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
        check.add_argument("user", help="The user's id, name or e-mail address.")

        self._add_verb(verbs, "set", "Let PERCENTAGE of users in.").add_argument(
            "percentage"
        )
        self._add_verb(verbs, "enable", "Undo disable.")
        self._add_verb(verbs, "disable", "Off for everybody, now.")
        for verb, text in (
            ("include", "Let these users in at any percentage."),
            ("exclude", "Keep these users out, even at 100 %%."),
            ("release", "Name these users no longer."),
        ):
            named = self._add_verb(verbs, verb, text)
            named.add_argument(
                "users",
                nargs="*",
                metavar="USER",
                help="A user's id, name or e-mail address; any other text is an id.",
            )
            named.add_argument(
                "--group", action="append", default=[], help="Who is in it now."
            )
            named.add_argument("--staff", action="store_true", help="Who is staff now.")
        ramp = self._add_verb(verbs, "ramp", "Follow a schedule.")
        ramp.add_argument(
            "--gated",
            action="store_true",
            help="A step also waits until the flag's guards have seen enough.",
        )
        ramp.add_argument(
            "steps",
            nargs="+",
            metavar="STEP",
            type=_step,
            help="1@now, 5@2030-01-07T09:00 (the project's time zone), 25@+7d (after "
            "the step before; m, h, d or w).",
        )
        self._add_verb(verbs, "hold", "Stay where the ramp is.")
        self._add_verb(verbs, "resume", "Go on after an incident, or with the ramp.")
        guard = self._add_verb(verbs, "guard", "Let it stop by itself.")
        guard.add_argument(
            "--on", nargs="+", metavar="SOURCE", help="What is looked at: route:NAME."
        )
        guard.add_argument("--action", choices=Action.values, help="What is done.")
        guard.add_argument("--remove", action="store_true", help="Take it away.")
        for option, kind, text in (
            ("margin", float, "Points of percent by which it may fail more often."),
            ("limit", float, "Percent that may fail where there is no legacy side."),
            ("slower", float, "Times legacy's p99 that it may take."),
            ("least", int, "Samples without which nothing is judged."),
            ("window", float, "Seconds to look back, at most."),
        ):
            guard.add_argument(f"--{option}", type=kind, help=text)
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
        by = options["by"] or login()
        more = {"gated": True} if options.get("gated") else {}
        flag = VERBS[verb](
            options["name"], *self._given(options), by=by, why=options["why"], **more
        )
        if flag is None:
            self.stdout.write(f"{options['name']}: this flag does not exist any more.")
        else:
            self.stdout.write(f"{flag.name}: {wording.rollout(flag)}")

    def _guard(self, *, name: str, **options: Any) -> None:
        who = {"by": options["by"] or login(), "why": options["why"]}
        if options["remove"]:
            number = feature_flags.remove_guard(name, action=options["action"], **who)
            self.stdout.write(f"{name}: {number} guards removed")
            return
        if not options["on"] or not options["action"]:
            raise CommandError(
                "Say what the guard looks at and what it does: --on route:NAME "
                "--action off. Or take it away: --remove.",
                returncode=2,
            )
        limits = {
            each: options[each]
            for each in ("margin", "limit", "slower", "least", "window")
            if options[each] is not None
        }
        guard = feature_flags.set_guard(
            name, on=options["on"], action=options["action"], **limits, **who
        )
        self.stdout.write(f"{name}: {wording.guard(guard)}")
        for source in guard.sources:
            seen = evidence.seen(source, since=timedelta(days=14))
            if not seen["modern"].checked and not seen["legacy"].checked:
                self.stdout.write(f"Nothing was seen of {source} so far.")

    def _list(self, **options: Any) -> None:
        flags = list(Flag.objects.using(router.db_for_write(Flag)))
        for flag in flags:
            self.stdout.write(f"{flag.name}: {wording.shown(flag)}")
        if not flags:
            self.stdout.write(
                "There is no flag. Create one: manage.py flag set NAME 0 --why …"
            )

    def _show(self, *, name: str, **options: Any) -> None:
        flag = Flag.objects.using(router.db_for_write(Flag)).filter(name=name).first()
        if flag is None:
            raise CommandError(f"There is no flag {name!r}. See: manage.py flag list")
        self.stdout.write(f"{flag.name}: {wording.rollout(flag)}")
        for field, value in flag.state().items():
            self.stdout.write(f"  {field}: {printable(value)}")
        alias = router.db_for_write(Guard)
        for guard in Guard.objects.using(alias).filter(flag=name):
            self.stdout.write(f"  guard: {wording.guard(guard)}")
        watched = watch.watched(name)
        if watched and watched.ramp and watched.ramp.waiting(ramps.now()):
            for text in watch.lacking(watched) or ["it opens in a moment"]:
                self.stdout.write(f"  the next step waits: {text}")

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
            # Anybody who may switch a flag off writes the reason.
            line = f"{change.by or 'unknown'}: {what}{why}"
            self.stdout.write(f"{at:%Y-%m-%d %H:%M:%S} {printable(line)}")

    def _check(self, *, name: str, user: str, **options: Any) -> None:
        (named,) = self._named([user])
        decision = feature_flags.evaluate(name, named.id)
        answer = "on" if decision else "off"
        place = ""
        if decision.bucket is not None:
            place = f", at {decision.bucket / 0xFFFFFFFF:.4%}"
        self.stdout.write(
            printable(f"{name} is {answer} for {named} ({decision.reason}{place})")
        )

    def _given(self, options: dict[str, Any]) -> list[Any]:
        """What a verb takes besides the name."""
        if options["verb"] == "set":
            return [options["percentage"]]
        if options["verb"] == "ramp":
            return list(options["steps"])
        if "users" not in options:
            return []
        users: list[Any] = [each.id for each in self._named(options["users"])]
        for name in options["group"]:
            from django.contrib.auth.models import Group  # Not every project has it.

            group = Group.objects.filter(name=name).first()
            if group is None:
                raise CommandError(f"There is no group {name!r}.")
            users.append(group)
        if options["staff"]:
            users.append(get_user_model()._default_manager.filter(is_staff=True))
        # Without any, the next step of a gated ramp is released.
        if not users and options["verb"] != "release":
            raise CommandError(
                "Name users by their ids, --group or --staff.", returncode=2
            )
        return users

    def _named(self, texts: list[str]) -> list[Named]:
        """Whom these mean; a text that no user has is said to be one."""
        found = look_up(texts)
        for text in strangers(found):
            self.stderr.write(
                f"There is no such user: {text!r} is taken for the id of something "
                "else."
            )
        return found


def _step(text: str) -> tuple[str, ramps.When]:
    try:
        return ramps.parse_step(text)
    except InvalidRamp as error:
        raise argparse.ArgumentTypeError(str(error)) from None
