"""How experiments are declared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .exceptions import InvalidExperiment
from .rules import one_of, texts
from .running import Errors, Rules
from .trials import Experiment

Candidate = Callable[..., Any] | str


def experiment(
    name: str,
    *,
    candidate: Candidate | None = None,
    candidates: Mapping[str, Candidate] | None = None,
    flag: str | None = None,
    rate: float = 1.0,
    subject: Callable[..., Any] | None = None,
    when: str = "inline",
    timeout: float | None = None,
    compare: Callable[[Any, Any], bool] | None = None,
    clean: Callable[[Any], Any] | None = None,
    ignore: Iterable[str] = (),
    same_errors: str = "class",
    context: Callable[..., Mapping[str, Any]] | None = None,
    calibrate: float = 0.0,
    using: Iterable[str] = ("default",),
    allow: Iterable[str] = (),
) -> Experiment:
    """
    Run candidates beside the decorated function and compare what they answer.

    The caller gets the function's own answer or exception, as if nothing else ran.

    - ``candidate`` or ``candidates`` by name: functions, or dotted paths to them, that
      take the same arguments.
    - ``flag`` and ``subject`` (called with the arguments) say for whom it runs;
      ``rate``, from 0 to 1, for how many of their calls.
    - ``when``: "inline"; "after", once the caller has committed, on a thread of its
      own; or "later", in a subscriber, for arguments that are JSON values or saved
      model instances.
    - ``timeout``: seconds for all candidates of a call (setting ``TIMEOUT``).
    - ``clean`` changes both answers before they are compared; ``ignore`` names places
      such as "/lines/*/id"; ``compare`` replaces the comparison; ``same_errors`` is
      "class" or "message".
    - ``calibrate``: for this share of calls the control runs a second time, as a
      candidate, so that noise is told from differences.
    - ``context`` (called with the arguments) is kept beside samples.
    - ``using``: databases that candidates may write to, to be rolled back; ``allow``:
      "mail", "cache", "http" or "tasks", which are not undone.
    """
    named = dict(candidates or {})
    if candidate is not None:
        named.setdefault("candidate", candidate)
    if candidate is not None and candidates is not None:
        raise InvalidExperiment(
            f"The experiment {name!r} has both candidate= and candidates=. Give one."
        )
    return Experiment(
        name,
        named,
        flag=flag,
        rate=rate,
        subject=subject,
        when=when,
        timeout=timeout,
        rules=Rules(
            compare=compare,
            clean=clean,
            ignore=texts("ignore", ignore),
            errors=one_of("same_errors", same_errors, Errors),
        ),
        context=context,
        calibrate=calibrate,
        using=using,
        allow=allow,
    )
