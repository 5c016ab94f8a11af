"""A remote work folder together with what its shards have copied beside it, as one.

Each shard works in a live folder of its own, and copies that. Whoever works with the whole folder, or reads it, gets the
journals of the shards where they would lie on a shared disk, and their frames and networks among its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nstpipe.storage.checkpoint import SHARDS, Checkpoint, RemoteCopy, StoredFile
from nstpipe.storage.index import INDEX, index_of_shard
from nstpipe.storage.remotes import MIRROR
from nstpipe.system.stop import Stop

JOURNAL_OF_THE_WHOLE = "journal.sqlite"
"""The one file at the top of a shard's folder that is of use to whoever works with the whole one, if that has none."""


@dataclass(frozen=True)
class Source:
    """The files of a work folder, wherever each comes from.

    Attributes:
        name: What tells this state from any other one, of the same folder or of another.
        own_name: The same without the copies of shards; empty if there is no copy but theirs.
        own: The latest checkpoint of the folder itself; None if there is none.
        files: The files, by path.
        copies: Where the content of each comes from, by path.
    """

    name: str
    own_name: str
    own: Checkpoint | None
    files: Mapping[str, StoredFile]
    copies: Mapping[str, RemoteCopy]

    def fetch(self, path: str, target: Path, stop: Stop) -> None:
        """Fetch the content of a file; see `RemoteCopy.fetch`."""
        self.copies[path].fetch(self.files[path], target, stop)


def name_of(checkpoint: Checkpoint | None, shard: str) -> str:
    """Return what tells a checkpoint from any other one of the same folder and of its shards; empty if there is none."""
    return "" if checkpoint is None else f"{shard}:{checkpoint.name}" if shard else checkpoint.name


def source_of(copy: RemoteCopy, shard: str = "") -> Source:
    """Return what a copy holds.

    Args:
        copy: The copy.
        shard: The name of the shard whose copy it is; empty for that of the whole folder.

    Raises:
        StorageError: The server cannot be asked.
        OutputError: The copy cannot be read.
    """
    latest = copy.latest()
    files = {file.path: file for file in latest.files} if latest is not None else {}
    name = name_of(latest, shard)
    return Source(name, name, latest, files, dict.fromkeys(files, copy))


def joined_source_of(copy: RemoteCopy) -> Source:
    """Return what a copy and those of its shards hold.

    Raises:
        StorageError: The server cannot be asked.
        OutputError: A copy cannot be read.
    """
    source = source_of(copy)
    names, files, copies = [source.name], dict(source.files), dict(source.copies)
    for shard in copy.shards():
        of_shard = source_of(copy.shard(shard), shard)
        if of_shard.own is None:
            continue
        names.append(of_shard.name)
        for path, file in of_shard.files.items():
            place = _place_in_whole(path, shard)
            if place and place not in files:
                files[place] = replace(file, path=place)
                copies[place] = copy.shard(shard)
    return Source("+".join(names), source.name, source.own, files, copies)


def _place_in_whole(path: str, shard: str) -> str:
    """Return where a file of a shard's folder belongs in the whole one; empty if nowhere."""
    if path.startswith(f"{SHARDS}/{shard}/"):
        return path
    if path == f"{MIRROR}/{INDEX}":
        return f"{MIRROR}/{index_of_shard(shard)}"
    # Without a run that made everything, the journal is the one below which the shards' own lie.
    is_taken = path == JOURNAL_OF_THE_WHOLE or "/" in path
    return path if is_taken and not path.startswith(f"{SHARDS}/") else ""
