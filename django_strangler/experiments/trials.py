"""Experiments: the control answers, candidates run beside it, and both are compared."""

from __future__ import annotations

import enum
import functools
import inspect
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.utils.module_loading import import_string

from django_strangler import context as carried_context
from django_strangler.announcing import Announcer
from django_strangler.feature_flags.evaluation import is_enabled

from . import background, counts, later
from .conf import settings
from .effects import Effect
from .exceptions import InvalidExperiment, MismatchFound
from .isolation import Limits
from .recording import recorder
from .registry import registry
from .resting import Resting
from .rules import checked_name, duration, fraction, one_of, texts
from .running import CandidateOutcome, Finding, Rules, Seen, call, judge, read, try_out

logger = logging.getLogger("django_strangler.experiments")
trouble = Announcer(logger)

P = ParamSpec("P")
T = TypeVar("T")

CONTROL = "control"  # As a candidate: the control once more, which shows the noise.


class When(enum.Enum):
    """When candidates run."""

    INLINE = "inline"  # In the caller's thread and transaction.
    AFTER = "after"  # Once the caller has committed, on a thread of its own.
    LATER = "later"  # In a subscriber, from an event.


# Within a candidate, experiments are their controls alone.
_inside: ContextVar[bool] = ContextVar("strangler_inside_candidate", default=False)
# Within experiments_raise(): everything at once, and differences raise. Those that did.
raising: ContextVar[list[MismatchFound] | None] = ContextVar(
    "strangler_experiments_raise", default=None
)


