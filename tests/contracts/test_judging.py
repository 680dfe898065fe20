"""Whom a change hurts: readers by name, old rows, and what was accepted."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import pytest

from django_strangler.contracts import CannotJudge, limits, reads, upcast
from django_strangler.inbox.subscribers import subscribe

from .conftest import TODAY, TYPE, told, value

Small = Annotated[int, limits(least=0, most=9)]
BEFORE = value(id=str, note=str, lines=list[value("Line", sku=str, qty=Small)])
AFTER = value(id=str, lines=list[value("Line", sku=str)])


def object_of(**fields):
    return {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in fields.items()},
        "required": [*fields],
    }


def test_a_break_names_whom_it_hurts(world):
    lines = {"type": "array", "items": object_of(qty="integer")}
    need = {"type": "object", "properties": {"lines": lines}, "required": ["lines"]}
    world.need("billing", need)
    world.need("warehouse", object_of(id="string", note="string"))

    by_path = {each.path: each for each in world.change(BEFORE, AFTER)}

    assert by_path["/lines/*/qty"].hurts == ("billing",)
    assert by_path["/lines/*/qty"].change == "1.0 -> 1.1"
    assert by_path["/lines/*/qty"].sample == {"id": "text", "lines": [{"sku": "text"}]}
    assert by_path["/note"].hurts == ("warehouse",)


def test_a_need_that_was_never_met_is_a_break_without_any_snapshot(world):
    world.declare(TYPE, value(id=str))
    world.need("billing", object_of(total="number"))

    (verdict,) = world.verdicts()

    assert (verdict.rule, verdict.path) == ("REQUIRED_REMOVED", "/total")
    assert verdict.hurts == ("billing",)


def test_what_a_typed_subscriber_reads_is_a_need(world):
    world.declare(TYPE, value(id=str, note=str))
    reader = reads(TYPE)(value("Label", note=str))
    subscribe(reader, name="labels")(lambda event: None)
    world.write()
    assert world.store.read(world.store.root / f"needs/labels/{TYPE}.json")["required"]

    world.declare(TYPE, value(id=str))

    (verdict,) = world.verdicts()
    assert (verdict.path, verdict.hurts) == ("/note", ("labels",))


def test_the_file_of_a_subscriber_that_is_gone_goes_too(world):
    world.declare(TYPE, value(id=str))
    registered = subscribe(reads(TYPE)(value("Label", id=str)), name="labels")
    registered(lambda event: None)
    world.need("billing", object_of(id="string"))
    world.write()

    from django_strangler.inbox.subscribers import registry

    registry._by_name.clear()
    world.write()

    left = [path.parent.name for path in (world.store.root / "needs").glob("*/*")]
    assert left == ["billing"]


def test_every_minor_is_kept_and_compared_with(world):
    """1.1 made it optional and 1.2 dropped it: each step fine beside its neighbour."""
    world.change(value(id=str, note=(str, "")), value(id=str))
    world.write()

    world.declare(TYPE, value(id=str, note=(Small, 0)))

    told_of = {each.rule: each.change for each in world.verdicts()}
    assert told_of["TYPE_CHANGED"] == "1.0 -> 1.2"


def test_a_warning_hides_no_break_of_the_same_field(world):
    loose, tight = (Annotated[int, limits(least=0, most=most)] for most in (99, 9))
    world.need("billing", object_of(total="string"))

    verdicts = world.change(value(total=tight), value(total=loose))

    assert told(verdicts) == {
        "BOUND_LOOSENED /total": "WARN",
        "TYPE_CHANGED /total": "BREAK",
    }
    assert [each.hurts for each in verdicts] == [(), ("billing",)]


def test_what_hurts_new_readers_is_not_hidden_by_what_hurts_old_ones(world):
    world.need("billing", {"properties": {"at": {"format": "date-time"}}})
    short, long = (Annotated[str, limits(longest=most)] for most in (9, 99))

    assert told(world.change(value(at=short), value(at=long))) == {
        "BOUND_LOOSENED /at": "WARN",
        "FORMAT_CHANGED /at": "BREAK",
    }


def test_an_upcaster_that_mends_old_rows_clears_the_warning(world):
    world.declare(TYPE, value(id=str))
    world.write()
    new = value(id=str, total=Small)

    world.declare(TYPE, new, version=2)
    assert told(world.verdicts()) == {"REQUIRED_ADDED /total": "WARN"}

    upcast(TYPE, 1, 2)(lambda payload: {**payload, "total": 0})
    assert told(world.verdicts()) == {}


@pytest.mark.parametrize(
    "upcaster",
    [lambda payload: payload, lambda payload: {"total": payload["none"]}],
    ids=["does nothing", "raises"],
)
def test_an_upcaster_that_does_not_mend_clears_nothing(world, upcaster):
    world.declare(TYPE, value(id=str))
    world.write()

    world.declare(TYPE, value(id=str, total=Small), version=2)
    upcast(TYPE, 1, 2)(upcaster)

    assert told(world.verdicts()) == {"REQUIRED_ADDED /total": "WARN"}


def test_upcasters_help_nobody_who_does_not_run_them(world):
    world.declare(TYPE, value(id=str))
    world.write()

    world.declare(TYPE, value(id=str, total=Small), version=2)
    upcast(TYPE, 1, 2)(lambda payload: {**payload, "total": 0})
    world.need("billing", object_of(total="integer"))

    (verdict,) = world.verdicts()
    assert (verdict.rule, verdict.hurts) == ("REQUIRED_ADDED", ("billing",))


ENTRY = {
    "type": TYPE,
    "rule": "REQUIRED_REMOVED",
    "path": "/note",
    "reason": "Nobody reads it, the teams say.",
    "until": "2030-01-07",
}


def test_an_accepted_break_is_a_note_until_its_day(world):
    world.accept(ENTRY)
    world.change(value(id=str, note=str), value(id=str))

    (today,) = world.verdicts(TODAY)
    assert (today.level.value, today.todo) == (
        "NOTE",
        "Accepted until 2030-01-07: Nobody reads it, the teams say.",
    )
    (tomorrow,) = world.verdicts(date(2030, 1, 8))
    assert tomorrow.level.value == "BREAK"
    assert "It was accepted until 2030-01-07" in tomorrow.todo


@pytest.mark.parametrize(
    "entry",
    [
        {**ENTRY, "reason": " "},
        {**ENTRY, "until": "never"},
        {name: ENTRY[name] for name in ENTRY if name != "until"},
        {**ENTRY, "more": 1},
        "all",
    ],
    ids=["no reason", "no day", "no end", "unknown", "no object"],
)
def test_what_accepts_without_reason_or_end_is_no_acceptance(world, entry):
    world.accept(entry)

    with pytest.raises(CannotJudge, match=r"accepted\.json has an entry 0"):
        world.verdicts()


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"oneOf": []}, "keyword 'oneOf'"),
        ({"properties": {"a": {"$ref": "#/x"}}}, r"/a has the keyword '\$ref'"),
        ({"additionalProperties": False}, "leaves alone what it does not know"),
        ({"type": "text"}, "unknown type"),
        ([], "is not a JSON Schema"),
    ],
    ids=["keyword", "ref", "closed", "type", "list"],
)
def test_needs_that_the_rules_do_not_know_cannot_be_judged(world, schema, message):
    world.declare(TYPE)
    world.need("billing", schema)

    with pytest.raises(CannotJudge, match=message):
        world.verdicts()


def test_needs_of_a_type_that_nobody_publishes_are_told(world):
    world.need("billing", {"type": "object"}, "order.unknown")

    assert told(world.verdicts()) == {"UNKNOWN_TYPE": "WARN"}


def test_the_event_of_another_project_is_judged_by_its_snapshots(world):
    """A reader's repository holds a copy of the writer's snapshots."""
    world.declare(TYPE, value(id=str))
    world.write()
    from django_strangler.contracts.declare import registry

    registry.events.clear()
    fits = reads(TYPE)(value("Fits", id=str))
    subscribe(fits, name="fits")(lambda event: None)
    assert world.verdicts() == []

    wants = reads(TYPE)(value("Wants", id=str, total=Small))
    subscribe(wants, name="wants")(lambda event: None)

    (verdict,) = world.verdicts()
    assert (verdict.path, verdict.hurts) == ("/total", ("wants",))


def test_a_sunset_that_has_passed_is_told_with_who_still_reads(world):
    world.declare(TYPE, until="2030-01-06")
    world.need("billing", {"type": "object"})
    world.write()

    (verdict,) = world.verdicts()

    assert (verdict.rule, verdict.hurts) == ("SUNSET_PASSED", ("billing",))


def test_who_would_handle_both_majors_is_named(world):
    old = world.declare(TYPE, value(id=str))
    subscribe("order.#", name="activity")(lambda event: None)
    subscribe("order.*", name="mails")(lambda event: None)
    new = value("OrderPlaced2", id=str)
    world.declare(f"{TYPE}.v2", new, replaces=old, downcast=lambda it: old(id=it.id))

    (verdict,) = world.verdicts()

    assert (verdict.rule, verdict.hurts) == ("HANDLED_TWICE", ("activity",))


@pytest.mark.parametrize(
    ("name", "text"),
    [("1.0.json", "{"), ("1.0.json", "{}"), ("first.json", "{}")],
    ids=["no JSON", "empty", "name"],
)
def test_a_snapshot_that_cannot_be_read_cannot_be_judged(world, name, text):
    world.declare(TYPE)
    folder = world.store.root / TYPE
    folder.mkdir(parents=True)
    (folder / name).write_text(text)

    with pytest.raises(CannotJudge, match=name):
        world.verdicts()


def test_versions_only_rise(world):
    world.declare(TYPE, version=2)
    world.write()
    world.declare(TYPE)

    with pytest.raises(CannotJudge, match=r"was 2\.0 before"):
        world.verdicts()
