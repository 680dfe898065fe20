"""
Does everything that an opt-in app does by the core's seams, and tells what it saw.

A program, because the tests' own process has other apps: `python -m
tests.exampleapp.proof` with tests.settings_alone.
"""

from __future__ import annotations

import contextlib
import io
import json

import django
from django.core import checks
from django.core.management import call_command
from django.test import Client, override_settings


def output(*command: str) -> str:
    out = io.StringIO()
    with contextlib.suppress(SystemExit):
        call_command(*command, stdout=out)
    return out.getvalue()


def main() -> dict[str, object]:
    django.setup()
    from django.contrib.auth.models import User

    from django_strangler.monitoring.metrics import StranglerCollector
    from tests.exampleapp.models import Thing

    call_command("migrate", verbosity=0)
    seen: dict[str, object] = {"command": output("strangler_example")}
    doctor = json.loads(output("strangler_doctor", "--json"))
    seen["examination"] = [
        each for each in doctor["findings"] if each["part"] == "example"
    ]
    User.objects.create_superuser("root", "", "root")
    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.get())
    seen["panel"] = client.get("/admin/strangler/").content.decode()
    User.objects.create_user("staff", is_staff=True)
    client.force_login(User.objects.get(username="staff"))
    seen["hidden"] = client.get("/admin/strangler/").content.decode()
    seen["prune"] = output("prune_outbox")
    seen["left"] = Thing.objects.count()
    seen["metric"] = {
        sample.name: sample.value
        for family in StranglerCollector().collect()
        for sample in family.samples
        if sample.name.startswith("strangler_example")
    }
    with override_settings(STRANGLER={"EXAMPLE": {"MOST": 101}}):
        seen["check"] = [each.id for each in checks.run_checks()]
    with override_settings(STRANGLER={"EXAMPLE": {"MOST": 0}}):
        seen["wrong"] = [f"{each.id} {each.msg}" for each in checks.run_checks()[:1]]
    return seen


if __name__ == "__main__":
    print(json.dumps(main()))
