"""Everything that is on stage in one run, and how each part of it is started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pika
import psycopg
from psycopg.rows import dict_row

from tests.facade import servers
from tests.services import processes
from tests.services.databases import Databases, database_url
from tests.services.leftovers import ROOT
from tests.services.ports import free_port
from tests.services.postgresql import POSTGRESQL
from tests.services.proxy import Proxy
from tests.services.rabbitmq import RABBITMQ
from tests.services.services import Services
from tests.torture.crew import Member
from tests.waiting import wait_for

SUBSCRIBERS = (
    *("activity", "bank-charges", "bank-refunds"),
    *("password-resets", "service-tried"),
)

NGINX = """
    upstream monolith {{
        {monoliths}
        keepalive 16;
    }}
    upstream payments {{
        {payments}
        keepalive 16;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    # What has not been sent may go to the next one; nothing is sent twice.
    proxy_next_upstream error;
    proxy_connect_timeout 500ms;
    server {{
        listen 127.0.0.1:{front};
        location / {{ proxy_pass http://monolith; }}
    }}
    server {{
        listen 127.0.0.1:{inner};
        location / {{ proxy_pass http://payments; }}
    }}
"""


class Stage:
    """Processes in their places, which are filled again when somebody is gone."""

    def __init__(
        self,
        folder: Path,
        servers_: Mapping[str, Any],
        urls: Mapping[str, str],
        nodes: Mapping[str, Path],
    ) -> None:
        self.folder, self.servers, self.urls, self.nodes = folder, servers_, urls, nodes
        self.members: list[Member] = []
        self.wanted: dict[str, int] = {}
        self.release = ROOT / "testproject"
        self.ports = {
            role: [free_port(), free_port()] for role in ("monolith", "payments")
        }
        self.front, self.inner, self.bank_port = free_port(), free_port(), free_port()
        rabbitmq = self.servers["rabbitmq"]
        self.proxies = {
            "relay": Proxy(rabbitmq.port),
            "consumer": Proxy(rabbitmq.port),
            "notifications": Proxy(rabbitmq.port),
            "payments": Proxy(self.inner),
            "bank": Proxy(self.bank_port),
        }
        self.nginx: subprocess.Popen[bytes] | None = None
        self.nginx_binary = ""
        self._filling = threading.RLock()
        self._desk: subprocess.Popen[str] | None = None

    # Processes

    def environment(self, role: str = "") -> dict[str, str]:
        """Of the monolith's processes; each role has a way of its own to RabbitMQ."""
        return {
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{self.release}",
            "DJANGO_SETTINGS_MODULE": "tests.extraction.settings",
            "DATABASE_URL": self.urls["legacy"],
            "PAYMENTS_DATABASE_URL": self.urls["modern"],
            "BROKER_URL": self._broker(role),
            "PAYMENTS_SERVICE_URL": f"http://127.0.0.1:{self.proxies['payments'].port}",
            "BANK_URL": f"http://127.0.0.1:{self.proxies['bank'].port}",
            "POST_OFFICE": f"http://127.0.0.1:{self.bank_port}",
        }

    def _broker(self, role: str) -> str:
        server = self.servers["rabbitmq"]
        port = self.proxies[role].port if role in self.proxies else server.port
        return f"{server.url.replace(f':{server.port}/', f':{port}/')}?heartbeat=5"

    def command(self, role: str, place: int) -> tuple[list[str], Path, dict[str, str]]:
        """What to run, where, with which environment."""
        python = [sys.executable, "-m"]
        environment = self.environment(role)
        match role:
            case "monolith":
                port = self.ports["monolith"][place]
                options = ["--threads=8", "--workers=1", "--no-control-socket"]
                options += ["--keep-alive=75", "--graceful-timeout=10"]
                run = ["gunicorn", "monolith.wsgi", f"--bind=127.0.0.1:{port}"]
                return [*python, *run, *options], ROOT, environment
            case "relay":
                return [*python, "django", "drain_outbox"], ROOT, environment
            case "relay of payments":
                run = ["drain_outbox", "--database", "payments"]
                return [*python, "django", *run], ROOT, environment
            case "consumer":
                run = ["consume_events", "--queue", "shop", "--subscribers"]
                return [*python, "django", *run, *SUBSCRIBERS], ROOT, environment
            case "mover":
                run = ["strangler_moves", "run"]
                return [*python, "django", *run], ROOT, environment
            case "outside":
                run = ["tests.extraction.outside", str(self.bank_port)]
                return (
                    [*python, *run, str(self.folder / "ledger.jsonl")],
                    ROOT,
                    environment,
                )
            case "notifications":
                environment["DATABASE_URL"] = self.urls["notifications"]
            case "payments":
                del environment["BROKER_URL"]
                environment["DATABASE_URL"] = self.urls["legacy"]
                environment["MOVED_TO_URL"] = self.urls["modern"]
                environment["PORT"] = str(self.ports["payments"][place])
                environment["BUGS"] = "1"
        command = ["node", "src/main.js"]
        if role == "notifications":
            command[1:1] = ["--require", "./src/tracing.js"]
        return command, self.nodes[role], environment

    def start(self, role: str, place: int) -> Member:
        command, folder, environment = self.command(role, place)
        with (self.folder / f"{role}-{place}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.servers["run"].remember(process.pid)
        member = Member(role, place, process)
        self.members.append(member)
        return member

    def want(self, role: str, number: int) -> None:
        """So many of them from now on."""
        with self._filling:
            self.wanted[role] = number
            for each in self.of(role):
                if each.place >= number:
                    each.stop()
            self.fill()

    def fill(self) -> None:
        with self._filling:
            self.members = [each for each in self.members if each.lives]
            for role, number in self.wanted.items():
                taken = {each.place for each in self.of(role)}
                for place in set(range(number)) - taken:
                    self.start(role, place)

    def of(self, role: str) -> list[Member]:
        return [each for each in self.members if each.role == role and each.lives]

    def roll(self, role: str) -> None:
        """Replace one after the other, each when the one before answers again."""
        for place in range(self.wanted.get(role, 0)):
            with self._filling:
                for each in self.of(role):
                    if each.place == place:
                        each.stop()
                self.fill()
            if role in self.ports:
                self.answers(role, place)

    def answers(self, role: str, place: int) -> None:
        port = self.ports[role][place]
        wait_for(lambda: servers.answers(port), 120, ignoring=(OSError,))

    def run(self, *command: str) -> tuple[int, str]:
        """A command of manage.py: its exit status, and what it says."""
        desk = self._desk
        if desk is None or desk.poll() is not None:
            with (self.folder / "desk.log").open("ab") as log:
                desk = self._desk = subprocess.Popen(
                    [sys.executable, "-m", "tests.extraction.desk"],
                    env=self.environment(),
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
            self.servers["run"].remember(desk.pid)
        assert desk.stdin is not None
        assert desk.stdout is not None
        desk.stdin.write(json.dumps(command) + "\n")
        desk.stdin.flush()
        status, said = json.loads(desk.stdout.readline())
        with (self.folder / "commands.log").open("a") as log:
            log.write(f"$ manage.py {' '.join(command)}\n{said}")
        return status, said

    def run_at_home(self, *command: str) -> tuple[int, str]:
        """What takes a developer's machine, and nothing of the one that serves."""
        done = subprocess.run(
            ["nice", "-n", "19", sys.executable, "-m", "django", *command],
            env=self.environment(),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    def leave_desk(self) -> None:
        """What is typed next, another release answers."""
        if self._desk is not None:
            for stream in (self._desk.stdin, self._desk.stdout):
                assert stream is not None
                stream.close()
            self._desk.wait(90)
            self._desk = None

    def must_run(self, module: str) -> None:
        """A module of this folder, in the monolith's environment."""
        subprocess.run(
            [sys.executable, "-m", module], env=self.environment(), cwd=ROOT, check=True
        )

    # What is in the databases

    def query(self, which: str, sql: str) -> list[dict[str, Any]]:
        """Asked past everything, as often as it takes."""

        def ask() -> list[list[dict[str, Any]]]:
            with psycopg.connect(
                self.urls[which],
                row_factory=dict_row,
                autocommit=True,
                connect_timeout=3,
            ) as connection:
                return [connection.execute(sql).fetchall()]  # type: ignore[arg-type]

        return wait_for(ask, 90, ignoring=(psycopg.Error,))[0]

    def execute(self, which: str, sql: str) -> None:
        """As often as it takes: what is done already must not be an error."""

        def done() -> bool:
            with psycopg.connect(
                self.urls[which], autocommit=True, connect_timeout=3
            ) as connection:
                connection.execute(sql)  # type: ignore[arg-type]
            return True

        wait_for(done, 90, ignoring=(psycopg.Error,))

    def home_of_payments(self) -> str:
        """Where their tables live: the side that lets writers in."""
        sql = "SELECT closed FROM strangler_moves_gate WHERE move = 'payments'"
        rows = self.query("modern", sql)
        return "modern" if rows and not rows[0]["closed"] else "legacy"

    def pending(self, which: str) -> int:
        """How many events wait in an outbox."""
        sql = (
            "SELECT count(*) AS n FROM strangler_outboxevent "
            "WHERE confirmed_at IS NULL AND parked_at IS NULL"
        )
        return int(self.query(which, sql)[0]["n"])

    def nginx_text(self) -> str:
        def upstreams(role: str) -> str:
            return "\n        ".join(
                f"server 127.0.0.1:{port} max_fails=1 fail_timeout=1s;"
                for port in self.ports[role]
            )

        return NGINX.format(
            monoliths=upstreams("monolith"),
            payments=upstreams("payments"),
            front=self.front,
            inner=self.inner,
        )

    def reload_nginx(self) -> None:
        assert self.nginx is not None
        self.nginx.send_signal(signal.SIGHUP)

    def kill_nginx(self) -> None:
        """All of it at once; whoever keeps services running starts another one."""
        assert self.nginx is not None
        processes.kill_tree(self.nginx.pid)
        self.nginx.wait()
        folder = self.folder / "nginx"
        command = [self.nginx_binary, "-e", f"{folder}/error.log"]
        self.nginx = subprocess.Popen(
            [*command, "-c", f"{folder}/nginx.conf"], stderr=subprocess.DEVNULL
        )
        self.servers["run"].remember(self.nginx.pid)

    def close(self) -> None:
        self.wanted.clear()
        self.leave_desk()
        for each in self.members:
            if each.lives:
                each.thaw()
                each.kill()
        if self.nginx is not None and self.nginx.poll() is None:
            processes.kill_tree(self.nginx.pid)
            self.nginx.wait()
        for proxy in self.proxies.values():
            proxy.close()


class Customers:
    """The process of the customers."""

    def __init__(
        self, stage: Stage, *, seed: int, rate: float, number: int, seconds: float
    ) -> None:
        arguments = (stage.front, stage.folder, seed, rate, number, seconds)
        with (stage.folder / "customers.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.extraction.customers"),
                    *map(str, arguments),
                ],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        stage.servers["run"].remember(self.process.pid)

    def stop(self) -> None:
        """No new orders; those under way come to their end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(240) == 0, "customers.log says why"


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Start it all; in the end, only logs are left."""
    from tests.feature_flags.test_nginx import binary

    services = Services(lambda text: print(text, flush=True))
    databases = Databases(services)
    with contextlib.ExitStack() as stack:
        stack.callback(services.close)
        stack.callback(databases.close)
        nginx = binary(print)
        nodes = {
            name: services.node_service(f"testproject/{name}_service")
            for name in ("payments", "notifications")
        }
        legacy, modern = (services.start_private(POSTGRESQL) for _ in "ab")
        rabbitmq = services.start_private(RABBITMQ)
        urls = {
            "legacy": database_url(stack.enter_context(databases.fresh(legacy))),
            "modern": database_url(stack.enter_context(databases.fresh(modern))),
            "notifications": database_url(stack.enter_context(databases.fresh(modern))),
        }
        known = {
            "legacy": legacy,
            "modern": modern,
            "rabbitmq": rabbitmq,
            "run": services.run,
        }
        stage = Stage(folder, known, urls, nodes)
        stack.callback(stage.close)
        stage.want("outside", 1)
        stage.want("monolith", 2)
        stage.want("relay", 2)
        stage.want("consumer", 2)
        stage.want("notifications", 2)
        stage.want("payments", 2)
        for role, ports in stage.ports.items():
            for place in range(len(ports)):
                stage.answers(role, place)
        stage.nginx_binary = nginx
        stage.nginx = stack.enter_context(
            servers.nginx(nginx, folder / "nginx", stage.nginx_text())
        )
        for queue in ("shop", "notifications"):
            wait_for(lambda: _is_there(rabbitmq.url, queue), 120)  # noqa: B023
        rabbitmq.settle()
        yield stage


def _is_there(url: str, queue: str) -> bool:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        connection.channel().queue_declare(queue, passive=True)
    except pika.exceptions.ChannelClosedByBroker:
        return False
    finally:
        connection.close()
    return True
