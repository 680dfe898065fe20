"""The Django app."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.core.checks import Tags, register

from django_strangler import pruning

if TYPE_CHECKING:
    from django_strangler.evidence.counts import Total


class StranglerConfig(AppConfig):
    """Registers what the core has; everything else waits until it is used."""

    name = "django_strangler"
    label = "strangler"
    verbose_name = "Strangler"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_strangler import checks
        from django_strangler.evidence import retention as evidence
        from django_strangler.evidence import writing
        from django_strangler.feature_flags import alerts
        from django_strangler.inbox import checks as inbox
        from django_strangler.outbox import checks as outbox
        from django_strangler.outbox import parkings

        register(checks.check_settings, Tags.compatibility)
        register(outbox.check_sqlite, Tags.compatibility)
        register(outbox.check_broker_for_production, Tags.security, deploy=True)
        register(inbox.check_subscribers, Tags.compatibility)
        register(inbox.check_consumer, Tags.database)
        parkings.connect()
        pruning.register("confirmed events deleted", _prune_events)
        pruning.register("idempotency keys forgotten", _prune_keys)
        pruning.register("handled events forgotten", _prune_inbox)
        pruning.register("counts of evidence deleted", evidence.prune)
        alerts.publish = _publish_alert
        writing.watchers.append(_let_guards_look)


# They import what they need: this module is loaded in every process.


def _prune_events(database: str | None) -> Iterator[int]:
    from django_strangler import conf
    from django_strangler.outbox import models, retention

    alias = database or models.outbox_alias()
    return retention.prune(alias, older_than=conf.current().retention)


def _prune_keys(database: str | None) -> Iterator[int]:
    from django_strangler import conf
    from django_strangler.outbox import idempotency, models

    alias = database or models.outbox_alias()
    return idempotency.prune(alias, older_than=conf.current().inbox_retention)


def _prune_inbox(database: str | None) -> Iterator[int]:
    from django_strangler import conf
    from django_strangler.inbox import retention

    return retention.prune(older_than=conf.current().inbox_retention)


def _publish_alert(payload: dict[str, Any]) -> None:
    from django.db import transaction

    from django_strangler.feature_flags import alerts
    from django_strangler.outbox import models, publishing

    # If flags and outbox live apart, their transactions end one after the other.
    with transaction.atomic(using=models.outbox_alias()):
        publishing.publish_event(
            alerts.TYPE, payload, key=f"strangler.flag:{payload['flag']}"
        )


def _let_guards_look(totals: Sequence[Total]) -> None:
    from django_strangler.feature_flags.watch import watch

    watch.look(totals)
