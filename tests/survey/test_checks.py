"""What ``manage.py check`` says about domains."""

from __future__ import annotations

from django_strangler.survey.checks import check_domains


def test_a_domain_of_what_does_not_exist_is_an_error(settings):
    settings.STRANGLER = {
        "DOMAINS": {
            "billing": ["payments", "ledgr"],
            "who": ["users.User", "users.Usr"],
        }
    }

    found = check_domains(None)

    assert [each.id for each in found] == ["strangler_survey.E001"] * 2
    assert "'ledgr'" in found[0].msg
    assert "'users.Usr'" in found[1].msg


def test_domains_that_exist_are_fine_and_what_cannot_be_read_is_another_s(settings):
    settings.STRANGLER = {"DOMAINS": {"billing": ["payments", "users.KycCheck"]}}
    assert check_domains(None) == []

    settings.STRANGLER = {"DOMAINS": 3}
    assert check_domains(None) == []
