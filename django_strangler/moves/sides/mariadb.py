"""MariaDB."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress

from django.db import DatabaseError

from .base import DatabaseSide
from .catalogue import Column, Foreign
from .fence import IDLE, PATIENCE
from .marks import SEEN
from .session import GATE, MARK, SIDE, Bound, Names, Rows, Values

RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRIGGER")
_TOO_LONG = 1969  # max_statement_time
_TRIGGER = """
CREATE TRIGGER {trigger} AFTER {event} ON {table} FOR EACH ROW
BEGIN
  IF @strangler_mover IS NULL THEN
    IF COALESCE((SELECT closed FROM {gate} WHERE move = '{move}'
                 LOCK IN SHARE MODE), TRUE) THEN
      SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 30001, MESSAGE_TEXT =
        'The move {move}: this side is closed for writes. Use moves.atomic.';
    END IF;
    INSERT INTO {mark} (move, tab, `key`, at)
      VALUES ('{move}', '{tab}', {first}, {now});
    {second}
  END IF;
END
"""


class MariaDB(DatabaseSide):
    """Row triggers; the row of the gate is the lock that writers share."""

    kind = "mariadb"
    # Skipping them waits for all who read the table: not while writers wait.
    numbers_before = 10_000

    def _before(self, *, snapshot: bool) -> None:
        level = "REPEATABLE READ" if snapshot else "READ COMMITTED"
        self.run(f"SET TRANSACTION ISOLATION LEVEL {level}")

    def _begin(self) -> None:
        self._set("1", checks="0", idle=str(IDLE), wait=str(PATIENCE))

    def _begin_snapshot(self) -> None:
        self._set("NULL", checks="1", idle=str(IDLE), wait=str(PATIENCE))

    def _after(self) -> None:
        # A rollback leaves them; a connection that is gone has none.
        with suppress(DatabaseError):
            self._set("NULL", checks="1", idle="DEFAULT", wait="DEFAULT")

    def _set(self, mover: str, *, checks: str, idle: str, wait: str) -> None:
        # No checks: a child may come before its parent, and what is closed cascades
        # nothing. The source has checked them all.
        self.run(
            f"SET @strangler_mover = {mover}, SESSION foreign_key_checks = {checks}, "
            f"SESSION idle_transaction_timeout = {idle}, "
            f"SESSION innodb_lock_wait_timeout = {wait}"
        )

    def enter(self) -> bool:
        rows = self.fetch(
            f"SELECT closed FROM {GATE} WHERE move = %s LOCK IN SHARE MODE", [self.move]
        )
        return bool(rows) and not rows[0][0]

    def _exclude(self, timeout: float) -> None:
        # innodb_lock_wait_timeout counts whole seconds.
        limit = f"SET STATEMENT max_statement_time = {timeout:.3f} FOR "
        self.run(
            f"{limit if timeout else ''}SELECT closed FROM {GATE} WHERE move = %s "
            f"FOR UPDATE{'' if timeout else ' NOWAIT'}",
            [self.move],
        )

    def is_busy(self, error: DatabaseError) -> bool:
        return super().is_busy(error) or error.args[:1] == (_TOO_LONG,)

    def delete_marks(self, numbers: Sequence[int]) -> None:
        if numbers:
            # IN would read the whole table, and wait for the marks of others.
            self.run(
                "DELETE d FROM JSON_TABLE(%s, '$[*]' COLUMNS(id BIGINT PATH '$')) x "
                f"STRAIGHT_JOIN {MARK} d ON d.id = x.id",
                [json.dumps(list(numbers))],
            )

    # Triggers

    def install(self, table: str, tab: str, key: Names) -> None:
        def packed(row: str) -> str:
            return f"JSON_ARRAY({', '.join(f'{row}.{self.quote(k)}' for k in key)})"

        same = " AND ".join(
            f"BINARY NEW.{self.quote(name)} <=> BINARY OLD.{self.quote(name)}"
            for name in key
        )
        for event, rows in SEEN.items():
            second = ""
            if len(rows) == 2:
                second = (
                    f"IF NOT ({same}) THEN INSERT INTO {MARK} (move, tab, `key`, at) "
                    f"VALUES ('{self.move}', '{tab}', {packed(rows[1])}, "
                    f"{self._now()}); END IF;"
                )
            sql = _TRIGGER.format(
                trigger=self.quote(self.trigger(table, event)),
                event=event.upper(),
                table=self.quote(table),
                gate=GATE,
                mark=MARK,
                move=self.move,
                tab=tab,
                first=packed(rows[0]),
                second=second,
                now=self._now(),
            )
            self._drop(table, event)
            self._quickly(sql)

    def uninstall(self, table: str) -> None:
        for event in SEEN:
            self._drop(table, event)

    def _drop(self, table: str, event: str) -> None:
        # Looked up first: also without a trigger, DROP waits for all who read.
        if self.trigger(table, event) in self._triggers(table):
            self._quickly(f"DROP TRIGGER {self.quote(self.trigger(table, event))}")

    def _quickly(self, sql: str) -> None:
        self.run("SET SESSION lock_wait_timeout = 1")
        try:
            with self.busy():
                self.run(sql)
        finally:
            self.run("SET SESSION lock_wait_timeout = DEFAULT")

    def is_installed(self, table: str) -> bool:
        return self._triggers(table) >= {self.trigger(table, each) for each in SEEN}

    def _triggers(self, table: str) -> set[str]:
        rows = self.fetch(
            "SELECT trigger_name FROM information_schema.triggers "
            "WHERE trigger_schema = DATABASE() AND event_object_table = %s",
            [table],
        )
        return {name for (name,) in rows}

    # What it is like

    def columns(self, table: str) -> dict[str, Column]:
        rows = self.fetch(
            "SELECT column_name, column_type, is_nullable = 'NO', "
            "column_default IS NOT NULL, is_generated <> 'NEVER', "
            "extra LIKE '%%auto_increment%%', COALESCE(collation_name, '') "
            "FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND table_name = %s "
            "ORDER BY ordinal_position",
            [table],
        )
        return {
            name: Column(
                name=name,
                type=type,
                required=bool(not_null) and not default and not auto,
                generated=bool(generated),
                auto=bool(auto),
                collation=collation,
            )
            for name, type, not_null, default, generated, auto, collation in rows
        }

    def key(self, table: str) -> tuple[str, ...]:
        return dict(self._indexes(table)).get("PRIMARY", ())

    def uniques(self, table: str) -> list[tuple[str, ...]]:
        return [names for index, names in self._indexes(table) if index != "PRIMARY"]

    def _indexes(self, table: str) -> list[tuple[str, tuple[str, ...]]]:
        rows = self.fetch(
            "SELECT index_name, GROUP_CONCAT(column_name ORDER BY seq_in_index) "
            "FROM information_schema.statistics WHERE table_schema = DATABASE() "
            "AND table_name = %s AND non_unique = 0 GROUP BY index_name",
            [table],
        )
        return [(index, tuple(names.split(","))) for index, names in rows]

    def foreign_keys(self) -> list[Foreign]:
        rows = self.fetch(
            "SELECT constraint_name, k.table_name, k.referenced_table_name, "
            "'CASCADE' IN (delete_rule, update_rule) "
            "OR 'SET NULL' IN (delete_rule, update_rule), "
            "GROUP_CONCAT(column_name ORDER BY ordinal_position), "
            "GROUP_CONCAT(referenced_column_name ORDER BY ordinal_position) "
            "FROM information_schema.key_column_usage k "
            "JOIN information_schema.referential_constraints r "
            "USING (constraint_schema, constraint_name, table_name) "
            # A unique key may bear a foreign key's name.
            "WHERE k.constraint_schema = DATABASE() "
            "AND k.referenced_table_name IS NOT NULL "
            "AND r.constraint_schema = DATABASE() GROUP BY 1, 2, 3, 4"
        )
        return [
            Foreign(
                name=name,
                table=table,
                parent=parent,
                cascades=bool(cascades),
                columns=tuple(columns.split(",")),
                parent_columns=tuple(parents.split(",")),
            )
            for name, table, parent, cascades, columns, parents in rows
        ]

    def lacking(self, tables: Names) -> Iterator[tuple[str, str]]:
        has = self._rights()
        for name in (*tables, GATE, SIDE, MARK):
            for right in RIGHTS if name in tables else RIGHTS[:4]:
                if has is not None and has.isdisjoint({(right, None), (right, name)}):
                    yield f"may not {right} in {name}", f"{right} ON {name}"

    def lacking_to_number(self, table: str, column: str) -> Iterator[tuple[str, str]]:
        has = self._rights()
        if has is not None and has.isdisjoint({("ALTER", None), ("ALTER", table)}):
            what = f"may not ALTER {table}, whose numbers a switch sets"
            yield what, f"ALTER ON {table}"

    def _rights(self) -> set[tuple[str, str | None]] | None:
        """What this user may do, in a table or everywhere; None: it is not known."""
        if self.fetch("SELECT CURRENT_ROLE()")[0][0] is not None:
            return None  # What a role may do, its members cannot look up.
        rows = self.fetch(
            "SELECT privilege_type, NULL FROM information_schema.user_privileges "
            "WHERE grantee = %s UNION ALL "
            "SELECT privilege_type, NULL FROM information_schema.schema_privileges "
            "WHERE grantee = %s AND DATABASE() LIKE table_schema UNION ALL "
            "SELECT privilege_type, table_name FROM "
            "information_schema.table_privileges "
            "WHERE grantee = %s AND table_schema = DATABASE()",
            [self.role()] * 3,
        )
        return set(rows)

    def role(self) -> str:
        user, _, host = str(self.fetch("SELECT CURRENT_USER()")[0][0]).rpartition("@")
        return f"'{user}'@'{host}'"

    def obstacles(self, tables: Names) -> Iterator[str]:
        if not getattr(self.connection, "mysql_is_mariadb", False):
            yield f"{self.alias!r} is MySQL. Moves know MariaDB, not MySQL."
        for each in self.foreign_keys():
            if each.table in tables and each.cascades:
                yield (
                    f"The foreign key {each.name} changes rows of {each.table} by "
                    "itself, and MariaDB fires no trigger then: they would leave no "
                    "mark and pass the fence. Make it RESTRICT; Django cascades on "
                    "its own."
                )
        rows = self.fetch(
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = DATABASE() AND engine <> 'InnoDB'"
        )
        for (name,) in rows:
            if name in tables:
                yield f"{name} is not InnoDB: it has no transactions. Convert it."
        rows = self.fetch(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND data_type = 'float'"
        )
        for name, column in rows:
            if name in tables:
                yield (
                    f"{name}.{column} is a FLOAT, and MariaDB tells only six of its "
                    "digits: what is copied would lose the others. Make it a DOUBLE."
                )

    def next_number(self, table: str, column: str) -> int:
        return self._told("COALESCE(auto_increment, 1)", table)

    def skip_numbers(self, table: str, column: str, number: int) -> None:
        self._quickly(f"ALTER TABLE {self.quote(table)} AUTO_INCREMENT = {number:d}")

    def _told_rows(self, table: str) -> int:
        return self._told("COALESCE(table_rows, 0)", table)

    def _told(self, what: str, table: str) -> int:
        rows = self.fetch(
            f"SELECT {what} FROM information_schema.tables "
            "WHERE table_schema = DATABASE() AND table_name = %s",
            [table],
        )
        return int(rows[0][0]) if rows else 0

    # Rows

    def write(self, table: str, columns: Names, key: Names, rows: Rows) -> None:
        end = ""
        if self.remembered("uniques", table):
            # ON DUPLICATE KEY would take any unique index for the key's.
            places = [columns.index(name) for name in key]
            self.delete(table, key, [tuple(row[n] for n in places) for row in rows])
        else:
            rest = [each for each in columns if each not in key] or [key[0]]
            sets = (f"{self.quote(c)} = VALUES({self.quote(c)})" for c in rest)
            end = f"ON DUPLICATE KEY UPDATE {', '.join(sets)}"
        self._insert(table, columns, rows, end)

    def digest(
        self, table: str, columns: Names, key: Names, after: Bound, upto: Bound
    ) -> Values:
        where, params = self.between(key, after, upto)
        # As one character set, and NULL as a word without quotes.
        values = ", ".join(f"QUOTE({self.quote(c)})" for c in columns)
        return self.fetch(
            "SELECT COUNT(*), COALESCE(BIT_XOR(CAST(CONV(LEFT(MD5(CONCAT_WS(',', "
            f"{values})), 16), 16, 10) AS UNSIGNED)), 0) "
            f"FROM {self.quote(table)}{where}",
            params,
        )[0]
