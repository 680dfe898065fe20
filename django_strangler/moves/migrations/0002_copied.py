from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("strangler_moves", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Copied",
            fields=[
                (
                    "digest",
                    models.UUIDField(editable=False, primary_key=True, serialize=False),
                ),
                ("replica", models.CharField(max_length=100)),
                ("position", models.BigIntegerField()),
            ],
            options={
                "verbose_name": "copied row",
                "verbose_name_plural": "copied rows",
            },
        ),
    ]
