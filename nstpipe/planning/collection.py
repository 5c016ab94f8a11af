"""The paintings of a collection: a folder of very many, such as WikiArt's, as artist/title.jpg or genre/artist_title.jpg.

Only names are read here. A painting is opened when an input gets it.
"""

from __future__ import annotations

import difflib
import errno
import fnmatch
import functools
import hashlib
import json
import os
import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from nstpipe.config.models import Style
from nstpipe.errors import ItemError, OutputError
from nstpipe.media.clutter import clutter_of
from nstpipe.media.pictures.formats import PICTURE_SUFFIXES
from nstpipe.system.files import atomic_write, suggest_path
from nstpipe.system.folder_state import SETTLED_SECONDS

_CACHE_FOLDER = "collections"
"""Name of the folder in the work folder that keeps what the folders of collections hold."""

_CACHE_VERSION = 1


@dataclass(frozen=True)
class Collection:
    """The paintings that a style may pick from.

    Attributes:
        folder: The folder of the collection.
        names: The paintings, sorted: their paths in the folder with slashes, as Unicode composes them. A name identifies a
            painting, on whatever machine it is.
        spelled: The names that files have in another form of Unicode, by name.
        notices: What is left out of the folder, and why.
    """

    folder: Path
    names: tuple[str, ...]
    spelled: Mapping[str, str]
    notices: tuple[str, ...] = ()

    def path_of(self, name: str) -> Path:
        """Return the file of a painting."""
        return self.folder / self.spelled.get(name, name)


def collection_of(style: Style, work: Path) -> Collection:
    """Return the paintings that a style may pick from.

    Args:
        style: A style with a collection.
        work: The work folder, which keeps what the collection's folders hold.

    Raises:
        ItemError: There are none, or an artist or a genre has none, or the folder cannot be read.
    """
    assert style.collection is not None
    folder = style.collection
    if not folder.is_dir():
        if folder.exists():
            raise ItemError(f"style.collection: {folder} is a file.", "Give a folder of paintings, or the file as `style`.")
        raise ItemError(f"style.collection: {folder} does not exist.", suggest_path(folder))
    listing = _Listing.of(folder, work)
    names = {name for name in listing.names if name.isascii()}
    spelled = {unicodedata.normalize("NFC", name): name for name in sorted(set(listing.names) - names, reverse=True)}
    names.update(spelled)
    if not names:
        raise ItemError(f"style.collection: {folder} holds no picture.", "Give a folder of paintings.")
    return Collection(folder, tuple(_chosen(sorted(names), style)), spelled, tuple(listing.notices(folder)))


def _chosen(names: list[str], style: Style) -> list[str]:
    """Return the names that fit the artists and the genres of a style.

    Raises:
        ItemError: An artist or a genre fits none of them, or they fit none together.
    """
    if not style.artists and not style.genres:
        return names
    by_artist = _fitting(names, style, "artists", style.artists, _artists, _is_part)
    by_genre = _fitting(names, style, "genres", style.genres, _genres, fnmatch.fnmatchcase)
    found = [name for name in names if name in by_artist and name in by_genre]
    if not found:
        raise ItemError(
            f"style.collection: no painting of {style.collection} is by {' or '.join(style.artists)} and of the genre "
            f"{' or '.join(style.genres)}.",
            "Leave one of the two out.",
        )
    return found


def _fitting(
    names: list[str],
    style: Style,
    key: str,
    wanted: Sequence[str],
    groups_of: Callable[[str], Iterable[str]],
    fits: Callable[[str, str], bool],
) -> frozenset[str]:
    """Return the names of which an artist, or a genre, is wanted; all of them if none is given."""
    if not wanted:
        return frozenset(names)
    by_group: dict[str, list[str]] = {}
    for name in names:
        for group in groups_of(name):
            by_group.setdefault(group, []).append(name)
    plain = {group: _plain(group) for group in by_group}
    found: set[str] = set()
    for one in wanted:
        pattern = _plain(one)
        groups = [group for group, known in plain.items() if fits(known, pattern)]
        if not groups:
            near = difflib.get_close_matches(pattern, dict.fromkeys(plain.values()), cutoff=0.5)
            near = [next(group for group, known in plain.items() if known == match) for match in near]
            hint = f"Did you mean {' or '.join(near)}?" if near else f"Look into {style.collection}."
            raise ItemError(f"style.{key}: {one} fits none of the {len(names):,} paintings in {style.collection}.", hint)
        found.update(name for group in groups for name in by_group[group])
    return frozenset(found)


def _genres(name: str) -> tuple[str, ...]:
    return PurePosixPath(name).parts[:-1]


def _artists(name: str) -> Iterator[str]:
    """Yield what may be the artist of a painting: its folder in artist/title.jpg, the beginning of genre/artist_title.jpg."""
    yield from PurePosixPath(name).parts[:-1]
    begin, underscore, _ = PurePosixPath(name).name.partition("_")
    if underscore and begin:
        yield begin


def _is_part(known: str, wanted: str) -> bool:
    return f" {wanted} " in f" {known} "


