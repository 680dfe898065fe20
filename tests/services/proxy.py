"""A TCP proxy that breaks the network between a client and a server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from .ports import LOOPBACK, free_port

Direction = Literal["up", "down", "both"]  # Up: from the client to the server.
T = TypeVar("T")

CHUNK = 256 * 1024
AHEAD = 256  # Chunks on their way in one direction; a reader waits when there are more.


class Proxy:
    """
    Listens on a port of its own and forwards to the target, until told otherwise.

    Nothing is lost or reordered in a connection that stays open: as with TCP, what a
    black hole or a delay keeps back comes later.
    """

    def __init__(self, target: int, host: str = LOOPBACK) -> None:
        self.target = (host, target)
        self.lines = {"up": _Line(), "down": _Line()}
        self._links: dict[asyncio.Task[None], socket.socket] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="proxy", daemon=True
        )
        self._thread.start()
        self.port = free_port()
        self._listener: socket.socket | None = None
        self._call(self._listen)

    @property
    def connections(self) -> int:
        """How many are open now."""
        return self._call(lambda: len(self._links))

    def cut(self) -> None:
        """Break all connections, with a reset; new ones are welcome."""
        self._run(self._cut())

    def refuse(self) -> None:
        """Break all connections and let nobody connect until heal()."""
        self._call(self._unlisten)
        self.cut()

    def black_hole(self, direction: Direction = "both") -> None:
        """Deliver nothing, not even the end of a connection, until heal()."""
        self._each(direction, _Line.block)

    def delay(self, seconds: float, direction: Direction = "both") -> None:
        """Deliver everything that much later; the order stays."""
        self._each(direction, lambda line: line.slow(seconds))

    def heal(self) -> None:
        """A good network again: what was kept back is delivered."""
        self._each("both", _Line.heal)
        self._call(self._listen)

    def close(self) -> None:
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _each(self, direction: Direction, change: Callable[[_Line], None]) -> None:
        def change_them() -> None:
            for name, line in self.lines.items():
                if direction in (name, "both"):
                    change(line)

        self._call(change_them)

    def _call(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return self._run(call())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server((LOOPBACK, self.port))
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._accept)

    def _unlisten(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        # Not asyncio's server: that loses a connection which is just being accepted
        # when it closes.
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # It has changed its mind.
        task = self._loop.create_task(_serve(client, self.target, self.lines))
        self._links[task] = client
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        # Closed already, unless the task was cancelled before it began.
        self._links.pop(task).close()

    async def _cut(self) -> None:
        tasks = list(self._links)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # The last thing that transports do, they do in the next rounds of the loop.
        for _ in range(3):
            await asyncio.sleep(0)


class _Line:
    """One direction, for all connections."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.open = asyncio.Event()
        self.open.set()

    def block(self) -> None:
        self.open.clear()

    def slow(self, seconds: float) -> None:
        self.seconds = seconds

    def heal(self) -> None:
        self.seconds = 0.0
        self.open.set()


async def _serve(
    client: socket.socket, target: tuple[str, int], lines: dict[str, _Line]
) -> None:
    """Forward between a client and a connection of our own to the server."""
    writers = []
    try:
        reader, writer = await asyncio.open_connection(sock=client, limit=CHUNK)
        writers.append(writer)
        server_reader, server_writer = await asyncio.open_connection(
            *target, limit=CHUNK
        )
        writers.append(server_writer)
        await _together(
            _forward(reader, server_writer, lines["up"]),
            _forward(server_reader, writer, lines["down"]),
        )
        for each in writers:
            each.close()
            await each.wait_closed()
    except (OSError, asyncio.CancelledError):
        for each in writers:
            _reset(each)
        for each in writers:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await each.wait_closed()


async def _together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all; when one fails, cancel the others and raise its error."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: _Line
) -> None:
    """Read as fast as it comes, write when it is time, both ends of a queue."""
    queue: asyncio.Queue[tuple[float, bytes | OSError]] = asyncio.Queue(AHEAD)
    now = asyncio.get_running_loop().time

    async def read() -> None:
        data: bytes | OSError = b"?"
        while data and isinstance(data, bytes):
            try:
                data = await reader.read(CHUNK)
            except OSError as error:
                data = error  # A reset waits for its turn, like everything else.
            await queue.put((now() + line.seconds, data))

    async def write() -> None:
        while True:
            due, data = await queue.get()
            # After heal() there is nothing to wait for any more.
            while line.seconds and (left := due - now()) > 0:
                await asyncio.sleep(min(left, 0.02))
            await line.open.wait()
            if isinstance(data, OSError):
                raise data
            if not data:
                break
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    reading = asyncio.ensure_future(read())
    try:
        await write()
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN, and drop what is not sent yet."""
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
