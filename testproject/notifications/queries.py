"""Questions asked of other apps' tables, in their SQL."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection
from monolith.money import to_cents


@dataclass(frozen=True, slots=True, kw_only=True)
class OverduePayment:
    payment_id: int
    user_id: int
    amount: Decimal
    currency: str


def overdue_payments(since: datetime) -> list[OverduePayment]:
    """Failed payments of active users who have paid nothing since."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT failed.id, failed.user_id, failed.amount, failed.currency
            FROM payments_payment failed
            JOIN users_user u ON u.id = failed.user_id
            LEFT JOIN notifications_notificationpreference preference
                ON preference.user_id = u.id
            WHERE failed.status = 'failed'
                AND failed.created_at >= %s
                AND u.is_active
                AND COALESCE(preference.email, %s)
                AND NOT EXISTS (
                    SELECT 1 FROM payments_payment later
                    WHERE later.user_id = failed.user_id
                        AND later.status = 'completed'
                        AND later.completed_at > failed.created_at
                )
            ORDER BY failed.id
            """,
            [connection.ops.adapt_datetimefield_value(since), True],
        )
        return [
            OverduePayment(
                payment_id=payment_id,
                user_id=user_id,
                amount=to_cents(amount),
                currency=currency,
            )
            for payment_id, user_id, amount, currency in cursor.fetchall()
        ]
