"""Flags, their history, and the stamp by which processes see that something changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.core.exceptions import ValidationError
from django.db import IntegrityError, connections, models, router, transaction
from django.db.models import Q
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.utils.translation import gettext_lazy as _

from django_strangler.clock import DatabaseNow
from django_strangler.exceptions import AppendOnly, StranglerError

from . import attribution, ramps, rules
from .own_changes import note_change

if TYPE_CHECKING:
    from typing_extensions import Self


BY_GUARD = "guard ("  # So begins who it was, in the history.


class FlagQuerySet(models.QuerySet["Flag"]):
    """Every way to write, each with its history and a new stamp."""

    def update(self, **values: Any) -> int:
        values = {name: _checked(name, value) for name, value in values.items()}
        with self._recorded(self._by_pk):
            return super().update(**values)

    def delete(self) -> tuple[int, dict[str, int]]:
        with self._recorded(self._by_pk):
            return super().delete()

    # As in Django: there is no Flag.objects.delete().
    delete.queryset_only = True  # type: ignore[attr-defined]

    def update_or_create(self, *args: Any, **kwargs: Any) -> tuple[Flag, bool]:
        self._for_write = True
        with transaction.atomic(using=self.db):
            # Before Django locks the flag: two locks in two orders are a deadlock.
            FlagVersion.objects.using(self.db).renew()
            return super().update_or_create(*args, **kwargs)

    def bulk_create(
        self, objs: Iterable[Flag], *args: Any, **kwargs: Any
    ) -> list[Flag]:
        flags = [flag.prepare() for flag in objs]
        with self._recorded(lambda: Q(name__in=[flag.name for flag in flags])):
            return super().bulk_create(flags, *args, **kwargs)

    def bulk_update(
        self, objs: Iterable[Flag], fields: Iterable[str], *args: Any, **kwargs: Any
    ) -> int:
        # Django calls update() for each batch.
        flags = [flag.prepare() for flag in objs]
        return super().bulk_update(flags, fields, *args, **kwargs)

    def locked(self, name: str) -> Flag | None:
        """The flag, which nobody else changes until the transaction ends."""
        self._for_write = True
        # The lock before the reading, or two changes at once would undo each other.
        FlagVersion.objects.using(self.db).renew()
        return self.select_for_update().filter(name=name).first()

    def _by_pk(self) -> Q:
        return Q(pk__in=list(self.values_list("pk", flat=True)))

    @contextmanager
    def _recorded(self, find: Callable[[], Q]) -> Iterator[None]:
        """Compare the flags before and after the block; all happens or nothing."""
        self._for_write = True
        alias = self.db
        rows = Flag._base_manager.using(alias)
        with transaction.atomic(using=alias):
            # First of all: changes queue up here, so no two of them can deadlock, and
            # "before" is what the change before left.
            FlagVersion.objects.using(alias).renew()
            which = find()
            before = {flag.pk: flag.state() for flag in rows.filter(which)}
            yield
            found = rows.filter(which | Q(pk__in=before))
            after = {flag.pk: flag.state() for flag in found}
            changes = [
                FlagChange.of(before.get(pk), after.get(pk))
                for pk in {**before, **after}
                if before.get(pk) != after.get(pk)
            ]
            FlagChange.objects.using(alias).bulk_create(changes)
            note_change(connections[alias])


class Flag(models.Model):
    """Who is served by the modern path."""

    name = models.CharField(max_length=rules.MAX_NAME, unique=True)
    # The off switch. It leaves the percentage as it is.
    enabled = models.BooleanField(default=True, db_default=True)
    percentage = models.DecimalField(
        max_digits=5, decimal_places=2, default=Decimal(0), db_default=Decimal(0)
    )
    # Stored, so that a flag which is renamed keeps its users.
    salt = models.CharField(max_length=rules.MAX_NAME, blank=True)
    included = models.JSONField(default=list, blank=True)
    excluded = models.JSONField(default=list, blank=True)
    ramp = models.JSONField(null=True, blank=True, editable=False)

    objects = FlagQuerySet.as_manager()

    class Meta:
        app_label = "strangler"
        verbose_name = _("flag")
        verbose_name_plural = _("flags")
        ordering = ["name"]
        permissions = [("switch_off_flag", "Can switch a flag off")]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, using: str | None = None, **kwargs: Any) -> None:
        self.prepare()
        using = using or router.db_for_write(type(self), instance=self)
        with self._flags(using)._recorded(lambda: Q(pk=self.pk) | Q(name=self.name)):
            super().save(*args, using=using, **kwargs)

    def delete(
        self, using: str | None = None, keep_parents: bool = False
    ) -> tuple[int, dict[str, int]]:
        using = using or router.db_for_write(type(self), instance=self)
        with self._flags(using)._recorded(lambda: Q(pk=self.pk)):
            return super().delete(using=using, keep_parents=keep_parents)

    @classmethod
    def _flags(cls, using: str) -> FlagQuerySet:
        return FlagQuerySet(Flag, using=using)

    def prepare(self) -> Self:
        """Complete and check the values, as every way of saving does."""
        self.name = rules.check_name(self.name)
        self.salt = rules.check_salt(self.salt or self.name)
        self.percentage = rules.check_percentage(self.percentage)
        self.included = rules.check_ids(self.included)
        self.excluded = rules.check_ids(self.excluded)
        if self.ramp is not None:
            ramp = ramps.from_json(self.ramp)
            # Off means that nobody moves on unseen: it comes back at this percentage.
            ramp = ramp if self.enabled else ramp.hold(ramps.now())
            self.ramp = ramp.to_json()
        return self

    def clean(self) -> None:
        try:
            self.prepare()
        except StranglerError as error:
            raise ValidationError(str(error)) from error

    def rollout(self, now: datetime | None = None) -> Decimal:
        """The percentage now, or then: the ramp's, if there is one."""
        if self.ramp is None:
            return self.percentage
        reached = ramps.from_json(self.ramp).percentage(now or ramps.now())
        return self.percentage if reached is None else reached

    def state(self) -> dict[str, Any]:
        """All of it as JSON: what the history keeps, and a rollback brings back."""
        return {
            "name": self.name,
            "enabled": self.enabled,
            "percentage": str(self.percentage),
            "salt": self.salt,
            "included": self.included,
            "excluded": self.excluded,
            "ramp": self.ramp,
        }


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": rules.check_name,
    "salt": rules.check_salt,
    "percentage": rules.check_percentage,
    "included": rules.check_ids,
    "excluded": rules.check_ids,
}


