"""Sections of STRANGLER: what an app or a module has for itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from django_strangler import conf
from django_strangler.conf import sections
from django_strangler.exceptions import ConfigurationError
from tests.ground.test_secrets import SECRET, assert_no_secret, said


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    timeout: float = conf.setting(2.0, conf.seconds(0.01))
    key: str = conf.setting("", conf.text, secret=True)
    keys: tuple[str, ...] = conf.setting((), conf.listing(conf.long_text), secret=True)
    side: str = conf.setting("legacy", conf.choice("legacy", "modern"))
    share: float = conf.setting(0.5, conf.fraction)


@pytest.fixture
def bank() -> Iterator[conf.Section[Bank]]:
    yield conf.section("BANK", Bank)
    sections.forget("BANK")


def test_without_a_section_every_default_is_in_force(bank):
    assert bank() == Bank(timeout=2.0)


def test_a_section_that_is_overridden_is_seen_at_once(bank, settings):
    settings.STRANGLER = {"BANK": {"TIMEOUT": 3}}
    assert bank().timeout == 3.0

    settings.STRANGLER = {"BANK": {"TIMEOUT": 4}}
    assert bank().timeout == 4.0


def test_a_section_that_is_changed_in_place_is_seen(bank, settings):
    settings.STRANGLER = {"BANK": {"TIMEOUT": 3}}
    assert bank().timeout == 3.0

    settings.STRANGLER["BANK"]["TIMEOUT"] = 4
    assert bank().timeout == 4.0


def test_a_section_is_parsed_once_until_it_changes(bank):
    assert bank() is bank()


def test_the_core_s_settings_do_not_mind_a_section(bank, settings):
    settings.STRANGLER = {"EXCHANGE": "e", "BANK": {"TIMEOUT": "soon"}}

    assert conf.current().exchange == "e"
    with pytest.raises(ConfigurationError, match=r"\['BANK'\]\['TIMEOUT'\] is 'soon'"):
        bank()
    with pytest.raises(ConfigurationError, match=r"\['BANK'\]\['TIMEOUT'\] is 'soon'"):
        conf.check()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], r"STRANGLER\['BANK'\] is \[\]. It must be a dict"),
        ({"TIMEOT": 1}, r"STRANGLER\['BANK'\] has an unknown key 'TIMEOT'. Did you"),
        ({"timeout": 1}, "Did you mean 'TIMEOUT'"),
        ({"SIDE": "new"}, 'is \'new\'. It must be "legacy" or "modern"'),
        ({"SHARE": 1.5}, "a number from 0 to 1"),
        ({"SHARE": True}, "a number from 0 to 1"),
        ({"KEYS": "a"}, r"STRANGLER\['BANK'\]\['KEYS'\] must be a list"),
    ],
)
def test_a_wrong_section_says_where_and_what_is_wanted(bank, settings, given, message):
    settings.STRANGLER = {"BANK": given}

    with pytest.raises(ConfigurationError, match=message):
        bank()


@pytest.mark.parametrize("given", [{"KEY": "se\ncret"}, {"KEYS": ["secret", 765]}])
def test_a_secret_is_never_repeated(bank, settings, given):
    settings.STRANGLER = {"BANK": given}

    with pytest.raises(ConfigurationError) as raised:
        bank()

    assert "cret" not in str(raised.value)
    assert "765" not in str(raised.value)
    assert "secret" not in repr(Bank(key="secret", keys=("secret",)))


@pytest.mark.parametrize(
    "given",
    [{"BANK": {"KEY": SECRET, "SIDE": "new"}}, {"BROKER_PASSWORD": SECRET, "X": 1}],
)
def test_a_secret_is_in_no_variable_of_a_frame(bank, settings, given):
    settings.STRANGLER = given

    with pytest.raises(ConfigurationError) as raised:
        bank()

    assert_no_secret(said(raised.value))


def test_a_dict_of_tables_names_the_place_of_an_error(settings):
    banks = conf.section("BANKS", conf.mapping(conf.table(Bank)), {})
    try:
        settings.STRANGLER = {"BANKS": {"one": {"TIMEOUT": 1}, "two": {"SIDE": 1}}}

        with pytest.raises(ConfigurationError, match=r"\['BANKS'\]\['two'\]\['SIDE'\]"):
            banks()
        settings.STRANGLER = {"BANKS": {"one": {"TIMEOUT": 1}}}
        assert banks()["one"].timeout == 1.0
    finally:
        sections.forget("BANKS")


def test_a_section_of_a_list_has_a_default_of_its_own(settings):
    names = conf.section("NAMES", conf.listing(conf.dotted_path), ())
    try:
        settings.STRANGLER = {}
        assert names() == ()
        settings.STRANGLER = {"NAMES": ["shop.context.tenant"]}
        assert names() == ("shop.context.tenant",)
        settings.STRANGLER = {"NAMES": ["shop.context.tenant", "tenant"]}
        with pytest.raises(ConfigurationError, match=r"\['NAMES'\]\[1\] is 'tenant'"):
            names()
    finally:
        sections.forget("NAMES")


@pytest.mark.parametrize("key", ["BANC", "bank", "OUTBOX.MODELS", "Ä", 5, "CONF"])
def test_a_key_that_is_nobody_s_is_an_error(bank, settings, key):
    settings.STRANGLER = {key: {}}

    with pytest.raises(ConfigurationError, match="unknown key"):
        conf.check()


@pytest.fixture
def opt_in_app(tmp_path, monkeypatch) -> str:
    """A folder of the package, as an app of it is one; not installed."""
    import django_strangler

    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (tmp_path / "lab" / "apps.py").touch()
    path = [*django_strangler.__path__, str(tmp_path)]
    monkeypatch.setattr(django_strangler, "__path__", path)
    return "LAB"


def test_a_section_whose_app_is_not_installed_gives_the_line_to_add(
    opt_in_app, settings
):
    settings.STRANGLER = {opt_in_app: {}}

    with pytest.raises(
        ConfigurationError,
        match=r'Add "django_strangler\.lab" to INSTALLED_APPS, or remove \'LAB\'',
    ):
        conf.current()
