from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("strangler_moves", "0002_copied")]

    operations = [
        migrations.AddField(
            model_name="mover",
            name="trouble",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=300
            ),
        ),
    ]
