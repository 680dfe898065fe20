"""
What the facade costs, beside django-revproxy and nginx alone, in one run.

    python -m tests.benchmarks.bench_facade

The middleware is timed by single calls. The data paths run in a gunicorn of two workers
with four threads each; all of them lead to the same service, in turns.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter, perf_counter_ns
from typing import Any

CALLS = 20_000
ROUNDS = 3
SECONDS = 4.0
CLIENTS = 4
ROOT = Path(__file__).parents[2]
PATH = "/api/payments/7"


def set_up(folder: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.benchmarks.facade_settings"
    os.environ["DATABASE_PATH"] = os.path.join(folder, "bench.sqlite3")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def decisions() -> dict[str, float]:
    """The middleware's own time, in microseconds: a view that does nothing inside."""
    from django.contrib.auth import get_user_model
    from django.http import HttpResponse
    from django.test import RequestFactory

    from django_strangler import feature_flags
    from django_strangler.facade import FacadeMiddleware, route
    from django_strangler.facade.deciding import decide
    from django_strangler.facade.routes import routes

    for number in range(20):
        prefix = f"/api/{number}/"
        route(f"r{number}", prefix, service="payments", flag="payments-v2")
    feature_flags.set_rollout("payments-v2", 50)
    users = [get_user_model()(pk=number) for number in range(1000)]
    response = HttpResponse()
    middleware = FacadeMiddleware(lambda request: response)
    factory = RequestFactory()

    def requests(path: str) -> list[Any]:
        found = []
        for user in users:
            request = factory.get(path)
            request.user = user
            found.append(request)
        return found

    def timed(call: Any, given: list[Any]) -> float:
        taken = []
        for turn in range(CALLS):
            request = given[turn % len(given)]
            start = perf_counter_ns()
            call(request)
            taken.append(perf_counter_ns() - start)
        return median(taken) / 1000

    given = requests("/api/19/7")
    route_ = routes.by_name["r19"]
    return {
        "a path without a route": timed(middleware, requests("/accounts/login/")),
        "the decision, 50 %": timed(lambda request: decide(request, route_), given),
    }


