import random
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from users.models import User

from payments.models import Currency, Payment
from payments.moves import writing


class Command(BaseCommand):
    help = "Add users with pending payments, to have something to play with."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--users", type=int, default=10)
        parser.add_argument("--payments", type=int, default=10, help="of each user")

    @transaction.atomic
    @writing
    def handle(self, *args: Any, users: int, payments: int, **options: Any) -> None:
        start = User.objects.count()
        for number in range(start, start + users):
            name = f"user{number}@example.com"
            user, _ = User.objects.get_or_create(
                username=name,
                defaults={"email": name, "locale": random.choice(("de", "en", "fr"))},
            )
            Payment.objects.bulk_create(
                Payment(
                    user=user,
                    amount=Decimal(random.randint(100, 50_000)) / 100,
                    currency=random.choice(Currency.values),
                )
                for _ in range(payments)
            )
        self.stdout.write(f"Added {users} users with {payments} payments each.")
