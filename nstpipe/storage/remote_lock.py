"""The lock of a remote work folder: which machine works with it, and until when others must believe that.

Each holder makes a numbered file, ``locks/00000007.json``, which nobody else can make as well, and renews it as a sign of life.
The highest number counts. Numbers never return, so that the number of a holder also tells its copies of the work folder from
those of a holder that was taken for dead.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from nstpipe.errors import BusyError, OutputError
from nstpipe.storage.address import Address
from nstpipe.storage.failures import StorageError
from nstpipe.storage.store import Entry, Policy, Store
from nstpipe.system.lock import Holder

LOCKS = "locks"
"""Name of the folder of the locks."""

SIGNS_OF_LIFE = 6
"""How many signs of life a holder gives in the time after which it would be taken for dead."""

_NUMBERED = re.compile(r"([0-9]{8})\.json")


@dataclass(frozen=True)
class RemoteHolder:
    """Who holds a lock, as it says itself.

    Attributes:
        host: Name of the machine.
        process: Number of the process on that machine.
        since: When it took the lock, in seconds since 1970.
        folder: What tells the folder in which it works from any other one.
        token: What tells this holder from any other one.
        expires_after_seconds: The time without a sign of life after which it is taken for dead.
        signs: The number of signs of life that it has given.
        is_free: Whether it has given the lock back.
    """

    host: str
    process: int
    since: float
    folder: str
    token: str
    expires_after_seconds: float
    signs: int = 0
    is_free: bool = False

    @classmethod
    def here(cls, folder: str, expires_after_seconds: float) -> RemoteHolder:
        """Return this process as a holder."""
        return cls(socket.gethostname(), os.getpid(), time.time(), folder, secrets.token_hex(8), expires_after_seconds)

    def as_bytes(self) -> bytes:
        """Return it as the content of a lock."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of(cls, content: bytes) -> RemoteHolder | None:
        """Return the holder that the content of a lock names; None if it names none."""
        try:
            holder = cls(**json.loads(content))
            holder.expires_after_seconds + holder.since
        except (ValueError, TypeError):
            return None
        return holder

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.process} on {self.host}, since {since}"


CLOCKS_DIFFER_SECONDS = 60.0
"""How much the clocks of two machines may differ for whoever only reads. Whoever takes a lock asks the server's clock."""


def holder_now(address: Address, policy: Policy) -> Holder | None:
    """Return the process that works with a remote folder now, by the clock of this machine; None if none does.

    Raises:
        StorageError: The server cannot be asked.
    """
    return RemoteLock(address, policy, "", on_lost=lambda: None).living_holder()


