"""Files that lie among pictures and are none: what systems, downloads and other programs leave there.

They are known by their names. The module opens no file.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True)
class Clutter:
    """A kind of files that are not painted.

    Attributes:
        one: The kind in words, for one file.
        several: The kind in words, for several.
        names: Names of files and folders, in lower case.
        suffixes: Ends of their names, in lower case.
    """

    one: str
    several: str
    names: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        """Whether a file or a folder of this name is of this kind."""
        lower = name.lower()
        return lower in self.names or (lower.endswith(self.suffixes) and lower not in self.suffixes)


CLUTTER = (
    Clutter(
        "file of a system or a recycle bin",
        "files of systems and recycle bins",
        names=frozenset(
            {"@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp", "~snapshot"}  # network storage
            | {"$recycle.bin", "recycler", "recycled", "system volume information", "$extend", "found.000"}  # Windows
            | {"thumbs.db", "ehthumbs.db", "desktop.ini"}
            | {"__macosx", "network trash folder", "temporary items", "thevolumesettingsfolder", "icon\r"}  # macOS
            | {".ds_store", ".trashes", ".trash", ".spotlight-v100", ".fseventsd", ".temporaryitems"}
            | {"lost+found", ".thumbnails", ".trash-1000", ".git", ".svn", ".hg"}  # Linux and version control
        ),
    ),
    Clutter(
        "unfinished download or backup",
        "unfinished downloads and backups",
        suffixes=(
            *(".crdownload", ".part", ".partial", ".download", ".opdownload", ".filepart", ".aria2", ".td", ".xltd"),
            *(".!qb", ".!ut", ".bc!", ".tmp", ".temp", ".bak", "~"),
        ),
    ),
    Clutter(
        "file beside a picture or a video",
        "files beside pictures and videos",
        suffixes=(".xmp", ".aae", ".json", ".thm", ".lrv", ".dop", ".pp3", ".nksc", ".cos", ".on1"),
    ),
)
"""Everything that is passed over, unless a pattern names it."""

GEOREFERENCE_SUFFIXES = (
    *(".tfw", ".tifw", ".tiffw", ".jgw", ".jpgw", ".jpegw", ".pgw", ".pngw", ".bpw", ".wld", ".gfw"),
    *(".aux.xml", ".ovr", ".points", ".rpb", ".rpc"),
)
"""Ends of the names of files that tie a picture beside them to the ground, in its own pixels."""


def clutter_of(path: PurePath) -> Clutter | None:
    """The kind of a relative path, by its own name or by that of a folder above it; None if it may be a picture."""
    return clutter_among(path.parts)


def clutter_among(names: Iterable[str]) -> Clutter | None:
    """The kind of a path with these names of folders and of a file; None if it may be a picture."""
    return next((kind for name in names if (kind := _clutter_named(name)) is not None), None)


@functools.lru_cache(maxsize=1024)
def _clutter_named(name: str) -> Clutter | None:
    return next((kind for kind in CLUTTER if kind.has(name)), None)


def names_clutter(pattern: str) -> bool:
    """Whether a glob asks for such files by their name, as ``**/*.part`` and ``lost+found/**`` do."""
    return clutter_of(PurePath(pattern)) is not None
