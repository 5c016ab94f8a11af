"""Lets several journals of one work folder be read as one: that of the folder, and those of the shards that work in it.

Each shard writes a journal of its own, in its own folder, so that no two processes write to one file. Their keys are the same.
What is read are temporary views that have the names of the tables. What is written names the file: ``main.output``.
docs/decisions/2026-11-29-shards.md has the reasons.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

SHARDS = "shards"
"""Name of the folder in the work folder that has a folder for each shard."""

TABLES = ("output", "clip", "frame", "run", "lookup")

_NAME = re.compile(r"[1-9][0-9]*-of-[1-9][0-9]*")

_RANK = "CASE {0}.state WHEN 'done' THEN 3 WHEN 'failed' THEN 2 WHEN 'started' THEN 1 ELSE 0 END"

_BETTER = {
    # Of a video whose clips several shards paint, the one that makes the file records it as done.
    "output": f"""ON CONFLICT (path) DO UPDATE SET {{columns}} WHERE CASE WHEN excluded.fingerprint = {{table}}.fingerprint
        THEN ({_RANK.format("excluded")}, excluded.changed_at) > ({_RANK.format("{table}")}, {{table}}.changed_at)
        ELSE excluded.changed_at > {{table}}.changed_at END""",
    "clip": f"""ON CONFLICT (path, first_frame_index) DO UPDATE SET {{columns}}
        WHERE {_RANK.format("excluded")} > {_RANK.format("{table}")}""",
    "frame": f"""ON CONFLICT (job, path, frame_index) DO UPDATE SET {{columns}}
        WHERE {_RANK.format("excluded")} > {_RANK.format("{table}")}""",
    "run": "ON CONFLICT (id) DO NOTHING",
    "lookup": "ON CONFLICT (kind, key) DO NOTHING",
}
"""Which of two rows with the same key counts, when two shards have one."""

_ELSEWHERE = {
    "output": "NOT EXISTS (SELECT 1 FROM {over}output AS known WHERE known.path = below.path)",
    "clip": "NOT EXISTS (SELECT 1 FROM {over}output AS known WHERE known.path = below.path)",
    "frame": "NOT EXISTS (SELECT 1 FROM {over}output AS known WHERE known.input = below.path AND known.job = below.job)",
    "run": "NOT EXISTS (SELECT 1 FROM {over}run AS known WHERE known.id = below.id)",
    "lookup": "NOT EXISTS (SELECT 1 FROM {over}lookup AS known WHERE known.kind = below.kind AND known.key = below.key)",
}
"""Which rows of the journal below are read. What is known of an output comes from one of the two alone."""


def shard_folders(work: Path) -> tuple[Path, ...]:
    """Return the folders of the shards that have worked in a work folder, by their numbers."""
    found = [folder for folder in (work / SHARDS).glob("*-of-*") if _NAME.fullmatch(folder.name)]
    return tuple(sorted(found, key=lambda folder: [int(number) for number in folder.name.split("-of-")][::-1]))


def lay_over(connection: sqlite3.Connection, under: Path) -> None:
    """Let the tables of a shard's journal be read with those of the work folder's journal below them.

    Args:
        connection: An open connection to the shard's journal.
        under: The journal of the work folder.

    Raises:
        sqlite3.Error: It cannot be read.
    """
    connection.execute("ATTACH ? AS base", (f"{under.absolute().as_uri()}?mode=ro",))
    _view(connection, over="main.", under="base.")


def lay_under(connection: sqlite3.Connection, journals: Sequence[Path]) -> list[str]:
    """Let the tables of the work folder's journal be read with those of its shards over them.

    Args:
        connection: An open connection to the journal of the work folder.
        journals: The journals of the shards.

    Returns:
        What the user should know: the journals that cannot be read.
    """
    for table in TABLES:
        _copy_empty(connection, table)
    connection.execute("CREATE INDEX IF NOT EXISTS temp.over_output_input ON over_output (input, job)")
    problems = []
    for path in journals:
        try:
            with attached(connection, path):
                for table in TABLES:
                    merge(connection, table, into=f"over_{table}", schema="temp", source=f"shard.{table}")
        except sqlite3.Error as error:
            problems.append(f"{path} cannot be read ({error}); the next run of that shard mends it")
    _view(connection, over="temp.over_", under="main.")
    return problems


def fold(connection: sqlite3.Connection) -> None:
    """Write what `lay_under` has laid over the journal into it. The caller begins and ends the transaction."""
    connection.execute(
        "DELETE FROM main.frame WHERE (job, path) IN (SELECT job, input FROM temp.over_output)",
    )
    connection.execute("DELETE FROM main.clip WHERE path IN (SELECT path FROM temp.over_output)")
    for table in TABLES:
        columns = ", ".join(columns_of(connection, table))
        connection.execute(f"INSERT OR REPLACE INTO main.{table} ({columns}) SELECT {columns} FROM temp.over_{table}")


def take_off(connection: sqlite3.Connection) -> None:
    """Remove the views and the tables of `lay_under`."""
    for table in TABLES:
        connection.execute(f"DROP VIEW IF EXISTS temp.{table}")
        connection.execute(f"DROP TABLE IF EXISTS temp.over_{table}")


@contextmanager
def attached(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Attach the journal of a shard as `shard`. If the shard was killed in a transaction, that is undone first."""
    address = path.absolute().as_uri()
    try:
        connection.execute("ATTACH ? AS shard", (f"{address}?mode=rw",))
        connection.execute("SELECT 1 FROM shard.output LIMIT 1").fetchone()
    except sqlite3.OperationalError:  # a disk that is read only
        with suppress(sqlite3.Error):
            connection.execute("DETACH shard")
        connection.execute("ATTACH ? AS shard", (f"{address}?mode=ro",))
    try:
        yield
    finally:
        connection.execute("DETACH shard")


