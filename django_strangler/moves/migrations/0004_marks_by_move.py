from django.db import migrations, models

from django_strangler.databases.migrating import AddIndexBesideTraffic


class Migration(migrations.Migration):
    atomic = False  # Each writer of a moved table writes to this one.

    dependencies = [("strangler_moves", "0003_standing_still")]

    operations = [
        AddIndexBesideTraffic(
            model_name="mark",
            index=models.Index(fields=["move", "id"], name="strangler_moves_of"),
        ),
    ]
