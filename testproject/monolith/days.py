"""A day as a pair of moments, which every database compares alike."""

from datetime import date, datetime, time, timedelta, timezone


def bounds(day: date) -> tuple[datetime, datetime]:
    """The first moment of a day in UTC, and the first one after it."""
    start = datetime.combine(day, time.min, tzinfo=timezone.utc)
    return start, start + timedelta(days=1)
