"""Tells whether anything in a folder has changed, by its listing alone: no file is opened."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from array import array
from dataclasses import dataclass

SETTLED_SECONDS = 3.0
"""A folder that changed less than this long ago is looked at again: the clocks of some disks have ticks of two seconds."""


@dataclass(frozen=True, slots=True)
class FolderState:
    """What a folder holds.

    Attributes:
        digest: A hash of the listing. It changes when a file comes, goes, is replaced or written, or gets another mode or
            owner. The time of the last change to the inode is part of it, which no program can set back.
        names: The names of what is in it, without folders.
        inodes: The inodes of the same, in the same order.
        folders: The names of the folders in it, without those that file managers hide. What they hold is not part of the
            digest.
        has_links: Whether there is a symbolic link in it. What the link leads to is not part of the digest.
        has_settled: Whether nothing in it has changed lately. Otherwise a file may change once more in the same tick of the
            clock of its disk, and then has the same times.
    """

    digest: str
    names: tuple[str, ...]
    inodes: array[int]
    folders: tuple[str, ...]
    has_links: bool
    has_settled: bool


def folder_state(folder: str) -> FolderState:
    """Return the state of a folder.

    Raises:
        OSError: It is missing, or cannot be listed.
    """
    found: list[tuple[str, int, str]] = []
    folders, has_links, changed_ns = list[str](), False, 0
    begun_ns = time.time_ns()
    with os.scandir(folder) as entries:
        for entry in entries:
            state = entry.stat(follow_symlinks=False)
            has_links = has_links or stat.S_ISLNK(state.st_mode)
            changed_ns = max(changed_ns, state.st_ctime_ns)
            if not stat.S_ISDIR(state.st_mode):
                about = (
                    f"{state.st_ino} {state.st_dev} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} "
                    f"{state.st_mode} {state.st_uid} {state.st_gid}"
                )
                found.append((entry.name, state.st_ino, about))
            elif not entry.name.startswith("."):
                folders.append(entry.name)
    found.sort()
    folders.sort()
    # No name holds a zero, so two listings have the same text only if they are equal.
    text = "\0".join((*(f"{name}\0{about}" for name, _, about in found), "", *folders))
    return FolderState(
        hashlib.sha256(os.fsencode(text)).hexdigest(),
        tuple(name for name, _, _ in found),
        array("Q", (inode for _, inode, _ in found)),
        tuple(folders),
        has_links,
        changed_ns < begun_ns - SETTLED_SECONDS * 1e9,
    )
