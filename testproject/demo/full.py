"""
The whole of it: make demo-full

A payment is completed in Django on PostgreSQL; a relay brings its event to RabbitMQ;
the Node.js service writes the mail into a PostgreSQL of its own. Exits 0 with the trace
of that payment, over both languages, or 1 with what was missing. The servers are found
or started as those of the tests are.
"""

import contextlib
import os
import subprocess
import sys
import time
from typing import Any

import django

from .trace import Span, draw

PATIENCE = 90.0  # Seconds from the payment to the last span of its trace.
FLAG = "notifications-v2"

# What a trace must have to be whole: what it is for people, and how it is known.
STEPS = {
    "the view": lambda span: span.process == "monolith" and "complete" in span.name,
    "the relay's publishing": lambda span: (
        span.process == "relay" and span.name.startswith("publish ")
    ),
    "the service's processing": lambda span: (
        span.process == "notifications" and span.name.endswith(" process")
    ),
    "the mail's INSERT": lambda span: (
        span.process == "notifications" and "INTO mails" in span.statement
    ),
}


def main() -> int:
    os.environ["DJANGO_SETTINGS_MODULE"] = "monolith.settings"
    os.environ["TRACED_SQL"] = "1"
    # The default database is for nobody here.
    os.environ.update(DATABASE_URL="", DATABASE_PATH=":memory:")
    django.setup()
    from tests.services.base import Unavailable
    from tests.waiting import TimedOut

    try:
        with contextlib.ExitStack() as stack:
            return show(stack)
    except Unavailable as error:
        say(f"Something it needs cannot be had: {error}")
    except TimedOut as error:
        say(f"It took too long: {error}")
    return 1


def show(stack: contextlib.ExitStack) -> int:
    """Start all of it, make a payment, and draw its trace."""
    from tests.end_to_end.system import running
    from tests.services.databases import Databases, database_url
    from tests.services.instances import Instance
    from tests.services.postgresql import POSTGRESQL
    from tests.services.rabbitmq import RABBITMQ
    from tests.services.services import Services
    from tests.services.vhosts import Vhosts

    services = Services(say)
    stack.callback(services.close)
    databases = Databases(services)
    stack.callback(databases.close)

    service = services.node_service("testproject/notifications_service")
    say("Node.js      the notifications service is ready")
    say(f"PostgreSQL   {services.get(POSTGRESQL).origin}")
    alias, other = (stack.enter_context(databases.fresh("postgresql")) for _ in "ab")
    rabbitmq: Any = services.get(RABBITMQ)
    say(f"RabbitMQ     {rabbitmq.origin}")
    vhosts = Vhosts(rabbitmq)
    if not isinstance(rabbitmq, Instance):
        stack.callback(vhosts.close)
    vhost = stack.enter_context(vhosts.fresh())
    system = stack.enter_context(
        running(
            services.run.subfolder("demo"),
            alias=alias,
            service_url=database_url(other),
            broker_url=vhost.url,
            service=service,
        )
    )
    say(f"Django       {system.address}, and a relay: manage.py drain_outbox\n")

    # The first one waits for connections that are opened with it.
    for number, payment in enumerate(prepare(alias), start=1):
        say(f"POST /payments/{payment}/complete/")
        system.post(f"/payments/{payment}/complete/")
        spans, missing = collect(system, number)
        mails = system.mails()
        if missing or len(mails) != number:
            say(f"Mails: {len(mails)}. Missing in the trace: {', '.join(missing)}.")
            say("\n".join(f"  {span.process}: {span.name}" for span in spans))
            return 1
        say(f"    the service wrote: {mails[-1][1]}")
    say(f"\nThe last payment's trace:\n\n{draw(spans)}")
    processes = len({span.process for span in spans})
    say(f"\n{len(spans)} spans of {processes} processes, in Python and JavaScript.")
    return move(*(stack.enter_context(databases.fresh("postgresql")) for _ in "ab"))


def move(legacy: str, modern: str) -> int:
    """Let the payments' tables go to another PostgreSQL database meanwhile."""
    from tests.services.databases import database_url

    say("\nThe payments' tables go to a database of their own, while everybody pays:\n")
    urls = {
        "DATABASE_URL": database_url(legacy),
        "PAYMENTS_DATABASE_URL": database_url(modern),
    }
    command = [sys.executable, "-m", "demo.moving"]
    return subprocess.run(command, env={**os.environ, **urls}, check=False).returncode


def prepare(alias: str) -> list[int]:
    """Payments to complete, by users whom the new service serves."""
    from payments.models import Payment
    from users.models import User

    from django_strangler.models import Flag

    Flag.objects.using(alias).create(name=FLAG, percentage=100)
    user = User.objects.using(alias).create(username="ada", email="ada@example.com")
    payments = [
        Payment.objects.using(alias).create(user=user, amount=amount, currency="EUR")
        for amount in ("9.90", "24.50")
    ]
    return [int(payment.pk) for payment in payments]


def collect(system: Any, number: int) -> tuple[list[Span], list[str]]:
    """The trace of this payment, and what it lacks when the time is up."""
    deadline = time.monotonic() + PATIENCE
    while True:
        spans = [Span.read(span) for span in system.spans()]
        views = [span for span in spans if STEPS["the view"](span)]
        last = views[-1].trace if len(views) == number else None
        trace = [span for span in spans if span.trace == last]
        missing = [step for step, is_it in STEPS.items() if not any(map(is_it, trace))]
        if not missing or time.monotonic() > deadline:
            return trace, missing
        time.sleep(0.05)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
