"""
The facade: a service answers some URLs, for those users whose flag is on.

    # payments/routes.py
    route("payments-api", "/api/payments/", service="payments", flag="payments-v2")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

from .routes import InvalidRoute, Route, route

if TYPE_CHECKING:
    from .middleware import FacadeMiddleware

__all__ = ["FacadeMiddleware", "InvalidRoute", "Route", "route"]

if not TYPE_CHECKING:  # The middleware needs models, and declaring a route must not.
    __getattr__, __dir__ = face(__name__, {"FacadeMiddleware": ".middleware"})[1:]
