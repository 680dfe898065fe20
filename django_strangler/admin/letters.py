"""Dead letters in the admin: why deliveries were given up on, and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import router
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from django_strangler.exceptions import StranglerError
from django_strangler.inbox.models import ConsumerProcess
from django_strangler.outbox.models import OutboxEvent
from django_strangler.printable import how_many

from . import asking
from .readonly import ReadOnlyAdmin

if TYPE_CHECKING:
    from django_strangler.inbox.dead_letters import DeadLetter

READ = 1_000  # Letters that one look reads.
PATIENCE = 5.0  # Seconds of work for one press of the button.


class LetterVerb(NamedTuple):
    """What can be done with dead letters."""

    name: str
    permission: str
    flag: int  # Of the admin's log.
    facts: tuple[str, ...]
    done: str


REQUEUE = LetterVerb(
    "requeue",
    "strangler.replay_event",
    CHANGE,
    (
        "They go back into the queue, as if they had never been tried.",
        "A subscriber that has handled one is not called again.",
    ),
    "back in the queue",
)
DISCARD = LetterVerb(
    "discard",
    "strangler.discard_event",
    DELETION,
    ("They are deleted. They are never handled, and cannot be restored.",),
    "discarded",
)
VERBS = {act.name: act for act in (REQUEUE, DISCARD)}


@dataclass(slots=True)
class Group:
    """Letters of one type that failed alike."""

    reason: str
    type: str
    kind: str
    count: int = 0
    error: str = ""  # Of the last one, in full.
    last: Any = None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.reason, self.type, self.kind


class DeadLetterPages(ReadOnlyAdmin):
    """``letters/?queue=``, and the same with ``&act=`` for one group."""

    def get_urls(self) -> list[URLPattern]:
        """One page."""
        page = path(
            "letters/",
            self.admin_site.admin_view(self._letters_page),
            name="strangler_outboxevent_letters",
        )
        return [page, *super().get_urls()]

    def _letters_page(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        queue = request.GET.get("queue", "")
        consumers = ConsumerProcess.objects.using(router.db_for_write(ConsumerProcess))
        if "\0" in queue or not consumers.filter(queue=queue).exists():
            raise Http404  # Not just any queue of the broker.
        try:
            if "act" in request.GET:
                return self._act_on_letters(request, queue)
            groups, more = _look(queue)
        except StranglerError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(asking.dashboard(self.admin_site))
        context = {
            **self.admin_site.each_context(request),
            "title": f"Dead letters of {queue}",
            "queue": queue,
            "groups": groups,
            "more": more,
            "read": READ,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/strangler/letters.html", context)

    def _act_on_letters(self, request: HttpRequest, queue: str) -> HttpResponse:
        act = VERBS.get(request.GET["act"])
        if act is None:
            raise Http404
        if not request.user.has_perm(act.permission):
            raise PermissionDenied
        key = tuple(request.GET.get(name, "") for name in ("reason", "type", "kind"))
        page = asking.url(self.admin_site, "strangler_outboxevent_letters")
        back = f"{page}?{urlencode({'queue': queue})}"
        if request.method != "POST":
            groups, _more = _look(queue)
            found = [group for group in groups if group.key == key]
            if not found:
                self.message_user(
                    request, "There are no such letters any more.", messages.WARNING
                )
                return HttpResponseRedirect(back)
            what = how_many(found[0].count, "dead letter")
            return asking.ask(
                self.admin_site,
                request,
                question=f"{act.name.capitalize()} {what} of {queue}?",
                facts=[f"The last error: {found[0].error}", *act.facts],
                yes=f"Yes, {act.name}",
                back=back,
                # What became a dead letter later was not asked about.
                hidden={"until": datetime.now(timezone.utc).isoformat()},
                is_harmful=act is DISCARD,
            )
        done = self._settle(request, queue, key, act)
        self.message_user(
            request, f"{how_many(done, 'dead letter')} of {queue}: {act.done}."
        )
        return HttpResponseRedirect(back)

    def _settle(
        self, request: HttpRequest, queue: str, key: tuple[str, ...], act: LetterVerb
    ) -> int:
        # Aware, whatever USE_TZ is: so are the times that a letter tells.
        until = asking.until(request).astimezone(timezone.utc)
        done, deadline = 0, time.monotonic() + PATIENCE
        with closing(_open(queue)) as opened:
            settle = opened.requeue if act is REQUEUE else opened.discard
            for letter in _read(opened):
                if _key(letter) == key and (not letter.last or letter.last <= until):
                    settle(letter.delivery)
                    done += 1
                if time.monotonic() > deadline:
                    break
        LogEntry.objects.create(
            user_id=str(request.user.pk),
            content_type=ContentType.objects.get_for_model(OutboxEvent),
            object_repr=f"dead letters of {queue}"[:200],
            action_flag=act.flag,
            change_message=f"{act.name}: {how_many(done, 'dead letter')} of {queue}, "
            f"{': '.join(key)}",
        )
        return done


def _open(queue: str) -> Any:
    # Here: every process loads the admin, and hardly any talks to the broker.
    from django_strangler import conf
    from django_strangler.brokers import dead_letters

    return dead_letters(conf.current(), queue)


def _read(opened: Any) -> Iterator[DeadLetter]:
    from django_strangler.inbox.dead_letters import LetterSelection, letters

    for number, letter in enumerate(letters(opened, LetterSelection())):
        if number >= READ:
            return
        yield letter


def _look(queue: str) -> tuple[list[Group], bool]:
    """The groups, the largest first; and whether there are more letters."""
    groups: dict[tuple[str, str, str], Group] = {}
    number = 0
    with closing(_open(queue)) as opened:
        for letter in _read(opened):
            number += 1
            group = groups.setdefault(_key(letter), Group(*_key(letter)))
            group.count += 1
            group.error, group.last = letter.error, letter.last
    return sorted(groups.values(), key=lambda each: -each.count), number >= READ


def _key(letter: DeadLetter) -> tuple[str, str, str]:
    return letter.reason, letter.type, letter.kind_of_error
