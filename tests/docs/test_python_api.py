"""The page of the Python API lists every public name, with the arguments it takes."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module

import pytest

from .fences import ROOT


def names_on_the_page() -> dict[str, dict[str, str]]:
    """Of each module on the Python API's page: its names, with their arguments."""
    page = (ROOT / "docs/reference/python_api.md").read_text()
    modules = re.split(r"(?m)^## `([\w.]+)`$", page)[1:]
    return {
        module: dict(re.findall(r"(?m)^\| `(\w+)(\([^`]*\))?` \|", text))
        for module, text in zip(modules[::2], modules[1::2], strict=True)
    }


API = names_on_the_page()


@pytest.mark.parametrize("module", API)
def test_the_python_api_page_lists_every_public_name(module):
    if module == "django_strangler.django_tasks":
        pytest.importorskip("django.tasks", reason="Django 6.0 has brought them")
    found = import_module(module)
    public = getattr(found, "__all__", None) or [
        name
        for name, value in vars(found).items()
        if not name.startswith("_")
        and (callable(value) or module.endswith(".signals"))
        and getattr(value, "__module__", "") in {module, "django.dispatch.dispatcher"}
        and name != "Signal"
    ]
    # Of brokers, what a class of one's own needs; of tasks and events, the functions.
    wanted = {
        "django_strangler.brokers": {"Broker", "Kind", "Outcome", "Outgoing"},
        "django_strangler.exceptions": set(public) - {"shown"},
        "django_strangler.tasks": {"drain_outbox", "prune_outbox"},
        "django_strangler.django_tasks": set(),
    }.get(module, set(public))

    assert set(API[module]) == wanted


FACES = [
    path
    for path in (ROOT / "django_strangler").rglob("__init__.py")
    if " = face(" in path.read_text()
]


@pytest.mark.parametrize("path", FACES, ids=lambda path: path.parent.name)
def test_a_face_tells_checkers_of_types_what_it_offers(path):
    body = ast.parse(path.read_text()).body
    (told,) = (each.body for each in body if ast.unparse(each).startswith("if TYPE_C"))
    package = ".".join(path.relative_to(ROOT).parent.parts)
    offered = set(import_module(package).__all__)

    assert imported(told) == offered - imported(body)


def imported(nodes: list[ast.stmt]) -> set[str]:
    found = [each for each in nodes if isinstance(each, ast.ImportFrom)]
    return {name.asname or name.name for each in found for name in each.names}


@pytest.mark.parametrize(
    ("module", "name"),
    [(module, name) for module in API for name in API[module] if API[module][name]],
)
def test_the_python_api_page_has_the_arguments_of_the_code(module, name):
    signature = inspect.signature(getattr(import_module(module), name))
    bare = signature.replace(
        parameters=[
            each.replace(annotation=inspect.Parameter.empty)
            for each in signature.parameters.values()
        ],
        return_annotation=inspect.Signature.empty,
    )

    assert str(bare) == API[module][name]
