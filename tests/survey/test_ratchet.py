"""The ratchet: what is new fails, what is gone goes, what is accepted has a reason."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from django_strangler.survey import ratchet

pytestmark = pytest.mark.django_db


def survey(*arguments: str) -> tuple[int, str]:
    """The exit code of ``strangler_survey``, and all that it says."""
    out = StringIO()
    try:
        call_command("strangler_survey", *arguments, stdout=out, stderr=out)
    except CommandError as error:
        return error.returncode, out.getvalue() + str(error)
    return 0, out.getvalue()


@pytest.fixture
def file(folder: Path) -> Path:
    """A ratchet of what there is."""
    assert survey("--update")[0] == 0
    return folder / "strangler_survey.json"


def lines(file: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(file.read_text())["couplings"]
    return found


def keep(file: Path, couplings: list[dict[str, str]]) -> None:
    file.write_text(json.dumps({"version": 1, "couplings": couplings}))


def test_without_a_ratchet_the_check_exits_1_and_says_how_to_begin(folder):
    code, said = survey("--check")

    assert code == 1
    assert "manage.py strangler_survey --update" in said


def test_nothing_new_is_fine(file):
    assert survey("--check")[0] == 0


def test_it_is_sorted_with_one_coupling_on_a_line(file):
    text = file.read_text()

    rows = [line for line in text.splitlines() if line.startswith('{"from"')]
    assert len(rows) == len(lines(file)) > 80
    key = [(e["from"], e["to"], e["kind"], e["file"], e["what"]) for e in lines(file)]
    assert key == sorted(key)
    assert survey("--update")[0] == 0
    assert file.read_text() == text


def test_a_new_coupling_exits_3_and_names_the_line_and_a_way_out(file):
    keep(file, [each for each in lines(file) if "receipts" not in each["what"]])

    code, said = survey("--check")

    assert code == 3
    assert "payments -> notifications, reverse accessor" in said
    assert "views.py:96" in said
    assert "fed by events of notifications" in said


def test_update_takes_out_what_is_gone_and_lets_nothing_new_in(file):
    known = lines(file)
    gone = {**known[0], "what": "payments.models.Gone"}
    keep(file, [gone, *known[1:]])

    code, said = survey("--update")

    assert code == 3
    assert known[0]["what"] in said
    assert lines(file) == known[1:]


def test_what_is_gone_exits_5_until_it_is_taken_out(file):
    known = lines(file)
    keep(file, [{**known[0], "what": "payments.models.Gone"}, *known])

    code, said = survey("--check")
    assert code == 5
    assert "payments.models.Gone" in said

    assert survey("--update")[0] == 0
    assert survey("--check")[0] == 0


def test_accepting_takes_a_reason_which_is_kept(file):
    known = lines(file)
    keep(file, known[1:])

    code, _ = survey("--update", "--reason", "the old report", "--owner", "billing")

    assert code == 0
    (accepted,) = [each for each in lines(file) if "reason" in each]
    assert accepted == {**known[0], "reason": "the old report", "owner": "billing"}
    assert survey("--update")[0] == 0
    assert accepted in lines(file)


def test_what_nobody_looked_for_is_neither_new_nor_gone(file):
    known = lines(file)
    seen = {**known[0], "kind": "join", "what": "payments_payment, users_user"}
    keep(file, [*known, seen])

    assert survey("--check")[0] == 0
    assert survey("--update")[0] == 0
    assert seen in lines(file)


@pytest.mark.parametrize(
    "text",
    ["<<<<<<< HEAD", "[]", '{"couplings": [{"from": "a"}]}', '{"couplings": 1}'],
    ids=["merge", "list", "half", "number"],
)
def test_a_ratchet_that_cannot_be_read_is_an_error_that_says_what_to_do(folder, text):
    (folder / ratchet.FILE).write_text(text)

    code, said = survey("--check")

    assert code == 1
    assert "cannot be read" in said
    assert "--update" in said


@pytest.mark.parametrize(
    "arguments",
    [["--reason", "x"], ["--owner", "x"], ["--domain", "nowhere"]],
    ids=["reason", "owner", "domain"],
)
def test_wrong_usage_exits_2(folder, arguments):
    assert survey(*arguments)[0] == 2


def test_a_domain_is_told_with_each_line_and_what_would_replace_it(folder):
    code, said = survey("--domain", "notifications")

    assert code == 0
    assert "tables: notifications_emaillog" in said
    assert "payments/views.py:12: payments -> notifications, import" in said
    assert "notifications hears these of payments: payment.completed" in said
    assert "users -> monolith" not in said
