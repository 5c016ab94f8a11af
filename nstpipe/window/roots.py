"""The folders that the page may use. No other file of the machine is read, listed or written through it."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nstpipe.errors import UsageError
from nstpipe.media.detect import natural_key
from nstpipe.media.pictures.formats import PICTURE_SUFFIXES
from nstpipe.media.video.containers import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from nstpipe.config import Pipeline

PAINTINGS = Path(__file__).resolve().parent / "paintings"
"""The paintings that come with nstpipe. They can be read, and nothing is written there."""

WEIGHTS_SUFFIXES = (".pth", ".pt", ".npz", ".safetensors")
"""The names of files that hold a network end so."""

MOST_LISTED = 500
"""The most entries of a folder that are listed. Files of larger folders are found by their path."""


class OutsideError(UsageError):
    """A path leads out of the folders that may be used."""


@dataclass(frozen=True)
class Entry:
    """A file or folder in a listing.

    Attributes:
        name: Its name.
        path: Its path.
        kind: ``folder``, ``picture``, ``video``, or ``weights`` for the file of a network.
    """

    name: str
    path: str
    kind: str


@dataclass(frozen=True)
class Listing:
    """A folder.

    Attributes:
        folder: Its path.
        parent: The folder above it; empty if that may not be used.
        entries: Folders first, in natural order; hidden ones are left out.
        more: The number of entries that are not shown.
    """

    folder: str
    parent: str
    entries: tuple[Entry, ...]
    more: int


class Roots:
    """The folders that may be used.

    Args:
        folders: The folders. The first one is where relative paths begin.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(dict.fromkeys(folder.resolve() for folder in folders))

    def resolved(self, text: str | Path, known: dict[str, str] | None = None) -> Path:
        """Return the place of a path, without links.

        Args:
            text: The path.
            known: The places of folders, to which more are added, so that for many paths each folder is asked for once.

        Raises:
            OutsideError: It lies outside of the folders, by itself or through a link.
        """
        written = str(text)
        if not written.strip() or "\0" in written:
            raise OutsideError("The path is empty, or has a character that no path has.", "Choose a file.")
        try:
            place = Path(_without_links(self.folders[0] / Path(written).expanduser(), {} if known is None else known))
        except (OSError, RuntimeError, ValueError) as error:
            raise OutsideError(f"{written} is not a path that this machine can read.", "Choose another one.") from error
        if not self.holds(place):
            allowed = ", ".join(map(str, self.folders))
            raise OutsideError(
                f"{written} lies outside of the folders that this window may use: {allowed}.",
                "Move it there, or start the window with --root FOLDER.",
            )
        return place

    def holds(self, place: Path) -> bool:
        """Return whether a path without links lies in one of the folders, or is one of the paintings of nstpipe."""
        return any(place.is_relative_to(root) for root in (*self.folders, PAINTINGS))

    def existing(self, text: str | Path) -> Path:
        """Do the same as `resolved`, for a file or folder that must exist.

        Raises:
            OutsideError: It lies outside of the folders.
            UsageError: It does not exist.
        """
        place = self.resolved(text)
        try:
            is_there = place.exists()
        except OSError as error:
            raise UsageError(f"{text} cannot be read: {error.strerror}.", "Choose another file.") from error
        if not is_there:
            raise UsageError(f"{text} does not exist.", "Choose another file.")
        return place

    def check_links(self, path: Path) -> None:
        """Check that no link in a folder, or in that of a glob, leads out.

        Raises:
            OutsideError: One does.
        """
        folder = next((place for place in (path, *path.parents) if not glob.has_magic(str(place))), path)
        for place, folders, files in os.walk(folder):
            for name in (*folders, *files):
                found = os.path.join(place, name)  # noqa: PTH118 - a folder may have many entries
                if os.path.islink(found):  # noqa: PTH114
                    self.resolved(found)

    def check(self, pipeline: Pipeline) -> None:
        """Check that a pipeline reads and writes in these folders only, also through links within them.

        Remote files are outside of any folder: a page could otherwise use the credentials of whoever started the server.

        Raises:
            OutsideError: A path of it lies outside; the message names the key.
        """
        remote = {path: pipeline.remotes.shown(str(path)) for path in pipeline.remotes.addresses}
        if pipeline.remotes.work is not None:
            remote[pipeline.remotes.work.work] = str(pipeline.remotes.work.address)
        known: dict[str, str] = {}
        for key, path in _paths(pipeline, ""):
            if (address := remote.get(path)) is not None:
                raise OutsideError(
                    f"{key}: {address} lies outside of the folders that this window may use: it is remote.",
                    "Copy the files into one of the folders, or use `nstpipe run` for this pipeline.",
                )
            try:
                self.resolved(path, known)
                if key.endswith((".input", ".mask")):
                    self.check_links(path)
            except OutsideError as error:
                raise OutsideError(f"{key}: {error.problem}", error.next_step) from error

    def listing(self, text: str) -> Listing:
        """List the folders, pictures and videos of a folder.

        Raises:
            OutsideError: The folder lies outside of the folders.
            UsageError: It does not exist, or cannot be read.
        """
        folder = self.existing(text) if text else self.folders[0]
        folder = folder if folder.is_dir() else folder.parent
        try:
            with os.scandir(folder) as found:
                entries = [entry for entry in map(self._entry, found) if entry is not None]
        except OSError as error:
            raise UsageError(f"{folder} cannot be read: {error.strerror}.", "Choose another folder.") from error
        entries.sort(key=lambda entry: (entry.kind != "folder", natural_key(entry.name), entry.name))
        parent = str(folder.parent) if folder.parent != folder and self.holds(folder.parent) else ""
        return Listing(str(folder), parent, tuple(entries[:MOST_LISTED]), max(0, len(entries) - MOST_LISTED))

    def _entry(self, found: os.DirEntry[str]) -> Entry | None:
        if found.name.startswith(".") or not found.name.isprintable():
            return None
        suffix = os.path.splitext(found.name)[1].lower()  # noqa: PTH122 - a folder may have many entries
        try:
            if found.is_dir():
                kind = "folder"
            elif suffix in VIDEO_SUFFIXES:
                kind = "video"
            elif suffix in PICTURE_SUFFIXES:
                kind = "picture"
            elif suffix in WEIGHTS_SUFFIXES:
                kind = "weights"
            else:
                return None
            if found.is_symlink() and not self.holds(Path(os.path.realpath(found.path))):
                return None
        except OSError:
            return None
        return Entry(found.name, found.path, kind)


