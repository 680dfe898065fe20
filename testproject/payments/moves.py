"""The way of the payments' tables into a database of their own, where there is one."""

from django.conf import settings
from django.db import transaction

from django_strangler.moves import Move, Table, atomic

HOME = "payments"

if HOME in settings.DATABASES:

    class Payments(Move):
        name, target = "payments", HOME
        tables = (
            Table("payments.Payment"),
            Table("payments.Refund"),
            Table("payments.Payout"),
            Table("payments.LedgerEntry"),
            Table("payments.PaymentRequest"),
        )

    # A decorator: its function writes payments, wherever they live now.
    writing = atomic("payments")
else:
    writing = transaction.atomic()
