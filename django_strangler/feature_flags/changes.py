"""
Changing flags: each function is one transaction, and one line in the history.

``by`` is a user or a name, ``why`` is for the readers of the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any, NoReturn, TypeAlias

from django.contrib.auth import get_user_model
from django.db import models, router, transaction

from django_strangler.exceptions import UnknownFlag

from . import ramps, rules
from .attribution import Author, attributed_to
from .models import Flag, FlagChange

# One subject, a group, or many of them: a queryset, say.
Subjects: TypeAlias = "rules.Subject | Iterable[rules.Subject]"


def set_rollout(
    name: str,
    percentage: int | str | Decimal | float,
    *,
    by: Author = None,
    why: str = "",
) -> Flag:
    """
    Let this percentage of users in; an unknown flag is created.

    Raising keeps everybody who is in, lowering takes out exactly those whom raising put
    in. A ramp ends. A flag that is switched off stays off.
    """
    percentage = rules.check_percentage(percentage)
    with _changed(name, by, why, create=True) as flag:
        flag.percentage, flag.ramp = percentage, None
    return flag


def enable(name: str, *, by: Author = None, why: str = "") -> Flag:
    """Undo ``disable``; a ramp stays held until it is resumed."""
    with _changed(name, by, why) as flag:
        flag.enabled = True
    return flag


def disable(name: str, *, by: Author = None, why: str = "") -> Flag:
    """
    The off switch: nobody is in, from now on, everywhere within ``FLAG_REFRESH``.

    The percentage stays for ``enable``, and a ramp is held.
    """
    with _changed(name, by, why) as flag:
        flag.enabled = False
    return flag


def include(name: str, *users: Subjects, by: Author = None, why: str = "") -> Flag:
    """
    Let these users in at any percentage.

    Takes users, ids, groups and querysets; a group stands for those in it now.
    """
    ids = ids_of(users)
    with _changed(name, by, why) as flag:
        flag.included = [*flag.included, *ids]
        flag.excluded = _without(flag.excluded, ids)
    return flag


def exclude(name: str, *users: Subjects, by: Author = None, why: str = "") -> Flag:
    """Keep these users out, even at 100 %."""
    ids = ids_of(users)
    with _changed(name, by, why) as flag:
        flag.excluded = [*flag.excluded, *ids]
        flag.included = _without(flag.included, ids)
    return flag


def release(name: str, *users: Subjects, by: Author = None, why: str = "") -> Flag:
    """
    Name these users no longer: the percentage decides about them again.

    Without users, release the step that a gated ramp holds back, as ``release_step``.
    """
    if not users:
        return release_step(name, by=by, why=why)
    ids = ids_of(users)
    with _changed(name, by, why) as flag:
        flag.included = _without(flag.included, ids)
        flag.excluded = _without(flag.excluded, ids)
    return flag


def start_ramp(
    name: str,
    *steps: tuple[int | str | Decimal | float, ramps.When] | str,
    gated: bool = False,
    by: Author = None,
    why: str = "",
) -> Flag:
    """
    Let the percentage follow a schedule; an unknown flag is created.

    A step is ``(percentage, when)``: an aware datetime, a timedelta after the step
    before, or None for now; or all of it as text, ``"25@+7d"``. Until the first step
    the percentage stays as it is.

    A step of a gated ramp waits for its time and for its evidence: all guards of the
    flag have seen enough since the last step, and are well. While nobody is in, there
    is nothing to see, and the time is enough.
    """
    now = ramps.now()
    ramp = ramps.plan(steps, now=now)
    with _changed(name, by, why, create=True) as flag:
        flag.percentage = flag.rollout(now)
        if gated:
            opened = 0 if flag.percentage else 1
            ramp = replace(ramp, opened=opened)
        flag.ramp = ramp.to_json()
    return flag


def release_step(name: str, *, by: Author = None, why: str = "") -> Flag:
    """Open the next step of a gated ramp now, whatever it waits for."""
    with _changed(name, by, why or "released") as flag:
        flag.ramp = ramps.require(flag.ramp, name).open(ramps.now()).to_json()
    return flag


def hold_ramp(name: str, *, by: Author = None, why: str = "") -> Flag:
    """Stay at the percentage that the ramp has reached."""
    with _changed(name, by, why) as flag:
        flag.ramp = ramps.require(flag.ramp, name).hold(ramps.now()).to_json()
    return flag


def resume_ramp(name: str, *, by: Author = None, why: str = "") -> Flag:
    """Go on with the ramp; what is still to come moves by as long as it was held."""
    with _changed(name, by, why) as flag:
        flag.ramp = ramps.require(flag.ramp, name).resume(ramps.now()).to_json()
    return flag


def rollback(name: str, *, by: Author = None, why: str = "") -> Flag | None:
    """
    Bring back the state before the last change, of any kind.

    So a flag that was deleted comes back, one that was just created goes (the result is
    None then), and rolling back twice changes nothing. A ramp goes on where it was.
    """
    alias = router.db_for_write(Flag)
    with transaction.atomic(using=alias), attributed_to(by, why or "rollback"):
        flag = Flag.objects.using(alias).locked(name)
        history = FlagChange.objects.using(alias).filter(flag=name)[:1000]
        # A line about a guard tells of no other state.
        last = next((each for each in history if each.before != each.after), None)
        if last is None:
            raise UnknownFlag(f"There is no history of a flag {name!r:.120}.")
        if last.before is None:
            if flag is not None:
                flag.delete(using=alias)
            return None
        flag = flag or Flag()
        for field, value in last.before.items():
            setattr(flag, field, value)
        if flag.ramp is not None:
            # It goes on from where it was, not from where it would be by now.
            ramp = ramps.from_json(flag.ramp)
            if ramp.held_at is None:
                ramp = ramp.hold(ramps.zoned(last.at)).resume(ramps.now())
            flag.ramp = ramp.to_json()
        flag.save(using=alias)
    return flag


def missing(name: str) -> NoReturn:
    """Say that there is no such flag, and how to create it."""
    raise UnknownFlag(
        f"There is no flag {name!r}. Create it: set_rollout({name!r}, 0)."
    )


def ids_of(users: Iterable[Subjects]) -> list[str]:
    """Users, ids, groups and collections of them as the ids that a flag can name."""
    return rules.check_ids(_expanded(users))


def _expanded(users: Any) -> Iterator[rules.Subject]:
    for each in users:
        if isinstance(each, models.Model) and each._meta.label == "auth.Group":
            members = get_user_model()._default_manager.filter(groups=each.pk)
            yield from members.values_list("pk", flat=True)
        # request.user is a lazy object, which looks like a collection of anything.
        elif (
            isinstance(each, Iterable)
            and not isinstance(each, (str, bytes))
            and not hasattr(each, "pk")
        ):
            yield from _expanded(each)
        else:
            yield each


def _without(named: Iterable[str], ids: Iterable[str]) -> list[str]:
    gone = frozenset(ids)  # Both may be thousands.
    return [each for each in named if each not in gone]


@contextmanager
def _changed(
    name: str, by: Author, why: str, *, create: bool = False
) -> Iterator[Flag]:
    name = rules.check_name(name)
    alias = router.db_for_write(Flag)
    with transaction.atomic(using=alias), attributed_to(by, why):
        flag = Flag.objects.using(alias).locked(name)
        if flag is None:
            flag = Flag(name=name) if create else missing(name)
        yield flag
        flag.save(using=alias)
