"""Links to folders within an input: they are not followed, and named."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from nstpipe.media.detect import is_hidden
from nstpipe.media.pictures.formats import PICTURE_SUFFIXES

MOST_FILES = 10_000
"""Files that are looked at to see whether a linked folder holds pictures."""


def linked_folders(folder: Path, known: Callable[[], Iterable[Path]]) -> Iterator[str]:
    """Say which linked folders of an input are not followed: links can make circles, and lead out of the mirrored tree.

    Args:
        folder: The input.
        known: Gives the paths in it that are painted or excluded. A link that one of them leads through is known.
    """
    links = [link for link in _links(folder) if _holds_pictures(link)]
    if not links:
        return
    followed = {part for path in known() for part in (path, *path.parents)}
    root = folder.resolve()
    inside, outside = list[Path](), list[Path]()
    for link in links:
        if link not in followed:
            (inside if root in (link.resolve(), *link.resolve().parents) else outside).append(link)
    if inside:
        yield f"{_named(inside)}, which is not followed: pictures are painted once, in the folder that they are in"
    if outside:
        yield (
            f"{_named(outside)}, which is not followed: the pictures there are not painted. "
            f"Give that folder to a job of its own, or copy it into {folder}"
        )


def _links(folder: Path) -> Iterator[Path]:
    """The links to folders below a folder, without following any."""
    for place, names, _ in os.walk(folder):
        for name in sorted(names):
            path = Path(place, name)
            if path.is_symlink() and not is_hidden(path, folder):
                yield path


def _holds_pictures(folder: Path) -> bool:
    names = (name for _, __, names in os.walk(folder) for name in names)
    return any(name.lower().endswith(PICTURE_SUFFIXES) for name in itertools.islice(names, MOST_FILES))


def _named(links: Sequence[Path]) -> str:
    more = len(links) - 1
    others = f" ({more} more like it)" if more else ""
    return f"{links[0]}{others} is a link to the folder {links[0].resolve()}"
