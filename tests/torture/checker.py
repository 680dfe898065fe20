"""
The verdict: pure functions over a history of outside evidence.

What was committed (the business rows) against what the witness and a work queue hold,
and what the subscribers did. Nothing that the outbox says of itself makes an event
count as delivered.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .history import Copy, History
from .publisher import is_handled
from .stalls import stalls

DRAINED_WITHIN = 60.0
REFUSED = ("torture.large", "forbidden.")  # What the broker rejects.
ORPHANS = "orphan."
NACKS_BEGIN, NACKS_END = "nacks begin", "nacks end"


@dataclass(slots=True)
class Verdict:
    """What is wrong, in words; all empty is as it should be."""

    events: int = 0
    copies: int = 0
    lost: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)  # Missing or doubled.
    parked: list[str] = field(default_factory=list)  # Without reason.
    pending: list[str] = field(default_factory=list)  # Or parked, at the end.
    stalls: list[str] = field(default_factory=list)  # Too long.
    void: list[str] = field(default_factory=list)  # Faults that did not bite.
    duplicates: int = 0
    most_duplicates: int = 0  # What G8 allows.
    after_nacks: int = 0  # Repeats that a queue's refusal made, besides.
    only_in_stream: int = 0
    only_in_work: int = 0
    drained: float = 0.0
    longest_stall: str = ""
    longest_wait: float = 0.0  # In a backlog that was being worked off, too.

    @property
    def is_good(self) -> bool:
        """Whether every guarantee held."""
        return not (
            self.lost
            or self.invented
            or self.out_of_order
            or self.effects
            or self.parked
            or self.pending
            or self.stalls
            or self.duplicates > self.most_duplicates
            or self.drained > DRAINED_WITHIN
        )

    @property
    def word(self) -> str:
        if not self.is_good:
            return "BAD"
        return "VOID" if self.void else "GOOD"

    def __str__(self) -> str:
        lines = [
            f"{self.events} events, {self.copies} copies: {len(self.lost)} lost, "
            f"{len(self.invented)} invented, {len(self.out_of_order)} out of order, "
            f"{len(self.effects)} effects missing or doubled, {len(self.parked)} "
            f"parked without reason, {len(self.pending)} left over",
            f"{self.duplicates} duplicates (G8 allows {self.most_duplicates}), "
            f"and {self.after_nacks} after a queue's refusal",
            f"only in the work queue: {self.only_in_work}; only in the stream: "
            f"{self.only_in_stream}",
            f"drained {self.drained:.1f} s after the last fault",
            f"longest stall: {self.longest_stall or 'under a second'}",
            f"longest wait of an event: {self.longest_wait:.1f} s",
        ]
        for name in (
            *("lost", "invented", "out_of_order", "effects", "parked", "pending"),
            *("stalls", "void"),
        ):
            found = getattr(self, name)
            more = f" … and {len(found) - 5} more" if len(found) > 5 else ""
            if found:
                lines.append(f"{name}: {'; '.join(found[:5])}{more}")
        return "\n".join(lines)


def check(history: History) -> Verdict:
    """Judge everything."""
    stream = [copy for copy in history.stream if copy.event != MARKER]
    verdict = Verdict(
        events=sum(history.counted.values()) + len(set(history.claimed)),
        copies=len(stream),
        drained=history.drained,
        void=[fault.name for fault in history.faults if not fault.proof],
    )
    in_stream = {(copy.name, copy.number) for copy in stream}
    in_work = {(copy.name, copy.number) for copy in history.work}
    verdict.only_in_stream = len(in_stream - in_work)
    verdict.only_in_work = len(in_work - in_stream)
    not_due = {left.event for left in history.left if left.state == "not due"}
    delivered = in_stream | in_work | {(it.name, it.number) for it in history.sick}
    verdict.lost = lost(history, delivered, len(not_due))
    verdict.invented = invented(history, [*stream, *history.work, *history.sick])
    parked = {each.event for each in history.parked}
    for queue, copies in (("stream", stream), ("work", history.work)):
        verdict.out_of_order += [
            f"{name} in the {queue}" for name in out_of_order(copies, parked)
        ]
    in_the_stream, verdict.after_nacks = duplicates(history.stream)
    # The queue that refuses has no repeats of what it refused.
    verdict.duplicates = max(in_the_stream, sum(duplicates(history.work)))
    verdict.most_duplicates = most_duplicates(history)
    verdict.effects = wrong_effects(history, [*stream, *history.work])
    verdict.parked = [
        f"{each.type} {each.event}: {each.reason}"
        for each in history.parked
        if not _has_reason(each.type, each.reason, justified=each.justified)
    ]
    verdict.pending = [
        f"{left.type} {left.event}: {left.state}"
        for left in history.left
        if left.state != "not due"
    ]
    verdict.stalls, verdict.longest_stall = stalls(history.waits, history.faults)
    verdict.longest_wait = max(
        (wait.ended - wait.began for wait in history.waits), default=0.0
    )
    return verdict


MARKER = "torture-marker"


def lost(
    history: History, delivered: set[tuple[str, int]], not_due: int = 0
) -> list[str]:
    """What was committed and is in no queue."""
    missing = [
        f"{key} {number}"
        for key, count in history.counted.items()
        for number in range(1, count + 1)
        if (key, number) not in delivered
    ]
    loose = [name for name in set(history.claimed) if (name, 0) not in delivered]
    # A delayed event whose time has not come is in the table, and nowhere else.
    delayed = [name for name in loose if name.startswith("torture.delayed:")]
    if 0 < len(delayed) <= not_due:
        loose = [name for name in loose if name not in set(delayed)]
    return missing + sorted(loose)


def invented(history: History, copies: Iterable[Copy]) -> list[str]:
    """What nobody committed, or what was published twice under two ids."""
    claimed = set(history.claimed)
    ids: dict[tuple[str, int], set[str]] = defaultdict(set)
    for copy in copies:
        ids[copy.name, copy.number].add(copy.event)
    return [
        f"{name} {number}"
        for (name, number), events in ids.items()
        if len(events) > 1
        or (
            name not in claimed
            if number == 0
            else not 1 <= number <= history.counted.get(name, 0)
        )
    ]


def out_of_order(copies: Iterable[Copy], parked: set[str]) -> Iterator[str]:
    """First copies that come after a later one of their key; not what was parked."""
    seen: set[str] = set()
    last: dict[str, int] = defaultdict(int)
    for copy in copies:
        if copy.number == 0 or copy.event in seen or copy.event in parked:
            continue
        seen.add(copy.event)
        if copy.number < last[copy.name]:
            yield f"{copy.name} {copy.number} after {last[copy.name]}"
        last[copy.name] = max(last[copy.name], copy.number)


def duplicates(stream: Iterable[Copy]) -> tuple[int, int]:
    """
    Repeated copies; and those whose former copy came while a queue refused.

    A nack means that one queue did not take the event, so it is sent again; the others
    have it twice. G8 does not speak of that.
    """
    refusing, before = False, dict[str, bool]()
    count = after_nacks = 0
    for copy in stream:
        if copy.event == MARKER:
            refusing = copy.name.startswith(NACKS_BEGIN)
            continue
        if copy.event in before:
            if before[copy.event]:
                after_nacks += 1
            else:
                count += 1
        before[copy.event] = refusing
    return count, after_nacks


def most_duplicates(history: History) -> int:
    """A window for each loss of a relay's, and one for each hunt for a poison event."""
    hunts = [each.window for each in history.parked if each.reason == "rejected"]
    return sum(sum(fault.hit) for fault in history.faults) + sum(hunts)


def wrong_effects(history: History, copies: Iterable[Copy]) -> list[str]:
    """Each delivered event that has a subscriber has one effect, no other has any."""
    wanted = {copy.event: copy for copy in copies if is_handled(copy.name, copy.number)}
    counts = Counter(history.effects)
    wrong = [
        f"{copy.name} {copy.number}: {counts[event]} effects"
        for event, copy in wanted.items()
        if counts[event] != 1
    ]
    return wrong + [
        f"{event}: not delivered" for event in counts.keys() - wanted.keys()
    ]


def _has_reason(type: str, reason: str, *, justified: bool) -> bool:
    if reason == "rejected":
        return type.startswith(REFUSED)
    return reason == "unroutable" and (justified or type.startswith(ORPHANS))
