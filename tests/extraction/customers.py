"""
Customers over HTTP: they sign up, pay, take money back, look, and try again.

    python -m tests.extraction.customers PORT FOLDER SEED RATE CUSTOMERS SECONDS

So many requests a second begin whatever the answers do (an open loop). What changes
something carries a key and is tried again with it, as clients of a payment API do. One
line is written for each try, and one for each order: what was wanted, and what came of
it. Ends when its stdin does and all orders have come to an end.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

PATIENCE = 5.0  # Seconds for one answer.
AGAIN = (0.1, 0.2, 0.5, 1.0, 2.0)  # Seconds until the next try; the last one stays.
GIVE_UP = 120.0
CURRENCIES = ("EUR", "EUR", "EUR", "GBP", "USD")
# Tries that end so are made again: nobody was served, or somebody else is just at it.
TRANSIENT = {0, 500, 502, 503, 504}
AT_THE_DOOR = 64  # Orders under way; who comes then, goes away again.
GROWING = 0.7  # The share of the time in which new customers come.
FORGETFUL = 0.04  # Of what is asked: once more, what was answered long ago.
REMEMBERED = 20  # Answers of each customer, of which one is asked for again.


@dataclass
class Payment:
    id: int
    cents: int
    currency: str
    status: str = "pending"
    refunded: int = 0


@dataclass(frozen=True)
class Done:
    """An order that was carried out, and what was answered."""

    op: int
    kind: str
    path: str
    sent: dict[str, Any]
    key: str
    status: int
    answer: Any


@dataclass
class Customer:
    number: int
    id: int = 0
    cookie: str = ""
    payments: list[Payment] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)
    is_busy: bool = False


class Broken(Exception):
    """No answer, or half of one."""


class Connections:
    """HTTP/1.1 that is kept alive; just what these customers need of it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, head: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        data = head.encode() + body
        while self._idle:
            # Closed while it was idle, and nothing was answered: clients take another.
            with suppress(OSError, Broken):
                return await self._exchange(*self._idle.pop(), data)
        connection = await asyncio.open_connection("127.0.0.1", self._port)
        return await self._exchange(*connection, data)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        try:
            writer.write(data)
            if not (first := await reader.readline()):
                raise Broken
            status = int(first.split()[1])
            headers = {}
            while (line := await reader.readline()).strip():
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            if headers.get("transfer-encoding") == "chunked":
                body = b""
                while size := int(await reader.readline(), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                await reader.readline()
            else:
                body = await reader.readexactly(int(headers.get("content-length", 0)))
        except BaseException:
            writer.close()
            raise
        if headers.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return status, headers, body


class Crowd:
    def __init__(
        self,
        port: int,
        out: IO[str],
        *,
        seed: int,
        rate: float,
        most: int,
        seconds: float,
    ) -> None:
        self.chance = random.Random(seed)
        self.connections = Connections(port)
        self.out, self.rate, self.most = out, rate, most
        self.until = time.time() + seconds * GROWING
        self.seconds = seconds
        self.customers: list[Customer] = []
        self.seed, self.ops = seed, 0
        self.stopping = asyncio.Event()
        self.running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        due = time.monotonic()
        while not self.stopping.is_set():
            due += self.chance.expovariate(self.rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if len(self.running) >= AT_THE_DOOR:
                continue
            task = asyncio.ensure_future(self.next())
            self.running.add(task)
            task.add_done_callback(self.running.discard)
        while self.running:
            await asyncio.wait(self.running)

    async def next(self) -> None:
        customer = self.choose()
        if customer is None:
            return
        customer.is_busy = True
        try:
            await (self.act(customer) if customer.id else self.sign_up(customer))
        finally:
            customer.is_busy = False

    def choose(self) -> Customer | None:
        """Somebody new now and then, else anybody who waits for nothing."""
        left = self.most - len(self.customers)
        per_second = self.most / (self.seconds * GROWING)
        if left and self.chance.random() < per_second / self.rate:
            self.customers.append(Customer(len(self.customers) + 1))
            return self.customers[-1]
        for _ in range(20):
            if not self.customers:
                break
            customer = self.chance.choice(self.customers)
            if not customer.is_busy:
                return customer
        return None

    async def act(self, customer: Customer) -> None:
        for payment in customer.payments:
            if payment.status == "pending":
                return await self.settle(customer, payment)
        if customer.done and self.chance.random() < FORGETFUL:
            return await self.ask_again(customer)
        dice = self.chance.random()
        if dice < 0.40 or not customer.payments:
            return await self.pay(customer)
        payment = self.chance.choice(customer.payments)
        if dice < 0.50 and payment.status == "completed":
            return await self.refund(customer, payment)
        if dice < 0.75:
            return await self.look(customer, payment)
        if dice < 0.90:
            return await self.look_at_all(customer)
        return await self.read_receipts(customer)

    # What they do

    async def sign_up(self, customer: Customer) -> None:
        email = f"c{customer.number}.{self.seed}@example.com"
        sent = {"email": email, "password": "correct horse battery"}
        status, answer = await self.order(customer, "sign-up", "/users/sign-up/", sent)
        if status == 201:
            customer.id = answer["id"]
        else:
            self.customers.remove(customer)

    async def pay(self, customer: Customer) -> None:
        cents = self.chance.randint(100, 99_999)
        currency = self.chance.choice(CURRENCIES)
        sent = {"user": customer.id, "amount": _money(cents), "currency": currency}
        status, answer = await self.order(customer, "create", "/payments/", sent)
        if status == 201:
            customer.payments.append(Payment(answer["id"], cents, currency))

    async def settle(self, customer: Customer, payment: Payment) -> None:
        is_good = self.chance.random() < 0.93
        kind = "complete" if is_good else "fail"
        sent = {} if is_good else {"reason": "The card was refused."}
        status, answer = await self.order(
            customer, kind, f"/payments/{payment.id}/{kind}/", sent, payment
        )
        payment.status = answer["status"] if status == 200 else "unknown"

    async def refund(self, customer: Customer, payment: Payment) -> None:
        left = payment.cents - payment.refunded
        cents = left if self.chance.random() < 0.5 else self.chance.randint(1, left)
        sent = {"amount": _money(cents), "reason": "It does not fit."}
        path = f"/payments/{payment.id}/refund/"
        status, answer = await self.order(customer, "refund", path, sent, payment)
        if status == 201:
            payment.refunded += cents
            payment.status = answer["status"]
        else:
            payment.status = "unknown"

    async def look(self, customer: Customer, payment: Payment) -> None:
        path = f"/payments/{payment.id}/"
        status, answer = await self.order(customer, "look", path, None, payment)
        if status == 200:
            self.compare(customer, payment, answer)

    async def look_at_all(self, customer: Customer) -> None:
        path = f"/payments/?user={customer.id}"
        status, answer = await self.order(customer, "list", path, None)
        if status != 200:
            return
        shown = {each["id"]: each for each in answer["payments"]}
        for payment in customer.payments[-50:]:
            if payment.id in shown:
                self.compare(customer, payment, shown[payment.id])
            else:
                self.complain(customer, f"payment {payment.id} is not in the list")

    async def read_receipts(self, customer: Customer) -> None:
        path = f"/notifications/users/{customer.id}/"
        await self.order(customer, "receipts", path, None)

    async def ask_again(self, customer: Customer) -> None:
        """As a client does that has been restored from a backup: the same key."""
        done = self.chance.choice(customer.done)
        await self.order(customer, done.kind, done.path, done.sent, again=done)

    def compare(self, customer: Customer, payment: Payment, shown: Any) -> None:
        """Nobody is shown less than they did themselves."""
        if payment.status == "unknown":
            return
        wanted = {
            "user": customer.id,
            "amount": _money(payment.cents),
            "currency": payment.currency,
            "status": payment.status,
        }
        found = {name: shown.get(name) for name in wanted}
        if found != wanted:
            self.complain(customer, f"payment {payment.id}: {found}, not {wanted}")

    def complain(self, customer: Customer, why: str) -> None:
        self.write(t="complaint", at=time.time(), who=customer.number, why=why)

    # How they ask

    async def order(
        self,
        customer: Customer,
        kind: str,
        path: str,
        sent: dict[str, Any] | None,
        payment: Payment | None = None,
        again: Done | None = None,
    ) -> tuple[int, Any]:
        """One request with its retries; the last answer."""
        self.ops += 1
        op, began = self.ops, time.time()
        key = f"k-{self.seed}-{op}" if sent is not None else ""
        if again is not None:
            key = again.key
        status, answer, side, tries = 0, None, "", 0
        while True:
            status, answer, side, replayed = await self.once(
                customer, op, kind, path, sent, key
            )
            is_over = status not in TRANSIENT and not (
                status == 409 and _is_busy(answer)
            )
            if is_over or time.time() > began + GIVE_UP:
                break
            await asyncio.sleep(AGAIN[min(tries, len(AGAIN) - 1)])
            tries += 1
        if again is None and sent is not None and customer.id and status in (200, 201):
            customer.done.append(Done(op, kind, path, sent, key, status, answer))
            del customer.done[:-REMEMBERED]
        self.write(
            t="order",
            op=op,
            who=customer.number,
            user=customer.id,
            kind=kind if again is None else "again",
            first=None if again is None else [again.status, again.answer],
            payment=payment.id if payment else None,
            sent=sent,
            status=status,
            answer=answer if sent is not None else None,
            tries=tries + 1,
            replayed=replayed,
            side=side,
            at=began,
            ended=time.time(),
        )
        return status, answer

    async def once(
        self,
        customer: Customer,
        op: int,
        kind: str,
        path: str,
        sent: dict[str, Any] | None,
        key: str,
    ) -> tuple[int, Any, str, bool]:
        body = b"" if sent is None else json.dumps(sent).encode()
        head = [
            f"{'GET' if sent is None else 'POST'} {path} HTTP/1.1",
            "Host: localhost",
        ]
        if sent is not None:
            head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
            head += [f"Idempotency-Key: {key}"]
        if customer.cookie:
            head.append(f"Cookie: strangler_id={customer.cookie}")
        at, status, headers, answer, error = time.time(), 0, {}, None, ""
        asking = self.connections.ask("\r\n".join(head) + "\r\n\r\n", body)
        try:
            status, headers, data = await asyncio.wait_for(asking, PATIENCE)
            answer = json.loads(data)
        except (OSError, Broken, ValueError, EOFError, asyncio.TimeoutError) as failure:
            error = type(failure).__name__
            if status == 200 or status == 201:
                status = 0  # Half an answer is none.
        side = headers.get("strangler-side", "")
        self.write(
            t="try",
            at=at,
            took=time.time() - at,
            who=customer.number,
            op=op,
            kind=kind,
            status=status,
            side=side,
            subject=customer.cookie.partition("~")[0],
            **({"error": error} if error else {}),
        )
        for part in headers.get("set-cookie", "").split(";"):
            if part.startswith("strangler_id="):
                customer.cookie = part.partition("=")[2].strip('"')
        return status, answer, side, "idempotent-replayed" in headers

    def write(self, **line: Any) -> None:
        self.out.write(json.dumps(line) + "\n")


def _is_busy(answer: Any) -> bool:
    return isinstance(answer, dict) and "in-progress" in str(answer.get("type"))


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


async def main() -> None:
    port, folder, seed, rate, most, seconds = sys.argv[1:]
    with Path(folder, "customers.jsonl").open("w", buffering=1) as out:
        crowd = Crowd(
            int(port),
            out,
            seed=int(seed),
            rate=float(rate),
            most=int(most),
            seconds=float(seconds),
        )
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, sys.stdin.read).add_done_callback(
            lambda _: crowd.stopping.set()
        )
        await crowd.run()


if __name__ == "__main__":
    asyncio.run(main())