class RemoteLock:
    """The lock of a remote folder. It is held from `take` to `release`.

    Args:
        address: The folder.
        policy: How remote storage is used, and after how long a holder is taken for dead.
        folder: What tells the folder on this machine from any other one. Its own lock is held, so that a holder that names
            it has ended.
        on_lost: Called in another thread when another holder has taken the lock over.

    Attributes:
        number: The number of this holder; 0 until the lock is taken.
        lost_to: The holder that has taken the lock over; None if none has.
    """

    def __init__(self, address: Address, policy: Policy, folder: str, on_lost: Callable[[], None]) -> None:
        self.number = 0
        self.lost_to: RemoteHolder | None = None
        self._address = address
        self._own = RemoteHolder.here(folder, policy.lock_seconds)
        self._pause_seconds = policy.lock_seconds / SIGNS_OF_LIFE
        self._on_lost = on_lost
        self._ends = threading.Event()
        self._store = Store(address, policy)
        # A sign of life that is late is worth nothing: the next one is tried instead.
        quick = replace(policy, retries=0, timeout_seconds=min(policy.timeout_seconds, max(1.0, self._pause_seconds)))
        self._quick_store = Store(address, quick)
        self._thread = threading.Thread(target=self._show_life, name="remote lock", daemon=True)

    def take(self) -> str:
        """Take the lock.

        Returns:
            What the user should know, such as that the lock of a dead holder was taken over; empty if nothing.

        Raises:
            BusyError: Another run holds it.
            OutputError: The server cannot keep two machines apart.
            StorageError: The server cannot be asked.
        """
        found = self._listed(self._store)
        top = max(found, default=0)
        notice = self._check_free(top, found[top]) if top else ""
        number = top + 1
        place = self._place(number)
        if not self._store.create(place, self._own.as_bytes()):
            raise self._busy(self._holder(self._store, number))
        self._check_that_the_server_refuses(place)
        found = self._listed(self._store)
        if max(found, default=number) > number:
            self._store.delete(place)
            raise self._busy(self._holder(self._store, max(found)))
        self.number = number
        for lower in found:
            if lower < number:
                self._store.delete(self._place(lower))
        self._thread.start()
        return notice

    def _check_free(self, number: int, entry: Entry) -> str:
        """Check that a holder has ended, and return what the user should know of that.

        Raises:
            BusyError: It has not.
        """
        holder = self._holder(self._store, number)
        of_here = (self._own.host, self._own.folder)  # whose own lock is held, so that an earlier holder has ended
        if holder is not None and (holder.is_free or (holder.host, holder.folder) == of_here):
            return ""
        silent = self._now() - entry.modified
        if silent <= (holder if holder is not None else self._own).expires_after_seconds:
            raise self._busy(holder)
        return (
            f"{holder or 'a run'} has given no sign of life for {silent:.0f} seconds; its lock of {self._address} is taken over"
        )

    def _now(self) -> float:
        """Return the time by the server's clock, by which it also tells when a file was changed."""
        probe = self._address.below(f"{LOCKS}/clock-{self._own.token}")
        self._store.write(probe, b"now")
        try:
            return self._store.entry(probe).modified
        finally:
            with suppress(StorageError):
                self._store.delete(probe)

    def _check_that_the_server_refuses(self, place: Address) -> None:
        """See that the lock, which is there now, cannot be made a second time.

        Raises:
            OutputError: It can: the server ignores the condition.
        """
        if self._store.create(place, replace(self._own, token="probe").as_bytes()):
            with suppress(StorageError):
                self._store.delete(place)
            raise OutputError(
                f"work: the server of {self._address} ignores the condition that a file must not exist yet, so it cannot keep "
                "two machines from working with the same folder.",
                "Give a `work` folder on this machine, or on a server that knows If-None-Match.",
            )

    def living_holder(self) -> Holder | None:
        """Return the process that holds the lock now, by the clock of this machine; None if none does.

        Raises:
            StorageError: The server cannot be asked.
        """
        found = self._listed(self._quick_store)
        holder = self._holder(self._quick_store, max(found)) if found else None
        if holder is None or holder.is_free:
            return None
        if time.time() - found[max(found)].modified > holder.expires_after_seconds + CLOCKS_DIFFER_SECONDS:
            return None
        return Holder(holder.host, holder.process, holder.since, holder.since)

    def confirm(self) -> None:
        """See that the lock is still held, and give a sign of life.

        Raises:
            BusyError: Another holder has taken it over, or it was given back.
            StorageError: The server cannot be asked.
        """
        self._confirm(self._store)

    def _confirm(self, store: Store) -> None:
        top = max(self._listed(store), default=0)
        if top > self.number:
            self.lost_to = self._holder(store, top) or self.lost_to or self._own
            raise self._busy(self.lost_to)
        if self._ends.is_set():  # a copy that outlives its run must not take the lock again
            raise self._busy(None)
        self._own = replace(self._own, signs=self._own.signs + 1)
        store.write(self._place(self.number), self._own.as_bytes())

    def _show_life(self) -> None:
        while not self._ends.wait(self._pause_seconds):
            try:
                self._confirm(self._quick_store)
            except BusyError:
                self._on_lost()
                return
            except StorageError:
                continue  # the network is gone for a moment; whoever copies something confirms again

    def release(self) -> None:
        """Give the lock back."""
        self._ends.set()
        if self._thread.is_alive():
            self._thread.join()
        if self.number and self.lost_to is None:
            with suppress(StorageError):  # it expires by itself
                self._store.write(self._place(self.number), replace(self._own, is_free=True).as_bytes())

    def _listed(self, store: Store) -> dict[int, Entry]:
        entries = store.files(self._address.below(LOCKS))
        return {int(match[1]): entry for entry in entries if (match := _NUMBERED.fullmatch(entry.inside))}

    def _place(self, number: int) -> Address:
        return self._address.below(f"{LOCKS}/{number:08d}.json")

    def _holder(self, store: Store, number: int) -> RemoteHolder | None:
        try:
            return RemoteHolder.of(store.read(self._place(number)))
        except StorageError as error:
            if error.kind != "missing":
                raise
            return None

    def _busy(self, holder: RemoteHolder | None) -> BusyError:
        seconds = (holder or self._own).expires_after_seconds
        return BusyError(
            f"another run works with {self._address}: {holder or 'one that has just started'}.",
            f"Wait for it, or give --wait to do so. If it has died, its lock expires after {seconds:g} seconds.",
        )
