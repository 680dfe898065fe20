from __future__ import annotations

import inspect

from django_strangler import exceptions
from django_strangler.exceptions import StranglerError

CLASSES = [
    each
    for _, each in inspect.getmembers(exceptions, inspect.isclass)
    if each.__module__ == exceptions.__name__
]


def test_every_error_is_caught_by_the_one_base_class():
    assert all(issubclass(each, StranglerError) for each in CLASSES)


def test_every_error_says_what_it_means():
    assert all((each.__doc__ or "").strip() for each in CLASSES)
