"""A trace as a tree of text, with a bar for the time of each span."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

BAR = 32  # Columns.
TABLE = re.compile(r'(?:INTO|UPDATE|FROM)\s+"?(\w+)"?')


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    id: str
    parent: str | None
    trace: str
    process: str
    name: str
    statement: str  # SQL, if it is of a database.
    start: float
    end: float

    @classmethod
    def read(cls, line: dict[str, Any]) -> "Span":
        """What the exporters of both languages write."""
        attributes = line["attributes"]
        return cls(
            id=line["spanId"],
            parent=line["parentId"],
            trace=line["traceId"],
            process=line["process"],
            name=line["name"],
            statement=str(
                attributes.get("db.statement") or attributes.get("db.query.text") or ""
            ),
            start=line["start"],
            end=line["end"],
        )

    @property
    def title(self) -> str:
        """Its name; of a query, what is done to which table."""
        if not self.statement:
            return self.name
        table = TABLE.search(self.statement)
        return " ".join([self.statement.split()[0], *(table.groups() if table else ())])


def draw(spans: list[Span]) -> str:
    """
    The tree, a line for each span, those of one parent in the order of time.

    Each process's spans are given as they ended.
    """
    children: defaultdict[str | None, list[Span]] = defaultdict(list)
    ids = {span.id for span in spans}
    # Those that Node.js began in one millisecond stay in the order of their ends.
    for span in sorted(spans, key=lambda span: span.start):
        children[span.parent if span.parent in ids else None].append(span)
    rows = [row for root in children[None] for row in _rows(root, children, "", "")]
    start = min(span.start for span in spans)
    length = max(span.end for span in spans) - start or 1.0
    wide = max(len(text) for text, _ in rows)
    who = max(len(span.process) for span in spans)
    lines = []
    for text, span in rows:
        took = f"{(span.end - span.start) * 1000:7.1f} ms"
        bar = _bar((span.start - start) / length, (span.end - start) / length)
        lines.append(f"{text:{wide}}  {span.process:{who}}  {took}  {bar}")
    return "\n".join(lines)


def _rows(
    span: Span, children: dict[str | None, list[Span]], here: str, below: str
) -> Iterator[tuple[str, Span]]:
    yield here + span.title, span
    for number, child in enumerate(children[span.id], start=1):
        is_last = number == len(children[span.id])
        yield from _rows(
            child,
            children,
            below + ("└─ " if is_last else "├─ "),
            below + ("   " if is_last else "│  "),
        )


def _bar(start: float, end: float) -> str:
    first = min(int(start * BAR), BAR - 1)
    columns = max(1, round(end * BAR) - first)
    return " " * first + "█" * columns
