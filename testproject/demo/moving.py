"""
The payments' tables go to a database of their own, while everybody pays.

    DATABASE_URL=… PAYMENTS_DATABASE_URL=… python -m demo.moving

There, back, there again, and done. Exits 0 if no payment has noticed.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import django

PATIENCE = 60.0  # Seconds for each step.


def main() -> int:
    os.environ["DJANGO_SETTINGS_MODULE"] = "monolith.settings"
    os.environ["EMAIL_BACKEND"] = "django.core.mail.backends.locmem.EmailBackend"
    django.setup()
    from django.core.management import call_command

    def move(*verb: str) -> None:
        print(f"$ manage.py strangler_moves {' '.join(verb)}", flush=True)
        call_command("strangler_moves", *verb)

    for alias in ("default", "payments"):
        call_command("migrate", verbosity=0, database=alias)
    call_command("seed", users=1, payments=100)
    customers = Customers()
    move("check", "payments")
    move("start", "payments")
    with Moving():
        customers.pay_until(is_followed)
        move("status", "payments")
        for goal in ("modern", "legacy", "modern"):
            move("verify", "payments")
            # Nothing is drained here at all.
            move("switch", "payments", "--to", goal, "--without-relay")
            customers.pay_until(is_followed)
            customers.look(home="default" if goal == "legacy" else "payments")
    move("finish", "payments")
    customers.pay()
    customers.look(home="payments")
    print(f"{customers.count} payments were made meanwhile, and nobody has noticed.")
    return 0


class Moving:
    """A mover, at work on a thread."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        from django.db import connections

        from django_strangler.moves import mover

        mover.run(self._stop, "payments")
        connections.close_all()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def is_followed() -> bool:
    """Whether a switch would be let: everything is copied, and every process knows."""
    from django.utils import timezone
    from payments.moves import Payments

    from django_strangler.moves.models import MoveState
    from django_strangler.moves.status import status

    begun = MoveState.objects.get(name=Payments.name).started_at
    found = status(Payments)
    return (
        found.stage in ("following", "following back")
        and found.lag < 1
        and timezone.now() > begun + timedelta(seconds=3)
    )


class Customers:
    """They pay, are charged and get something back, by the API, as ever."""

    def __init__(self) -> None:
        from django.test import Client
        from users.models import User

        self._client = Client(headers={"host": "localhost"})
        self._user = User.objects.get().pk
        self._last = self.count = 0

    def pay(self) -> None:
        made = self._post("", user=self._user, amount="20.00", currency="EUR")
        self._last = made["id"]
        self._post(f"{self._last}/complete/")
        self._post(f"{self._last}/refund/", amount="5.00", reason="broken")
        self.count += 1

    def pay_until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        self.pay()
        while not is_so():
            if time.monotonic() > deadline:
                raise SystemExit("It took too long.")
            self.pay()
            time.sleep(0.05)

    def _post(self, path: str, **body: object) -> dict[str, Any]:
        answer = self._client.post(f"/payments/{path}", body, "application/json")
        if answer.status_code not in (200, 201):
            raise SystemExit(f"A customer got {answer.status_code}: {answer.content!r}")
        found: dict[str, Any] = answer.json()
        return found

    def look(self, *, home: str) -> None:
        """The last payment is whole, where payments live now, with its events."""
        from payments.models import LedgerEntry, Payment

        from django_strangler.models import OutboxEvent

        shown = self._client.get(f"/payments/{self._last}/").json()
        payment = Payment.objects.get(pk=self._last)
        events = OutboxEvent.objects.using(home).filter(
            key=f"payments.payment:{self._last}"
        )
        found = (
            shown["status"],
            [refund["amount"] for refund in shown["refunds"]],
            payment._state.db,
            payment.user.pk,
            LedgerEntry.objects.filter(payment=payment).count(),
            [each.type.partition(".")[2] for each in events.order_by("id")],
        )
        steps = ["created", "completed", "refunded"]
        if found != ("completed", ["5.00"], home, self._user, 2, steps):
            raise SystemExit(f"Something is not where it should be: {found}")


if __name__ == "__main__":
    sys.exit(main())
