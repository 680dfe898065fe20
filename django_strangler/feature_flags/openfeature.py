"""
Our flags for programs that ask through OpenFeature (extra ``openfeature``).

    from openfeature import api
    from openfeature.evaluation_context import EvaluationContext

    api.set_provider(StranglerProvider())
    client = api.get_client()
    client.get_boolean_value("notifications-v2", False, EvaluationContext("42"))
"""

from __future__ import annotations

from typing import Any, NoReturn

from asgiref.sync import sync_to_async

from django_strangler.extras import extra

from .evaluation import evaluate
from .gates import STANDARD_REASONS

with extra("openfeature"):
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.exception import (
        FlagNotFoundError,
        ProviderNotReadyError,
        TypeMismatchError,
    )
    from openfeature.flag_evaluation import FlagResolutionDetails
    from openfeature.provider import AbstractProvider, Metadata


class StranglerProvider(AbstractProvider):
    """The targeting key is the user's id; a flag is a boolean and nothing else."""

    def get_metadata(self) -> Metadata:
        return Metadata(name="django-strangler")

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        key = evaluation_context.targeting_key if evaluation_context else None
        decision = evaluate(flag_key, key)
        if decision.reason == "unknown":
            raise FlagNotFoundError(f"There is no flag {flag_key!r}.")
        if decision.reason == "unavailable":
            raise ProviderNotReadyError("The flags could not be read yet.")
        return FlagResolutionDetails(
            value=decision.enabled,
            variant="on" if decision.enabled else "off",
            reason=STANDARD_REASONS[decision.reason].upper(),
            flag_metadata={"version": decision.version},
        )

    async def resolve_boolean_details_async(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        # The flags may have to be read, and Django's databases are synchronous.
        resolve = sync_to_async(self.resolve_boolean_details)
        return await resolve(flag_key, default_value, evaluation_context)

    def _refuse(
        self,
        flag_key: str,
        default_value: Any,
        evaluation_context: EvaluationContext | None = None,
    ) -> NoReturn:
        raise TypeMismatchError(f"{flag_key!r} is a boolean, as all flags here are.")

    resolve_string_details = _refuse
    resolve_integer_details = _refuse
    resolve_float_details = _refuse
    resolve_object_details = _refuse
