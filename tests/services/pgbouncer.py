"""PgBouncer, which pools transactions, in front of a PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from . import sources
from .base import Unavailable
from .instances import Instance, program
from .leftovers import Run
from .ports import LOOPBACK
from .postgresql import check


class PgBouncer(Instance):
    """Started with the URL of the PostgreSQL behind it."""

    key = "pgbouncer"
    accounts = ("postgres", "nobody")  # It refuses to run as root.

    def __init__(self, run: Run, behind: str) -> None:
        self.behind = urlsplit(behind)
        super().__init__(run)

    def prepare(self) -> None:
        user, password = self.behind.username, self.behind.password or ""
        users = self.write("users", f'"{user}" "{password}"\n')
        self.ini = self.write(
            "pgbouncer.ini",
            "[databases]\n"
            f"* = host={self.behind.hostname} port={self.behind.port}\n"
            "[pgbouncer]\n"
            f"listen_addr = {LOOPBACK}\nlisten_port = {self.listening}\n"
            f"unix_socket_dir =\nauth_type = trust\nauth_file = {users}\n"
            "pool_mode = transaction\n",
        )

    def address(self) -> str:
        netloc = f"{self.behind.username}@{LOOPBACK}:{self.listening}"
        return self.behind._replace(netloc=netloc).geturl()

    def command(self) -> Sequence[str]:
        return [program("pgbouncer"), str(self.ini)]

    def answers(self) -> bool:
        try:
            check(self.url, timeout=1)
        except Unavailable:
            return False
        return True


def start(run: Run, behind: str, announce: Callable[[str], None]) -> PgBouncer:
    """A new one; installed first where that is allowed."""
    try:
        program("pgbouncer")
    except Unavailable as error:
        try:
            sources.install_packages("PgBouncer", ["pgbouncer"], announce)
        except Unavailable as why:
            raise Unavailable(f"{error}; {why}") from why
    bouncer = PgBouncer(run, behind)
    bouncer.start()
    return bouncer
