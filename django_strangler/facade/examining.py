"""What the doctor says of routes and of the services behind them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from django_strangler.feature_flags.models import Flag
from django_strangler.findings import Finding, Level

PATIENCE = 2.0


def examine() -> Iterator[Finding]:
    """Each service can be connected to, and each route has a flag."""
    from django_strangler.services.conf import services
    from django_strangler.services.hints import Hints

    from .routes import routes

    for name in services().named:
        yield _connected(name)
        if Hints(name).is_warned():
            yield Finding(
                Level.TROUBLE,
                f"A process does not call the service {name!r}: its breaker is open",
                "Look at the service. The log of django_strangler.services says why.",
            )
    flags = set(Flag.objects.values_list("name", flat=True))
    for route in routes:
        if route.flag not in flags:
            yield Finding(
                Level.UNKNOWN,
                f"The route {route.name!r} asks the flag {route.flag!r}, which does "
                "not exist, so legacy serves everybody",
                f"manage.py flag set {route.flag} 0",
            )


def _connected(name: str) -> Finding:
    from django_strangler.services import service
    from django_strangler.services.transport import Transport

    try:
        transport = Transport(service(name).url, most=1, max_age=1, max_idle=1)
        address = transport.host, transport.port
        socket.create_connection(address, PATIENCE).close()
    except Exception as error:  # noqa: BLE001  A url= may be any function.
        return Finding(
            Level.TROUBLE,
            f"The service {name!r} cannot be connected to ({error})",
            "Start it, or correct its URL in STRANGLER['SERVICES'].",
        )
    return Finding(
        Level.FINE, f"The service {name!r} listens at {address[0]}:{address[1]}"
    )
