"""Surveying: reads the project once and says what is tied to what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import inventory
from .accessors import Accessors
from .couplings import STATIC, Coupling, Kind
from .inventory import Domain
from .reading import Code, Map, imports
from .receivers import signals
from .relations import foreign_keys, in_database, relations
from .strings import Names, events, strings
from .templates import Templates
from .territory import Territory, base_dir

Progress = Callable[[int, int], object]  # How many of how many files were read.


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found."""

    domains: dict[str, Domain]
    couplings: list[Coupling]  # Sorted.
    looked_for: frozenset[Kind]  # Others may exist: nobody looked.
    troubles: list[str]
    foreign_keys: dict[str, int]  # All that a domain has, also within.


def survey(progress: Progress = lambda done, total: None) -> Survey:
    """Read everything. Imports modules of tasks, and asks the databases for keys."""
    territory = Territory()
    world = Map(territory)
    troubles = list(inventory.load_jobs(territory))
    templates, urls = Templates(territory), inventory.url_names(territory)
    names = Names(territory, urls, templates.whose, inventory.jobs(territory))
    accessors = Accessors(territory)
    found: set[Coupling] = set()
    published: defaultdict[str, set[str]] = defaultdict(set)
    paths = [each for top in list(territory.roots) for each in _listed(world, top)]
    for number, (path, module) in enumerate(paths):  # It grows meanwhile.
        progress(number, len(paths) + len(templates.paths))
        try:
            code = Code(world, module, world.modules[module], path.read_bytes())
        except (SyntaxError, ValueError, RecursionError) as error:
            troubles.append(f"{world.modules[module]} cannot be read: {error}")
            continue
        for top in code.imported():
            if territory.add_root(top):
                paths += _listed(world, top)
        code.index()
        if code.domain and not code.is_wiring:
            found.update(imports(code))
            found.update(strings(code, names))
            found.update(accessors.of(code))
            published[code.domain] |= events(code)
    for number, template in enumerate(templates.paths, len(paths)):
        found.update(templates.couplings(template, urls))
        progress(number + 1, len(paths) + len(templates.paths))
    keys, unasked = in_database(world)
    return Survey(
        domains=inventory.domains(territory, published),
        couplings=sorted({*found, *relations(world), *signals(world), *keys}),
        looked_for=STATIC - {Kind.DATABASE} if unasked else STATIC,
        troubles=[*troubles, *unasked],
        foreign_keys=foreign_keys(territory),
    )


def _listed(world: Map, top: str) -> list[tuple[Path, str]]:
    found, base = list(world.territory.files(top)), base_dir()
    for path, module in found:
        is_inside = path.is_relative_to(base)
        world.modules[module] = str(path.relative_to(base) if is_inside else path)
    return found
