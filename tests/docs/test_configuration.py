"""What is no Python and no command, is read by the tool that it is for."""

from __future__ import annotations

import configparser
import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import yaml
from django.db import DatabaseError, connections, transaction
from django.template import engines
from django.test import override_settings
from payments.models import Payment

from django_strangler import publish_event
from django_strangler.brokers import memory
from django_strangler.models import InboxEntry, OutboxEvent
from django_strangler.outbox.relay import Relay
from django_strangler.outbox.retention import prune
from tests.services import sources
from tests.services.base import Unavailable
from tests.services.fixtures import MakeDb
from tests.services.plugin import needed

from .fences import PAGES, by_place, fences, written_in
from .test_examples import check_command

# Whoever uses another language decides here how a mistake in it is found.
KNOWN = {
    *("", "console", "django", "ini", "javascript", "json", "mermaid", "nginx"),
    *("python", "sql", "text", "toml", "yaml"),
}


def test_every_language_on_the_pages_is_one_that_is_checked():
    unknown = [
        f"{fence.place}: {fence.language}"
        for page in PAGES
        for fence in fences(page)
        if fence.language not in KNOWN and not fence.language.startswith("{")
    ]

    assert not unknown


@pytest.mark.parametrize("fence", written_in("json"), ids=by_place)
def test_json_is_well_formed(fence):
    assert json.loads(fence.code)


# No page has any at present, and then this is skipped.
@pytest.mark.parametrize("fence", written_in("toml"), ids=by_place)
def test_toml_is_well_formed(fence):
    tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")

    assert tomllib.loads(fence.code)


@pytest.mark.parametrize("fence", written_in("django"), ids=by_place)
def test_templates_compile(fence):
    compiled = engines["django"].from_string(fence.code)

    assert list(compiled.template.nodelist)


@pytest.mark.parametrize("fence", written_in("ini"), ids=by_place)
def test_a_unit_runs_a_command_that_exists(fence):
    parser = configparser.RawConfigParser(strict=False)  # A key may come several times.
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(fence.code)
    if "Service" not in parser:
        return
    check_command(parser["Service"]["ExecStart"].split(), fence.place)


@pytest.mark.parametrize("fence", written_in("yaml"), ids=by_place)
def test_a_manifest_names_what_it_runs_and_selects(fence):
    for manifest in yaml.safe_load_all(fence.code):
        assert {"apiVersion", "kind", "metadata", "spec"} <= manifest.keys()
        for container in containers(manifest):
            command = [*container.get("command", ()), *container.get("args", ())]
            check_command(command, fence.place)


def containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of a workload; none of what runs nothing."""
    spec = manifest["spec"]
    if "jobTemplate" in spec:
        spec = spec["jobTemplate"]["spec"]
    if "template" not in spec:
        return []
    pod = spec["template"]["spec"]
    selected = spec.get("selector", {}).get("matchLabels", {})
    labels = spec["template"].get("metadata", {}).get("labels", {})
    assert selected.items() <= labels.items(), "a selector that selects nothing"
    return [*pod.get("initContainers", ()), *pod["containers"]]


@pytest.mark.parametrize("fence", written_in("nginx"), ids=by_place)
def test_nginx_takes_its_configuration(fence, request, tmp_path):
    with needed("nginx", request):
        nginx = program("nginx", "nginx-light")
    config = tmp_path / "nginx.conf"
    # Nothing outside of the folder, so that it needs no rights.
    places = "\n".join(
        f"{kind}_temp_path {tmp_path}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"pid {tmp_path}/pid;\nerror_log {tmp_path}/log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}\n{fence.code}\n}}\n"
    )

    said = subprocess.run(
        [nginx, "-t", "-c", config, "-e", f"{tmp_path}/log"],
        capture_output=True,
        text=True,
    )

    assert said.returncode == 0, said.stderr


def program(name: str, package: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        sources.install_packages(name, [package], print)
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        raise Unavailable(f"{package} brings no program {name}")
    return found


@pytest.mark.parametrize("fence", written_in("javascript"), ids=by_place)
def test_node_can_read_its_code(fence, tmp_path):
    if shutil.which("node") is None:
        pytest.skip("node is not there")
    script = tmp_path / "page.js"
    script.write_text(fence.code)

    said = subprocess.run(["node", "--check", script], capture_output=True, text=True)

    assert said.returncode == 0, said.stderr


def test_sql_is_understood_by_postgresql(make_db: MakeDb):
    alias = make_db("postgresql")
    # Those of one database, by name, are run on it elsewhere.
    for fence in [each for each in written_in("sql") if not each.words]:
        # Taken back: roles belong to the whole server.
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            for statement in fence.code.strip().removesuffix(";").split(";\n"):
                try:
                    cursor.execute(statement)
                except DatabaseError as error:
                    pytest.fail(f"{fence.place}: {error}")
            transaction.set_rollback(True, using=alias)


@pytest.fixture
def role(make_db: MakeDb) -> Iterator[str]:
    """A role that may do what the page grants, and the database where it may."""
    alias, name = make_db("postgresql"), f"relay_{uuid4().hex[:8]}"
    [grants] = [each.code for each in written_in("sql") if "GRANT" in each.code]
    with connections[alias].cursor() as cursor:
        cursor.execute(re.sub(r"\brelay\b", name, grants))
    options = connections[alias].settings_dict["OPTIONS"]
    connections[alias].close()
    options["options"] = f"-c role={name}"
    yield alias
    connections[alias].close()
    del options["options"]
    with connections[alias].cursor() as cursor:
        cursor.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_the_role_of_the_page_is_enough_for_a_relay_and_sees_no_payments(role):
    memory.exchange().reset()
    with role_left(role), transaction.atomic(using=role):
        publish_event("payment.completed", {}, key="a", using=role)

    with override_settings(STRANGLER={"BROKER_URL": "memory://"}):
        assert Relay(role).drain().confirmed == 1
    assert sum(prune(role, older_than=0)) == 1
    assert InboxEntry.objects.using(role).all()._raw_delete(role) == 0

    with pytest.raises(DatabaseError, match="permission denied"):
        Payment.objects.using(role).exists()


@contextlib.contextmanager
def role_left(alias: str) -> Iterator[None]:
    """The server's own rights meanwhile, as whoever publishes has them."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SET ROLE NONE")
        yield
        cursor.execute("RESET ROLE")


def test_debezium_is_told_of_columns_that_exist():
    columns = {field.column for field in OutboxEvent._meta.concrete_fields}
    connectors = [json.loads(fence.code) for fence in written_in("json")]
    connectors = [each["config"] for each in connectors if "config" in each]
    assert connectors

    for config in connectors:
        router = {
            name.removeprefix("transforms.outbox."): value
            for name, value in config.items()
            if name.startswith("transforms.outbox.")
        }
        named = {router["route.by.field"]}
        named |= {v for k, v in router.items() if k.startswith("table.field.")}
        for extra in router["table.fields.additional.placement"].split(","):
            column, placement, _ = extra.split(":")
            assert placement == "header"
            named.add(column)
        assert named <= columns
        assert config["table.include.list"] == f"public.{OutboxEvent._meta.db_table}"
