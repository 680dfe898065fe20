from decimal import Decimal

CENT = Decimal("0.01")
SYMBOLS = {"EUR": "€", "GBP": "£", "USD": "$"}


def to_cents(amount: Decimal | float | None) -> Decimal:
    """A sum from the database, exact again: SQLite adds decimals up as floats."""
    return Decimal(str(amount or 0)).quantize(CENT)


def format_amount(amount: Decimal, currency: str) -> str:
    return f"{SYMBOLS.get(currency, currency + ' ')}{amount:,.2f}"
