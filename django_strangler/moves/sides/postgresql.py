"""PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from zlib import crc32

from django.db import transaction

from django_strangler.moves.exceptions import Busy

from .base import DatabaseSide
from .catalogue import Column, Foreign
from .fence import IDLE, PATIENCE
from .marks import SEEN
from .session import GATE, MARK, SIDE, Bound, Keys, Names, Rows, Values

LOCKS = 1_398_035_027  # The class of our advisory locks.
RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
COPY_FROM = 100  # Rows: below, a temporary table costs more than it saves.
# The fence is here as well: what is refused after the statement is as undone. Names and
# operators say where they are from: with a search_path of its own, the function would
# be safe as well from those that others create, and a fifth dearer.
_OPEN = "(SELECT NOT closed FROM {gate} WHERE move OPERATOR(pg_catalog.=) '{move}')"
_FUNCTION = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER AS $$
DECLARE
  is_open boolean := false;
BEGIN
  IF pg_catalog.current_setting('strangler.mover', true) OPERATOR(pg_catalog.=) 'on'
    THEN RETURN NULL; END IF;
  PERFORM pg_catalog.pg_advisory_xact_lock_shared({lock});
  IF pg_catalog.current_setting('transaction_isolation')
    OPERATOR(pg_catalog.<>) 'read committed' THEN
    -- Under a snapshot, an earlier state would be seen; the lock makes that an error.
    PERFORM FROM {gate} WHERE move OPERATOR(pg_catalog.=) '{move}' FOR SHARE;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'The move {move} has begun since this snapshot was taken.'
        USING ERRCODE = 'serialization_failure', HINT = 'Try again.';
    END IF;
  END IF;
  LOOP
    -- What the lock has waited for is seen by the next statement: no earlier one.
    IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
      INSERT INTO {mark} (move, tab, key, at)
        SELECT '{move}', '{tab}', {new}, {now} FROM new_rows n WHERE {open};
    ELSIF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
      INSERT INTO {mark} (move, tab, key, at) SELECT '{move}', '{tab}', k, {now} FROM
        (SELECT {new} AS k FROM new_rows n UNION SELECT {old} FROM old_rows o) s
        WHERE {open};
    ELSIF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN
      INSERT INTO {mark} (move, tab, key, at)
        SELECT '{move}', '{tab}', {old}, {now} FROM old_rows o WHERE {open};
    ELSE
      INSERT INTO {mark} (move, tab, key, at)
        SELECT '{move}', '{tab}', {all}, {now} FROM {table} t WHERE {open};
    END IF;
    EXIT WHEN FOUND OR is_open;
    is_open := {open};
    IF is_open IS NOT TRUE THEN
      RAISE EXCEPTION 'The move {move}: this side is closed for writes.'
        USING ERRCODE = 'MV001', HINT = 'Write inside of moves.atomic("{move}").';
    END IF;
    -- No row, or it has opened between the two: the lock keeps it so from here on.
  END LOOP;
  RETURN NULL;
END $$
"""
# One by one: without statistics, a move looks so rare that all its marks would be read.
_FORGET = """
DELETE FROM {mark} WHERE ctid = ANY(ARRAY(
  SELECT m.ctid FROM unnest(%s::bigint[]) AS n(id),
    LATERAL (SELECT ctid FROM {mark} WHERE move = %s AND id = n.id OFFSET 0) AS m))
"""
_ROWS = {
    "insert": "REFERENCING NEW TABLE AS new_rows",
    "update": "REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows",
    "delete": "REFERENCING OLD TABLE AS old_rows",
}