@functools.lru_cache(maxsize=1 << 16)
def _plain(text: str) -> str:
    """A name in small letters without accents, its words separated by spaces. Wildcards stay."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(re.findall(r"[\w*?\[\]]+", letters.replace("_", " ")))


@dataclass(frozen=True)
class _Folder:
    """What a folder of a collection holds.

    Attributes:
        stamp: Changes when anything is added, removed or renamed in it; None if it may have changed since.
        files: Names of the pictures in it.
        folders: Names of the folders in it.
        nameless: How many names in it are no UTF-8.
    """

    stamp: tuple[int, int, int] | None
    files: tuple[str, ...]
    folders: tuple[str, ...]
    nameless: int = 0

    @classmethod
    def of(cls, path: str) -> _Folder:
        """Read a folder."""
        now = time.time_ns()
        stamp = _stamp_of(path)
        files, folders, nameless = list[str](), list[str](), 0
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith(".") or clutter_of(PurePath(entry.name)) is not None:
                    continue
                is_folder = entry.is_dir(follow_symlinks=False)
                if not is_folder and not (entry.name.lower().endswith(PICTURE_SUFFIXES) and entry.is_file()):
                    continue
                if not _is_text(entry.name):
                    nameless += 1
                else:
                    (folders if is_folder else files).append(entry.name)
        is_settled = max(stamp[:2]) < now - SETTLED_SECONDS * 1e9
        return cls(stamp if is_settled else None, tuple(files), tuple(folders), nameless)

    @classmethod
    def from_json(cls, value: Any) -> _Folder:
        stamp, files, folders, nameless = value
        return cls(tuple(stamp) if stamp is not None else None, tuple(files), tuple(folders), nameless)

    def as_json(self) -> list[Any]:
        return [self.stamp, self.files, self.folders, self.nameless]


def _stamp_of(path: str) -> tuple[int, int, int]:
    state = os.stat(path)  # noqa: PTH116  # thousands of folders, so no Path for each
    return state.st_mtime_ns, state.st_ctime_ns, state.st_ino


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class _Listing:
    """The pictures below a folder.

    Attributes:
        names: Their paths in it, with slashes.
        nameless: How many files and folders have names that are no UTF-8.
        closed: Folders that may not be looked into.
    """

    names: tuple[str, ...]
    nameless: int
    closed: tuple[str, ...]

    @classmethod
    def of(cls, root: Path, work: Path) -> _Listing:
        """List a folder, and remember it: only folders that have changed since are read again.

        Raises:
            ItemError: A folder cannot be read.
        """
        cache = _Cache(work, root)
        known = cache.read()
        inner = work.resolve()
        own = f"{inner.relative_to(root.resolve()).as_posix()}/" if root.resolve() in inner.parents else ""
        found: dict[str, _Folder] = {}
        names, closed = list[str](), list[str]()
        todo = [""]
        while todo:
            place = todo.pop()
            path = os.path.join(root, place)  # noqa: PTH118
            try:
                before = known.get(place)
                is_same = before is not None and before.stamp is not None and before.stamp == _stamp_of(path)
                folder = before if is_same and before is not None else _Folder.of(path)
            except PermissionError:
                closed.append(place or ".")
                continue
            except OSError as error:
                if place and error.errno in (errno.ENOENT, errno.ENOTDIR):
                    continue  # it has just been removed
                raise ItemError(f"style.collection: {path} cannot be read: {error.strerror}.") from error
            found[place] = folder
            names += (f"{place}{name}" for name in folder.files)
            # The work folder may lie inside, and frames that wait there are no paintings.
            todo += (inside for name in folder.folders if (inside := f"{place}{name}/") != own)
        if found != known:
            cache.write(found)
        return cls(tuple(names), sum(folder.nameless for folder in found.values()), tuple(closed))

    def notices(self, folder: Path) -> Iterator[str]:
        """Yield what is left out of a collection."""
        if self.nameless:
            what = "1 name that is" if self.nameless == 1 else f"{self.nameless} names that are"
            yield f"{folder} has {what} no UTF-8; these paintings are left out. Rename them to use them"
        if self.closed:
            more = f" and {len(self.closed) - 1} more like it" if len(self.closed) > 1 else ""
            yield f"{folder / self.closed[0]}{more} cannot be looked into: permission denied; its paintings are left out"


class _Cache:
    """What is remembered of a collection's folders, in the work folder. Without it, or if it is damaged, all are read."""

    def __init__(self, work: Path, root: Path) -> None:
        self._work = work
        digest = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:32]
        self._path = work / _CACHE_FOLDER / f"{digest}.json"

    def read(self) -> dict[str, _Folder]:
        try:
            checksum, _, content = self._path.read_bytes().partition(b"\n")
            if checksum != _checksum(content):
                return {}
            return {place: _Folder.from_json(value) for place, value in json.loads(content).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def write(self, folders: Mapping[str, _Folder]) -> None:
        if not self._work.is_dir():
            return  # no run has begun, and nothing is written before
        content = json.dumps({place: folder.as_json() for place, folder in folders.items()}).encode()
        with suppress(OSError, OutputError), atomic_write(self._path) as partial:
            partial.write_bytes(_checksum(content) + b"\n" + content)


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(b"%d\n" % _CACHE_VERSION + content).hexdigest().encode()


MOST_SLUG_CHARACTERS = 60
"""The longest readable part of a name that is made of a painting's."""


def slug_of(name: str) -> str:
    """Return a name for files and jobs that is made of a painting's: ASCII, at most 69 characters, and another for each.

    It depends on that painting alone, so others that come or go change nothing. The hash at its end tells apart what is alike
    without it, such as titles that differ in accents.
    """
    path = PurePosixPath(name)
    words = [re.sub(r"[^a-z0-9]+", "-", _ascii(part)).strip("-") for part in (*path.parts[:-1], path.stem)]
    readable = "_".join(word for word in words if word)[:MOST_SLUG_CHARACTERS].strip("-_")
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{readable}-{digest}" if readable else digest


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