class Load:
    """Clients that ask one after the other, each on a connection that is kept."""

    def __init__(self, port: int, path: str, clients: int = CLIENTS) -> None:
        self.port, self.path, self.clients = port, path, clients

    def run(self, seconds: float) -> list[float]:
        """How long each request took, in seconds."""
        taken: list[float] = []
        until = perf_counter() + seconds
        threads = [
            threading.Thread(target=self._ask, args=(until, taken))
            for _ in range(self.clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return taken

    def _ask(self, until: float, taken: list[float]) -> None:
        ask = f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        while perf_counter() < until:
            with contextlib.closing(
                socket.create_connection(("127.0.0.1", self.port), 30)
            ) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                stream = connection.makefile("rb")
                while perf_counter() < until:
                    start = perf_counter()
                    connection.sendall(ask)
                    if not _read(stream):
                        break
                    taken.append(perf_counter() - start)
                stream.close()


def _read(stream: Any) -> bool:
    """One response; False if the connection is not to be used again."""
    status = stream.readline()
    if b" 200 " not in status:
        raise RuntimeError(f"the answer was {status!r}")
    length, is_kept, is_chunked = 0, True, False
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.lower().partition(b":")
        if name == b"content-length":
            length = int(value)
        elif name == b"connection":
            is_kept = b"close" not in value
        elif name == b"transfer-encoding":
            is_chunked = True
    if is_chunked:
        while size := int(stream.readline(), 16):
            stream.read(size + 2)
        stream.readline()
    else:
        stream.read(length)
    return is_kept


@contextlib.contextmanager
def data_paths(folder: Path, url: str) -> Iterator[dict[str, tuple[int, str]]]:
    from tests.facade import servers
    from tests.services.ports import free_port

    with contextlib.ExitStack() as stack:

        def gunicorn(name: str, most: int) -> int:
            here = folder / name
            here.mkdir()
            options = ["--workers=2", "--threads=4", "--no-control-socket"]
            services = {"payments": {"URL": url, "MAX_IN_FLIGHT": most}}
            return stack.enter_context(
                servers.gunicorn(
                    here,
                    *options,
                    "--keep-alive=30",
                    STRANGLER=json.dumps({"SERVICES": services}),
                    BENCH_URL=url,
                    DJANGO_SETTINGS_MODULE="tests.benchmarks.facade_settings",
                )
            )

        proxy = gunicorn("proxy", most=50)
        # Half of its threads are for others, as the pages advise.
        beside = gunicorn("beside", most=2)
        found = {
            "revproxy": (proxy, "/revproxy/7"),
            "proxy": (proxy, PATH),
            "a view, no service": (proxy, "/nothing/"),
            "accel's decision": (proxy, "/accel/7"),
        }
        nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        if nginx is None:
            return
        for mode in ("accel", "split"):
            port = free_port()
            text = rendered(mode, port, proxy, url)
            here = folder / f"nginx-{mode}"
            stack.enter_context(servers.nginx(nginx, here, text))
            found[mode] = (port, "/accel/7" if mode == "accel" else PATH)
        plain = free_port()
        alone = f"""
        upstream service {{ server {url.removeprefix("http://")}; keepalive 32; }}
        server {{ listen 127.0.0.1:{plain};
          location / {{ proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_pass http://service; }} }}"""
        stack.enter_context(servers.nginx(nginx, folder / "plain", alone))
        found["nginx alone"] = (plain, PATH)
        found["beside"] = (beside, "/nothing/")
        yield found


def rendered(mode: Any, port: int, legacy: int, url: str) -> str:
    from decimal import Decimal

    from django_strangler.facade import nginx
    from django_strangler.facade.routes import Route
    from django_strangler.feature_flags import Cohort

    prefix = "/accel/" if mode == "accel" else "/api/payments/"
    name = "accel" if mode == "accel" else "payments-api"
    route = Route(name=name, prefix=prefix, service="payments", flag="payments-v2")
    return nginx.render(
        nginx.Plan(
            mode=mode,
            routes=(route,),
            urls={"payments": url},
            cohorts={
                "payments-v2": Cohort(
                    name="payments-v2", salt="payments-v2", percentage=Decimal(100)
                )
            },
            timeouts={"payments": (0.5, 2.0)},
            legacy_url=f"http://127.0.0.1:{legacy}",
            listen=f"127.0.0.1:{port}",
        )
    )


def hanging(port: int) -> tuple[float, float]:
    """A legacy path's requests a second: alone, and beside 50 clients that hang."""
    stop, is_on = threading.Event(), threading.Event()

    def hang() -> None:
        while not stop.is_set():
            if not is_on.wait(0.1):
                continue
            with (
                contextlib.suppress(OSError, RuntimeError),
                socket.create_connection(("127.0.0.1", port), 10) as connection,
            ):
                connection.sendall(
                    b"GET /api/payments/hang HTTP/1.0\r\nHost: localhost\r\n\r\n"
                )
                connection.recv(100)
            stop.wait(2)

    def legacy() -> float:
        return len(Load(port, "/nothing/").run(SECONDS)) / SECONDS

    threads = [threading.Thread(target=hang) for _ in range(50)]
    for thread in threads:
        thread.start()
    alone, beside = [], []
    for _ in range(ROUNDS):
        alone.append(legacy())
        is_on.set()
        time.sleep(3)  # Until the breaker has seen it.
        beside.append(legacy())
        is_on.clear()
        time.sleep(3)  # Until the last of them has its answer.
    stop.set()
    for thread in threads:
        thread.join()
    return median(alone), median(beside)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        set_up(name)
        from django_strangler import feature_flags

        costs = decisions()
        for what, microseconds in costs.items():
            print(f"{what:24}{microseconds:8.1f} µs")
        feature_flags.set_rollout("payments-v2", 100)
        echo = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.echo"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert echo.stdout is not None
        try:
            with data_paths(folder, echo.stdout.readline().strip()) as found:
                port, _ = found.pop("beside")
                if "--hanging" not in sys.argv:
                    compare(found)
                alone, beside = hanging(port)
                print(
                    f"legacy beside a service that hangs: {beside:.0f}/s of "
                    f"{alone:.0f}/s, {beside / alone:.2f} x"
                )
        finally:
            echo.terminate()
            echo.wait()
            echo.stdout.close()


def compare(found: dict[str, tuple[int, str]]) -> None:
    rates: dict[str, list[float]] = {name: [] for name in found}
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(ROUNDS):
        for name, (port, path) in found.items():
            taken = Load(port, path).run(SECONDS)
            rates[name].append(len(taken) / SECONDS)
            taken = Load(port, path, clients=1).run(SECONDS / 2)
            times[name].append(median(taken) * 1000)
            del taken
    print(f"{'':20}{'requests/s':>12}{'p50, one client':>18}")
    for name in found:
        print(f"{name:20}{median(rates[name]):12.0f}{median(times[name]):15.2f} ms")
    ratio = median(rates["proxy"]) / median(rates["revproxy"])
    print(f"proxy has {ratio:.2f} x revproxy's rate")
    p50 = {name: median(each) for name, each in times.items()}
    more = p50["accel"] - p50["accel's decision"] - p50["nginx alone"]
    print(f"accel takes {more:.2f} ms more than nginx alone and its decision")


if __name__ == "__main__":
    main()