def _without_links(path: Path, known: dict[str, str]) -> str:
    """Do the same as `os.path.realpath`; the places of folders that are known already are taken from there."""
    folder, name = os.path.split(path)
    if name in ("", "..") or folder == os.fspath(path):
        return os.path.realpath(path)
    if folder not in known:
        known[folder] = os.path.realpath(folder)
    place = os.path.join(known[folder], name)  # noqa: PTH118
    return os.path.realpath(place) if os.path.islink(place) else place  # noqa: PTH114


_PATHLESS = frozenset((str, int, float, bool, type(None)))


def _paths(value: Any, key: str) -> Iterator[tuple[str, Path]]:
    """Yield each path within a model with its key."""
    from pydantic import BaseModel

    if type(value) in _PATHLESS:  # most are, and it takes long to ask whether something is a model
        return
    if isinstance(value, Path):
        yield key, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _paths(getattr(value, name), f"{key}.{name}" if key else name)
    elif isinstance(value, (tuple, list)):
        for index, child in enumerate(value):
            named = getattr(child, "name", None) if key == "jobs" else None
            yield from _paths(child, f"{key}.{named}" if isinstance(named, str) else f"{key}[{index}]")
    elif isinstance(value, dict):
        for name, child in value.items():
            yield from _paths(child, f"{key}.{name}")
