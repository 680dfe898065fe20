"""Payments, made over HTTP as the company's customers make them."""

import json
import random
import threading
import urllib.request
from http.client import HTTPException
from typing import Any


class Traffic:
    """Now and then a customer pays, while it is switched on."""

    def __init__(self, address: str, users: list[int], *, pause: float) -> None:
        self._address = address
        self._users = users
        self._pause = pause  # Seconds between two payments, on average.
        self._is_on = threading.Event()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failures: list[str] = []  # Requests that should have succeeded.
        self._thread.start()

    @property
    def is_on(self) -> bool:
        return self._is_on.is_set()

    def start(self) -> None:
        self._is_on.set()

    def stop(self) -> None:
        self._is_on.clear()

    def close(self) -> None:
        """Stop for good; what is being paid now is finished."""
        self._is_over.set()
        self._is_on.set()
        self._thread.join(30)

    def pay(self, user: int | None = None) -> int:
        """Make a payment and complete it, through the monolith's views."""
        made = post(
            f"{self._address}/payments/",
            user=user or random.choice(self._users),
            amount=f"{random.randint(199, 199_999) / 100:.2f}",
            currency="EUR",
        )
        payment = int(made["id"])
        post(f"{self._address}/payments/{payment}/complete/")
        return payment

    def _run(self) -> None:
        while self._is_on.wait() and not self._is_over.is_set():
            try:
                self.pay()
            # OSError: HTTP's errors, and timeouts. The others: half an answer.
            except (OSError, HTTPException, ValueError) as error:
                self.failures.append(str(error) or type(error).__name__)
            self._is_over.wait(self._pause * random.uniform(0.5, 1.5))


def post(url: str, **body: Any) -> dict[str, Any]:
    """Ask the monolith for something; its answer."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))
