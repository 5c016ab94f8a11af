"""Notes of the files that are about to get their names, so that a killed run's successor knows them for its own.

A run that is killed between naming a file and recording it leaves a file that no record knows. The note, which is on the disk
before the file has its name, tells it from a file of the user's own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nstpipe.errors import OutputError
from nstpipe.journal.path_keys import PathKeys
from nstpipe.storage.contents import content_sha256
from nstpipe.system.files import atomic_write, is_numbered, parts_of, stamp_of

_FOLDER = "placing"
"""Name of the folder in the work folder."""


@dataclass(frozen=True)
class Placing:
    """Gives a finished output its place. Called with the complete file just before it gets its name.

    Attributes:
        work: The work folder.
        path: The place of the output; for numbered pictures the pattern of their names.
        replaces: The stamp of what stood there when the run was planned; None if the place was free.
        overwrite: Whether any file may be replaced.
    """

    work: Path
    path: Path
    replaces: tuple[int, int] | None
    overwrite: bool = False

    def __call__(self, complete: Path) -> None:
        """See that the place is as it was planned, and note what is about to stand there.

        Raises:
            OutputError: Another file or a folder has appeared there, or the note cannot be written.
        """
        if self.path.is_dir():
            raise OutputError(f"{self.path} is a folder now.", "Move it away and run again, or give another name.")
        contents = [content_sha256(part) for part in parts_of(complete)]
        if not self.overwrite and stamp_of(self.path) not in (None, self.replaces) and not self._is_ours(contents):
            raise OutputError(
                f"{self.path} appeared while its result was made, and is kept.",
                "Move it away and run again, or give another name.",
            )
        if is_numbered(self.path):
            # They are replaced one by one. A run that is killed meanwhile leaves some of both.
            contents += [content_sha256(part) for part in parts_of(self.path)]
        with atomic_write(_note(self.work, self.path)) as partial, partial.open("w", encoding="ascii") as file:
            file.write("\n".join(contents))

    def _is_ours(self, contents: Sequence[str]) -> bool:
        """Return whether an earlier attempt at the same output has put its files there."""
        known = {*contents, *noted(self.work, self.path)}
        return all(content_sha256(part) in known for part in parts_of(self.path))


def noted(work: Path, path: Path) -> frozenset[str]:
    """Return the sha256 of each file that a run was about to put at a place; empty if none was."""
    try:
        return frozenset(_note(work, path).read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return frozenset()


def forget(work: Path, path: Path) -> None:
    """Delete the note of an output that is recorded. That of numbered pictures stays."""
    if is_numbered(path):
        return  # the record does not know each of them
    with suppress(OSError):
        _note(work, path).unlink()


def _note(work: Path, path: Path) -> Path:
    return work / _FOLDER / hashlib.sha256(os.fsencode(PathKeys(work).key(path))).hexdigest()[:32]
