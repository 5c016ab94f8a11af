"""The tree of folders that a job reads, each with its state, so that those which have not changed need not be listed again."""

from __future__ import annotations

import bisect
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nstpipe.planning.inputs import order_of
from nstpipe.system.folder_state import folder_state


@dataclass(frozen=True, slots=True)
class InputFolder:
    """A folder of a job's inputs.

    Attributes:
        path: Its path.
        below: Its path below the job's input, with slashes; empty for the input itself.
        state: The digest of its listing; empty if that does not tell everything, because something has just changed.
        files: The number of files in it.
        is_block: Whether no picture of another folder can come between its own, in the order in which they are painted.
    """

    path: Path
    below: str
    state: str
    files: int
    is_block: bool

    @property
    def order(self) -> str:
        """What sorts it among the files and folders of its tree."""
        return order_of(f"{self.below}/" if self.below else "")


@dataclass(frozen=True, eq=False)
class InputTree:
    """The folders below the input of a job, without those that file managers hide.

    Attributes:
        folders: The folders.
        files: The number of files in all of them.
        inodes: The inodes of the files.
    """

    folders: tuple[InputFolder, ...]
    files: int
    inodes: array[int]

    def has_inode(self, inode: int) -> bool:
        """Return whether a file of the tree may be the one with an inode. It is not, if this is false."""
        index = bisect.bisect_left(self._sorted, inode)
        return index < len(self._sorted) and self._sorted[index] == inode

    @cached_property
    def _sorted(self) -> array[int]:
        return array("Q", sorted(self.inodes))


def input_tree(root: Path, check_stop: Callable[[], None]) -> InputTree | None:
    """Look at all folders below a folder.

    Args:
        root: The folder.
        check_stop: Called for each folder. If it raises, the look ends.

    Returns:
        The folders; None if one of them cannot be listed or holds a symbolic link, so that states do not tell everything.
    """
    found: list[tuple[str, str, int, bool]] = []
    inodes = array("Q")
    waiting = [""]
    while waiting:
        check_stop()
        below = waiting.pop()
        try:
            state = folder_state(f"{root}/{below}" if below else str(root))
        except OSError:
            return None
        if state.has_links:
            return None
        found.append((below, state.digest if state.has_settled else "", len(state.names), not state.folders))
        inodes.extend(state.inodes)
        waiting += (f"{below}/{name}" if below else name for name in state.folders)
    # Folders such as `a` and `A`, or `1` and `01`, share their place in the order.
    sharing = Counter(order_of(f"{below}/") for below, *_ in found)
    folders = tuple(
        InputFolder(root / below, below, state, files, is_leaf and sharing[order_of(f"{below}/")] == 1)
        for below, state, files, is_leaf in found
    )
    return InputTree(folders, sum(folder.files for folder in folders), inodes)
