"""What is written wrong is said where it is written."""

from __future__ import annotations

import pytest

from django_strangler.http_idempotency import IdempotentMixin, idempotent
from django_strangler.http_idempotency.exceptions import InvalidIdempotentView


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mod": "steps"}, "no option 'mod'"),
        ({"mode": "step"}, '"transaction"'),
        ({"scope": 7}, "scope"),
        ({"scope": ""}, "scope"),
        ({"final": "x"}, "final"),
        ({"fingerprint": "x"}, "fingerprint"),
        ({"wait": -1}, "wait"),
        ({"wait": "2"}, "neither a number"),
        ({"retention": 0}, "retention"),
        ({"max_body": 0}, "max_body"),
        ({"lease": 5}, 'mode="steps"'),
        ({"resume": True}, 'mode="steps"'),
        ({"model": "payments.PaymentRequest", "using": "default"}, "using"),
        ({"model": "payments.PaymentRequest", "mode": "steps"}, "steps"),
    ],
)
def test_a_wrong_option_is_refused_at_definition(options, said):
    with pytest.raises(InvalidIdempotentView, match=said):
        idempotent(**options)
    with pytest.raises(InvalidIdempotentView, match=said):
        type("View", (IdempotentMixin,), {"idempotency": options})


def test_async_views_are_refused_at_definition():
    async def view(request): ...

    with pytest.raises(InvalidIdempotentView, match="async"):
        idempotent(view)
    with pytest.raises(InvalidIdempotentView, match="async"):
        type("View", (IdempotentMixin,), {"post": view})
