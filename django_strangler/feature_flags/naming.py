"""People as the doors take them: by id, user name or e-mail address."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import Q

AT_ONCE = 500  # Texts per query; databases have a limit of parameters.


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a text stands for."""

    given: str
    id: str  # What a flag names.
    user: str = ""  # The user's name; empty if no user has this id.

    def __str__(self) -> str:
        if not self.user or self.user == self.given:
            return self.given if self.id == self.given else f"{self.given} ({self.id})"
        return f"{self.user} ({self.id})"


def look_up(texts: Iterable[str]) -> list[Named]:
    """
    Whom each of these means, an id before a name.

    A text that no user has stands for itself: a flag may be asked for anything, such as
    a tenant or a guest's address.
    """
    given = list(dict.fromkeys(texts))
    found: dict[str, Named] = {}
    for start in range(0, len(given), AT_ONCE):
        found |= _found(given[start : start + AT_ONCE])
    return [found.get(text, Named(given=text, id=text)) for text in given]


def strangers(named: Iterable[Named]) -> list[str]:
    """Those that no user has, in a project that has users."""
    found = [each.given for each in named if not each.user]
    users = get_user_model()._default_manager
    return found if found and users.exists() else []


def _found(texts: list[str]) -> dict[str, Named]:
    model = get_user_model()
    key, name = model._meta.pk, model.USERNAME_FIELD
    mail = getattr(model, "EMAIL_FIELD", "") or name
    ids = []
    for text in texts:
        try:
            ids.append(key.to_python(text))
        except (ValidationError, OverflowError):
            continue  # It is none, so it may be a name.
    clean = [text for text in texts if "\0" not in text]
    which = Q(pk__in=ids) | Q(**{f"{name}__in": clean}) | Q(**{f"{mail}__in": clean})
    rows = model._default_manager.filter(which).values_list("pk", name, mail)
    by_id: dict[str, str] = {}
    by_name: dict[str, set[tuple[str, str]]] = {}
    for pk, user, address in rows:
        by_id[str(pk)] = str(user)
        # Two users may share an address: then it is nobody's name.
        for text in {str(user), str(address)} - {""}:
            by_name.setdefault(text, set()).add((str(pk), str(user)))
    found = {}
    for text in texts:
        if text in by_id:
            found[text] = Named(given=text, id=text, user=by_id[text])
        elif len(by_name.get(text, ())) == 1:
            ((pk, user),) = by_name[text]
            found[text] = Named(given=text, id=pk, user=user)
    return found