class Experiment:
    """
    One experiment: a decorator for the control, or an object to run one with.

    Callers of ``experiment()`` get one; its arguments are described there.
    """

    def __init__(
        self,
        name: str,
        candidates: Mapping[str, Callable[..., Any] | str],
        *,
        flag: str | None,
        rate: float,
        subject: Callable[..., Any] | None,
        when: str,
        timeout: float | None,
        rules: Rules,
        context: Callable[..., Mapping[str, Any]] | None,
        calibrate: float,
        using: Iterable[str],
        allow: Iterable[str],
    ) -> None:
        self.name = checked_name(name)
        self.when = one_of("when", when, When)
        self.rules = rules
        self.candidates = dict(candidates)
        for each in self.candidates:
            if checked_name(each) == CONTROL:
                raise InvalidExperiment(
                    f"The experiment {name!r} calls a candidate {CONTROL!r}, which is "
                    "what the control is called. Choose another name."
                )
        self.flag, self._subject, self._context = flag, subject, context
        self._rate, self._calibrate = (
            fraction("rate", rate),
            fraction("calibrate", calibrate),
        )
        self._timeout = None if timeout is None else duration("timeout", timeout)
        self._using = frozenset(texts("using", using))
        self._refused = frozenset(Effect) - {
            one_of("allow", each, Effect) for each in texts("allow", allow)
        }
        self._resting = Resting()
        self.control: Callable[..., Any] | None = None

    def __call__(self, control: Callable[P, T]) -> Callable[P, T]:
        """Decorate the control: callers get its answer, as if nothing else ran."""
        if inspect.iscoroutinefunction(control):
            raise InvalidExperiment(
                f"The experiment {self.name!r} has an async control. Candidates share "
                "its database transaction, which Django has for plain functions only: "
                "put the experiment on what the async function calls."
            )
        if not self.candidates:
            raise InvalidExperiment(
                f"The experiment {self.name!r} has no candidate. Name one: candidate=."
            )
        self._register(control)

        @functools.wraps(control)
        def call_both(*args: P.args, **kwargs: P.kwargs) -> T:
            if not self._is_on(args, kwargs):
                return control(*args, **kwargs)
            answer: T = self._answer(control, self.candidates, args, kwargs)
            return answer

        call_both.experiment = self  # type: ignore[attr-defined]
        return call_both

    def run(
        self,
        control: Callable[[], T],
        /,
        *,
        subject: Any = None,
        **candidates: Callable[[], Any],
    ) -> T:
        """The control's answer; candidates run beside it if the experiment is on."""
        if self.when is When.LATER:
            raise InvalidExperiment(
                f"The experiment {self.name!r} runs later, in another process, which "
                "has no such functions. Decorate the control with it instead."
            )
        if not self._is_on_for(subject):
            return control()
        answer: T = self._answer(control, candidates, (), {})
        return answer

    def _register(self, control: Callable[..., Any]) -> None:
        self.control = control
        known = registry.setdefault(self.name, self)
        if _place(known.control) != _place(control):
            raise InvalidExperiment(
                f"Two experiments are named {self.name!r}: {_place(known.control)} and "
                f"{_place(control)}. Their findings are told apart by name: rename one."
            )
        registry[self.name] = self  # A module that is loaded anew.

    # Whether it runs

    def _is_on(self, args: Any, kwargs: Any) -> bool:
        subject = None
        if self._subject is not None:
            try:
                subject = self._subject(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  The caller never pays for it.
                self._failed("its subject= failed", error)
                return False
        return self._is_on_for(subject)

    def _is_on_for(self, subject: Any) -> bool:
        # The flag first: it says no to most calls.
        if self.flag is not None and not is_enabled(self.flag, subject):
            return False
        # Which calls are compared may be guessed.
        if self._rate < 1.0 and random.random() >= self._rate:
            return False
        return not _inside.get() and not self._resting.now

    # One run

    def _answer(
        self,
        control: Callable[..., Any],
        candidates: Mapping[str, Callable[..., Any] | str],
        args: Any,
        kwargs: Any,
    ) -> Any:
        names = [*candidates, *([CONTROL] if random.random() < self._calibrate else [])]
        random.shuffle(names)
        calls = {**candidates, CONTROL: control}
        tried: dict[str, Seen] = {}
        first = random.randrange(len(names) + 1) if self._is_inline else 0
        for name in names[:first]:
            self._try(name, calls[name], args, kwargs, tried)
        control_seen = call(lambda: control(*args, **kwargs))
        try:
            # Now, while it is what the caller gets: it may be changed after.
            seen = read(control_seen, self.rules, self._limits(self.timeout))
            if self._is_inline:
                for name in names[first:]:
                    self._try(name, calls[name], args, kwargs, tried)
                self._compare(seen, tried, self._told(args, kwargs))
            else:
                self._put_off(seen, names, calls, args, kwargs)
        except MismatchFound:
            raise
        except Exception as error:  # noqa: BLE001  The caller never pays for it.
            self._failed("its bookkeeping failed", error)
        if control_seen.error is not None:
            raise control_seen.error
        return control_seen.value

    @property
    def _is_inline(self) -> bool:
        return self.when is When.INLINE or raising.get() is not None

    def _put_off(
        self,
        control: Seen,
        names: list[str],
        calls: Mapping[str, Callable[..., Any] | str],
        args: Any,
        kwargs: Any,
    ) -> None:
        told = self._told(args, kwargs)
        if self.when is When.LATER:
            later.send(self.name, names, control, told, args, kwargs)
            return

        carried = carried_context.capture()

        def work() -> None:
            tried: dict[str, Seen] = {}
            with carried_context.restored(carried):
                for name in names:
                    self._try(name, calls[name], args, kwargs, tried)
                self._compare(control, tried, told)

        submit = functools.partial(background.submit, self.name, work)
        transaction.on_commit(submit, using=self._callers_database(), robust=True)

    def _callers_database(self) -> str:
        """Whose COMMIT makes visible what the caller did."""
        open_ones = (
            each for each in sorted(self._using) if connections[each].in_atomic_block
        )
        return next(open_ones, DEFAULT_DB_ALIAS)

    def try_later(
        self,
        names: Iterable[str],
        control: Seen,
        told: Mapping[str, Any],
        args: Any,
        kwargs: Any,
    ) -> None:
        """Run candidates for a control that has answered elsewhere."""
        tried: dict[str, Seen] = {}
        for name in names:
            candidate = self.control if name == CONTROL else self.candidates.get(name)
            if candidate is not None:
                self._try(name, candidate, args, kwargs, tried)
        self._compare(control, tried, told)

    def _try(
        self,
        name: str,
        candidate: Callable[..., Any] | str,
        args: Any,
        kwargs: Any,
        tried: dict[str, Seen],
    ) -> None:
        """Run one candidate. All of a call share its time, for the caller waits."""
        left = self._left(tried) if self._is_inline else self.timeout
        if left <= 0:
            counts.candidates.add(self.name, name, "skipped")
            return
        token = _inside.set(True)
        try:
            tried[name] = try_out(
                lambda: _resolved(candidate)(*args, **kwargs),
                self.rules,
                self._limits(left),
            )
        finally:
            _inside.reset(token)

    @property
    def timeout(self) -> float:
        """Seconds that the candidates of one call may take."""
        return settings().timeout if self._timeout is None else self._timeout

    def _left(self, tried: Mapping[str, Seen]) -> float:
        return self.timeout - sum(seen.seconds for seen in tried.values())

    def _limits(self, timeout: float) -> Limits:
        return Limits(timeout, self._using, self._refused)

    def _compare(
        self, control: Seen, tried: Mapping[str, Seen], told: Mapping[str, Any]
    ) -> None:
        findings = [
            judge(name, control, seen, self.rules, self.timeout)
            for name, seen in tried.items()
        ]
        for finding in findings:
            self._note(control, finding)
        recorder.record(self.name, findings, told)
        _raise_if_different(self.name, findings)

    def _note(self, control: Seen, finding: Finding) -> None:
        counts.candidates.add(self.name, finding.candidate, finding.outcome.value)
        if finding.outcome is CandidateOutcome.LATE and self._resting.overran():
            counts.candidates.add(self.name, finding.candidate, "resting")
            trouble.warning(
                self.name,
                "Candidates of the experiment %r took longer than %g s three times. It "
                "rests in this process for a minute.",
                self.name,
                self.timeout,
            )

    def _told(self, args: Any, kwargs: Any) -> Mapping[str, Any]:
        return {} if self._context is None else self._context(*args, **kwargs)

    def _failed(self, what: str, error: Exception) -> None:
        if raising.get() is not None:
            _raise(f"The experiment {self.name!r}: {what}: {error!r}", error)
        counts.candidates.add(self.name, "", "broken")
        trouble.warning(
            f"{self.name} {what}",
            "The experiment %r was left out of a call: %s. %s: %s",
            self.name,
            what,
            type(error).__name__,
            error,
        )


def _place(control: Any) -> str:
    return f"{control.__module__}.{getattr(control, '__qualname__', control)}"


def _resolved(candidate: Callable[..., Any] | str) -> Callable[..., Any]:
    return import_string(candidate) if isinstance(candidate, str) else candidate


def _raise(text: str, cause: Exception | None = None) -> None:
    found = MismatchFound(text)
    known = raising.get()
    if known is not None:
        known.append(found)
    raise found from cause


def _raise_if_different(name: str, findings: Iterable[Finding]) -> None:
    if raising.get() is None:
        return
    lines = [
        f"{finding.candidate}: {each.kind.value} at {each.path}: "
        f"{each.control!r:.300} | {each.candidate!r:.300}"
        for finding in findings
        for each in finding.found
        if finding.candidate != CONTROL
    ]
    if lines:
        _raise(f"The experiment {name!r} differs.\n" + "\n".join(lines))