def _checked(name: str, value: Any) -> Any:
    # An expression is checked by its result. A plain value is not, because the column
    # would round a third decimal silently.
    if name not in _CHECKS or hasattr(value, "resolve_expression"):
        return value
    return _CHECKS[name](value)


class AppendOnlyQuerySet(models.QuerySet["FlagChange"]):
    """History is written once."""

    def update(self, **values: Any) -> int:
        raise AppendOnly("The history of flags cannot be changed.")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise AppendOnly("The history of flags cannot be deleted.")

    delete.queryset_only = True  # type: ignore[attr-defined]

    def bulk_create(
        self,
        objs: Iterable[FlagChange],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> list[FlagChange]:
        if update_conflicts:
            raise AppendOnly("The history of flags cannot be changed.")
        return super().bulk_create(
            objs, batch_size, ignore_conflicts, update_conflicts, *args, **kwargs
        )

    def _raw_delete(self, using: str | None) -> int:
        raise AppendOnly("The history of flags cannot be deleted.")

    def last_by_person(self, flag: str) -> int:
        """Its newest line that a person wrote, of the last twenty lines; else 0."""
        lines = self.filter(flag=flag).order_by("-id")[:20]
        return next((line.pk for line in lines if line.is_by_person), 0)


class FlagChange(models.Model):
    """One change of one flag. No relations: it outlives the flag and the user."""

    flag = models.CharField(max_length=rules.MAX_NAME)  # Its name.
    at = models.DateTimeField(db_default=DatabaseNow())
    by = models.CharField(max_length=255, blank=True)
    by_id = models.CharField(max_length=255, blank=True)
    why = models.TextField(blank=True)
    before = models.JSONField(null=True)  # None: the flag did not exist.
    after = models.JSONField(null=True)  # None: it was deleted.

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        app_label = "strangler"
        # Or ``_base_manager`` would be a way around it.
        base_manager_name = "objects"
        verbose_name = _("flag change")
        verbose_name_plural = _("flag changes")
        ordering = ["-id"]
        indexes = [models.Index(fields=["flag", "id"], name="strangler_flag_history")]

    def __str__(self) -> str:
        return f"{self.flag} #{self.pk}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnly("The history of flags cannot be changed.")
        # Or a row that has the key already would be overwritten.
        kwargs["force_insert"] = True
        super().save(*args, **kwargs)

    def delete(
        self, using: str | None = None, keep_parents: bool = False
    ) -> tuple[int, dict[str, int]]:
        raise AppendOnly("The history of flags cannot be deleted.")

    @property
    def is_by_person(self) -> bool:
        """Whether it changed the flag, and no guard did."""
        return self.before != self.after and not self.by.startswith(BY_GUARD)

    @classmethod
    def of(cls, before: dict[str, Any] | None, after: dict[str, Any] | None) -> Self:
        """The record of a change that is being made now."""
        if after is not None:
            Flag(**after).prepare()  # An expression may have computed anything.
        who = attribution.current()
        return cls(
            flag=(after or before or {})["name"],
            at=DatabaseNow(),
            by=who.by,
            by_id=who.by_id,
            why=who.why,
            before=before,
            after=after,
        )


class FlagVersionQuerySet(models.QuerySet["FlagVersion"]):
    """The single row."""

    def stamp(self) -> str | None:
        """The stamp; None before the first change."""
        stamp: str | None = self.filter(pk=1).values_list("stamp", flat=True).first()
        return stamp

    def renew(self) -> None:
        """A new stamp; the row stays locked until the transaction ends."""
        stamp = uuid4().hex
        if self.filter(pk=1).update(stamp=stamp):
            return
        try:
            with transaction.atomic(using=self.db):
                self.create(pk=1, stamp=stamp)
        except IntegrityError:  # Somebody else's first change came first.
            self.filter(pk=1).update(stamp=stamp)


class FlagVersion(models.Model):
    """
    A random stamp, another one after each change; compared for equality only.

    A counter would lie: after a rollback, the next change counts to the same number.
    """

    stamp = models.CharField(max_length=32)

    objects = FlagVersionQuerySet.as_manager()

    def __str__(self) -> str:
        return self.stamp


@receiver(post_save, sender=Flag)
def _flags_were_loaded(raw: bool, using: str, **kwargs: Any) -> None:
    # loaddata goes round save(), and may bring the history itself.
    if raw:
        FlagVersion.objects.using(using).renew()
        note_change(connections[using])


class Action(models.TextChoices):
    """What a guard does, the strongest first; none of them raises a flag."""

    OFF = "off", _("off")
    ROLLBACK = "rollback", _("rollback")
    HOLD = "hold", _("hold")


class Guard(models.Model):
    """A rule on a flag: these sources, these limits, one of each action."""

    flag = models.CharField(max_length=rules.MAX_NAME)  # Its name.
    action = models.CharField(max_length=8, choices=Action.choices)
    sources = models.JSONField()
    # What of evidence.statistics.Rule is not the default.
    rule = models.JSONField(default=dict, blank=True)
    at = models.DateTimeField(db_default=DatabaseNow())
    by = models.CharField(max_length=255, blank=True)
    why = models.TextField(blank=True)

    class Meta:
        verbose_name = _("guard")
        verbose_name_plural = _("guards")
        ordering = ["flag", "action"]
        constraints = [
            models.UniqueConstraint(
                fields=["flag", "action"], name="strangler_guard_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.flag}: {self.action}"


class Incident(models.Model):
    """From a guard's trip until a person resumes."""

    flag = models.CharField(max_length=rules.MAX_NAME)  # Its name.
    action = models.CharField(max_length=8, choices=Action.choices)
    source = models.CharField(max_length=200)
    ground = models.CharField(max_length=8)
    text = models.TextField()
    at = models.DateTimeField(db_default=DatabaseNow())
    change = models.BigIntegerField()  # The line of history that it wrote.
    resumed_at = models.DateTimeField(null=True, blank=True)
    by = models.CharField(max_length=255, blank=True)  # Who resumed.
    why = models.TextField(blank=True)

    class Meta:
        verbose_name = _("incident")
        verbose_name_plural = _("incidents")
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["flag", "resumed_at"], name="strangler_incident_open")
        ]

    def __str__(self) -> str:
        return f"{self.flag} #{self.pk}"
