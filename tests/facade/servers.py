"""A real gunicorn and a real nginx in front of it, for a test."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.services.leftovers import ROOT
from tests.services.ports import free_port
from tests.waiting import wait_for

FRAME = """
daemon off;
error_log {folder}/error.log;
pid {folder}/pid;
{user}
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
{ours}
}}
"""


@contextlib.contextmanager
def gunicorn(
    folder: Path, *options: str, app: str = "tests.facade.site:application", **env: str
) -> Iterator[int]:
    """The port of a gunicorn with the tests' monolith."""
    port = free_port()
    log = folder / "gunicorn.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gunicorn",
                f"--bind=127.0.0.1:{port}",
                app,
                *options,
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}:{ROOT}/testproject",
                "DJANGO_SETTINGS_MODULE": "tests.facade.site_settings",
                **env,
            },
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(
            lambda: process.poll() is not None or answers(port),
            90,
            ignoring=(OSError,),
        )
        assert process.poll() is None, log.read_text()[-3000:]
        yield port
    finally:
        # At once: a worker that ends in peace looks for work for another second.
        process.send_signal(signal.SIGQUIT)
        process.wait(60)
        print(log.read_text()[-3000:])


def answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"GET /plain/ HTTP/1.0\r\nHost: localhost\r\n\r\n")
        return connection.recv(5) == b"HTTP/"


@contextlib.contextmanager
def nginx(binary: str, folder: Path, text: str) -> Iterator[subprocess.Popen[bytes]]:
    """An nginx with our part in its configuration; reload with ``reload``."""
    folder.mkdir(exist_ok=True)
    write(folder, text)
    command = [binary, "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]
    test = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert test.returncode == 0, test.stderr + text
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    port = int(text.partition("listen 127.0.0.1:")[2].partition(";")[0])
    try:
        wait_for(
            lambda: process.poll() is not None or answers(port),
            90,
            ignoring=(OSError,),
        )
        assert process.poll() is None
        yield process
    finally:
        process.terminate()
        process.wait(60)
        assert process.stderr is not None
        process.stderr.close()
        print((folder / "error.log").read_text()[-3000:])


def write(folder: Path, text: str) -> None:
    user = f"user {pwd.getpwuid(os.geteuid()).pw_name};" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        FRAME.format(folder=folder, user=user, ours=text)
    )


class Reply:
    """A response, as it was sent."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = [tuple(line.split(": ", 1)) for line in lines[1:]]

    def get(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) < 2, f"{name} came {len(found)} times"
        return found[0] if found else None

    @property
    def cookies(self) -> str:
        pairs = [v.split(";")[0] for k, v in self.headers if k.lower() == "set-cookie"]
        return "; ".join(pairs)


def ask(
    port: int, path: str, *headers: str, method: str = "GET", body: bytes = b""
) -> Reply:
    """One request, byte for byte; no library tidies it up."""
    lines = [f"{method} {path} HTTP/1.1", "Host: shop.example", "Connection: close"]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        text = "\r\n".join([*lines, *headers])
        connection.sendall(text.encode("latin-1") + b"\r\n\r\n" + body)
        data = b""
        while more := connection.recv(65536):
            data += more
    return Reply(data)
