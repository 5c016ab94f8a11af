"""Turns paths into the keys of the journal and back, so that a project that was moved is still known.

A key of a file below the folder of the pipeline.yaml, or beside the work folder, is relative to the work folder. So it stays
the same if the whole project is renamed, mounted elsewhere, or reached through a link. All pipelines that share a work folder
give the same file the same key. Any other file has its path as its key. A remote work folder lives somewhere else on each
machine, so its keys are those that it would have beside the pipeline.yaml.
"""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nstpipe.journal.rows import FIELDS, after, checked_row, put_row
from nstpipe.storage.remotes import is_live
from nstpipe.system.files import stamp_of


@dataclass(frozen=True)
class _Base:
    """A folder whose files have relative keys.

    Attributes:
        folder: Its path, as this process spells it.
        key: Its path relative to the work folder.
    """

    folder: Path
    key: str


class PathKeys:
    """The keys of one work folder.

    Args:
        work: The work folder, which need not exist.
        pipeline: The pipeline.yaml; None if it is not known.
    """

    def __init__(self, work: Path, pipeline: Path | None = None) -> None:
        folders = [pipeline.parent] if pipeline is not None else []
        self._work = work
        if is_live(work):
            self._bases = [_Base(work, "."), *(_Base(folder, "..") for folder in folders)]
        else:
            if work.parent.resolve() != Path(work.anchor):
                folders.append(work.parent)
            self._bases = [base for folder in folders for base in _bases_of(folder, work)]
        self._identity_of = functools.cache(_identity_of)

    def key(self, path: str | Path) -> str:
        """Return the key of a file."""
        text = str(path)
        for base in self._bases:
            begin = str(base.folder) + os.sep
            if text.startswith(begin):
                return f"{base.key}/{text[len(begin) :]}"
        for base in self._bases:  # the same folder may have several paths, by links and mounts
            identity = self._identity_of(base.folder)
            for above in Path(text).parents if identity is not None and Path(text).is_absolute() else ():
                if self._identity_of(above) == identity:
                    return f"{base.key}/{Path(text).relative_to(above)}"
        return text

    def path(self, key: str) -> str:
        """Return the path of the file with a key."""
        if not key.startswith("."):
            return key
        for base in self._bases:
            if key.startswith(base.key + "/"):
                return f"{base.folder}{os.sep}{key[len(base.key) + 1 :]}"
        return os.path.normpath(self._work / key)

    def spelled(self, path: str | Path) -> str:
        """Return the path of a file in the spelling of `path`, however else it is reached."""
        return self.path(self.key(path))

    def old_prefixes(self) -> Iterator[tuple[str, str]]:
        """Yield each prefix of paths that versions before 6 took as keys, and the prefix that stands for it now."""
        for base in self._bases:
            for spelling in dict.fromkeys((str(base.folder), os.path.realpath(base.folder))):
                yield spelling.rstrip(os.sep) + os.sep, base.key + "/"


def _bases_of(folder: Path, work: Path) -> Iterator[_Base]:
    try:
        key = os.path.relpath(os.path.realpath(folder), os.path.realpath(work))
    except ValueError:  # on another drive of Windows
        return
    yield _Base(folder, key if key.startswith(".") else f"./{key}")


def _identity_of(folder: Path) -> tuple[int, int] | None:
    try:
        state = folder.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


_COLUMNS = (("output", "path"), ("output", "input"), ("clip", "path"), ("frame", "path"))


def has_old_keys(connection: sqlite3.Connection, keys: PathKeys) -> bool:
    """Return whether a journal has keys that are whole paths where they should be relative."""
    return any(_is_used(connection, table, column, old) for old, _ in keys.old_prefixes() for table, column in _COLUMNS)


def _is_used(connection: sqlite3.Connection, table: str, column: str, prefix: str) -> bool:
    query = f"SELECT 1 FROM main.{table} WHERE {column} >= ? AND {column} < ? LIMIT 1"
    with closing(connection.execute(query, (prefix, after(prefix)))) as cursor:
        return cursor.fetchone() is not None


def renew_keys(connection: sqlite3.Connection, keys: PathKeys) -> None:
    """Replace old keys. The caller begins and ends the transaction."""
    for old, new in keys.old_prefixes():
        rename_keys(connection, old, new)


def rename_keys(connection: sqlite3.Connection, old: str, new: str) -> None:
    """Replace a prefix of keys in all tables. Rows that are damaged stay as they are."""
    query = f"SELECT {', '.join(FIELDS)}, checksum FROM main.output WHERE path >= ? AND path < ? OR input >= ? AND input < ?"
    bounds = (old, after(old))
    for row in connection.execute(query, (*bounds, *bounds)).fetchall():
        checked = checked_row(row)
        if checked is None:
            continue
        renamed = {name: _renamed(checked[name], old, new) for name in ("path", "input")}
        connection.execute("DELETE FROM main.output WHERE path = ?", (checked["path"],))
        put_row(connection, {**checked, **renamed})
    for table in ("clip", "frame"):
        connection.execute(
            f"UPDATE OR REPLACE main.{table} SET path = ? || substr(path, ?) WHERE path >= ? AND path < ?",
            (new, len(old) + 1, *bounds),
        )


def take_over_moved(connection: sqlite3.Connection, keys: PathKeys, work: Path, pipeline: Path, maker: str) -> None:
    """Give the outputs of a pipeline whose folder was moved away from a work folder elsewhere their new keys.

    It is the same project if its old folder is gone, and if a finished output stands, untouched, at the same place in the new
    one. The caller begins and ends the transaction.

    Args:
        connection: An open connection to the journal.
        keys: The keys of the work folder.
        work: The work folder.
        pipeline: The pipeline.yaml.
        maker: Its path relative to the work folder.
    """
    query = "SELECT DISTINCT maker FROM main.output WHERE maker NOT IN ('', ?)"
    for (other,) in connection.execute(query, (maker,)).fetchall():
        old, new = os.path.dirname(other), os.path.dirname(maker)  # noqa: PTH120 - Path would drop a dot in front
        if Path(other).name != pipeline.name or old == new or (work / old).exists():
            continue
        rows = connection.execute(
            "SELECT path, size_bytes, modified_ns FROM main.output WHERE maker = ? AND state = 'done'", (other,)
        ).fetchall()
        places = ((_renamed(path, f"{old}/", f"{new}/"), path, stamp) for path, *stamp in rows)
        if any(place != path and stamp_of(Path(keys.path(place))) == tuple(stamp) for place, path, stamp in places):
            rename_keys(connection, f"{old}/", f"{new}/")


def _renamed(path: str, old: str, new: str) -> str:
    return new + path[len(old) :] if path.startswith(old) else path
