"""amqps://, with a real listener and real certificates."""

from __future__ import annotations

import os
import subprocess

import pytest

from django_strangler.brokers import Kind
from tests.brokers.contract import deliver, kinds, until_ready, wait_for
from tests.brokers.factories import outgoing
from tests.brokers.rabbit import with_options
from tests.services.instances import program
from tests.services.ports import free_port


def openssl(folder, *arguments):
    subprocess.run(
        [program("openssl"), *arguments], cwd=folder, check=True, capture_output=True
    )


# From Python 3.13 on a certificate has to say all that RFC 5280 wants it to.
AUTHORITY = "critical,keyCertSign,cRLSign"
SIGNED = """\
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature,keyEncipherment
extendedKeyUsage=serverAuth,clientAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
subjectAltName=IP:127.0.0.1
"""


def certificate(folder, name):
    """A key, and a certificate that our own authority has signed."""
    (folder / f"{name}.ext").write_text(SIGNED)
    openssl(
        folder,
        *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
        *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
    )
    openssl(
        folder,
        *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
        *("-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext"),
        *("-out", f"{name}.pem"),
    )


@pytest.fixture
def certificates(private_rabbitmq, tmp_path_factory):
    """In a folder that the server may read."""
    folder = private_rabbitmq.folder / f"tls-{os.urandom(4).hex()}"
    folder.mkdir()
    openssl(
        folder,
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Tests"),
        *("-addext", f"keyUsage={AUTHORITY}"),
        *("-days", "2", "-keyout", "ca.key", "-out", "ca.pem"),
    )
    for name in ("server", "client"):
        certificate(folder, name)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    return folder


@pytest.fixture
def tls_url(private_rabbitmq, private_rabbit, certificates):
    """A listener that wants a certificate from its clients, too."""
    port = free_port()
    options = ", ".join(
        [
            f'{{cacertfile, "{certificates}/ca.pem"}}',
            f'{{certfile, "{certificates}/server.pem"}}',
            f'{{keyfile, "{certificates}/server.key"}}',
            "{verify, verify_peer}, {fail_if_no_peer_cert, true}",
        ]
    )
    private_rabbitmq.evaluate(
        f'rabbit_networking:start_ssl_listener({{"127.0.0.1", {port}, auto}}, '
        f"[{options}], 2)"
    )

    def url(**parameters):
        plain = with_options(private_rabbit.url, port=port, **parameters)
        return plain.replace("amqp://", "amqps://", 1)

    return url


def test_tls_with_certificates_on_both_sides(
    tls_url, certificates, private_rabbit, make_rabbit, log
):
    private_rabbit.bind("all", "#")
    url = tls_url(
        cacertfile=certificates / "ca.pem",
        certfile=certificates / "client.pem",
        keyfile=certificates / "client.key",
    )
    broker = make_rabbit(url, exchange=private_rabbit.exchange)
    events = [outgoing(row, body='"' + "x" * 40_000 + '"') for row in range(1, 101)]

    assert kinds(deliver(broker, events)) == {Kind.CONFIRMED}

    assert private_rabbit.received("all", 100) == [event.id for event in events]
    assert log.lines == []


def test_a_server_with_an_unknown_certificate_is_not_trusted(
    tls_url, certificates, private_rabbit, make_rabbit, log
):
    client = {
        "certfile": certificates / "client.pem",
        "keyfile": certificates / "client.key",
    }
    broker = make_rabbit(tls_url(**client), exchange=private_rabbit.exchange)

    wait_for(lambda: log.count("cannot be trusted over TLS"))

    assert not broker.ready
    assert log.count("certificate in certificate chain") == 1  # Signed by itself.
    assert log.count("See cacertfile") == 1
    loose = tls_url(**client, verify="verify_none")
    until_ready(make_rabbit(loose, exchange=private_rabbit.exchange))
