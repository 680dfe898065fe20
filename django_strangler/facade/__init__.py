"""
The facade: a service answers some URLs, for those users whose flag is on.

    # payments/routes.py
    route("payments-api", "/api/payments/", service="payments", flag="payments-v2")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .routes import InvalidRoute, Route, route

if TYPE_CHECKING:
    from .middleware import FacadeMiddleware

__all__ = ["FacadeMiddleware", "InvalidRoute", "Route", "route"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name != "FacadeMiddleware":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from .middleware import FacadeMiddleware

        return FacadeMiddleware
