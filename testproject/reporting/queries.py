"""The report that nobody dares to write in the ORM."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.db import connection
from monolith.days import bounds
from monolith.money import to_cents


@dataclass(frozen=True, slots=True, kw_only=True)
class Revenue:
    locale: str
    currency: str
    payments: int
    gross: Decimal
    refunded: Decimal
    unnotified: int  # Payments whose user has been sent no receipt.


def revenue_by_locale(day: date) -> list[Revenue]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT u.locale, p.currency, COUNT(*), SUM(p.amount),
                SUM(given_back.amount),
                SUM(CASE WHEN EXISTS (
                    SELECT 1 FROM notifications_receipt receipt
                    WHERE receipt.payment_id = p.id
                ) THEN 0 ELSE 1 END)
            FROM payments_payment p
            JOIN users_user u ON u.id = p.user_id
            LEFT JOIN (
                SELECT payment_id, SUM(amount) AS amount
                FROM payments_refund
                GROUP BY payment_id
            ) given_back ON given_back.payment_id = p.id
            WHERE p.completed_at >= %s AND p.completed_at < %s
            GROUP BY u.locale, p.currency
            ORDER BY u.locale, p.currency
            """,
            [connection.ops.adapt_datetimefield_value(each) for each in bounds(day)],
        )
        return [
            Revenue(
                locale=locale,
                currency=currency,
                payments=payments,
                gross=to_cents(gross),
                refunded=to_cents(refunded),
                unnotified=int(unnotified),
            )
            for locale, currency, payments, gross, refunded, unnotified in (
                cursor.fetchall()
            )
        ]
