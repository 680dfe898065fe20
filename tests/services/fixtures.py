"""
The fixtures of this folder.

    postgresql, mariadb, rabbitmq                  servers that tests share: `.url`
    private_postgresql, private_mariadb, private_rabbitmq
                                                   servers to stop, kill and pause
    start_private                                  one more, with options of its own
    any_db, sqlite_db, postgresql_db, mariadb_db   the alias of a fresh database
    any_db_rolled_back                             the same in a transaction, faster
    make_db                                        more of them, with options
    vhost, private_vhost                           an empty vhost: `.url`
    make_proxy                                     a network that can be broken
    notifications_service, payments_service        the Node.js services' folders
    contract_tools                                 the folder of tools in Node.js
    browser                                        Chromium, driven by Selenium
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from pytest_django import DjangoDbBlocker

from .base import Service
from .databases import Databases, others_refused
from .instances import Instance
from .mariadb import MARIADB, PrivateMariaDB
from .plugin import SERVICES, needed
from .postgresql import POSTGRESQL, PrivatePostgreSQL
from .proxy import Proxy
from .rabbitmq import RABBITMQ, PrivateRabbitMQ, RabbitMQ
from .services import KINDS, Services
from .vhosts import Vhost, Vhosts

if TYPE_CHECKING:
    from .browser import Browser

PRIVATE_VHOSTS = pytest.StashKey[dict[str, Vhosts]]()

MakeDb = Callable[..., str]
MakeProxy = Callable[[Service | int], Proxy]
StartPrivate = Callable[..., Instance]


@pytest.fixture(scope="session")
def services(request: pytest.FixtureRequest) -> Services:
    return request.config.stash[SERVICES]


@pytest.fixture(scope="session")
def postgresql(request: pytest.FixtureRequest) -> Service:
    """PostgreSQL. Its `.url` leads to a superuser's database that is not for tests."""
    with needed("PostgreSQL", request) as services:
        return services.get(POSTGRESQL)


@pytest.fixture(scope="session")
def mariadb(request: pytest.FixtureRequest) -> Service:
    """MariaDB, as root."""
    with needed("MariaDB", request) as services:
        return services.get(MARIADB)


@pytest.fixture(scope="session")
def rabbitmq(request: pytest.FixtureRequest) -> RabbitMQ:
    """RabbitMQ. Its `.url` leads to the vhost "/": most tests want `vhost`."""
    with needed("RabbitMQ", request) as services:
        return cast("RabbitMQ", services.get(RABBITMQ))


@pytest.fixture(scope="session")
def notifications_service(request: pytest.FixtureRequest) -> Path:
    """The folder of the Node.js service, with its packages installed."""
    with needed("Node.js", request) as services:
        return services.node_service("testproject/notifications_service")


@pytest.fixture(scope="session")
def payments_service(request: pytest.FixtureRequest) -> Path:
    """The folder of the other one, likewise."""
    with needed("Node.js", request) as services:
        return services.node_service("testproject/payments_service")


@pytest.fixture(scope="session")
def contract_tools(request: pytest.FixtureRequest) -> Path:
    """The folder of programs that read what contracts write."""
    with needed("Node.js", request) as services:
        return services.node_service("tests/contracts/node")


