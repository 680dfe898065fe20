"""``STRANGLER["SURVEY"]``."""

from __future__ import annotations

from dataclasses import dataclass

from django_strangler import conf


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveySettings:
    """What is the project's code, and how it looks up by name."""

    # Top-level packages. Empty: those of the apps that no package manager installed.
    packages: tuple[str, ...] = conf.setting((), conf.listing(conf.text))
    # Patterns; a module with a part that one of them fits is not read.
    exclude: tuple[str, ...] = conf.setting(
        ("migrations", "tests", "test", "test_*", "tests_*", "testing", "conftest"),
        conf.listing(conf.text),
    )
    # Functions that are given an app and a name, and return what is there.
    lookups: tuple[str, ...] = conf.setting(
        ("get_model", "get_class", "get_classes", "get_app_config"),
        conf.listing(conf.text),
    )
    sample: float = conf.setting(0.0, conf.fraction)  # Of requests, in production.


settings = conf.section("SURVEY", SurveySettings)
