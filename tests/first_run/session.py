"""
Somebody who types in what a page says, block by block, in an empty folder.

    ```{code-block} python        a file, named by :caption:, or ", at the end" of one
    ```python FILE [at-the-end]   the same on a page that is not only for Sphinx
    ```console                    commands, one after the other, and what they print
    ```console background         one that goes on in a terminal of its own
    ```console stop FOLDER        one that goes on in that folder is ended
    ```text                       what the terminals in the background print by then
    ```console no-run             not for here

`…` stands for anything, within a line or for any number of them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pika

from tests.docs.fences import Fence, fences
from tests.waiting import TimedOut, wait_for

PATIENCE = 240.0


@dataclass
class Terminal:
    """A command in the background, with all that it has printed."""

    fence: Fence
    process: subprocess.Popen[bytes]
    output: Path
    seen: int = 0  # How much of it was looked at before.

    @property
    def text(self) -> str:
        return self.output.read_text()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE)


def _as_in_a_terminal() -> None:
    """Ctrl-C ends it, also if these tests run in the background, which ignores that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass
class Session:
    folder: Path  # Where the reader is.
    environment: Mapping[str, str] = field(default_factory=dict)
    terminals: dict[tuple[Path, str], Terminal] = field(default_factory=dict)
    # A file for each, or who starts again would write into that of another one.
    numbers: Iterator[int] = field(default_factory=count)

    def follow(self, page: Path, *, section: str = "") -> None:
        """Type in a page, or one section of it."""
        text = page.read_text()
        first = text[: text.index(f"\n{section}\n")].count("\n") if section else 0
        end = text.find("\n## ", text.index(section) + 1) if section else len(text)
        last = text[:end].count("\n")
        for fence in fences(page):
            if not first <= fence.line <= last:
                continue
            match fence.language, fence.words:
                case "{code-block}", ("python",):
                    head, _, code = fence.code.partition("\n\n")
                    name = re.search(
                        r":caption: (\S+?)(, at the end)?$", head, re.MULTILINE
                    )
                    assert name, f"{fence.place}: the file needs a :caption:"
                    self.write(fence, name[1], code, is_the_end=bool(name[2]))
                case "python", (name, *more):
                    self.write(fence, name, fence.code, is_the_end=bool(more))
                case "console", ("background",):
                    self.open(fence)
                case "console", ("stop", folder):
                    self.stop(fence, folder)
                case "console", ():
                    self.type(fence)
                case "text", _:
                    self.look(fence)
                case _, (*_, "no-run"):
                    pass
                case _:
                    raise AssertionError(f"{fence.place}: what is to be done with it?")

    def close(self) -> None:
        for terminal in self.terminals.values():
            terminal.interrupt()

    def write(self, fence: Fence, name: str, code: str, *, is_the_end: bool) -> None:
        path = self.folder / name
        assert path.parent.is_dir(), f"{fence.place}: nobody has made {path.parent}"
        assert not is_the_end or path.exists(), f"{fence.place}: the end of what?"
        before = path.read_text() + "\n" if is_the_end else ""
        path.write_text(before + code)
        # Written within the same second and of the same size, it would not be seen.
        shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)

    def type(self, fence: Fence) -> None:
        for command, expected in commands(fence):
            if command.startswith("cd "):
                self.folder = (self.folder / command[3:]).resolve()
                continue
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE,
            )
            where = f"{fence.place}\n$ {command}\n{done.stdout}"
            assert matches(done.stdout, expected), f"{where}--- expected\n{expected}"
            may_fail = "CommandError" in expected
            assert done.returncode == 0 or may_fail, where

    def open(self, fence: Fence) -> None:
        ((command, expected),) = commands(fence)
        if before := self.terminals.pop((self.folder, command), None):
            before.interrupt()
        output = self.folder / f"terminal-{next(self.numbers)}"
        with output.open("w") as file:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                preexec_fn=_as_in_a_terminal,
            )
        terminal = Terminal(fence, process, output)
        self.terminals[self.folder, command] = terminal
        wait_for(
            lambda: matches(terminal.text, expected),
            PATIENCE,
            message=f"{fence.place}: {terminal.text}",
        )
        if queue := re.search(r"consume_events --queue (\w+)", command):
            # Says so before it has bound it; a reader is slower than that.
            wait_for(lambda: self._is_consumed(queue[1]), PATIENCE)

    def stop(self, fence: Fence, folder: str) -> None:
        ((command, _),) = commands(fence)
        self.terminals.pop(((self.folder / folder).resolve(), command)).interrupt()

    def look(self, fence: Fence) -> None:
        """Of the mails that are new in the terminals: all of these, and no others."""

        def new() -> list[str]:
            texts = [each.text[each.seen :] for each in self.terminals.values()]
            lines = "".join(texts).splitlines()
            return sorted(line for line in lines if line.startswith("Mail "))

        wanted = sorted(fence.code.splitlines())
        with suppress(TimedOut):
            wait_for(lambda: len(new()) >= len(wanted), PATIENCE)
        assert new() == wanted, fence.place
        for each in self.terminals.values():
            each.seen = len(each.text)

    def _environment(self) -> dict[str, str]:
        # Not the tests' own project, nor what they import by paths.
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "DJANGO_SETTINGS_MODULE", "DATABASE_URL")
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        kept |= {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        return {**kept, **self.environment}

    def _is_consumed(self, queue: str) -> bool:
        url = self.environment["BROKER_URL"]
        connection = pika.BlockingConnection(pika.URLParameters(url))
        try:
            found = connection.channel().queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return False
        else:
            return bool(found.method.consumer_count)
        finally:
            connection.close()


def commands(fence: Fence) -> list[tuple[str, str]]:
    """What is typed, and what is printed after each."""
    found: list[tuple[str, str]] = []
    for line in fence.code.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:].rstrip("\n"), ""))
        else:
            assert found, f"{fence.place}: what prints this?"
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


def matches(printed: str, expected: str) -> bool:
    """Whether that is what was to be expected; nothing expected is silence."""
    pattern = re.escape(expected).replace("…\\\n", "(?:.*\n)*?").replace("…", ".*")
    return re.fullmatch(pattern, printed) is not None
