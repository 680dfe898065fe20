"""``request.idempotency``: what a view knows of its key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from uuid import UUID, uuid4, uuid5

from django.db import connections, transaction

from . import claims
from .claims import Claim
from .exceptions import ClaimLost, InvalidIdempotentView


class Idempotency:
    """The key of this request, and the keys of the calls that it makes."""

    def __init__(
        self, claim: Claim | None, alias: str = "", *, replayed: bool = False
    ) -> None:
        self.key = None if claim is None else claim.key
        self.replayed = replayed
        self.point: str | None = None  # The last step that is done.
        self._claim = claim
        self._alias = alias

    @cached_property
    def _root(self) -> UUID:
        claim = self._claim
        return uuid4() if claim is None else UUID(claim.digest[:32])

    def downstream_key(self, name: str) -> str:
        """
        The key for a call to another service: the same whenever this request comes.

        It is not the client's own, which means something else over there.
        """
        return str(uuid5(self._root, name))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """
        Commit what is written inside, and that this step is done: both or neither.

        For mode "steps". The claim is held for another ``lease`` from its end.
        """
        claim = self._claim
        if claim is not None and claim.owner is None:
            raise InvalidIdempotentView(
                'step() belongs to @idempotent(mode="steps"): in mode "transaction" '
                "everything is one step."
            )
        with transaction.atomic(using=self._alias or None, durable=True):
            yield
            if claim is not None and not claims.advance(
                connections[self._alias], claim, name
            ):
                raise ClaimLost(
                    f"The step {name!r} was not committed: this request took longer "
                    "than its lease, and another one has taken over. Let the lease "
                    "last longer than the slowest call between two steps."
                )
        self.point = name
