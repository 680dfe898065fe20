"""The doors: views, templates, the command."""

from __future__ import annotations

import asyncio
import io
import os
import pwd
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import AnonymousUser, Group
from django.core.management import CommandError, call_command
from django.http import Http404, HttpResponse
from django.template import Context, Template, TemplateSyntaxError
from django.test import RequestFactory
from users.models import User

from django_strangler import feature_flags
from django_strangler.feature_flags import flag_required
from django_strangler.feature_flags.naming import look_up
from django_strangler.models import Flag, FlagChange
from django_strangler.testing.flags import override_flag

NAME = "new-checkout"


@contextmanager
def on_for(*users):
    feature_flags.set_rollout(NAME, 0)
    feature_flags.include(NAME, *users)
    yield


def request(user=None, **extra):
    made = RequestFactory().get("/", extra.pop("query", {}), **extra)
    if user is not None:
        made.user = user
    return made


def modern(request):
    return HttpResponse("modern")


def legacy(request):
    return HttpResponse("legacy")


# Views.


@pytest.mark.django_db
def test_a_view_is_there_for_those_who_have_the_flag():
    view = flag_required(NAME)(modern)

    with on_for(1):
        assert view(request(User(pk=1))).content == b"modern"
        for nobody in (User(pk=2), AnonymousUser(), None):
            with pytest.raises(Http404):
                view(request(nobody))


@pytest.mark.django_db
def test_others_get_the_other_view():
    view = flag_required(NAME, otherwise=legacy)(modern)

    with on_for(1):
        assert view(request(User(pk=1))).content == b"modern"
        assert view(request(User(pk=2))).content == b"legacy"


def test_a_view_keeps_its_name():
    assert flag_required(NAME)(modern).__name__ == "modern"


def test_async_views_work_alike():
    async def amodern(request):
        return HttpResponse("modern")

    async def alegacy(request):
        return HttpResponse("legacy")

    view = flag_required(NAME, otherwise=alegacy)(amodern)

    for enabled, expected in ((True, b"modern"), (False, b"legacy")):
        with override_flag(NAME, enabled):
            assert asyncio.run(view(request(User(pk=1)))).content == expected


@pytest.mark.django_db(transaction=True)
def test_async_code_asks_by_functions_of_its_own():
    feature_flags.set_rollout(NAME, 0)
    feature_flags.include(NAME, 1)

    async def ask():
        return (
            await feature_flags.ais_enabled(NAME, 1),
            await feature_flags.ais_enabled("nothing", 1, default=True),
            await feature_flags.aevaluate(NAME, 2),
        )

    on, unknown, decision = asyncio.run(ask())

    assert (on, unknown) == (True, True)
    assert (decision.enabled, decision.reason) == (False, "nobody")


@pytest.mark.django_db
def test_nothing_a_client_sends_turns_a_flag_on():
    view = flag_required(NAME, otherwise=legacy)(modern)
    feature_flags.set_rollout(NAME, 0)
    tricks = {NAME: "1", f"flag-{NAME}": "on", f"dwft_{NAME}": "1", "user": "1"}

    sent = RequestFactory(
        headers={f"flag-{NAME}": "on", f"X-{NAME}": "1", "X-User": "1"}
    )
    sent.cookies.load(dict.fromkeys([*tricks, f"dwf_{NAME}"], "True"))
    for made in (sent.get("/", tricks), sent.post("/", tricks)):
        made.user = User(pk=2)
        assert view(made).content == b"legacy"


# Templates.


def render(text, **context):
    return Template("{% load strangler_flags %}" + text).render(Context(context))


IF = '{% ifflag "new-checkout" %}new{% else %}old{% endifflag %}'


@pytest.mark.django_db
def test_the_tag_asks_for_the_user_of_the_request():
    with on_for(1):
        assert render(IF, request=request(User(pk=1))) == "new"
        assert render(IF, request=request(User(pk=2))) == "old"
        assert render(IF, request=request()) == "old"
        # A profile page shows another user than it is shown to.
        assert render(IF, request=request(User(pk=2)), user=User(pk=1)) == "old"
        assert render(IF) == "old"


@pytest.mark.django_db
def test_the_tag_asks_for_whom_it_is_told():
    text = "{% ifflag flag payer.id %}new{% endifflag %}"

    with on_for(1):
        assert render(text, flag=NAME, payer={"id": 1}) == "new"
        assert render(text, flag=NAME, payer={"id": 2}) == ""
        assert render(text, flag=NAME) == ""


@pytest.mark.parametrize("text", ["{% ifflag %}", '{% ifflag "a" b c %}'])
def test_the_tag_says_what_it_takes(text):
    with pytest.raises(TemplateSyntaxError, match="takes a flag's name"):
        render(text + "{% endifflag %}")


# The command.


def flag(*arguments: str) -> str:
    out = io.StringIO()
    call_command("flag", *arguments, stdout=out)
    return out.getvalue().strip()


