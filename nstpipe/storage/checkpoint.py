"""The remote copy of a work folder: what is in it, and how it stays consistent.

Contents lie under ``objects/``, each named by its sha256, and never change. A checkpoint, ``checkpoints/00000007.json``, names
the files of the work folder and their contents. It is written last, in one piece, so that whoever reads one finds all that it
names.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from nstpipe.errors import OutputError
from nstpipe.storage.address import Address, UnsafeNameError, safe_parts
from nstpipe.storage.failures import StorageError
from nstpipe.storage.store import Policy, Store
from nstpipe.system.files import atomic_write, sha256_of
from nstpipe.system.stop import Stop

OBJECTS, CHECKPOINTS = "objects", "checkpoints"

SHARDS, SETTLED = "shards", "settled"
"""Names of the folders that have the copies of shards, and what shards have agreed on."""

_SHARD = re.compile(r"[1-9][0-9]*-of-[1-9][0-9]*")

_NUMBERED = re.compile(r"([0-9]{8})\.json")
_NUMBERED_OR_UNFINISHED = re.compile(r"\.?([0-9]{8})(\.partial)?\.json")
_SHA256 = re.compile(r"[0-9a-f]{64}")

READ_ATTEMPTS = 5
"""How often a copy is read again that a run replaces meanwhile."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a work folder.

    Attributes:
        path: Its path within the work folder, with slashes.
        size: Its size in bytes.
        modified_ns: Its modification time, in nanoseconds since 1970; 0 for a database, whose copy has none of its own.
        sha256: The hash of its content.
    """

    path: str
    size: int
    modified_ns: int
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """A state of a work folder.

    Attributes:
        holder: The number of the lock's holder that has written it.
        serial: How many that holder had written before.
        files: The files, sorted by path.
    """

    holder: int
    serial: int
    files: tuple[StoredFile, ...]

    @functools.cached_property
    def name(self) -> str:
        """What tells it from any other checkpoint, also if the remote folder was deleted and its numbers began anew."""
        return f"{self.holder}-{self.serial}-{hashlib.sha256(self.as_bytes()).hexdigest()[:8]}"

    @property
    def contents(self) -> frozenset[str]:
        """The hashes of all contents."""
        return frozenset(file.sha256 for file in self.files)

    def as_bytes(self) -> bytes:
        """Return it as the content of a file."""
        return json.dumps({"version": 1, **asdict(self)}).encode()

    @classmethod
    def of(cls, content: bytes) -> Checkpoint:
        """Read one. No path of it leads out of the folder.

        Raises:
            ValueError: It is none, or one of a newer version of nstpipe.
        """
        try:
            values = json.loads(content)
            if values["version"] != 1:
                raise ValueError("a newer nstpipe wrote it")
            files = tuple(
                StoredFile(str(file["path"]), int(file["size"]), int(file["modified_ns"]), str(file["sha256"]))
                for file in values["files"]
            )
            for file in files:
                safe_parts(file.path)
                if not _SHA256.fullmatch(file.sha256):
                    raise ValueError("it names a content that can have no such name")
            return cls(int(values["holder"]), int(values["serial"]), files)
        except (KeyError, TypeError, UnsafeNameError) as error:
            raise ValueError(f"it cannot be read: {error}") from error


class LostContentError(StorageError):
    """A content that a checkpoint names is missing, or is not what its name says."""


class RemoteCopy:
    """The copy of a work folder at an address.

    Args:
        address: Its place.
        policy: How remote storage is used.

    Raises:
        MachineError: A package is missing.
    """

    def __init__(self, address: Address, policy: Policy) -> None:
        self.address = address
        self._policy = policy
        self._store = Store(address, policy)

    def latest(self) -> Checkpoint | None:
        """Return the latest checkpoint; None if there is none.

        Raises:
            StorageError: The server cannot be asked.
            OutputError: It cannot be read.
        """
        for attempt in range(READ_ATTEMPTS):
            number = max(self._numbers(), default=0)
            if not number:
                return None
            place = self._place(number)
            try:
                return Checkpoint.of(self._store.read(place))
            except ValueError as error:
                raise OutputError(
                    f"work: {place} is no list of a work folder's files: {error}.",
                    "Take the newer nstpipe if one wrote it. If it is damaged, delete it: the machine that worked there last "
                    "copies all again, and any other one begins anew.",
                ) from None
            except StorageError as error:
                if error.kind != "missing" or attempt + 1 == READ_ATTEMPTS:
                    raise
        raise AssertionError

    def _numbers(self) -> list[int]:
        entries = self._store.files(self.address.below(CHECKPOINTS))
        return [int(match[1]) for entry in entries if (match := _NUMBERED.fullmatch(entry.inside))]

    def _place(self, number: int) -> Address:
        return self.address.below(f"{CHECKPOINTS}/{number:08d}.json")

    def _object(self, sha256: str) -> Address:
        return self.address.below(f"{OBJECTS}/{sha256[:2]}/{sha256}")

    def fetch(self, file: StoredFile, target: Path, stop: Stop) -> None:
        """Fetch the content of a file. It gets its name when all of it is there and was checked.

        Raises:
            LostContentError: It is missing or damaged there.
            StorageError: It cannot be fetched.
            Stopped: The run is to end.
        """
        place = self._object(file.sha256)
        step = f"Run on the machine that worked there last: it copies it again. Or delete {self.address}, to begin anew."
        try:
            entry = self._store.entry(place)
        except StorageError as error:
            if error.kind != "missing":
                raise
            raise LostContentError(
                f"{file.path} of the work folder is missing: there is no {place}.", step, "missing"
            ) from None
        if entry.size == file.size:
            self._store.fetch(place, entry, target, stop)
            if sha256_of(target) == file.sha256:
                return
            target.unlink()
        raise LostContentError(
            f"{file.path} of the work folder is damaged: {place} is not what its name says.",
            f"Delete it. {step}",
            "local",
        )

    def send(self, source: Path, sha256: str) -> None:
        """Upload a content, and check it.

        Raises:
            StorageError: It cannot be written.
        """
        self._store.place(source, self._object(sha256), sha256)

    def publish(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, in place of the holder's earlier one. All that it names must be there.

        Raises:
            StorageError: It cannot be written.
        """
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            source = Path(folder, "checkpoint.json")
            source.write_bytes(checkpoint.as_bytes())
            self._store.put(source, self._place(checkpoint.holder), sha256_of(source), Stop())

    def shards(self) -> list[str]:
        """Return the names of the shards that have a copy of their own below this one.

        Raises:
            StorageError: The server cannot be asked.
        """
        return sorted(name for name in self._store.folders(self.address.below(SHARDS)) if _SHARD.fullmatch(name))

    def shard(self, name: str) -> RemoteCopy:
        """Return the copy of a shard."""
        return RemoteCopy(self.address.below(f"{SHARDS}/{name}"), self._policy)

    def offer(self, path: Path, name: str) -> None:
        """Settle the content of a file between shards: that of the first one to come counts, and replaces those of others.

        Args:
            path: The file on this machine.
            name: Its name at the remote place.

        Raises:
            StorageError: The server cannot be asked.
        """
        place = self.address.below(name)
        if not self._store.create(place, path.read_bytes()):
            self.take(path, name)

    def take(self, path: Path, name: str) -> bool:
        """Fetch what `offer` has settled, and return whether something was.

        Raises:
            StorageError: The server cannot be asked.
        """
        try:
            content = self._store.read(self.address.below(name))
        except StorageError as error:
            if error.kind != "missing":
                raise
            return False
        with atomic_write(path) as partial:
            partial.write_bytes(content)
        return True

    def remove(self) -> None:
        """Delete the copy, but not its locks, whose numbers must not return."""
        with suppress(StorageError):
            for number in self._numbers():
                self._delete(self._place(number))
            self.forget(self.contents())

    def remove_settled(self) -> None:
        """Delete what `offer` has settled."""
        with suppress(StorageError):
            for entry in self._store.files(self.address.below(SETTLED)):
                self._delete(self.address.below(f"{SETTLED}/{entry.inside}"))

    def forget(self, contents: Iterable[str]) -> None:
        """Delete contents that no checkpoint names any more. What cannot be deleted stays for the next sweep."""
        with ThreadPoolExecutor(self._policy.transfers, "forget") as pool:
            list(pool.map(self._delete, map(self._object, contents)))

    def contents(self) -> dict[str, int]:
        """Return the hashes of the contents that are there, each with the size that it has there.

        Raises:
            StorageError: The server cannot be asked.
        """
        found = self._store.look(self.address.below(OBJECTS), may_be_missing=True)
        entries = found if isinstance(found, list) else []
        named = {entry.inside.rpartition("/")[2]: entry.size or 0 for entry in entries}
        return {name: size for name, size in named.items() if _SHA256.fullmatch(name)}

    def forget_before(self, holder: int) -> None:
        """Delete the checkpoints of holders before one. Whoever has the lock meanwhile has a higher number."""
        with suppress(StorageError):  # the next run does it
            for entry in self._store.files(self.address.below(CHECKPOINTS)):
                match = _NUMBERED_OR_UNFINISHED.fullmatch(entry.inside)
                if match and int(match[1]) < holder:
                    self._delete(self.address.below(f"{CHECKPOINTS}/{entry.inside}"))

    def _delete(self, place: Address) -> None:
        try:
            self._store.delete(place)
        except StorageError:
            return
