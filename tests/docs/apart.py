"""
Runs the `python apart` blocks of the pages, in a process with other apps installed.

    python -m tests.docs.apart

Each page has a database to itself in turn, committed and real: DATABASE_URL's.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from types import ModuleType
from uuid import uuid4

import django

KEYS, EACH = 5, 30


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.docs.apart_settings"
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from .fences import ROOT, fences

    for page in sorted(ROOT.glob("docs/**/*.md")):
        blocks = [each for each in fences(page) if "apart" in each.words]
        if not blocks:
            continue
        module = ModuleType(f"docs_{page.stem}")
        sys.modules[module.__name__] = module
        prepare = BEFORE.get(page.stem)
        if prepare is not None:
            prepare()
        for fence in blocks:
            code = "\n" * (fence.line - 1) + fence.code
            exec(compile(code, str(page), "exec"), module.__dict__)
        if page.stem in AFTER:
            AFTER[page.stem](module)
        print(page.stem)


def waffle_flags() -> None:
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group
    from waffle import get_waffle_flag_model

    users = [
        get_user_model().objects.create_user(name)
        for name in ("ada", "bob", "eve", "kim")
    ]
    group = Group.objects.create(name="testers")
    users[1].groups.add(group)
    get_user_model().objects.filter(pk=users[2].pk).update(is_staff=True)
    flags = get_waffle_flag_model().objects
    some = flags.create(name="New.Checkout", percent="0.1", staff=True, note="first")
    some.users.add(users[0])
    some.groups.add(group)
    flags.create(name="all", everyone=True)
    flags.create(name="off", everyone=False, percent="25")
    flags.create(name="members", authenticated=True)


def waffle_answers(page: ModuleType) -> None:
    from django.contrib.auth import get_user_model

    from django_strangler import feature_flags
    from django_strangler.models import Flag

    named = {user.pk: user.username for user in get_user_model().objects.all()}
    flag = Flag.objects.get(name="new-checkout")
    assert sorted(named[int(pk)] for pk in flag.included) == ["ada", "bob", "eve"]
    assert str(flag.percentage) == "0.10"
    kim = get_user_model().objects.get(username="kim")
    answers = {name: bool(feature_flags.evaluate(name, kim)) for name in ("all", "off")}
    assert answers == {"all": True, "off": False}
    assert feature_flags.is_enabled("members", kim)
    assert str(Flag.objects.get(name="off").percentage) == "25.00"


def old_and_new_publish_at_once(page: ModuleType) -> None:
    """Writers of both releases and two bridges: nothing lost, each key in order."""
    from django.db import connection, transaction

    from django_strangler.models import Flag, OutboxEvent

    for key in range(KEYS):  # Rows to lock, as a payment would be.
        Flag.objects.create(name=f"key-{key}")
    failures: list[Exception] = []

    def write(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(EACH):
            key = chance.randrange(KEYS)
            with transaction.atomic():
                row = Flag.objects.select_for_update().get(name=f"key-{key}")
                row.excluded = [*row.excluded, str(len(row.excluded))]
                Flag._base_manager.filter(pk=row.pk).update(excluded=row.excluded)
                payload = {"n": len(row.excluded)}
                if chance.random() < 0.5:
                    page.publish("payment.counted", payload, f"k{key}")
                else:
                    page.OldEvent.objects.create(
                        event_id=uuid4(),
                        type="payment.counted",
                        key=f"k{key}",
                        payload=payload,
                    )

    def bridge(stop: threading.Event) -> None:
        while not stop.is_set():
            page.move(page.OldEvent.objects.all())

    def guarded(work, *arguments) -> None:
        try:
            work(*arguments)
        except Exception as error:  # noqa: BLE001
            failures.append(error)
        finally:
            connection.close()

    stop = threading.Event()
    bridges = [threading.Thread(target=guarded, args=(bridge, stop)) for _ in range(2)]
    writers = [threading.Thread(target=guarded, args=(write, n)) for n in range(4)]
    for thread in [*bridges, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in bridges:
        thread.join()
    while page.move(page.OldEvent.objects.all()):
        pass

    assert not failures, failures
    seen = 0
    for key in range(KEYS):
        rows = OutboxEvent.objects.filter(key=f"k{key}").order_by("id")
        numbers = [row.payload["n"] for row in rows]
        assert numbers == list(range(1, len(numbers) + 1)), numbers
        seen += len(numbers)
    assert seen == 4 * EACH


BEFORE = {"from_waffle": waffle_flags}
AFTER = {
    "from_waffle": waffle_answers,
    "from_your_own_outbox": old_and_new_publish_at_once,
}

if __name__ == "__main__":
    main()
