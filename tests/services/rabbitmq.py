"""RabbitMQ."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial

import pika
import pika.exceptions

from tests.waiting import wait_for

from .base import Kind, Service, Unavailable
from .instances import CommandFailed, Instance, program
from .leftovers import Run
from .ports import LOOPBACK, free_port

# Before the PATH: Debian's commands there only work for root, and change the user.
DEBIAN = "/usr/lib/rabbitmq/bin"
# A client's first bytes, and the type of the frame that a ready server answers with.
GREETING, METHOD_FRAME = b"AMQP\x00\x00\x09\x01", b"\x01"


class SharedRabbitMQ(Service):
    """A server that is not ours; perhaps some rabbitmqctl reaches it."""

    @cached_property
    def has_ctl(self) -> bool:
        # Without a container, rabbitmqctl talks to this machine's node and no other.
        local = self.host in ("localhost", LOOPBACK) and self.port == RABBITMQ.port
        if not self.control and not local:
            return False
        try:
            self._ctl("list_vhosts")
        except (Unavailable, OSError, subprocess.TimeoutExpired):
            return False
        return True

    def ctl(self, *arguments: str, timeout: float = 180) -> str:
        if not self.has_ctl:
            raise Unavailable(f"no rabbitmqctl reaches the RabbitMQ of {self.origin}")
        return self._ctl(*arguments, timeout=timeout)

    def evaluate(self, expression: str) -> str:
        """The value of an Erlang expression on the node."""
        return self.ctl("eval", f"{expression}.").strip()

    def _ctl(self, *arguments: str, timeout: float = 180) -> str:
        # On Debian, root's rabbitmqctl changes to the server's user by itself.
        name = "rabbitmqctl" if self.control else program("rabbitmqctl")
        command = [*self.control, name, "-q", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        if done.returncode != 0:
            raise CommandFailed(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout


class PrivateRabbitMQ(Instance):
    key = "rabbitmq"
    accounts = ("rabbitmq", "nobody")
    has_ctl = True

    def __init__(self, run: Run, *arguments: str) -> None:
        self.epmd_port, self.node_port = free_port(), free_port()
        self.epmd: subprocess.Popen[bytes] | None = None
        super().__init__(run, *arguments)

    def prepare(self) -> None:
        program("rabbitmq-server", DEBIAN)
        self.write(
            "rabbitmq.conf",
            f"listeners.tcp.1 = {LOOPBACK}:{self.listening}\n"
            f"default_user = guest\ndefault_pass = {self.password}\n"
            # Nodes of tests are small; a full disk is not what they test.
            "disk_free_limit.absolute = 50MB\n",
        )
        self.write("enabled_plugins", "[].\n")

    def address(self) -> str:
        return f"amqp://guest:{self.password}@{LOOPBACK}:{self.listening}/%2F"

    @property
    def environment(self) -> Mapping[str, str]:
        interface = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            **super().environment,
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self.epmd_port),
            # Not the machine's name, which may not resolve.
            "RABBITMQ_NODENAME": f"strangler-{self.listening}@localhost",
            "RABBITMQ_DIST_PORT": str(self.node_port),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_SCHEMA_DIR": str(self.folder / "schema"),
            "RABBITMQ_MNESIA_BASE": str(self.data),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": interface,
            "RABBITMQ_CTL_ERL_ARGS": interface,
            # The script becomes the server, so that signals go to the right one.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def command(self) -> Sequence[str]:
        return [program("rabbitmq-server", DEBIAN), *self.arguments]

    def start(self) -> None:
        # Our own: the server would start one that outlives it. It has no state and
        # stays up when the server is stopped, killed or paused.
        if self.epmd is None or self.epmd.poll() is not None:
            self.epmd = self.spawn(
                [program("epmd"), "-address", LOOPBACK, "-port", str(self.epmd_port)]
            )
        super().start()

    def close(self) -> None:
        super().close()
        if self.epmd is not None:
            self.epmd.kill()
            self.epmd.wait()

    def answers(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((LOOPBACK, self.listening), timeout=1) as client,
        ):
            client.sendall(GREETING)
            return client.recv(1) == METHOD_FRAME
        return False

    def settle(self) -> None:
        """
        Let the queues that were declared just now survive a kill.

        RabbitMQ notes a new quorum queue in a file that it writes seconds later (3.10).
        Killed before, the queue never finds a leader again, and every request to it
        takes a minute to fail. Messages are safe as soon as they are confirmed.
        """
        self.evaluate("[dets:sync(Table) || Table <- dets:all()]")

    @cached_property
    def management_url(self) -> str:
        """Of the management API, which is switched on now and stays so."""
        port = free_port()
        plugins = self.write("enabled_plugins", "[rabbitmq_management].\n")
        with (self.folder / "rabbitmq.conf").open("a") as file:  # For a restart.
            file.write(
                f"management.tcp.port = {port}\nmanagement.tcp.ip = {LOOPBACK}\n"
            )
        config = f'[{{port, {port}}}, {{ip, "{LOOPBACK}"}}]'
        self.evaluate(
            "application:load(rabbitmq_management), "
            f"application:set_env(rabbitmq_management, tcp_config, {config}), "
            f'rabbit_plugins:ensure("{plugins}")'
        )
        return f"http://{LOOPBACK}:{port}"

    def evaluate(self, expression: str) -> str:
        """The value of an Erlang expression; rabbitmqctl needs a while to start."""
        if not shutil.which("erl_call"):
            return self.ctl("eval", f"{expression}.").strip()
        done = subprocess.run(
            [
                *("erl_call", "-sname", self.environment["RABBITMQ_NODENAME"], "-e"),
                *("-c", (self.folder / ".erlang.cookie").read_text()),
            ],
            input=f"{expression}.\n",
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=180,
        )
        answer = re.fullmatch(r"\{ok, (.*)\}", done.stdout.strip(), re.DOTALL)
        if answer is None:
            raise CommandFailed(f"{expression}: {done.stdout}{done.stderr}")
        return answer[1]

    def ctl(self, *arguments: str, timeout: float = 180) -> str:
        """Run rabbitmqctl on this node and return what it prints."""
        command = program("rabbitmqctl", DEBIAN)
        return self.execute(command, "-q", *arguments, timeout=timeout)


class AnotherNode(PrivateRabbitMQ):
    """A node that joins the cluster of the first when it is first started."""

    def __init__(self, run: Run, first: PrivateRabbitMQ) -> None:
        super().__init__(run)
        self.first = first
        self.epmd_port, self.password = first.epmd_port, first.password
        self.url = self.address()
        self.write(".erlang.cookie", (first.folder / ".erlang.cookie").read_text())
        self._has_joined = False

    def start(self) -> None:
        self.epmd = self.first.epmd
        super().start()
        if not self._has_joined:
            self._has_joined = True
            self.ctl("stop_app")
            self.ctl("join_cluster", self.first.environment["RABBITMQ_NODENAME"])
            self.ctl("start_app")
            wait_for(self.answers, self.patience, message=f"{self!r} has joined")

    def close(self) -> None:
        self.epmd = None  # The first one's.
        super().close()


def another_node(first: PrivateRabbitMQ) -> Kind:
    """For ``Services.start_private``: one more node of that cluster."""
    return replace(RABBITMQ, private=partial(AnotherNode, first=first))


RabbitMQ = SharedRabbitMQ | PrivateRabbitMQ


def check(url: str) -> None:
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = parameters.blocked_connection_timeout = 3
    with _quiet("pika"):
        try:
            pika.BlockingConnection(parameters).close()
        except (pika.exceptions.AMQPError, OSError) as error:
            raise Unavailable(f"{type(error).__name__} {error}".strip()) from error


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """A server that is not there is no error here."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


RABBITMQ = Kind(
    name="RabbitMQ",
    key="rabbitmq",
    variable="STRANGLER_TEST_RABBITMQ_URL",
    port=5672,
    usual_urls=(f"amqp://guest:guest@{LOOPBACK}:5672/%2F",),
    package="rabbitmq-server",
    check=check,
    shared=SharedRabbitMQ,
    private=PrivateRabbitMQ,
)
