"""Calls to a service: ``service("payments").get("/payments/7")``."""

from __future__ import annotations

import json as json_module
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from django.core.serializers.json import DjangoJSONEncoder

from django_strangler import counting, tracing

from . import carrying, deadline, retries
from .breakers import Breaker, Call, registry
from .circuit import CallOutcome
from .conf import ServiceSettings, is_same, settings_of
from .errors import (
    BadAnswer,
    CircuitOpen,
    DeadlineExceeded,
    FailedAnswer,
    ServiceError,
)
from .transport import Reply, Transport

__all__ = ["Answer", "Exchange", "Service", "service"]

TOO_MANY, UNAVAILABLE = 429, 503
_DEADLINE = deadline.HEADER.lower()
_PATH = "%/:?#[]@!$&'()*+,;=~"

calls = counting.counter(
    "service_calls",
    "Calls by outcome: the answer's class (2xx …), or refused, unreachable, timeout, "
    "broken.",
    labels=("service", "outcome"),
)
seconds_taken = counting.histogram(
    "service_seconds",
    "How long calls took, retries included.",
    labels=("service",),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the service said. 4xx and 5xx are answers too."""

    status: int
    headers: Mapping[str, str]  # Names in any case; several of a name are joined.
    body: bytes = field(repr=False)

    @property
    def is_ok(self) -> bool:
        """Neither 4xx nor 5xx."""
        return self.status < 400

    def json(self) -> Any:
        """The body as JSON; BadAnswer if it is none."""
        try:
            return json_module.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise BadAnswer(
                f"The answer ({self.status}) is not JSON.", reached=True
            ) from error


class Exchange:
    """A call whose answer has begun; ended by ``close``, or by reading all of it."""

    def __init__(
        self, call: Call, reply: Reply, settings: ServiceSettings, name: str
    ) -> None:
        self._call, self._reply, self._settings = call, reply, settings
        self._name = name
        self.status, self.reason, self.headers = (
            reply.status,
            reply.reason,
            reply.headers,
        )
        self._judge()

    def extend(self, seconds: float) -> None:
        """Give the body so many seconds from now on."""
        self._reply.watch.until = time.monotonic() + seconds

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes; an error says that it was cut off."""
        try:
            yield from self._reply.chunks()
        except ServiceError as error:
            self._call.tell(CallOutcome.FAILURE, reason=type(error).__name__)
            raise
        finally:
            self.close()

    def read(self, most: int) -> bytes:
        """All of the body, unless it is longer."""
        found = bytearray()
        for chunk in self.chunks():
            found += chunk
            if len(found) > most:
                self.close()
                raise BadAnswer(
                    f"The answer of {self._name!r} is larger than MAX_BODY, {most:,} "
                    "bytes.",
                    reached=True,
                )
        return bytes(found)

    def close(self) -> None:
        """The rest of the body is not wanted."""
        self._call.tell(CallOutcome.SUCCESS)  # Unless something else was told before.
        self._reply.close()
        self._call.end()

    def _judge(self) -> None:
        after = retry_after(self.headers.get("Retry-After"))
        if self.status in (TOO_MANY, UNAVAILABLE) and after is not None:
            reason = f"it asks for {after:g} s"
            self._call.tell(CallOutcome.FAILURE, until=after, reason=reason)
        elif self.status in retries.AWAY:
            self._call.tell(CallOutcome.FAILURE, reason=f"status {self.status}")
        elif self.status == 500 and self._settings.fail_on_500:
            self._call.tell(CallOutcome.ERROR, reason="status 500")


def retry_after(text: str | None) -> float | None:
    """The seconds of a Retry-After header; a date is left alone."""
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 9:
        return None
    return float(text)


class Service:
    """
    One service, as ``STRANGLER["SERVICES"]`` has it.

    Connections are pooled per process and shared by its threads. Nothing of a user is
    left for the next: no cookie is kept, and no redirect followed.
    """

    def __init__(self, name: str, settings: ServiceSettings) -> None:
        self.name, self.settings = name, settings
        self.retries = retries.Budget()
        self._lock = threading.Lock()
        self._transport: tuple[str, Transport] | None = None

    @property
    def breaker(self) -> Breaker:
        return registry.get(self.name)

    @property
    def url(self) -> str:
        given = self.settings.url
        return str(given() if callable(given) else given)

    def get(self, path: str, **options: Any) -> Answer:
        return self.request("GET", path, **options)

    def head(self, path: str, **options: Any) -> Answer:
        return self.request("HEAD", path, **options)

    def options(self, path: str, **options: Any) -> Answer:
        return self.request("OPTIONS", path, **options)

    def post(self, path: str, **options: Any) -> Answer:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> Answer:
        return self.request("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> Answer:
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> Answer:
        return self.request("DELETE", path, **options)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        user: Any = None,
        timeout: float | None = None,
        raise_for_status: bool = False,
    ) -> Answer:
        """
        Call the service and read its answer; a ServiceError says why there is none.

        ``timeout`` is for all of it, retries included; a deadline that comes sooner
        wins. ``user`` is whom the service acts for: a user, or a request.
        """
        target = quote(path, safe=_PATH)
        if params:
            target += f"{'&' if '?' in target else '?'}{urlencode(params, doseq=True)}"
        sent = dict(headers or {})
        if json is not None:
            body = json_module.dumps(json, cls=DjangoJSONEncoder).encode()
            sent.setdefault("Content-Type", "application/json")
        if idempotency_key is not None:
            sent["Idempotency-Key"] = idempotency_key
        if user is not None:
            sent.update(self.identity(user, method, target))
        may_repeat = self.settings.retries and retries.is_repeatable(
            method, idempotency_key
        )
        begun = time.monotonic()
        until = begun + (self.settings.timeout if timeout is None else timeout)
        try:
            answer = self._tried(method, target, sent, body, until, may_repeat)
        finally:
            seconds_taken.observe(self.name, time.monotonic() - begun)
        if raise_for_status and not answer.is_ok:
            raise FailedAnswer(
                f"{method} {path} of {self.name!r}: status {answer.status}.",
                status=answer.status,
            )
        return answer

    def _tried(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        until: float,
        may_repeat: bool,
    ) -> Answer:
        self.retries.called()
        try:
            answer = self._once(method, target, headers, body, until)
            if not may_repeat or answer.status not in retries.AWAY:
                return answer
        except (CircuitOpen, DeadlineExceeded):
            raise
        except ServiceError:
            if not may_repeat or not self._wait_for_a_retry(until):
                raise
        else:
            if not self._wait_for_a_retry(until):
                return answer
        return self._once(method, target, headers, body, until)

    def _wait_for_a_retry(self, until: float) -> bool:
        seconds = retries.pause()
        soon = time.monotonic() + seconds + deadline.LEAST
        outer = deadline.left()
        if soon >= until or (
            outer is not None and seconds + 2 * deadline.LEAST > outer
        ):
            return False
        if not self.retries.take():
            return False
        time.sleep(seconds)
        return True

    def _once(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        until: float,
    ) -> Answer:
        exchange = self.open(
            method, target, headers, body, seconds=until - time.monotonic()
        )
        content = exchange.read(self.settings.max_body)
        return Answer(status=exchange.status, headers=exchange.headers, body=content)

    def identity(self, user: Any, method: str, target: str) -> dict[str, str]:
        """The header that says whom the call is for; empty without keys."""
        from . import issuing

        path = self._connections().prefix + target
        return issuing.headers_for(user, self.name, method=method, target=path)

    def open(
        self,
        method: str,
        target: str,
        headers: Any,
        body: Any = None,
        *,
        seconds: float | None = None,
    ) -> Exchange:
        """
        Send one request and wait for the head of its answer; the body can be streamed.

        ``target`` goes out as it is. This is what the facade uses: no retry, and no
        header but what the protocol and the trace need.
        """
        allowed = self.settings.timeout if seconds is None else seconds
        outer = deadline.left()
        if outer is not None:
            allowed = min(allowed, outer - deadline.MARGIN)
        if allowed < deadline.LEAST:
            calls.add(self.name, "timeout")
            raise DeadlineExceeded(
                f"{self.name!r} was not called: {max(allowed, 0) * 1000:.0f} ms are "
                "left of the deadline."
            )
        try:
            call = self.breaker.enter()
        except CircuitOpen:
            calls.add(self.name, "refused")
            raise
        try:
            with tracing.calling(self.name, method, *self._server()) as (span, traced):
                reply = self._send(method, target, headers, traced, body, allowed)
                tracing.answered(span, reply.status)
        except ServiceError as error:
            calls.add(self.name, _outcome(error))
            # A caller in a hurry says nothing about the service.
            in_a_hurry = allowed < self.settings.timeout / 2
            is_ours = getattr(body, "is_broken", False)
            if not is_ours and not (in_a_hurry and isinstance(error, DeadlineExceeded)):
                call.tell(CallOutcome.FAILURE, reason=type(error).__name__)
            call.end()
            raise
        except BaseException:
            call.end()
            raise
        calls.add(self.name, f"{reply.status // 100}xx")
        return Exchange(call, reply, self.settings, self.name)

    def _send(
        self,
        method: str,
        target: str,
        headers: Any,
        traced: Mapping[str, str],
        body: Any,
        allowed: float,
    ) -> Reply:
        sent = {name.lower(): value for name, value in headers.items()}
        sent.update(traced)
        sent.update(carrying.sent())
        sent[_DEADLINE] = str(int(allowed * 1000))
        return self._connections().send(
            method,
            target,
            sent,
            body,
            seconds=allowed,
            connect=min(allowed, self.settings.connect_timeout),
            upload_seconds=max(allowed, self.settings.stream_timeout),
        )

    def _server(self) -> tuple[str, int]:
        connections = self._connections()
        return connections.host, connections.port

    def _connections(self) -> Transport:
        url = self.url
        known = self._transport
        if known is not None and known[0] == url:
            return known[1]
        with self._lock:
            known = self._transport
            if known is None or known[0] != url:
                if known is not None:
                    known[1].close()
                self._transport = known = (
                    url,
                    Transport(
                        url,
                        most=self.settings.max_in_flight,
                        max_age=self.settings.max_age,
                        max_idle=self.settings.max_idle,
                    ),
                )
            return known[1]


def _outcome(error: ServiceError) -> str:
    if isinstance(error, DeadlineExceeded):
        return "timeout"
    return "broken" if isinstance(error, BadAnswer) else "unreachable"


def service(name: str) -> Service:
    """The service of that name in ``STRANGLER["SERVICES"]``."""
    settings = settings_of(name)
    found = _services.get(name)
    if found is None or not is_same(found.settings, settings):
        found = _services[name] = Service(name, settings)
    return found


_services: dict[str, Service] = {}
if hasattr(os, "register_at_fork"):
    # Two processes must not read from one connection.
    os.register_at_fork(after_in_child=_services.clear)
