"""Couplings: the ties between domains, as values."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Kind(str, enum.Enum):
    """How one domain is tied to another."""

    IMPORT = "import"
    TYPES = "import for types"  # Under TYPE_CHECKING: nothing runs.
    STRING = "name in a string"
    SETTING = "setting"
    URL = "url"
    FOREIGN_KEY = "foreign key"
    MANY_TO_MANY = "many-to-many"
    DATABASE = "foreign key in the database"
    TABLE = "same table"
    GENERIC = "generic relation"
    ACCESSOR = "reverse accessor"
    SIGNAL = "signal"
    TEMPLATE = "template"
    SQL = "raw SQL"
    # Seen while it ran. The first of these is what STATIC ends before.
    JOIN = "join"
    TRANSACTION = "transaction"
    WRITE = "foreign write"
    FIRED_INSIDE = "signal in a transaction"
    FIRED_OUTSIDE = "signal outside of transactions"
    GET = "write in a GET"


STATIC = frozenset(list(Kind)[: list(Kind).index(Kind.JOIN)])
OBSERVED = frozenset(Kind) - STATIC
# What holds tables together, whatever the code looks like.
KEYS = frozenset({Kind.FOREIGN_KEY, Kind.MANY_TO_MANY, Kind.DATABASE, Kind.TABLE})
WRITES = frozenset({Kind.TRANSACTION, Kind.WRITE})
OF_TABLES = KEYS | WRITES | {Kind.GENERIC, Kind.SQL, Kind.JOIN}


class Edge(NamedTuple):
    """A tie as the ratchet keeps it: lines of code move, it does not."""

    source: str  # The domain that knows…
    target: str  # …the one that is known.
    kind: Kind
    file: str  # Relative to the project's folder; or a database.
    what: str


class Coupling(NamedTuple):
    """A tie, and the line in which it is made."""

    source: str
    target: str
    kind: Kind
    file: str
    what: str
    line: int = 0  # 0: it is in no file.

    @property
    def edge(self) -> Edge:
        return Edge(*self[:5])

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file