def merge(
    connection: sqlite3.Connection, table: str, *, into: str, source: str, schema: str = "main", where: str = "1"
) -> None:
    """Insert the rows of a table into another one with the same columns. Where both have a row, the better one stays."""
    columns = columns_of(connection, table)
    changed = ", ".join(f"{column} = excluded.{column}" for column in columns)
    better = _BETTER[table].format(columns=changed, table=into)
    names = ", ".join(columns)
    connection.execute(f"INSERT INTO {schema}.{into} ({names}) SELECT {names} FROM {source} AS found WHERE {where} {better}")


def columns_of(connection: sqlite3.Connection, table: str) -> list[str]:
    """Return the names of a table's columns."""
    with closing(connection.execute(f"PRAGMA main.table_info({table})")) as cursor:
        return [row[1] for row in cursor]


def remove(files: Iterable[Path]) -> None:
    """Delete files of a shard whose content is elsewhere now."""
    for file in files:
        file.unlink(missing_ok=True)


def _copy_empty(connection: sqlite3.Connection, table: str) -> None:
    """Create an empty temporary table with the columns and the key of a table of the journal."""
    [(statement,)] = connection.execute(
        "SELECT sql FROM main.sqlite_master WHERE type = 'table' AND name = ?", (table,)
    ).fetchall()
    begins = re.compile(rf'CREATE TABLE "?{table}"?', re.IGNORECASE)
    connection.execute(begins.sub(f"CREATE TEMP TABLE over_{table}", statement, count=1))


def _view(connection: sqlite3.Connection, *, over: str, under: str) -> None:
    for table in TABLES:
        columns = ", ".join(columns_of(connection, table))
        elsewhere = _ELSEWHERE[table].format(over=over)
        connection.execute(
            f"CREATE TEMP VIEW {table} AS SELECT {columns} FROM {over}{table}"
            f" UNION ALL SELECT {columns} FROM {under}{table} AS below WHERE {elsewhere}"
        )
