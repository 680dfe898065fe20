from django.db import migrations

from django_strangler.databases.migrating import AddIndexBesideTraffic
from django_strangler.outbox.indexes import KeyIndex


class Migration(migrations.Migration):
    atomic = False  # PostgreSQL builds no index concurrently in a transaction.

    dependencies = [
        ("strangler", "0007_held_types"),
    ]

    operations = [
        AddIndexBesideTraffic(
            model_name="outboxevent",
            index=KeyIndex(
                fields=["key", "confirmed_at", "id"], name="strangler_outbox_key"
            ),
        ),
    ]
