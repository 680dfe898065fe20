"""The application and a real nginx agree on every one of 100,000 users."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from django_strangler.feature_flags.buckets import bucket, threshold
from tests.services import sources
from tests.services.base import Kind, Service, Unavailable
from tests.services.plugin import needed
from tests.services.ports import free_port
from tests.waiting import wait_for

SALT = "notifications-v2"
USERS = 100_000
PERCENTAGES = [
    Decimal(each)
    for each in ("0.01", "0.5", "1", "5", "12.34", "25", "33.33", "50", "75", "99.99")
] + [Decimal(100)]

PIPELINED = 500  # Requests that are under way on the one connection.

# One split per percentage, as docs/reference/feature_flags.md has it. Below 100 % a
# request without a key goes to legacy, as `map` sees to.
CONFIG = """
daemon off;
error_log {folder}/error.log;
pid {folder}/pid;
{user}
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    server_tokens off;
{splits}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            default_type text/plain;
            return 200 "{answer}";
        }}
    }}
}}
"""

NGINX = Kind(
    name="nginx",
    key="nginx",
    variable="",
    port=0,
    usual_urls=(),
    package="nginx-light",
    check=lambda url: None,
    shared=Service,
    private=None,  # type: ignore[arg-type]
)


def split(number: int, percentage: Decimal) -> str:
    part = "* 1;" if percentage == 100 else f"{percentage}% 1; * 0;"
    keyed = f'split_clients "{SALT}:$arg_user" $split{number} {{ {part} }}'
    keyless = "1" if percentage == 100 else "0"
    choice = f'map $arg_user $v{number} {{ "" {keyless}; default $split{number}; }}'
    return f"    {keyed}\n    {choice}"


def binary(announce) -> str:
    found = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if found is None:
        sources.install(NGINX, announce)
        found = shutil.which("nginx", path="/usr/sbin")
    if found is None:
        raise Unavailable("the package nginx-light has no /usr/sbin/nginx")
    return found


@pytest.fixture
def nginx(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """The port of an nginx that splits clients."""
    with needed("nginx", request) as services:
        command = binary(services._announce)
    port = free_port()
    user = f"user {pwd.getpwuid(os.geteuid()).pw_name};" if os.geteuid() == 0 else ""
    config = tmp_path / "nginx.conf"
    config.write_text(
        CONFIG.format(
            folder=tmp_path,
            port=port,
            user=user,
            splits="\n".join(split(*each) for each in enumerate(PERCENTAGES)),
            answer="".join(f"$v{number}" for number in range(len(PERCENTAGES))),
        )
    )
    process = subprocess.Popen(
        [command, "-e", str(tmp_path / "error.log"), "-c", str(config)],
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(
            lambda: process.poll() is not None or answers_of(port, ["1"]),
            ignoring=(OSError,),
        )
        assert process.poll() is None, process.stderr.read()
        yield port
    finally:
        process.terminate()
        process.wait(60)
        process.stderr.close()


def answers_of(port: int, users: list[str]) -> list[str]:
    """One bit per percentage and user; many requests under way at once."""
    answers = []
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        stream = connection.makefile("rb")
        for start in range(0, len(users), PIPELINED):
            some = users[start : start + PIPELINED]
            connection.sendall(
                b"".join(
                    b"GET /?user=%s HTTP/1.1\r\nHost: x\r\n\r\n" % user.encode()
                    for user in some
                )
            )
            answers += [body(stream) for _ in some]
        stream.close()
    return answers


def body(stream) -> str:
    length = None
    while (line := stream.readline()) != b"\r\n":
        assert line, "nginx hung up"
        if line.lower().startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return stream.read(length).decode()


def ours(user: str) -> str:
    place = bucket(SALT, user)
    return "".join("01"[place < threshold(each)] for each in PERCENTAGES)


def test_application_and_nginx_agree_on_every_user(nginx: int):
    users = [str(number) for number in range(USERS)]

    theirs = answers_of(nginx, users)

    assert len(theirs) == USERS
    wrong = [
        (user, theirs_, ours(user))
        for user, theirs_ in zip(users, theirs, strict=True)
        if theirs_ != ours(user)
    ]
    assert wrong == []


def test_they_agree_on_ids_of_every_length_and_on_nobody(nginx: int):
    users = ["x" * length for length in range(1, 60)]
    users += [f"9f0c2a4e-0000-4000-8000-{number:012x}" for number in range(100)]

    assert answers_of(nginx, users) == [ours(user) for user in users]
    # Nobody in particular: legacy, but for a flag at 100 %.
    assert answers_of(nginx, [""]) == ["0" * 10 + "1"]
