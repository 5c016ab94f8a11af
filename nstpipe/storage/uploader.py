"""Copies a live folder to its remote place, beside the run that works in it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nstpipe.errors import BusyError, OutputError
from nstpipe.storage.checkpoint import Checkpoint, RemoteCopy, StoredFile
from nstpipe.storage.failures import StorageError
from nstpipe.storage.remote_lock import RemoteLock
from nstpipe.storage.snapshot import Piece, take
from nstpipe.storage.store import Policy
from nstpipe.system.files import sha256_of

STAGED = "to-copy"
"""Name of the folder beside the live folder that keeps what is being copied."""

LEAST_PAUSE_SECONDS, LEAST_PAUSE_SHARE = 5.0, 1 / 6
"""The least time between two copies that somebody has asked for, and its least share of that between two others."""


class Uploader:
    """Copies a live folder every so many seconds, when asked, and at the end.

    Args:
        root: The folder that has the live folder, on the same disk.
        work: The live folder.
        copy: The remote copy.
        lock: The lock of the remote place, which is held.
        policy: How often to copy.
        latest: The latest checkpoint there; None if there is none.
        hollow: The paths of those of its files whose content is not on this machine.
        on_copying: Called with each checkpoint before it is written: a run that is killed may have written it.
        on_copied: Called with each checkpoint that is complete.
    """

    def __init__(
        self,
        root: Path,
        work: Path,
        copy: RemoteCopy,
        lock: RemoteLock,
        policy: Policy,
        latest: Checkpoint | None,
        hollow: Collection[str],
        on_copying: Callable[[Checkpoint], None],
        on_copied: Callable[[Checkpoint], None],
    ) -> None:
        self._staged = root / STAGED
        self._work = work
        self._copy = copy
        self._lock = lock
        self._policy = policy
        self._latest = latest
        self._hollow = hollow
        self._on_copying, self._on_copied = on_copying, on_copied
        self._there: set[str] | None = None
        self._unused: set[str] = set()
        self._is_swept = False
        self._asked, self._ends = threading.Event(), threading.Event()
        self._problems: list[str] = []
        self._told: str = ""
        self._thread = threading.Thread(target=self._copy_again_and_again, name="work folder copies", daemon=True)

    def start(self) -> None:
        """Begin to copy."""
        self._thread.start()

    def ask(self) -> None:
        """Ask for a copy soon, because something is worth it. The caller does not wait."""
        self._asked.set()

    def take_problems(self) -> list[str]:
        """Return what has gone wrong with copies since the last call, for people."""
        problems, self._problems = self._problems, []
        return problems

    def abandon(self) -> None:
        """Begin no other copy."""
        self._ends.set()
        self._asked.set()

    def finish(self) -> None:
        """Wait for the copy in hand, and make the last one, unless the lock is lost.

        Raises:
            OutputError: It cannot be made.
        """
        self.abandon()
        self._thread.join()
        if self._lock.lost_to is not None:
            return
        try:
            self._copy_once()
        except BusyError:
            return  # whoever holds the lock says so
        except (StorageError, OutputError) as error:
            raise OutputError(
                f"work: the work folder cannot be copied to {self._copy.address}: {error.problem}",
                f"{error.next_step} All is kept in {self._work}, and the next run on this machine copies it.",
            ) from None

    def _copy_again_and_again(self) -> None:
        while not self._ends.is_set():
            began = time.monotonic()
            try:
                self._copy_once()
                self._told = ""
            except BusyError:
                return  # the lock has asked the run to stop
            except (StorageError, OutputError) as error:
                self._note(f"the work folder is not copied for now: {error.problem} {error.next_step}".strip())
            except Exception as error:  # or there would be no other copy, and nobody would know
                self._note(f"the work folder is not copied for now: {type(error).__name__}: {error}")
            usual = self._policy.checkpoint_seconds
            # A copy that takes long must not take all of the line.
            pause = max(min(LEAST_PAUSE_SECONDS, usual), LEAST_PAUSE_SHARE * usual, time.monotonic() - began)
            self._ends.wait(pause)
            self._asked.wait(max(0.0, usual - pause))
            self._asked.clear()

    def _note(self, problem: str) -> None:
        if problem != self._told:
            self._told = problem
            self._problems.append(problem)

    def _copy_once(self) -> None:
        """Copy what is new, then the checkpoint that names it, and then delete what that does not name any more.

        Raises:
            BusyError: The lock is lost.
            OutputError: The folder cannot be read.
            StorageError: It cannot be written.
        """
        before = self._latest
        there = self._look() if self._there is None else self._there
        files_before = before.files if before is not None else ()
        known = {file.path: file for file in files_before if file.sha256 in there or file.path in self._hollow}
        try:
            pieces = take(self._work, self._staged, known, self._hollow)
            with ThreadPoolExecutor(self._policy.transfers, "copy") as pool:
                files = tuple(pool.map(_described, pieces))
                # Files with the same content are one object.
                new = {
                    file.sha256: piece.content for file, piece in zip(files, pieces, strict=True) if piece.content is not None
                }
                list(pool.map(self._send, *zip(*new.items(), strict=True)) if new else ())
        finally:
            shutil.rmtree(self._staged, ignore_errors=True)
        if files == files_before:
            return
        self._lock.confirm()
        serial = before.serial + 1 if before is not None and before.holder == self._lock.number else 1
        latest = Checkpoint(self._lock.number, serial, files)
        self._on_copying(latest)
        self._copy.publish(latest)
        self._latest = latest
        self._on_copied(latest)
        unused = (there | self._unused) - latest.contents
        # All of that was there before this, so nothing of another holder's is deleted, however long this process was held up.
        self._lock.confirm()
        self._copy.forget(unused)
        there -= unused
        self._unused.clear()
        if not self._is_swept:
            self._copy.forget_before(self._lock.number)
            self._is_swept = True

    def _look(self) -> set[str]:
        """Look which contents of the latest checkpoint are there, for somebody may have deleted some."""
        found = self._copy.contents()
        sizes = {file.sha256: file.size for file in self._latest.files} if self._latest is not None else {}
        self._there = {sha256 for sha256, size in found.items() if sizes.get(sha256) == size}
        self._unused = set(found) - self._there
        return self._there

    def _send(self, sha256: str, content: Path) -> None:
        assert self._there is not None
        if sha256 not in self._there:
            self._copy.send(content, sha256)
            self._there.add(sha256)


def _described(piece: Piece) -> StoredFile:
    if piece.content is None:
        assert piece.known is not None
        return piece.known
    return StoredFile(piece.path, piece.content.stat().st_size, piece.modified_ns, sha256_of(piece.content))
