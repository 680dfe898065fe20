"""
Writers, each a process with a ledger of what it has committed.

    python -m tests.torture.moves.writers FOLDER SEED PAUSE KIND...

Reads ``hold``, ``go`` and ``stop`` from its standard input and answers when all have
heard it: between ``held`` and ``go`` nobody is inside of a transaction.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import django

from .ledger import COMMITTED, REFUSED, UNDONE, Line

LONG = 3.0  # Seconds.
WIDE = 500  # Accounts of a bulk update.
# Those whose transactions are large or long rest longer: else they leave no gap.
RESTS = {"bulk": 25, "long": 60}
_REFUSED = ("MV001", 30001)
_NO_PARENT = ("23503", 1452)


class Undo(Exception):
    """The writer changes its mind."""


class Writer:
    """One process; its kind says what it writes and how."""

    def __init__(
        self, kind: str, number: int, seed: int, folder: Path, pause: float
    ) -> None:
        from .models import Account

        self.kind, self.pause = kind, pause * RESTS.get(kind, 1)
        self.name = f"{seed}-{number}"
        self.chance = random.Random(f"{seed}-{number}")
        self.ledger = (folder / f"{self.name}.ledger").open("a", buffering=1)
        self.numbers = itertools.count(1)
        self.tags: dict[str, tuple[int, int]] = {}
        self.places = itertools.count(1 + number * 1_000_000_000)
        self.hint, self.begun = "default", False
        if kind.endswith("-rr"):
            _under_repeatable_read()
        self.accounts = Account.objects.using("default").count()
        self._write: Callable[[Line, str], None] = {
            "hot": self._hot,
            "keys": self._keys,
            "bulk": self._bulk,
            "long": self._long,
            "raw": self._raw,
        }[kind.removesuffix("-rr")]

    def once(self) -> None:
        """A transaction, its line in the ledger, and a pause."""
        line = Line(token=f"{self.name}-{next(self.numbers)}", kind=self.kind)
        line.at = time.monotonic()
        is_leaving = False
        try:
            with self._entered(line) as alias:
                self._write(line, alias)
                is_leaving = True
            line.outcome = COMMITTED
        except Undo:
            pass
        except Exception as error:  # noqa: BLE001
            self._failed(line, error, in_doubt=is_leaving)
        line.took = time.monotonic() - line.at
        if line.outcome == COMMITTED:
            for code in line.drop:
                self.tags.pop(code, None)
            self.tags.update(line.put)
        self.ledger.write(f"{line.to_json()}\n")
        time.sleep(self.chance.uniform(0.5, 1.5) * self.pause)

    @contextmanager
    def _entered(self, line: Line) -> Iterator[str]:
        from django.db import transaction

        from django_strangler.moves import atomic

        if self.kind == "raw":
            alias = self.hint
            if self._has_begun() and self.chance.random() < 0.2:
                alias = _other(alias)
            with transaction.atomic(using=alias):
                yield alias
            self.hint = alias
            return
        with atomic("torture") as alias:
            line.waited = time.monotonic() - line.at
            yield alias

    def _has_begun(self) -> bool:
        # Before, nothing keeps anybody from writing to a target that is nobody's yet.
        from django_strangler.moves.models import MoveState

        if not self.begun:
            self.begun = MoveState.objects.using("default").exists()
        return self.begun

    def _failed(self, line: Line, error: Exception, *, in_doubt: bool) -> None:
        from django.db import InterfaceError, OperationalError

        from django_strangler.databases import is_transient

        line.error = f"{type(error).__name__}: {error}"[:300]
        if _is_one_of(error, _REFUSED):
            line.outcome = REFUSED
            line.is_fault = self.kind != "raw"
            self.hint = _other(self.hint)
        elif self.kind == "raw" and _is_one_of(error, _NO_PARENT):
            # On the closed side, where not everything is copied yet.
            line.outcome = REFUSED
        elif isinstance(error, (OperationalError, InterfaceError)):
            if not is_transient(error):
                _hang_up()
            if in_doubt:
                line.outcome = self._what_came_of(line.token)
        else:
            line.is_fault = True

    def _what_came_of(self, token: str) -> str:
        """Nobody has said: put a void entry where it would be, or find it there."""
        from django.db import Error, IntegrityError

        from .models import Entry

        deadline = time.monotonic() + 150
        while time.monotonic() < deadline:
            try:
                with self._anyhow() as alias:
                    entries = Entry.objects.using(alias)
                    entries.create(token=token, account_id=1, amount=0, kind="void")
                return UNDONE
            except IntegrityError:
                try:
                    with self._anyhow() as alias:
                        kind = Entry.objects.using(alias).get(token=token).kind
                    return UNDONE if kind == "void" else COMMITTED
                except Error:
                    _hang_up()
            except Error:
                _hang_up()
            time.sleep(0.1)
        raise AssertionError(f"Nobody knows what came of {token}")

    @contextmanager
    def _anyhow(self) -> Iterator[str]:
        from django_strangler.moves import atomic

        with atomic("torture") as alias:
            yield alias

    # What is written

    def _hot(self, line: Line, alias: str) -> None:
        """A few sums that all want, and a token; sometimes undone."""
        from .models import HOT

        for number in sorted(self.chance.sample(range(1, HOT + 1), 2)):
            self._add(line, alias, number)
        self._leave(line, alias)
        if self.chance.random() < 0.1:
            raise Undo

    def _keys(self, line: Line, alias: str) -> None:
        """Rows that come and go, come back, get other keys and swap places."""
        from .models import Tag

        tags = Tag.objects.using(alias)
        for _ in range(self.chance.randint(1, 4)):
            now = {c: t for c, t in self.tags.items() if c not in line.drop} | line.put
            verb = self.chance.choice(("make", "drop", "rename", "swap", "count"))
            if len(now) < 10 or (verb == "make" and len(now) < 200):
                # The same few names: what was dropped comes back.
                code = f"{self.name}:{self.chance.randrange(400)}"
                if code not in now:
                    self._make(line, alias, code)
                continue
            code = self.chance.choice(sorted(now))
            place, number = now[code]
            if verb == "drop":
                tags.filter(code=code).delete()
                self._forget(line, code)
            elif verb == "rename":
                new = f"{self.name}:{self.chance.randrange(400)}"
                if new not in now:
                    tags.filter(code=code).update(code=new)
                    self._forget(line, code)
                    self._put(line, new, place, number)
            elif verb == "swap":
                other = self.chance.choice(sorted(now))
                if other != code:
                    tags.filter(code=other).update(place=-next(self.places))
                    tags.filter(code=code).update(place=now[other][0])
                    tags.filter(code=other).update(place=place)
                    self._put(line, code, now[other][0], number)
                    self._put(line, other, place, now[other][1])
            else:
                tags.filter(code=code).update(number=number + 1)
                self._put(line, code, place, number + 1)
        self._leave(line, alias)
        if self.chance.random() < 0.1:
            raise Undo

    def _bulk(self, line: Line, alias: str) -> None:
        from django.db.models import F

        from .models import HOT, Account

        wide = min(WIDE, self.accounts // 4)
        first = self.chance.randrange(HOT + 1, self.accounts - wide)
        line.bulk = (first, first + wide - 1, self.chance.randint(1, 9))
        rows = Account.objects.using(alias).filter(id__range=line.bulk[:2])
        rows.update(bulk=F("bulk") + line.bulk[2])
        self._leave(line, alias)
        if self.chance.random() < 0.1:
            raise Undo

    def _long(self, line: Line, alias: str) -> None:
        """Writes first, and then does not end."""
        for _ in range(5):
            self._add(line, alias, self.chance.randrange(1, self.accounts) + 1)
        time.sleep(self.chance.uniform(0.3, 1) * LONG)
        self._leave(line, alias)

    def _raw(self, line: Line, alias: str) -> None:
        """Past the helper, by SQL, on whatever side it was last."""
        from django.db import connections

        amount, number = self.chance.randint(1, 9), self.chance.randint(1, 8)
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "UPDATE torture_moves_account SET balance = balance + %s WHERE id = %s",
                [amount, number],
            )
            cursor.execute(
                "INSERT INTO torture_moves_entry (token, account_id, amount, kind) "
                "VALUES (%s, %s, %s, 'raw')",
                [line.token, number, amount],
            )
        line.balances[str(number)] = amount

    def _add(self, line: Line, alias: str, number: int) -> None:
        from django.db.models import F

        from .models import Account

        amount = self.chance.randint(1, 9)
        Account.objects.using(alias).filter(id=number).update(
            balance=F("balance") + amount,
            note=line.token,
            seen=datetime.now(timezone.utc),
        )
        sums = line.balances
        sums[str(number)] = sums.get(str(number), 0) + amount

    def _leave(self, line: Line, alias: str) -> None:
        from .models import Entry

        number = int(next(iter(line.balances), "1"))
        Entry.objects.using(alias).create(
            token=line.token, account_id=number, amount=1, kind=self.kind
        )

    def _make(self, line: Line, alias: str, code: str) -> None:
        from .models import Tag

        place = next(self.places)
        Tag.objects.using(alias).create(code=code, place=place)
        self._put(line, code, place, 0)

    def _put(self, line: Line, code: str, place: int, number: int) -> None:
        line.put[code] = (place, number)
        if code in line.drop:
            line.drop.remove(code)

    def _forget(self, line: Line, code: str) -> None:
        line.put.pop(code, None)
        line.drop.append(code)


def _other(alias: str) -> str:
    return "modern" if alias == "default" else "default"


def _is_one_of(error: BaseException, known: tuple[object, ...]) -> bool:
    cause = error.__cause__
    codes = (getattr(cause, "sqlstate", None), *getattr(cause, "args", ())[:1])
    return any(code in known for code in codes)


def _hang_up() -> None:
    from django.db import connections

    for connection in connections.all():
        connection.close()


def _under_repeatable_read() -> None:
    import psycopg
    from django.db import connections

    for alias in connections:
        config = connections.databases[alias]
        level: Any = psycopg.IsolationLevel.REPEATABLE_READ
        if config["ENGINE"].endswith("mysql"):
            level = "repeatable read"
        config["OPTIONS"]["isolation_level"] = level


class Crew:
    """The writers of this command, forked from it."""

    def __init__(self, folder: Path, seed: int, pause: float, kinds: list[str]) -> None:
        context = multiprocessing.get_context("fork")
        self.going, self.stopping = context.Event(), context.Event()
        self.held = context.Semaphore(0)
        self.going.set()
        self.processes = [
            context.Process(target=self._run, args=(kind, n, seed, folder, pause))
            for n, kind in enumerate(kinds)
        ]
        for process in self.processes:
            process.start()

    def _run(self, kind: str, *about: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        parent = os.getppid()
        writer = Writer(kind, *about)
        while not self.stopping.is_set() and os.getppid() == parent:
            if not self.going.is_set():
                self.held.release()
                self.going.wait()
                continue
            writer.once()

    def hold(self) -> None:
        self.going.clear()
        for _ in self.processes:
            if not self.held.acquire(timeout=180):
                raise AssertionError("A writer does not come to an end")

    def go(self) -> None:
        self.going.set()

    def stop(self) -> None:
        self.stopping.set()
        self.going.set()
        for process in self.processes:
            process.join()


def main(folder: str, seed: str, pause: str, *kinds: str) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.torture.moves.settings")
    django.setup()
    crew = Crew(Path(folder), int(seed), float(pause), list(kinds))
    print("ready", flush=True)
    for word in sys.stdin:
        getattr(crew, word.strip())()
        print(word.strip(), flush=True)
        if word.strip() == "stop":
            return int(any(each.exitcode for each in crew.processes))
    crew.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
