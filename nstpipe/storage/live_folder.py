"""The folder on this machine in which a remote work folder lives while a run works with it.

The journal is a database, which needs a file system, so a run works in this folder, and copies of it go to the remote place at
checkpoints, beside the painting. docs/decisions/2026-11-29-remote-work-folder.md has the reasons.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nstpipe.errors import BusyError, DiskFullError, OutputError
from nstpipe.storage.checkpoint import READ_ATTEMPTS, SETTLED, Checkpoint, LostContentError, RemoteCopy, StoredFile
from nstpipe.storage.failures import StorageError
from nstpipe.storage.index import INDEX
from nstpipe.storage.joined import Source, joined_source_of, name_of, source_of
from nstpipe.storage.remote_lock import RemoteLock, holder_now
from nstpipe.storage.remotes import LIVE_STATE, LIVE_WORK, MIRROR, LivePlace
from nstpipe.storage.snapshot import belongs, databases_in
from nstpipe.storage.store import Policy
from nstpipe.storage.uploader import Uploader
from nstpipe.system.files import as_megabytes, atomic_write, ensure_folder, free_bytes
from nstpipe.system.lock import holder_of, locked
from nstpipe.system.stop import Stop, Stopped, StopReason

SPARE_BYTES = 200_000_000
"""The room on the disk that what is fetched leaves to others."""

FETCHED = "fetched"
"""Name of the folder beside the live folder that keeps what is fetched until all of it is there."""

READING = "reading"
"""Name of the folder beside the live folder whose lock is held by whoever changes the live folder only to read it."""

READER_SECONDS = 180.0
"""How long a run waits for such a process, which ends after the request to the server that it has sent."""

READER_POLL_SECONDS = 0.1

CLIPS = "clips/"
"""How the paths of frames that wait, and of their states, begin. Those that are missing are painted again."""


@dataclass(frozen=True)
class _State:
    """What is known of a folder, and kept beside it.

    Attributes:
        address: The address whose work folder lives here.
        folder: What tells this folder from any other one.
        checkpoint: The name of the checkpoint that it was like last; empty if it is like none.
        copying: The name of the checkpoint that was about to be written; empty if none was.
        is_pending: Whether a run has worked here since, or still does.
        is_partial: Whether the frames that wait here are only names, as whoever plans or reports needs no more of them.
        joined: The names of the checkpoints of shards that are part of what is here, separated by spaces.
    """

    address: str
    folder: str
    checkpoint: str = ""
    copying: str = ""
    is_pending: bool = False
    is_partial: bool = False
    joined: str = ""


class _UntilARun(Stop):
    """Ends the work of somebody who only reads, also when a run takes the folder.

    Args:
        stop: What else ends it.
        folder: The folder whose lock a run takes.
    """

    def __init__(self, stop: Stop, folder: Path) -> None:
        super().__init__(stop.deadline)
        self._stop = stop
        self._folder = folder

    def should_stop(self, within: float = 0.0) -> bool:
        """See `Stop.should_stop`."""
        return self._stop.should_stop(within) or holder_of(self._folder) is not None


@contextmanager
def telling_the_key() -> Iterator[None]:
    """Tell errors of remote storage as those of the work folder."""
    try:
        yield
    except StorageError as error:
        raise OutputError(f"work: {error.problem}", error.next_step) from None


class LiveFolder:
    """A remote work folder as it is on this machine.

    Args:
        place: Where it is, here and remotely.
        policy: How remote storage is used.

    Raises:
        OutputError: The folder is that of another address, or cannot be written to.
    """

    def __init__(self, place: LivePlace, policy: Policy) -> None:
        self.work = place.work
        self._root = place.folder
        self._shard = place.shard
        self._whole = RemoteCopy(place.address, policy)
        self._copy = self._whole.shard(place.shard) if place.shard else self._whole
        self._address = self._copy.address
        self._policy = policy
        self._path = self._root / LIVE_STATE
        ensure_folder(self.work)
        self._state = self._read()

    def _read(self) -> _State:
        try:
            known = _State(**json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            # What somebody has put there, such as a work folder of this machine, is used or kept.
            return self._written(_State(str(self._address), secrets.token_hex(8), is_pending=any(self.work.iterdir())))
        except (OSError, ValueError, TypeError) as error:
            raise OutputError(
                f"storage.live: {self._path}, which says what {self._root} holds, cannot be read: {error}.",
                "Give another folder, or remove this file: the remote copy is taken then, and what is here is kept beside it.",
            ) from error
        if known.address != str(self._address):
            raise OutputError(
                f"storage.live: {self._root} holds the work folder of {known.address}, not of {self._address}.",
                "Give another folder.",
            )
        return known

    def _written(self, state: _State) -> _State:
        with atomic_write(self._path) as partial:
            partial.write_text(json.dumps(asdict(state)), encoding="utf-8")
        return state

    def _change(self, **values: object) -> None:
        self._state = self._written(replace(self._state, **values))  # type: ignore[arg-type]

    @property
    def settled(self) -> Settled:
        """What shards have agreed on."""
        return Settled(self._whole)

    def refresh(self, stop: Stop) -> str:
        """Bring the folder up to date for somebody who only reads, without the contents of frames.

        Returns:
            What the user should know; empty if nothing.

        Raises:
            OutputError: There is nothing here, and the remote copy cannot be read.
        """
        if holder_of(self._root) is not None:
            return ""  # a run works here, and nobody knows more
        try:
            with locked(self._root / READING), telling_the_key():
                if holder_of(self._root) is not None:
                    return ""  # it has just begun, and waits for this lock
                self._state = self._read()
                return self._follow_a_run(_UntilARun(stop, self._root))
        except BusyError:
            return ""  # somebody else who only reads does the same
        except Stopped:
            if stop.should_stop():
                raise
            return ""
        except OutputError as error:
            if not self._state.checkpoint and not self._state.is_pending:
                raise
            return f"{error.problem} What follows is known from {self._root}."

    def _follow_a_run(self, stop: Stop) -> str:
        """Follow the remote copy for somebody who only reads, while a run replaces it, and deletes what it held before."""
        for _ in range(READ_ATTEMPTS - 1):
            try:
                return self._follow(stop, with_contents=False)
            except LostContentError:
                if self._source_now().name == self._source.name:
                    raise
        return self._follow(stop, with_contents=False)

    @contextmanager
    def at_work(self, stop: Stop, *, with_contents: bool = True) -> Iterator[AtWork]:
        """Hold the locks of the folder and of the remote place. Copy the folder there meanwhile, and at the end of the block.

        Args:
            stop: Asked to stop if another machine takes the folder over.
            with_contents: Whether the frames that wait there are needed, rather than their names alone.

        Raises:
            BusyError: Another run works with it, or has taken it over meanwhile.
            OutputError: The remote place cannot be read, or not be written to at the end.
        """
        with locked(self._root):
            self._wait_for_reader(stop)
            self._state = self._read()
            lock = RemoteLock(self._address, self._policy, self._state.folder, on_lost=lambda: stop.ask(StopReason.LOST_WORK))
            try:
                with telling_the_key():
                    notices = [lock.take()]
                    self._check_alone()
                    with_contents = with_contents or self._has_copies_of_shards()
                    notices.append(self._follow(stop, with_contents=with_contents))
                    self._change(is_pending=with_contents or self._state.is_pending)
                    uploader = self._uploader(lock)
                yield from self._working(AtWork(uploader, self.settled, [notice for notice in notices if notice]), stop)
                if lock.lost_to is not None:
                    raise BusyError(
                        f"the lock of {self._address} was taken over by {lock.lost_to}, because this run had given no sign of "
                        "life; this run has stopped.",
                        f"All that it has made is kept in {self._root}. Run again when that run has ended.",
                    )
                self._change(is_pending=False)
                self._forget_shards()
            finally:
                lock.release()

    def _wait_for_reader(self, stop: Stop) -> None:
        """Wait until nobody who only reads changes the folder. Such a process sees the lock of the run, and ends soon.

        Raises:
            BusyError: It does not end.
            Stopped: The run is to end.
        """
        until = time.monotonic() + READER_SECONDS
        while True:
            try:
                with locked(self._root / READING):
                    return
            except BusyError as error:
                if stop.should_stop():
                    raise Stopped from None
                if time.monotonic() > until:
                    raise BusyError(
                        f"{self._root} is being brought up to date for reading: {holder_of(self._root / READING)}.",
                        "That process does not answer. End it, and run again.",
                    ) from error
            time.sleep(READER_POLL_SECONDS)

    def _uploader(self, lock: RemoteLock) -> Uploader:
        latest = self._source.own
        files = latest.files if latest is not None and self._state.is_partial else ()
        hollow = frozenset(file.path for file in files if _needs_no_content(file.path))
        noting = self._note_copying, self._note_copied
        return Uploader(self._root, self.work, self._copy, lock, self._policy, latest, hollow, *noting)

    def _has_copies_of_shards(self) -> bool:
        """Return whether shards have copies that become a part of this one, and so must not be names alone."""
        return not self._shard and any(self._whole.shard(name).latest() is not None for name in self._whole.shards())

    def _check_alone(self) -> None:
        """See that no shard is at work beside a run that makes everything, nor such a run beside a shard.

        Each takes its own lock before it looks at those of others, so that one of the two sees the other.

        Raises:
            BusyError: There is one.
        """
        _, _, total = self._shard.rpartition("-")
        names = [name for name in self._whole.shards() if name.rpartition("-")[2] != total]
        others = {f"shard {name.replace('-of-', '/')}": self._whole.shard(name) for name in names}
        if self._shard:
            others["a run without shards"] = self._whole
        for who, copy in others.items():
            if (holder := holder_now(copy.address, self._policy)) is not None:
                raise BusyError(
                    f"{who} works with {self._whole.address}: {holder}.",
                    "Wait for it, or give --wait to do so. `nstpipe status` shows how far it is.",
                )
            if self._shard and copy is not self._whole and copy.latest() is not None:
                raise BusyError(
                    f"{who} has done a part of the work of {self._whole.address}, which was divided in another way.",
                    "Run once without --shard, which joins what shards have done, and divide what is left anew.",
                )

    def _forget_shards(self) -> None:
        """Delete the copies of shards that are part of this one now, but none that a shard has made meanwhile."""
        joined = self._state.joined.split()
        if not joined:
            return
        with suppress(StorageError, OutputError):  # the next run joins them once more, which changes nothing
            names = {shard: name_of(self._whole.shard(shard).latest(), shard) for shard in self._whole.shards()}
            for shard, name in names.items():
                if name in joined:
                    self._whole.shard(shard).remove()
            if set(filter(None, names.values())) <= set(joined):
                self._whole.remove_settled()
            self._change(joined="")

    def _working(self, at_work: AtWork, stop: Stop) -> Iterator[AtWork]:
        uploader = at_work.uploader
        uploader.start()
        try:
            yield at_work
        except Exception:
            with suppress(OutputError, BusyError):  # the error that is on its way says more
                uploader.finish()
            raise
        except BaseException:
            uploader.abandon()
            raise
        with stop.graceful("the copy of the work folder"):
            uploader.finish()

    def _note_copying(self, checkpoint: Checkpoint) -> None:
        self._change(copying=name_of(checkpoint, self._shard))

    def _note_copied(self, checkpoint: Checkpoint) -> None:
        self._change(checkpoint=name_of(checkpoint, self._shard), copying="")

    def _source_now(self) -> Source:
        return source_of(self._copy, self._shard) if self._shard else joined_source_of(self._copy)

    def _follow(self, stop: Stop, *, with_contents: bool) -> str:
        """Make the folder like the remote copy, unless it is newer; return what the user should know of that."""
        self._source = source = self._source_now()
        if source.own_name and source.own_name == self._state.copying:
            self._change(checkpoint=source.own_name, copying="")  # the run was killed before it could note that
        state = self._state
        if self._shard and source.own is None:
            if state.is_pending and not state.checkpoint:
                return ""  # the first run of the shard was killed before its first copy
            source = source_of(self._whole)  # what was known when the work was divided
        if not source.name:
            self._forget_hollow()
            return f"{self._address} holds no copy any more; that of this machine is used" if state.checkpoint else ""
        if state.is_pending and state.checkpoint == source.own_name:
            return f"the last run here ended before it had copied all to {self._address}; what this machine has is used"
        if state.checkpoint == source.name and not (with_contents and state.is_partial):
            return ""
        return self._take_over(source, stop, with_contents=with_contents)

    def _forget_hollow(self) -> None:
        """Delete what is here by its name alone, and cannot be fetched any more."""
        if self._state.is_partial:
            for path in filter(_needs_no_content, list(belongs(self.work))):
                (self.work / path).unlink(missing_ok=True)
            self._change(is_partial=False)

    def _set_aside(self, source: Source) -> str:
        """Keep what a run has made here before another machine went on without it."""
        aside = self._root / f"{LIVE_WORK}.set-aside-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        try:
            self.work.rename(aside)
        except OSError as error:
            raise OutputError(
                f"{self.work} cannot be moved to {aside}: {error.strerror}.", "Give another storage.live."
            ) from error
        ensure_folder(self.work)
        began = f"another machine has gone on from {self._address}" if self._state.checkpoint else f"{self._address} has a copy"
        return f"{began} (checkpoint {source.name}), which is used; what was here and not copied before is kept in {aside}"

    def _take_over(self, source: Source, stop: Stop, *, with_contents: bool) -> str:
        """Make the folder like the remote copy, and return what the user should know of that.

        What is here stays as it is until all is fetched that cannot be made again.
        """
        was_pending, was_partial = self._state.is_pending, self._state.is_partial

        def is_here(file: StoredFile) -> bool:
            if was_pending or file.path.startswith(f"{MIRROR}/"):
                return False
            if was_partial and with_contents and _needs_no_content(file.path):
                return False
            try:
                state = (self.work / file.path).stat()
            except OSError:
                return False
            return bool(file.modified_ns) and (state.st_size, state.st_mtime_ns) == (file.size, file.modified_ns)

        missing = [file for file in source.files.values() if not is_here(file)]
        wanted = [file for file in missing if with_contents or not _needs_no_content(file.path)]
        self._check_room(sum(file.size for file in wanted))
        first = [file for file in wanted if not file.path.startswith(CLIPS)]
        fetched = self._root / FETCHED
        self._fetch(source, first, fetched, stop)
        notices = [self._set_aside(source)] if was_pending else []
        self._change(checkpoint="", copying="", is_pending=False, is_partial=was_partial or not with_contents)
        self._clear(source)
        for file in first:
            ensure_folder((self.work / file.path).parent)
            (fetched / file.path).replace(self.work / file.path)
        shutil.rmtree(fetched, ignore_errors=True)
        lost = self._fetch(source, [file for file in wanted if file.path.startswith(CLIPS)], self.work, stop)
        for file in missing:
            if file not in wanted:
                _make_hollow(self.work / file.path, file)
        joined = "" if self._shard else " ".join(source.name.split("+")[1:])
        self._change(checkpoint=source.name, is_partial=not with_contents, joined=joined)
        if lost:
            notices.append(
                f"{lost} of the frames and states that wait in {self._address} are missing or damaged there; what is needed of "
                "them is painted again"
            )
        return "; ".join(notices)

    def _check_room(self, needed: int) -> None:
        free = free_bytes(self._root)
        if needed and needed + SPARE_BYTES > free:
            raise DiskFullError(
                f"{self._address} has {as_megabytes(needed)} for this machine; the disk of {self._root} has "
                f"{as_megabytes(free)} free, and {as_megabytes(SPARE_BYTES)} are left to others.",
                "Free some space, or give a `storage.live` folder on another disk.",
            )

    def _clear(self, source: Source) -> None:
        """Delete what is no part of the remote copy, and the databases."""
        for path in databases_in(self.work):
            for suffix in ("", "-wal", "-shm", "-journal"):
                (self.work / f"{path}{suffix}").unlink(missing_ok=True)
        # What stands for remote files is made again from their index.
        shutil.rmtree(self.work / MIRROR, ignore_errors=True)
        for path in belongs(self.work):
            if path not in source.files:
                (self.work / path).unlink(missing_ok=True)

    def _fetch(self, source: Source, files: list[StoredFile], into: Path, stop: Stop) -> int:
        """Fetch files, and return how many frames and states are left out because they are lost at the remote place."""

        def is_fetched(file: StoredFile) -> bool:
            target = into / file.path
            ensure_folder(target.parent)
            try:
                source.fetch(file.path, target, stop)
            except LostContentError:
                if not file.path.startswith(CLIPS):
                    raise
                target.unlink(missing_ok=True)
                return False
            if file.modified_ns:
                os.utime(target, ns=(file.modified_ns, file.modified_ns))
            return True

        with ThreadPoolExecutor(self._policy.transfers, "live folder") as pool:
            return list(pool.map(is_fetched, files)).count(False)


@dataclass(frozen=True)
class Settled:
    """Files that shards have agreed on: the first one to come has made them.

    Attributes:
        copy: The remote copy of the whole work folder.
    """

    copy: RemoteCopy

    def take(self, path: Path) -> bool:
        """Fetch a file, and return whether there is one.

        Raises:
            OutputError: The server cannot be asked.
        """
        with telling_the_key():
            return self.copy.take(path, f"{SETTLED}/{path.name}")

    def offer(self, path: Path) -> None:
        """Settle a file, which is replaced if another shard came first.

        Raises:
            OutputError: The server cannot be asked.
        """
        with telling_the_key():
            self.copy.offer(path, f"{SETTLED}/{path.name}")


@dataclass(frozen=True)
class AtWork:
    """A live folder in which a run works.

    Attributes:
        uploader: Copies it to the remote place.
        settled: What shards have agreed on.
        notices: What the user should know.
    """

    uploader: Uploader
    settled: Settled
    notices: list[str]

    def ask(self) -> None:
        """Ask for a copy soon. The caller does not wait."""
        self.uploader.ask()

    def take_notices(self) -> list[str]:
        """Return what the user should know since the last call."""
        told = [*self.notices, *self.uploader.take_problems()]
        self.notices.clear()
        return told


def _needs_no_content(path: str) -> bool:
    """Return whether a file is of use to whoever plans or reports even if only its name, size and time are known."""
    return path.startswith(CLIPS) or (path.startswith(f"{MIRROR}/") and path != f"{MIRROR}/{INDEX}")


def _make_hollow(path: Path, file: StoredFile) -> None:
    ensure_folder(path.parent)
    try:
        with path.open("wb") as hollow:
            hollow.truncate(file.size)
        os.utime(path, ns=(file.modified_ns, file.modified_ns))
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.", "Give another `storage.live` folder.") from error
