"""Whose word is taken for what."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from django_strangler.brokers.patterns import matches
from django_strangler.events import Publisher

from .decoding import Refused
from .failures import Reason


class Untrusted(Refused):
    """Its publisher may not say this: a dead letter, also if a subscriber finds it."""

    def __init__(self, text: str) -> None:
        super().__init__(text, Reason.UNTRUSTED)


def rules_of(
    type: str, rules: Mapping[str, Collection[str]]
) -> Sequence[Collection[str]]:
    """Whom each rule names whose pattern this type of events matches."""
    return [names for pattern, names in rules.items() if matches(pattern, type)]


def may_publish(source: Publisher, rules: Sequence[Collection[str]]) -> bool:
    """
    Whether an event of a type with these rules, and its decisions, are believed.

    Each of them must name the publisher; without a rule, anybody may whom the broker
    lets publish.
    """
    return all(is_among(source, names) for names in rules)


def is_among(source: Publisher, names: Collection[str]) -> bool:
    """Only if the broker vouches for it: anybody can claim a name."""
    return source.vouched and source.name in names


def is_foreign(
    source: Publisher, rules: Sequence[Collection[str]], *, app: object, ours: str
) -> bool:
    """
    Whether its trace is another's, which ours links to instead of going on with it.

    A publisher that a rule names is believed. Of the others, those that call themselves
    by this project's ``SOURCE``.
    """
    if rules:
        return not any(is_among(source, names) for names in rules)
    return app != ours
