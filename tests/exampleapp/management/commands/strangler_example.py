"""``manage.py strangler_example``."""

from __future__ import annotations

from typing import Any

from django_strangler.management.base import StranglerCommand
from tests.exampleapp.models import Thing


class Command(StranglerCommand):
    """Make things."""

    help = "Makes five things."

    def handle(self, *args: Any, **options: Any) -> None:
        """Make them."""
        for number in range(5):
            Thing.objects.create(name=f"thing {number}")
        self.stdout.write("5 things.")
