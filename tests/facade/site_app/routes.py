"""The one route: its options come from the environment."""

from __future__ import annotations

import json
import os

from django_strangler.facade import route

given = json.loads(os.environ.get("ROUTE", "{}"))
if given:
    name = given.pop("name", "payments-api")
    prefix = given.pop("prefix", "/api/payments/")
    route(name, prefix, service="payments", flag="payments-v2", **given)