class PostgreSQL(DatabaseSide):
    """Statement triggers; an advisory lock that writers share."""

    kind = "postgresql"

    @property
    def lock(self) -> str:
        """The two numbers of the lock that writers share."""
        return f"{LOCKS}, {crc32(self.move.encode()) - 2**31}"

    def _begin(self) -> None:
        self.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        # Marks are deleted because this has been committed: let it be on the disk.
        self._limits("strangler.mover", "on", "synchronous_commit", "on")

    def _begin_snapshot(self) -> None:
        self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        self._limits()

    def _limits(self, *more: str) -> None:
        # Of the transaction, not of the session: a pooler gives that to others.
        given = (
            *("idle_in_transaction_session_timeout", f"{IDLE}s"),
            *("lock_timeout", f"{PATIENCE}s"),
            *more,
        )
        calls = ["set_config(%s, %s, true)"] * (len(given) // 2)
        self.run(f"SELECT {', '.join(calls)}", given)

    def enter(self) -> bool:
        self.run(f"SELECT pg_advisory_xact_lock_shared({self.lock})")
        # A statement of its own: it sees what was committed while it waited.
        rows = self.fetch(
            "SELECT closed, current_setting('transaction_isolation') "
            f"FROM {GATE} WHERE move = %s",
            [self.move],
        )
        if rows and rows[0][1] != "read committed":
            # Under a snapshot it may be an earlier state: then this is an error.
            self.fetch(f"SELECT 1 FROM {GATE} WHERE move = %s FOR SHARE", [self.move])
        return bool(rows) and not rows[0][0]

    def _exclude(self, timeout: float) -> None:
        self.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        if not timeout:
            if not self.fetch(f"SELECT pg_try_advisory_xact_lock({self.lock})")[0][0]:
                raise Busy("Another transaction holds the fence's lock.")
            return
        self.run(
            "SELECT set_config('lock_timeout', %s, true)",
            [f"{max(1, int(timeout * 1000))}ms"],
        )
        self.run(f"SELECT pg_advisory_xact_lock({self.lock})")

    def delete_marks(self, numbers: Sequence[int]) -> None:
        self.run(_FORGET.format(mark=MARK), [list(numbers), self.move])

    # Triggers

    def install(self, table: str, tab: str, key: Names) -> None:
        where = self.fetch("SELECT current_schema()")[0][0]

        def packed(prefix: str) -> str:
            parts = [f"{prefix}.{self.quote(name)}" for name in key]
            made = f"pg_catalog.json_build_array({', '.join(parts)})"
            return f"{made}::pg_catalog.text"

        function = f"{self.quote(where)}.{self.quote(self.trigger(table, 'mark'))}"
        name = self.quote(table)
        gate = f"{self.quote(where)}.{GATE}"
        sql = _FUNCTION.format(
            function=function,
            lock=self.lock,
            move=self.move,
            tab=tab,
            gate=gate,
            open=_OPEN.format(gate=gate, move=self.move),
            now="pg_catalog.clock_timestamp()",
            mark=f"{self.quote(where)}.{MARK}",
            table=f"{self.quote(where)}.{name}",
            new=packed("n"),
            old=packed("o"),
            all=packed("t"),
        )
        with self.busy(), transaction.atomic(using=self.alias, durable=True):
            self._limits("lock_timeout", "200ms")
            self.run(sql)
            for event in SEEN:
                trigger = self.quote(self.trigger(table, event))
                self.run(f"DROP TRIGGER IF EXISTS {trigger} ON {name}")
                self.run(
                    f"CREATE TRIGGER {trigger} AFTER {event.upper()} ON {name} "
                    f"{_ROWS[event]} FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
                )
                # Also where session_replication_role is replica.
                self.run(f"ALTER TABLE {name} ENABLE ALWAYS TRIGGER {trigger}")
            trigger = self.quote(self.trigger(table, "truncate"))
            self.run(f"DROP TRIGGER IF EXISTS {trigger} ON {name}")
            self.run(
                f"CREATE TRIGGER {trigger} BEFORE TRUNCATE ON {name} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
            )
            self.run(f"ALTER TABLE {name} ENABLE ALWAYS TRIGGER {trigger}")

    def uninstall(self, table: str) -> None:
        with self.busy(), transaction.atomic(using=self.alias, durable=True):
            self._limits("lock_timeout", "200ms")
            for event in (*SEEN, "truncate"):
                trigger = self.quote(self.trigger(table, event))
                self.run(f"DROP TRIGGER IF EXISTS {trigger} ON {self.quote(table)}")
            function = self.quote(self.trigger(table, "mark"))
            self.run(f"DROP FUNCTION IF EXISTS {function}()")

    def is_installed(self, table: str) -> bool:
        names = [self.trigger(table, event) for event in (*SEEN, "truncate")]
        rows = self.fetch(
            "SELECT COUNT(*) FROM pg_trigger WHERE tgrelid = to_regclass(%s) "
            "AND tgname = ANY(%s) AND tgenabled = 'A'",
            [self.quote(table), names],
        )
        return bool(rows[0][0] == len(names))

    # What it is like

    def columns(self, table: str) -> dict[str, Column]:
        rows = self.fetch(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, "
            "a.atthasdef OR a.attidentity <> '', a.attgenerated <> '', "
            "pg_get_serial_sequence(%s, a.attname) IS NOT NULL, "
            "COALESCE(CASE WHEN c.collname = 'default' THEN d.datcollate "
            "ELSE c.collname END, '') "
            "FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation "
            "JOIN pg_database d ON d.datname = current_database() "
            "WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 "
            "AND NOT a.attisdropped ORDER BY a.attnum",
            [self.quote(table)] * 2,
        )
        return {
            name: Column(
                name=name,
                type=type,
                required=not_null and not default,
                generated=generated,
                auto=auto,
                collation=collation,
            )
            for name, type, not_null, default, generated, auto, collation in rows
        }

    def key(self, table: str) -> tuple[str, ...]:
        return next(iter(self._indexes(table, "i.indisprimary")), ())

    def uniques(self, table: str) -> list[tuple[str, ...]]:
        return self._indexes(table, "i.indisunique AND NOT i.indisprimary")

    def _indexes(self, table: str, which: str) -> list[tuple[str, ...]]:
        rows = self.fetch(
            "SELECT array_agg(a.attname::text ORDER BY k.n) FROM pg_index i "
            "CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, n) "
            "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum "
            f"WHERE i.indrelid = to_regclass(%s) AND {which} GROUP BY i.indexrelid",
            [self.quote(table)],
        )
        return [tuple(names) for (names,) in rows]

    def foreign_keys(self) -> list[Foreign]:
        rows = self.fetch(
            "SELECT c.conname, t.relname, p.relname, c.confdeltype IN ('c', 'n', 'd') "
            "OR c.confupdtype IN ('c', 'n', 'd'), "
            "ARRAY(SELECT attname::text FROM unnest(c.conkey) WITH ORDINALITY k(n, o) "
            "JOIN pg_attribute ON attrelid = c.conrelid AND attnum = k.n ORDER BY o), "
            "ARRAY(SELECT attname::text FROM unnest(c.confkey) WITH ORDINALITY k(n, o) "
            "JOIN pg_attribute ON attrelid = c.confrelid AND attnum = k.n ORDER BY o) "
            "FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid "
            "JOIN pg_class p ON p.oid = c.confrelid WHERE c.contype = 'f' "
            "AND pg_table_is_visible(t.oid)"
        )
        return [
            Foreign(
                name=name,
                table=table,
                parent=parent,
                cascades=cascades,
                columns=tuple(columns),
                parent_columns=tuple(parents),
            )
            for name, table, parent, cascades, columns, parents in rows
        ]

    def lacking(self, tables: Names) -> Iterator[tuple[str, str]]:
        for name, right in self.fetch(
            "SELECT name, r FROM unnest(%s::text[]) name, unnest(%s::text[]) r "
            "WHERE to_regclass(quote_ident(name)) IS NOT NULL "
            "AND NOT has_table_privilege(quote_ident(name), r)",
            [[*tables, GATE, SIDE, MARK], [*RIGHTS]],
        ):
            yield f"may not {right} in {name}", f"{right} ON {name}"
        for name, owner in self.fetch(
            "SELECT relname, quote_ident(pg_get_userbyid(relowner)) FROM pg_class "
            "WHERE relname = ANY(%s) AND pg_table_is_visible(oid) "
            "AND NOT pg_has_role(relowner, 'USAGE')",
            [list(tables)],
        ):
            yield f"does not own {name}, and puts triggers on it", owner
        for (schema,) in self.fetch(
            "SELECT current_schema() "
            "WHERE NOT has_schema_privilege(current_schema(), 'CREATE')"
        ):
            yield f"may not CREATE functions in {schema}", f"CREATE ON SCHEMA {schema}"

    def lacking_to_number(self, table: str, column: str) -> Iterator[tuple[str, str]]:
        name = self._sequence(table, column)
        for (right,) in self.fetch(
            "SELECT r FROM unnest(%s::text[]) r "
            "WHERE NOT has_sequence_privilege(%s, r)",
            [["SELECT", "UPDATE"], name],
        ):
            yield (
                f"may not {right} the sequence {name}, which a switch sets",
                f"{right} ON SEQUENCE {name}",
            )

    def role(self) -> str:
        return str(self.fetch("SELECT quote_ident(current_user)")[0][0])

    def obstacles(self, tables: Names) -> Iterator[str]:
        rows = self.fetch(
            "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND "
            "pg_table_is_visible(oid) AND (relkind = 'p' OR relispartition "
            "OR relhassubclass)",
            [list(tables)],
        )
        for (name,) in rows:
            yield (
                f"{name} is partitioned or inherited: a statement that writes to a "
                "part directly would leave no mark. It cannot be moved this way."
            )

    def next_number(self, table: str, column: str) -> int:
        name = self._sequence(table, column)
        return int(
            self.fetch(
                "SELECT GREATEST("
                f"(SELECT last_value + is_called::int FROM {name}), "
                f"(SELECT COALESCE(MAX({self.quote(column)}), 0) + 1 "
                f"FROM {self.quote(table)}))"
            )[0][0]
        )

    def skip_numbers(self, table: str, column: str, number: int) -> None:
        self.fetch(
            "SELECT setval(%s::regclass, %s, false)",
            [self._sequence(table, column), number],
        )

    def _sequence(self, table: str, column: str) -> str:
        found = self.fetch(
            "SELECT pg_get_serial_sequence(%s, %s)", [self.quote(table), column]
        )
        return str(found[0][0])

    def _told_rows(self, table: str) -> int:
        rows = self.fetch(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(%s)",
            [self.quote(table)],
        )
        return int(rows[0][0]) if rows else 0

    def tidy(self) -> None:
        self.run(f"VACUUM (ANALYZE, SKIP_LOCKED) {MARK}")

    def replica_lag(self) -> float:
        rows = self.fetch(
            "SELECT COALESCE(EXTRACT(EPOCH FROM MAX(replay_lag)), 0) "
            "FROM pg_stat_replication"
        )
        return float(rows[0][0])

    # Rows

    def _among(self, table: str, key: Names, keys: Keys) -> tuple[str, list[Any]]:
        # Arrays: one statement, however many there are.
        types = self.remembered("columns", table)
        arrays = ", ".join(f"%s::text[]::{_bare(types[name].type)}[]" for name in key)
        return (
            f"({self.quote(*key)}) IN (SELECT * FROM unnest({arrays}))",
            [[str(each[n]) for each in keys] for n in range(len(key))],
        )

    def write(self, table: str, columns: Names, key: Names, rows: Rows) -> None:
        end = self._conflict(columns, key)
        if len(rows) >= COPY_FROM and self._can_copy():
            with self._staged(table, columns, end) as stage:
                for row in rows:
                    stage.write_row(row)
        else:
            self._insert(table, columns, rows, end, "OVERRIDING SYSTEM VALUE")

    def pour(
        self,
        rows: tuple[str, Names, Names],
        target: PostgreSQL,
        there: tuple[str, Names, Names],
        after: Bound,
        most: int,
    ) -> tuple[int, Bound] | None:
        """
        Write the next rows there, as the text that one gives and the other takes.

        ``rows`` and ``there`` are a table, its columns and its key. Returns how many
        there were and the last one's key, if more follow; None: this driver cannot.
        """
        if not (self._can_copy() and target._can_copy()):
            return None
        table, columns, key = rows
        upto = self.bound(table, key, after, most)
        where, params = self.between(key, after, upto)
        with (
            target._staged(there[0], there[1], target._conflict(*there[1:])) as stage,
            self.connection.cursor() as cursor,
            self.connection.wrap_database_errors,
            cursor.cursor.copy(
                f"COPY (SELECT {self.quote(*columns)} FROM {self.quote(table)}{where}) "
                "TO STDOUT",
                params,
            ) as source,
        ):
            number = 0
            for data in source:
                stage.write(data)
                number += 1  # A row in a message.
        return number, upto

    def _can_copy(self) -> bool:
        with self.connection.cursor() as cursor:
            return hasattr(cursor.cursor, "copy")  # psycopg 3

    @contextmanager
    def _staged(self, table: str, columns: Names, end: str) -> Iterator[Any]:
        """Take rows by COPY, then write them all at once."""
        names, name = self.quote(*columns), self.quote(table)
        with self.connection.cursor() as cursor:
            cursor.execute(
                "CREATE TEMPORARY TABLE strangler_rows ON COMMIT DROP AS "
                f"SELECT {names} FROM {name} WITH NO DATA"
            )
            with (
                self.connection.wrap_database_errors,
                cursor.cursor.copy("COPY strangler_rows FROM STDIN") as stage,
            ):
                yield stage
            cursor.execute(
                f"INSERT INTO {name} ({names}) OVERRIDING SYSTEM VALUE "
                f"SELECT {names} FROM strangler_rows {end}"
            )
            cursor.execute("DROP TABLE strangler_rows")

    def digest(
        self, table: str, columns: Names, key: Names, after: Bound, upto: Bound
    ) -> Values:
        where, params = self.between(key, after, upto)
        return self.fetch(
            "SELECT COUNT(*), SUM(hashtextextended(ROW("
            f"{self.quote(*columns)})::text, 0)::numeric) "
            f"FROM {self.quote(table)}{where}",
            params,
        )[0]


def _bare(type: str) -> str:
    # An array's type has no length: character varying(64)[] would cut.
    return re.sub(r"\(.*?\)", "", type)