@pytest.fixture(scope="session")
def chromium(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """The one browser of a run: most tests want `browser`."""
    with needed("A browser", request) as services:
        chromium = services.browser()
    yield chromium
    chromium.quit()


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """Chromium, as if just started: no cookies, nothing in the console."""
    chromium.forget()
    return chromium


@pytest.fixture
def private_postgresql(request: pytest.FixtureRequest) -> PrivatePostgreSQL:
    """A PostgreSQL to stop, kill and pause; up at the start of each test."""
    with needed("A private PostgreSQL", request) as services:
        return cast("PrivatePostgreSQL", services.get_dedicated(POSTGRESQL))


@pytest.fixture
def private_mariadb(request: pytest.FixtureRequest) -> PrivateMariaDB:
    """A MariaDB to stop, kill and pause; up at the start of each test."""
    with needed("A private MariaDB", request) as services:
        return cast("PrivateMariaDB", services.get_dedicated(MARIADB))


@pytest.fixture
def private_rabbitmq(request: pytest.FixtureRequest) -> PrivateRabbitMQ:
    """A RabbitMQ to stop, kill and pause; up at the start of each test."""
    with needed("A private RabbitMQ", request) as services:
        return cast("PrivateRabbitMQ", services.get_dedicated(RABBITMQ))


@pytest.fixture
def start_private(request: pytest.FixtureRequest) -> Iterator[StartPrivate]:
    """start_private("mariadb", "--default-time-zone=+07:00"): for this test only."""
    instances = []

    def start(key: str, *arguments: str) -> Instance:
        kind = KINDS[key]
        with needed(f"A private {kind.name}", request) as services:
            instances.append(services.start_private(kind, *arguments))
        return instances[-1]

    yield start

    for instance in instances:
        instance.close()


@pytest.fixture(scope="session")
def databases(services: Services, django_db_setup: None) -> Iterator[Databases]:
    databases = Databases(services)
    yield databases
    databases.close()


@pytest.fixture
def make_db(
    request: pytest.FixtureRequest,
    databases: Databases,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[MakeDb]:
    """
    make_db("mariadb", init_command="SET time_zone = '+07:00'"): a fresh database.

    It has all migrations, lives as long as the test, and is returned as an alias. The
    source is "sqlite", "postgresql", "mariadb" or a private server; keywords go into
    OPTIONS, but `port=proxy.port` leads through a proxy.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())

        def make(source: str | Service, **options: Any) -> str:
            name = KINDS[source].name if source in KINDS else str(source)
            with needed(name, request):
                return stack.enter_context(databases.fresh(source, **options))

        with contextlib.ExitStack() as refusals:
            if not uses_django_db(request):
                refusals.enter_context(others_refused(databases.open))
            yield make


def uses_django_db(request: pytest.FixtureRequest) -> bool:
    """Whether the test has pytest-django's database, or databases, besides ours."""
    return request.node.get_closest_marker("django_db") is not None or bool(
        {"db", "transactional_db", "live_server"} & set(request.fixturenames)
    )


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def any_db(request: pytest.FixtureRequest, make_db: MakeDb) -> str:
    """The alias of a fresh database; the test runs on each of the three."""
    return make_db(request.param)


@pytest.fixture
def sqlite_db(make_db: MakeDb) -> str:
    return make_db("sqlite")


@pytest.fixture
def postgresql_db(make_db: MakeDb) -> str:
    return make_db("postgresql")


@pytest.fixture
def mariadb_db(make_db: MakeDb) -> str:
    return make_db("mariadb")


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def any_db_rolled_back(
    request: pytest.FixtureRequest,
    databases: Databases,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[str]:
    """Like `any_db`, but in a transaction: faster, and nothing ever commits."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        name = KINDS[request.param].name if request.param in KINDS else "SQLite"
        with needed(name, request):
            alias = stack.enter_context(databases.rolled_back(request.param))
        if not uses_django_db(request):
            stack.enter_context(others_refused(databases.open))
        yield alias


@pytest.fixture(scope="session")
def vhosts(rabbitmq: RabbitMQ) -> Iterator[Vhosts]:
    vhosts = Vhosts(rabbitmq)
    yield vhosts
    if not isinstance(rabbitmq, Instance):
        vhosts.close()


@pytest.fixture
def vhost(vhosts: Vhosts, services: Services) -> Iterator[Vhost]:
    """An empty vhost: `.url`. Names through `.own()`, in case it has to be shared."""
    services.get(RABBITMQ)
    with vhosts.fresh() as vhost:
        yield vhost


@pytest.fixture
def private_vhost(
    private_rabbitmq: PrivateRabbitMQ, request: pytest.FixtureRequest
) -> Iterator[Vhost]:
    """An empty vhost on the server that may be killed."""
    known = request.config.stash.setdefault(PRIVATE_VHOSTS, {})
    vhosts = known.setdefault(private_rabbitmq.url, Vhosts(private_rabbitmq))
    with vhosts.fresh() as vhost:
        yield vhost


@pytest.fixture
def make_proxy() -> Iterator[MakeProxy]:
    """make_proxy(rabbitmq): a Proxy to a service, or to a port of this machine."""
    with contextlib.ExitStack() as stack:

        def make(target: Service | int) -> Proxy:
            host, port = (
                ("127.0.0.1", target)
                if isinstance(target, int)
                else (target.host, target.port)
            )
            proxy = Proxy(port, host)
            stack.callback(proxy.close)
            return proxy

        yield make
