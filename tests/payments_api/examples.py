"""
The payments API by example: whoever serves it answers these the same way.

An example is a list of requests. ``{user}``, ``{verified}`` and ``{gone}`` are users,
``{0.id}`` is the id in the first answer.
"""

from __future__ import annotations

from typing import Any

Step = tuple[str, str, Any, int]  # Method, path, body, the status that is wanted.

GOOD = {"user": "{user}", "amount": "12.50", "currency": "EUR"}
NEW: Step = ("POST", "/payments/", GOOD, 201)


def bad(**fields: Any) -> list[Step]:
    return [("POST", "/payments/", {**GOOD, **fields}, 400)]


EXAMPLES: dict[str, list[Step]] = {
    "create": [NEW, ("GET", "/payments/{0.id}/", None, 200)],
    "create with a reference": [
        ("POST", "/payments/", {**GOOD, "reference": "order-1"}, 201),
        ("POST", "/payments/", {**GOOD, "reference": "order-1"}, 409),
    ],
    "numbers for texts": [("POST", "/payments/", {**GOOD, "amount": 12.5}, 201)],
    "blanks around": [("POST", "/payments/", {**GOOD, "amount": " 12.50 "}, 201)],
    "no fraction": [("POST", "/payments/", {**GOOD, "amount": "7"}, 201)],
    "list": [NEW, NEW, ("GET", "/payments/?user={user}", None, 200)],
    "list by status": [NEW, ("GET", "/payments/?user={user}&status=failed", None, 200)],
    "list of nobody": [("GET", "/payments/?user=0", None, 200)],
    "list by a bad user": [("GET", "/payments/?user=me", None, 400)],
    "missing fields": [("POST", "/payments/", {}, 400)],
    "null fields": bad(user=None, amount=None, currency=None),
    "no such user": bad(user=0),
    "a user who is gone": bad(user="{gone}"),
    "a user who is none": bad(user="me"),
    "no number": bad(amount="much"),
    "too fine": bad(amount="12.505"),
    "too large": bad(amount="99999999999.00"),
    "nothing": bad(amount="0"),
    "less than nothing": bad(amount="-1"),
    "no such currency": bad(currency="XXX"),
    "a reference too long": bad(reference="x" * 65),
    "unverified and large": bad(amount="10000.01"),
    "verified and large": [
        (
            "POST",
            "/payments/",
            {**GOOD, "user": "{verified}", "amount": "10000.01"},
            201,
        )
    ],
    "no JSON": [("POST", "/payments/", b"{", 400)],
    "no object": [("POST", "/payments/", b"[]", 400)],
    "complete": [
        NEW,
        ("POST", "/payments/{0.id}/complete/", None, 200),
        ("GET", "/payments/{0.id}/", None, 200),
    ],
    "complete twice": [
        NEW,
        ("POST", "/payments/{0.id}/complete/", None, 200),
        ("POST", "/payments/{0.id}/complete/", None, 409),
    ],
    "fail": [NEW, ("POST", "/payments/{0.id}/fail/", {"reason": "no funds: ä"}, 200)],
    "fail without a reason": [NEW, ("POST", "/payments/{0.id}/fail/", {}, 400)],
    "fail what is complete": [
        NEW,
        ("POST", "/payments/{0.id}/complete/", None, 200),
        ("POST", "/payments/{0.id}/fail/", {"reason": "late"}, 409),
    ],
    "refund": [
        NEW,
        ("POST", "/payments/{0.id}/complete/", None, 200),
        ("POST", "/payments/{0.id}/refund/", {"amount": "2.50", "reason": "ä"}, 201),
        ("POST", "/payments/{0.id}/refund/", {"amount": "10.01"}, 409),
        ("POST", "/payments/{0.id}/refund/", {"amount": "10.00"}, 201),
        ("POST", "/payments/{0.id}/refund/", {"amount": "0.01"}, 409),
        ("GET", "/payments/{0.id}/", None, 200),
    ],
    "refund what is pending": [
        NEW,
        ("POST", "/payments/{0.id}/refund/", {"amount": "1.00"}, 409),
    ],
    "refund nothing": [NEW, ("POST", "/payments/{0.id}/refund/", {"amount": "0"}, 400)],
    "no such payment": [
        ("GET", "/payments/999999999/", None, 404),
        ("POST", "/payments/999999999/complete/", None, 404),
        ("POST", "/payments/999999999/fail/", {"reason": "x"}, 404),
        ("POST", "/payments/999999999/refund/", {"amount": "1"}, 404),
    ],
    "no such path": [("GET", "/payments/x/", None, 404)],
    "other methods": [
        ("DELETE", "/payments/", None, 405),
        NEW,
        ("GET", "/payments/{1.id}/complete/", None, 405),
    ],
}
