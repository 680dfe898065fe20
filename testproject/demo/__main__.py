"""
The main job, on SQLite and without any server: make demo

On a terminal it serves a page and goes on until Ctrl-C. Elsewhere it makes payments for
a few seconds, without a relay for some of them, and exits 0 if each payment's event was
confirmed and each receipt sent exactly once, else 1.
"""

import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import django

if TYPE_CHECKING:
    from .verdict import Verdict

USERS = 100
HALF = 50  # The rollout to begin with,
QUARTER = 25  # and who gets the new texts.
SECONDS = 5.0  # How long there is traffic when nobody watches.
PATIENCE = 60.0  # Seconds until what is pending is given up.
BOLD, GREEN, RED, PLAIN = "\033[1m", "\033[32m", "\033[31m", "\033[0m"


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="strangler-demo-") as name:
        folder = Path(name)
        (folder / "mails").mkdir()
        os.environ.update(
            DATABASE_URL="",
            DATABASE_PATH=str(folder / "demo.sqlite3"),
            PAYMENTS_DATABASE_URL=f"sqlite:///{folder / 'payments.sqlite3'}",
            DEMO_MAILS=str(folder / "mails"),
            BROKER_URL="local://",
            DJANGO_SETTINGS_MODULE="demo.settings",
        )
        django.setup()
        say(f"Making a database on SQLite, with {USERS} users …")
        users = prepare()
        watched = sys.stdout.isatty()
        with staged(folder, users, pause=1.5 if watched else 0.02):
            return watch() if watched else run()


def prepare() -> list[int]:
    """The tables, the users and the flags; returns the users' ids."""
    from django.core.management import call_command
    from django.db import connections
    from notifications import texts
    from payments.rollout import NOTIFICATIONS
    from users.models import User

    from django_strangler import feature_flags

    from . import scene

    for alias in connections:
        call_command("migrate", verbosity=0, database=alias)
    User.objects.bulk_create(
        User(username=f"user{number}", email=f"user{number}@example.com")
        for number in range(1, USERS + 1)
    )
    users = list(User.objects.order_by("pk").values_list("pk", flat=True))
    User.objects.create_superuser("admin", "admin@example.com", "admin")
    feature_flags.set_rollout(NOTIFICATIONS, HALF, by="demo", why="to begin with")
    # The new texts serve some, and are compared for everybody else.
    for flag, share in ((texts.FLAG, QUARTER), (texts.SHADOW, 100)):
        feature_flags.set_rollout(flag, share, by="demo", why="to begin with")
    for flag, source in (
        (NOTIFICATIONS, scene.RECEIPTS),
        (texts.FLAG, scene.COMPARED),
    ):
        feature_flags.set_guard(flag, on=[source], action="off", least=10, by="demo")
    return users


@contextmanager
def staged(folder: Path, users: list[int], *, pause: float) -> Iterator[None]:
    """The monolith and a relay, until the block ends."""
    from . import stage
    from .relay import Worker
    from .server import PORT, serving
    from .tables import Tables
    from .traffic import Traffic

    port = int(os.environ.get("PORT") or PORT)
    with serving(port) as server:
        address = f"http://{server.server_address[0]}:{server.server_port}"
        if server.server_port != port:
            say(f"{RED}Port {port} is taken{PLAIN}, so this time it is another one.")
        # Events are written beside the payments, wherever they live.
        both = ("--database", "default", "--database", "payments")
        relay = Worker(folder / "relay.log", "drain_outbox", *both)
        mover = Worker(folder / "mover.log", "strangler_moves", "run")
        tables = Tables(mover)
        traffic = Traffic(address, users, pause=pause)
        stage.set_up(
            stage.Stage(
                address=address,
                users=users,
                relay=relay,
                tables=tables,
                traffic=traffic,
            )
        )
        relay.start()
        say(f"Started the monolith at {address}, and a relay: manage.py drain_outbox")
        try:
            yield
        finally:
            traffic.close()
            tables.close()
            relay.stop()


def watch() -> int:
    """For people: everything goes on until Ctrl-C."""
    from . import stage
    from .bug import IN_PATH

    here = stage.current()
    here.traffic.start()
    say(
        f"\n  {BOLD}Look at {GREEN}{here.address}{PLAIN}\n\n"
        f"  The outbox and the flag in the admin: {here.address}/admin/ "
        "(admin, admin)\n"
        "  Ctrl-C ends it.\n"
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(3600):
        pass
    say("\nStopping …")
    is_running = here.relay.pid is not None and not IN_PATH
    here.traffic.close()
    is_good = tell(drained(5.0 if is_running else 0.0), kills=here.relay.kills)
    # Whoever stopped the relay, or put in a bug, knows why something is pending.
    return 0 if is_good or not is_running else 1


def run() -> int:
    """For scripts: some traffic, a while without a relay, and the verdict."""
    from . import outboxes, stage
    from .tables import shown

    here = stage.current()
    say(f"\nPayments for {SECONDS:g} seconds …")
    here.traffic.start()
    time.sleep(SECONDS / 3)
    here.relay.stop()
    say("  the relay is stopped; payments go on")
    time.sleep(SECONDS / 3)
    pending = outboxes.pending()
    say(f"  {pending} events are pending; the relay is started again")
    here.relay.start()
    time.sleep(SECONDS / 3)
    here.tables.go("modern")
    is_done = here.tables.wait(PATIENCE) and shown(here.tables)["home"]
    say(f"  the payments' tables have moved meanwhile. {here.tables.said}")
    time.sleep(SECONDS / 3)
    here.traffic.close()
    for failure in here.traffic.failures:
        say(f"  {RED}A request failed: {failure}{PLAIN}")
    is_good = tell(drained(PATIENCE)) and not here.traffic.failures
    return 0 if is_good and is_done else 1


def drained(patience: float) -> "Verdict":
    """The verdict once nothing is pending, or when it takes too long."""
    from . import outboxes
    from .verdict import reach

    deadline = time.monotonic() + patience
    while outboxes.pending() and time.monotonic() < deadline:
        time.sleep(0.1)
    # Only now: what is counted while it changes does not add up.
    return reach()


def tell(verdict: "Verdict", *, kills: int = 0) -> bool:
    """Say what was counted; a killed relay may have sent one mail a second time."""
    is_good = verdict.is_good and verdict.doubled <= kills
    say("")
    for line in verdict.lines():
        say(f"  {line}")
    colour, words = (
        (GREEN, "Each event confirmed and each receipt written exactly once.")
        if is_good
        else (RED, "SOMETHING IS MISSING, OR WAS DONE TWICE.")
    )
    if verdict.doubled and is_good:
        say("  (A mail that was on its way at the kill -9 went twice: it could not be")
        say("  taken back, as what is in the database was.)")
    say(f"\n{BOLD}{colour}{words}{PLAIN}")
    return is_good


def say(text: str) -> None:
    if not sys.stdout.isatty():
        text = re.sub("\033\\[[0-9]+m", "", text)
    print(text, flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # Before there was anything to stop.
        sys.exit(main())
    sys.exit(130)
