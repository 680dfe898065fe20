"""A service that writes down what it has done, for runs in which it is killed."""

from __future__ import annotations

import asyncio
import os
import sys


class Service(asyncio.Protocol):
    """One connection; a request's id is its last path segment."""

    log: int

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.data = transport, b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head, self.data = self.data[:end], self.data[end + 4 :]
            method, path, _ = head.split(b"\r\n")[0].split()
            # Written before it is answered, and by one system call: a kill leaves both
            # or neither of its halves.
            os.write(self.log, b"modern %s %s\n" % (method, path.rpartition(b"/")[2]))
            body = b"modern"
            self.transport.write(  # type: ignore[attr-defined]
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )


async def main(port: int, path: str) -> None:
    Service.log = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Service, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
