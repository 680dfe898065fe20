"""The route, for everybody: no flag is asked for, so no database is needed."""

from __future__ import annotations

from django_strangler.facade import route
from django_strangler.feature_flags import evaluation

evaluation.overrides["payments-v2"] = True
route("payments-api", "/api/payments/", service="payments", flag="payments-v2")
