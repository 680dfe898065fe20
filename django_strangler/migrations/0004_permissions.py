from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("strangler", "0003_inbox"),
    ]

    # No SQL: the permissions are made after the migrations.
    operations = [
        migrations.AlterModelOptions(
            name="outboxevent",
            options={
                "permissions": [
                    ("view_payload", "Can view the payload of events"),
                    ("replay_event", "Can replay events"),
                    ("discard_event", "Can discard parked events"),
                ],
                "verbose_name": "event",
                "verbose_name_plural": "events",
            },
        ),
    ]
