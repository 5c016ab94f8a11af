"""The local mirror of remote files: a folder whose files have their names, sizes and times, and their content while needed.

Everything else works on paths of this machine. A file of the mirror is hollow at first: it has the size of the remote file and
a time that stands for its content, but takes no room, and only its first bytes are there. So inputs are found, and recognized
as unchanged, without fetching any. `hold` fetches a file and keeps it; what nobody holds makes room for others.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from nstpipe.errors import NstpipeError, OutputError
from nstpipe.storage.address import Address, UnsafeNameError, safe_parts
from nstpipe.storage.contents import in_force
from nstpipe.storage.failures import StorageError
from nstpipe.storage.index import INDEX, Index, Row
from nstpipe.storage.remotes import MIRROR, Remotes
from nstpipe.storage.store import Entry, Policy, Store
from nstpipe.system.files import as_megabytes, free_bytes, is_numbered, parts_of, sha256_of
from nstpipe.system.stop import Stop, Stopped

HEAD_BYTES = 4096
"""The first bytes of a file, which stay in the mirror: kinds of files are recognized by them."""

SPARE_BYTES = 200_000_000
"""The room on the disk that fetched files leave to others."""

MOST_AHEAD = 16
"""The most files that are fetched before somebody asks for them."""

UNKNOWN_SIZE = -1
"""The size of a file whose server does not tell it."""


@contextmanager
def opened(work: Path, remotes: Remotes, policy: Policy, stop: Stop, *, refresh: bool = True) -> Iterator[Mirror]:
    """Yield the mirror of remote files, which whoever reads them finds within the block.

    Args:
        work: The work folder.
        remotes: What the paths of the pipeline stand for.
        policy: How remote storage is used.
        stop: Ends what takes long.
        refresh: Whether to look what there is now, rather than what was there when somebody last looked.
    """
    with closing(Mirror(work, remotes, policy, stop)) as mirror, in_force(mirror):
        if refresh:
            mirror.refresh()
        yield mirror


class Mirror:
    """The remote files of a pipeline.

    Args:
        work: The work folder.
        remotes: What the paths of the pipeline stand for.
        policy: How remote storage is used.
        stop: Ends what takes long.

    Raises:
        MachineError: A package is missing.
        OutputError: The mirror cannot be written to.
    """

    def __init__(self, work: Path, remotes: Remotes, policy: Policy, stop: Stop) -> None:
        self._root = work / MIRROR
        self._remotes = remotes
        self._policy = policy
        self._stop = stop
        self._stores: dict[tuple[str, ...], Store] = {}
        for address in remotes.addresses.values():
            self._store_of(address)  # a missing package is told before anything is done
        self._index = Index(self._root)
        self._changed = threading.Condition(threading.RLock())
        self._holds: dict[str, int] = {}
        self._fetching: set[str] = set()
        self._present: OrderedDict[str, int] = OrderedDict()
        self._is_alone = False  # what others have fetched stays
        self._reserved = 0
        self._problems: dict[Path, StorageError] = {}
        self._unsafe: list[tuple[Path, str]] = []
        self._pool = ThreadPoolExecutor(policy.transfers, "transfer")
        self._order: dict[str, int] = {}
        self._expected: Sequence[Path] = ()
        self._ahead: dict[str, Future[None]] = {}

    def close(self) -> None:
        """End what is under way, and forget the files that no longer exist remotely."""
        self._pool.shutdown(cancel_futures=True)
        self._index.close()

    def be_alone(self) -> None:
        """Learn that no other process works on the folder: what an earlier one has fetched may go when room is needed."""
        self._is_alone = True
        with self._changed:
            for row in self._index.present():
                self._present.setdefault(row.path, max(row.size, 0))

    # What there is

    def refresh(self) -> None:
        """List all remote files and folders, and let the mirror show what there is.

        What cannot be listed is told by `problem_of`. The mirror then shows what was there before.
        """
        roots = self._remotes.roots
        with ThreadPoolExecutor(max(1, min(len(roots), self._policy.transfers)), "listing") as pool:
            listed = pool.map(lambda item: self._listed(*item), roots.values())
            for (root, (address, is_output)), found in zip(roots.items(), listed, strict=True):
                if isinstance(found, StorageError):
                    self._problems[root] = found
                    continue
                self._show(root, address, [found] if isinstance(found, Entry) else found, with_heads=not is_output)
                if isinstance(found, list) and not is_output:
                    root.mkdir(parents=True, exist_ok=True)

    def _listed(self, address: Address, is_output: bool) -> list[Entry] | Entry | StorageError:
        try:
            return self._store_of(address).look(address, may_be_missing=is_output)
        except StorageError as error:
            return error

    def problem_of(self, path: Path) -> StorageError | None:
        """Return why a remote file or folder could not be listed; None if it could, or if it is not remote."""
        return next((self._problems[above] for above in (path, *path.parents) if above in self._problems), None)

    def unsafe_below(self, folder: Path) -> list[tuple[Path, str]]:
        """Return the remote files below a folder whose names cannot be those of files here, each with the reason."""
        return [(path, why) for path, why in self._unsafe if folder in path.parents]

    def _show(self, root: Path, address: Address, entries: Sequence[Entry], *, with_heads: bool) -> None:
        known = {row.path: row for row in self._index.below(self._key(root))}
        rows: list[Row] = []
        new: list[tuple[Path, Entry]] = []
        folded: dict[str, str] = {}
        for entry in sorted(entries, key=lambda one: one.inside):
            try:
                path = root.joinpath(*safe_parts(entry.inside)) if entry.inside else root
                self._check_case(root, entry.inside, folded)
            except UnsafeNameError as error:
                # Nothing of such a name may become a part of a path here.
                shown = entry.inside.encode("unicode_escape").decode()
                place = root / f"unnamed-{zlib.crc32(entry.inside.encode(errors='replace')):08x}"
                self._unsafe.append((place, f"{address}/{shown} is left out: {error}. Give it another name."))
                continue
            key = self._key(path)
            row = known.pop(key, None)
            if row is not None and row.state == "made" and path.exists():
                continue  # what was made here replaces it
            if row is not None and row.identity == entry.identity and _has_stamp(path, row):
                continue
            new.append((path, entry))
        heads = self._heads(address, new) if with_heads else {}
        for path, entry in new:
            row = self._row(path, entry)
            before = self._index.get(row.path)
            if before is not None and before.identity == row.identity:
                row = replace(row, modified_ns=before.modified_ns)  # the journal may know it by this time
            self._make_hollow(path, row, heads.get(path, b""))
            rows.append(row)
        # What was made on a machine that is gone, and not copied from there, is no more.
        gone = [row for row in known.values() if row.state != "made" or not (self._root / row.path).exists()]
        for row in gone:
            with suppress(OSError):
                (self._root / row.path).unlink()
        with self._changed:
            for row in (*rows, *gone):
                self._present.pop(row.path, None)
        with self._index.changing():
            self._index.put(rows)
            self._index.forget(row.path for row in gone)

    def _check_case(self, root: Path, inside: str, folded: dict[str, str]) -> None:
        """See that a name does not fall together with another one where upper and lower case are the same.

        Raises:
            UnsafeNameError: It does.
        """
        other = folded.setdefault(inside.casefold(), inside)
        if other != inside and self._ignores_case:
            raise UnsafeNameError(f"its name differs from {other} by upper and lower case alone, which the disk here ignores")

    @property
    def _ignores_case(self) -> bool:
        return (self._root / INDEX.upper()).exists()

    def _heads(self, address: Address, new: Sequence[tuple[Path, Entry]]) -> dict[Path, bytes]:
        """Return the first bytes of files, by their paths."""
        store = self._store_of(address)

        def head_of(item: tuple[Path, Entry]) -> tuple[Path, bytes]:
            path, entry = item
            with suppress(StorageError):  # whoever reads it says so
                if entry.size != 0:
                    return path, store.head(address.below(entry.inside), HEAD_BYTES)
            return path, b""

        with ThreadPoolExecutor(4 * self._policy.transfers, "heads") as pool:
            return dict(pool.map(head_of, new))

    def _row(self, path: Path, entry: Entry) -> Row:
        # The parts of a second stand for the content, so that a change within a second is seen.
        modified_ns = int(entry.modified) * 10**9 + zlib.crc32(entry.identity.encode()) % 10**9
        size = entry.size if entry.size is not None else UNKNOWN_SIZE
        return Row(self._key(path), entry.identity, size, modified_ns, "hollow", entry.etag, entry.modified)

    def _make_hollow(self, path: Path, row: Row, head: bytes) -> None:
        partial_file = path.with_name(f".{zlib.crc32(path.name.encode()):08x}.{os.getpid()}.hollow")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise OutputError(f"{self._address(path)} is a file now, and was a folder.", f"Remove {path}.")
            with partial_file.open("wb") as file:
                size = max(row.size, 0)
                file.write(head[:size])
                file.truncate(size)
            os.utime(partial_file, ns=(row.modified_ns, row.modified_ns))
            partial_file.replace(path)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.", "Give another `work` folder.") from error

    # Contents

    def covers(self, path: Path) -> bool:
        """Return whether a path stands for a remote file."""
        return self._root in path.parents

    def size_of(self, path: Path) -> int:
        """Return the bytes of a file or of numbered files."""
        return sum(row.size for part in _parts(path) if (row := self._index.get(self._key(part))) is not None)

    def hold(self, *paths: Path) -> None:
        """Fetch files, or numbered files, and keep them until `release` is called as often.

        Whoever holds files must not wait for more: files that are needed together are held together.

        Raises:
            StorageError: One cannot be fetched, or there is no room for them.
            Stopped: The run is to end.
        """
        parts = [part for path in paths for part in _parts(path)]
        self.keep(*paths)
        try:
            self._acquire(parts)
        except BaseException:
            self.release(*paths)
            raise
        for path in paths:
            self._go_ahead(path)

    def keep(self, *paths: Path) -> None:
        """Do the same as `hold`, but fetch nothing: the files are here, or will be made here."""
        with self._changed:
            for part in (part for path in paths for part in _parts(path)):
                key = self._key(part)
                self._holds[key] = self._holds.get(key, 0) + 1

    def pin(self, *paths: Path) -> None:
        """Fetch files, and keep them as long as the mirror is open. They do not count as room taken.

        Raises:
            StorageError: One cannot be fetched.
        """
        for path in paths:
            self.hold(path)
            with self._changed:
                for part in _parts(path):
                    self._present.pop(self._key(part), None)
            self.release(path)

    def release(self, *paths: Path) -> None:
        """Let files go that were held."""
        with self._changed:
            for path in paths:
                for part in _parts(path):
                    key = self._key(part)
                    left = self._holds.get(key, 0) - 1
                    self._holds.pop(key, None)
                    if left > 0:
                        self._holds[key] = left
            self._changed.notify_all()

    def _acquire(self, parts: Sequence[Path]) -> None:
        rows = [row for part in parts if (row := self._index.get(self._key(part))) is not None and self._is_hollow(row)]
        with self._changed:
            for part in parts:
                if (key := self._key(part)) in self._present:
                    self._present.move_to_end(key)
        if not rows:
            return
        with self._reserved_for(rows, parts):
            for row in rows:
                self._fetch(self._root / row.path, row.path)

    def _is_hollow(self, row: Row) -> bool:
        return row.state == "hollow" or not (self._root / row.path).exists()

    def _fetch(self, path: Path, key: str) -> None:
        """Fetch a file for which there is room, unless another thread has."""
        with self._changed:
            while key in self._fetching:
                self._changed.wait(0.1)
            row = self._index.get(key)
            if row is None or not self._is_hollow(row):
                return
            self._fetching.add(key)
        try:
            entry = Entry("", row.size if row.size != UNKNOWN_SIZE else None, row.remote_modified, row.etag)
            address = self._address(path)
            # Its time is that of the hollow file it replaces: another thread may be looking whether the input has changed.
            self._store_of(address).fetch(address, entry, path, self._stop, modified_ns=row.modified_ns)
            self._index.put([replace(row, state="whole")])
            with self._changed:
                self._present[key] = path.stat().st_size
        finally:
            with self._changed:
                self._fetching.discard(key)
                self._changed.notify_all()

    @contextmanager
    def _reserved_for(self, rows: Sequence[Row], parts: Sequence[Path], *, waits: bool = True) -> Iterator[None]:
        """Make room for files that are about to be fetched, within the block.

        Raises:
            StorageError: There is not enough room, whatever goes.
        """
        size, limit = sum(max(row.size, 0) for row in rows), self._policy.max_bytes
        first = self._address(self._root / rows[0].path)
        what = f"{first} has" if len(parts) == 1 else f"{first} and the files that are needed with it have"
        together = sum(max(row.size, 0) for part in parts if (row := self._index.get(self._key(part))) is not None)
        if together > limit:
            raise StorageError(
                f"{what} {as_megabytes(together)}; storage.max_gigabytes allows {as_megabytes(limit)} at a time.",
                "Raise storage.max_gigabytes, if the disk has the room.",
                "local",
            )
        own = {self._key(part) for part in parts}
        with self._changed:
            while True:
                self._evict(limit - size - self._reserved)
                others = self._reserved or any(key in self._present for key in self._holds if key not in own)
                # Without others, what is left waits to be uploaded, which needs nothing of this.
                if self._used + self._reserved + size <= limit or (not others and waits):
                    break
                if not waits:
                    raise StorageError(f"{what} no room yet.", kind="local")
                if self._stop.should_stop():
                    raise Stopped
                self._changed.wait(1.0)
            self._reserved += size
        try:
            free = free_bytes(self._root)
            if size + SPARE_BYTES > free:
                raise StorageError(
                    f"{what} {as_megabytes(size)}; the disk of {self._root} has {as_megabytes(free)} free, and "
                    f"{as_megabytes(SPARE_BYTES)} are left to others.",
                    "Free some space, or give a `work` folder on another disk.",
                    "local",
                )
            yield
        finally:
            with self._changed:
                self._reserved -= size
                self._changed.notify_all()

    @property
    def _used(self) -> int:
        return sum(self._present.values())

    def _evict(self, allowed: int) -> None:
        """Hollow out files that nobody holds, those first that were not used for the longest time, until few bytes are left."""
        used = self._used
        for key in list(self._present):
            if used <= allowed:
                return
            row = self._index.get(key)
            if key in self._holds or key in self._fetching or row is None or row.state == "made":
                continue
            self._hollow_out(row)
            used -= self._present.pop(key)

    def _hollow_out(self, row: Row) -> None:
        path = self._root / row.path
        size, head = 0, b""
        with suppress(OSError), path.open("rb") as file:
            size, head = path.stat().st_size, file.read(HEAD_BYTES)
        self._index.put([replace(row, state="hollow")])  # first, so that a power cut leaves nothing that seems to be there
        self._make_hollow(path, replace(row, size=size), head)

    def empty(self) -> None:
        """Hollow out all files but those that wait to be uploaded."""
        with self._changed:
            if self._is_alone:
                self._present.update((row.path, max(row.size, 0)) for row in self._index.present())
            self._evict(0)

    def expect(self, paths: Iterable[Path]) -> None:
        """Say which files will be held, in this order. The next ones are fetched while the caller works on one."""
        self._expected = tuple(part for path in paths if self.covers(path) for part in _parts(path))
        self._order = {self._key(path): index for index, path in enumerate(self._expected)}

    def _go_ahead(self, path: Path) -> None:
        index = self._order.get(self._key(path))
        if index is None:
            return
        room = self._policy.max_bytes // 4
        for following in self._expected[index + 1 : index + 1 + MOST_AHEAD]:
            room -= self.size_of(following)
            if room < 0:
                return
            key = self._key(following)
            if key not in self._ahead and key not in self._present:
                self._ahead[key] = self._pool.submit(self._fetch_ahead, following, key)

    def _fetch_ahead(self, path: Path, key: str) -> None:
        with suppress(NstpipeError, Stopped, OSError):  # whoever holds it tries again, and says what is wrong
            row = self._index.get(key)
            if row is not None and self._is_hollow(row):
                with self._reserved_for([row], [path], waits=False):
                    self._fetch(path, key)
        self._ahead.pop(key, None)

    def remembered(self, path: Path, name: str, compute: Callable[[], str]) -> str:
        """Return a fact of a file. It is computed once for each content; within the call, the file is held."""
        row = self._index.get(self._key(path)) if not is_numbered(path) else None
        if row is None or not row.identity:
            with self._holding(path):
                return compute()
        known = self._index.fact(row.path, name, row.identity)
        if known is None:
            with self._holding(path):
                known = compute()
            self._index.remember(row.path, name, row.identity, known)
        return known

    @contextmanager
    def _holding(self, path: Path) -> Iterator[None]:
        self.hold(path)
        try:
            yield
        finally:
            self.release(path)

    # Outputs

    def note_made(self, path: Path) -> None:
        """Note that a file, or numbered files, were made here and must be uploaded."""
        rows = []
        for part in _parts(path):
            state = part.stat()
            rows.append(Row(self._key(part), "", state.st_size, state.st_mtime_ns, "made"))
        self._index.put(rows)
        with self._changed:
            for row in rows:
                self._present[row.path] = row.size

    def waiting(self) -> list[Path]:
        """Return the files that were made here and are not uploaded yet."""
        made = (self._root / row.path for row in self._index.present() if row.state == "made")
        return sorted(path for path in made if path.exists())

    def upload(self, path: Path) -> int:
        """Upload a file, or numbered files, that were made here, and return how many bytes those are.

        Raises:
            OutputError: It cannot be written.
            Stopped: The run is to end.
        """
        sent = 0
        for part in _parts(path):
            row = self._index.get(self._key(part))
            if row is None or row.state != "made":
                continue
            address = self._address(part)
            try:
                entry = self._store_of(address).put(part, address, sha256_of(part), self._stop)
            except StorageError as error:
                raise OutputError(error.problem, f"{error.next_step} It is made, and kept in {part}.") from None
            whole = replace(row, identity=entry.identity, state="whole", etag=entry.etag, remote_modified=entry.modified)
            self._index.put([whole])
            sent += row.size
            with self._changed:
                self._changed.notify_all()
        return sent

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Let a call run beside the caller, as transfers do."""
        return self._pool.submit(call)

    # Places

    def _key(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def address_of(self, path: Path) -> Address:
        """Return the address that a path stands for."""
        return self._address(path)

    def _address(self, path: Path) -> Address:
        address = self._remotes.address_of(path)
        if address is None:
            raise StorageError(f"{path} stands for no address of this pipeline.", "Run with the pipeline that names it.")
        return address

    def _store_of(self, address: Address) -> Store:
        key = (address.protocol, address.host, address.user, address.password)
        with _STORES:
            if key not in self._stores:
                self._stores[key] = Store(address, self._policy)
            return self._stores[key]


_STORES = threading.Lock()

T = TypeVar("T")


def _parts(path: Path) -> list[Path]:
    return parts_of(path) or [path]


def _has_stamp(path: Path, row: Row) -> bool:
    try:
        state = path.stat()
    except OSError:
        return False
    return state.st_mtime_ns == row.modified_ns and (row.size in (UNKNOWN_SIZE, state.st_size))
