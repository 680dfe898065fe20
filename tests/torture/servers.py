"""Servers to torture: a database whose clock jumps, a RabbitMQ that is picky."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from glob import glob
from typing import Any

from tests.services import sources
from tests.services.base import Unavailable
from tests.services.mariadb import MARIADB, PrivateMariaDB
from tests.services.postgresql import POSTGRESQL, PrivatePostgreSQL
from tests.services.rabbitmq import RABBITMQ, PrivateRabbitMQ
from tests.services.services import Services

LARGEST_MESSAGE = 32 * 1024
_USERS = "rabbit_auth_backend_internal"


def libfaketime() -> str:
    """The library that lies about the time; installed if that is allowed."""
    pattern = "/usr/lib/*/faketime/libfaketimeMT.so.1"
    if not glob(pattern):
        sources.install_packages("libfaketime", ["libfaketime"], print)
    return next(iter(glob(pattern)))


class _Clocked:
    """A database server with a clock of its own, where libfaketime can be had."""

    folder: Any
    clock = ""  # The library; without it, the clock is the machine's.

    @property
    def environment(self) -> Mapping[str, str]:
        environment: Mapping[str, str] = super().environment  # type: ignore[misc]
        if not self.clock:
            return environment
        return {
            **environment,
            "LD_PRELOAD": self.clock,
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / "clock"),
            "FAKETIME_CACHE_DURATION": "1",
            # Waiting and timeouts go on as they are.
            "DONT_FAKE_MONOTONIC": "1",
        }

    def prepare(self) -> None:
        self.set_clock(0)
        super().prepare()  # type: ignore[misc]

    def set_clock(self, seconds: int) -> None:
        """How far the server's clock is ahead from now on."""
        new = self.write("clock.new", f"{seconds:+d}\n")  # type: ignore[attr-defined]
        new.chmod(0o644)
        new.rename(self.folder / "clock")


class ClockedPostgreSQL(_Clocked, PrivatePostgreSQL):
    pass


class ClockedMariaDB(_Clocked, PrivateMariaDB):
    pass


class PickyRabbitMQ(PrivateRabbitMQ):
    """Takes no message over 32 KiB, and does at once what it is told."""

    def prepare(self) -> None:
        super().prepare()
        with (self.folder / "rabbitmq.conf").open("a") as file:
            file.write(f"max_message_size = {LARGEST_MESSAGE}\n")

    def add_user(self, name: str) -> None:
        """Someone with our password, who may publish and nothing else."""
        self.evaluate(
            f'{_USERS}:add_user(<<"{name}">>, <<"{self.password}">>, <<"tests">>)'
        )
        self.evaluate(
            f'{_USERS}:set_permissions(<<"{name}">>, <<"/">>, <<"^$">>, <<".*">>, '
            '<<"^$">>, <<"tests">>)'
        )

    def allow_types(self, user: str, exchange: str, pattern: str) -> None:
        """Let the user send events of these types only."""
        self.evaluate(
            f'{_USERS}:set_topic_permissions(<<"{user}">>, <<"/">>, '
            f'<<"{exchange}">>, <<"{pattern}">>, <<"^$">>, <<"tests">>)'
        )

    def limit(self, queue: str, most: int, *, policy: str = "full") -> None:
        """Let the queue refuse what is over that; 0: let it take everything again."""
        if most:
            definition = (
                f'{{\\"max-length\\":{most},\\"overflow\\":\\"reject-publish\\"}}'
            )
            self.evaluate(
                f'rabbit_policy:parse_set(<<"/">>, <<"{policy}">>, <<"^{queue}$">>, '
                f'<<"{definition}">>, 0, <<"queues">>, <<"tests">>)'
            )
        else:
            self.evaluate(f'rabbit_policy:delete(<<"/">>, <<"{policy}">>, <<"tests">>)')

    def messages(self, prefix: str) -> int:
        """How many there are in quorum queues of such names, but for dead letters."""
        # Asked of the queues themselves: what a node counts for its pages is seconds
        # old, and nothing at all after a restart.
        return int(
            self.evaluate(
                # RabbitMQ 4.3 wants module, function and arguments, older ones a fun.
                "Ask = fun(P) -> try ra:consistent_query(P, "
                "fun rabbit_fifo:query_messages_total/1) "
                "catch error:function_clause -> ra:consistent_query(P, "
                "{rabbit_fifo, query_messages_total, []}) end end, "
                "lists:sum([case Ask(amqqueue:get_pid(Q)) of {ok, N, _} -> N end "
                '|| Q <- rabbit_amqqueue:list(<<"/">>), '
                f're:run(element(4, amqqueue:get_name(Q)), "^{prefix}.*(?<!dead)$") '
                "=/= nomatch])"
            )
        )


KINDS = {
    "postgresql": replace(POSTGRESQL, private=ClockedPostgreSQL),
    "mariadb": replace(MARIADB, private=ClockedMariaDB),
}


def start(services: Services, database: str) -> tuple[Any, Any]:
    """A database and a RabbitMQ, for torture only."""
    try:
        _Clocked.clock = libfaketime()
    except Unavailable as error:
        print(f"The database keeps the machine's clock: {error}")
    server = services.get_dedicated(KINDS[database])
    rabbitmq = services.get_dedicated(replace(RABBITMQ, private=PickyRabbitMQ))
    return server, rabbitmq
