"""Two paths to the same service."""

from __future__ import annotations

import os

from django_strangler.facade import route

if os.environ.get("BENCH_URL"):
    named = {"service": "payments", "flag": "payments-v2"}
    route("payments-api", "/api/payments/", **named)
    route("accel", "/accel/", data_path="accel", **named)