@pytest.mark.django_db
def test_the_command_tells_what_it_did():
    assert flag("set", NAME, "12.5") == f"{NAME}: 12.5 % of users"
    assert flag("include", NAME, "1", "2", "3").endswith("users, and 3 named")
    assert flag("exclude", NAME, "3", "4") == (
        f"{NAME}: 12.5 % of users, and 2 named, without 2 named"
    )
    assert flag("release", NAME, "3", "4") == f"{NAME}: 12.5 % of users, and 2 named"
    assert flag("disable", NAME).startswith(f"{NAME}: Off (when on: 12.5 %")
    assert flag("rollback", NAME) == f"{NAME}: 12.5 % of users, and 2 named"
    assert flag("set", NAME, "100") == f"{NAME}: Everybody, and 2 named"
    assert flag("enable", NAME) == f"{NAME}: Everybody, and 2 named"
    assert flag("list") == f"{NAME}: Everybody, and 2 named"
    assert "salt: new-checkout" in flag("show", NAME)


@pytest.mark.django_db
def test_the_command_ramps_holds_and_resumes():
    assert "1 % of users; 5 % from 2" in flag("ramp", NAME, "1@now", "5@+7d")
    assert flag("hold", NAME) == f"{NAME}: 1 % of users; the ramp is held"
    assert "; 5 % from" in flag("resume", NAME)
    assert "; 7 % from 2099-01-05 09:00" in flag("ramp", NAME, "7@2099-01-05T09:00")
    for wrong in ("5", "5@", "5@soon", "5@+7y", "5@2099-13-01"):
        with pytest.raises(CommandError, match="is not a step"):
            flag("ramp", NAME, wrong)
    with pytest.raises(CommandError, match="back in time"):
        flag("ramp", NAME, "1@now", "2@2020-01-01")


@pytest.mark.django_db
def test_the_command_writes_who_and_why(monkeypatch):
    monkeypatch.setenv("LOGNAME", "mallory")
    flag("set", NAME, "1", "--by", "deploy", "--why", "first users")
    flag("disable", NAME, "--by", "alice")
    flag("set", "other", "1")

    disabled, created = flag("history", NAME).splitlines()
    assert disabled.endswith("alice: enabled on → off")
    assert created.endswith("deploy: created at 1.00 %: first users")
    by = FlagChange.objects.filter(flag="other")[0].by
    assert by == pwd.getpwuid(os.getuid()).pw_name  # Whatever a variable says.


@pytest.mark.django_db
def test_the_command_checks_one_user():
    flag("set", "payments-v2", "95")

    assert flag("check", "payments-v2", "42") == (
        "payments-v2 is on for 42 (percentage, at 94.2531%)"
    )
    assert flag("check", "nothing", "42") == "nothing is off for 42 (unknown)"


@pytest.mark.django_db
def test_the_command_takes_people_by_name_and_says_who_is_none(capsys):
    ada = User.objects.create_user("ada", email="ada@example.com", pk=7)
    User.objects.create_user("8", pk=9)  # An id comes before a name.
    flag("set", NAME, "0")

    flag("include", NAME, "ada", "u1", "9")
    assert Flag.objects.get().included == ["7", "9", "u1"]
    assert capsys.readouterr().err == (
        "There is no such user: 'u1' is taken for the id of something else.\n"
    )
    assert feature_flags.is_enabled(NAME, ada)
    for given in ("ada", "7", "ada@example.com"):
        assert flag("check", NAME, given) == f"{NAME} is on for ada (7) (included)"
    assert flag("history", NAME).splitlines()[0].endswith("included +7, 9, u1")


@pytest.mark.django_db
def test_two_users_of_one_address_are_nobody_by_it():
    for name in ("one", "two"):
        User.objects.create_user(name, email="both@example.com")

    (named,) = look_up(["both@example.com"])

    assert (named.id, named.user) == ("both@example.com", "")


@pytest.mark.django_db
def test_with_none_the_command_says_how_to_create_one():
    assert (
        flag("list")
        == "There is no flag. Create one: manage.py flag set NAME 0 --why …"
    )


@pytest.mark.django_db
def test_no_reason_forges_a_line_or_moves_the_cursor():
    why = "done\r\n2030-01-01 root: enabled\x1b[2J" + "x" * 3000
    flag("set", NAME, "1", "--by", "a\x1b]0;title\x07", "--why", why)

    (line,) = flag("history", NAME).splitlines()

    assert line.isprintable()
    assert len(FlagChange.objects.get().why) == 500


@pytest.mark.django_db
def test_the_command_expands_groups_and_staff():
    team = Group.objects.create(name="team")
    one, boss = (User.objects.create_user(each) for each in ("one", "boss"))
    team.user_set.add(one)
    User.objects.filter(pk=boss.pk).update(is_staff=True)
    flag("set", NAME, "0")

    flag("include", NAME, "--group", "team", "--staff")

    assert Flag.objects.get().included == sorted([str(one.pk), str(boss.pk)])


@pytest.mark.django_db
@pytest.mark.parametrize(
    "arguments",
    [
        ("set", NAME, "101"),
        ("set", "No Slug", "1"),
        ("enable", "nothing"),
        ("show", "nothing"),
        ("include", "nothing"),
        ("include", "nothing", "--group", "nobody"),
        (),
        ("fly",),
    ],
)
def test_the_command_refuses_in_one_line(arguments):
    with pytest.raises(CommandError):
        flag(*arguments)
