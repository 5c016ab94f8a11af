"""Leases: who may paint a task on another machine, and whether it should end.

A lease is a file in the work folder, which all machines share. As long as it is there, the attempt at a task that it was made
for may go on. The process that gave it removes it when the attempt no longer counts, and writes the reason of a stop into it.
So a worker that was cut off, or was only believed dead, notices before its next frame that another one has taken over, even if
no message reaches it (a lease as a fencing token; Gray and Cheriton 1989).

The process that gives leases also shows that it lives, by a file that changes. If it was killed, its workers end by themselves.
"""

from __future__ import annotations

import itertools
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nstpipe.errors import OutputError
from nstpipe.system.files import ensure_folder
from nstpipe.system.stop import Stop, StopReason

LOOK_SECONDS = 0.5
"""Shortest time between two looks at a lease."""

MOST_SECONDS_A_LOOK = 5.0
"""The most seconds between two looks that count as silence. So a process that stood still itself does not blame others."""

ALIVE_SECONDS = 5.0
"""How often the giver of leases shows that it lives."""

_FOLDER, _ALIVE = "cluster", "alive"


@dataclass(frozen=True)
class Lease:
    """The right to go on with a task.

    Attributes:
        path: The file. While it is missing, nobody has the right.
        lost_after: Seconds after which a giver that shows no sign of life counts as dead.
    """

    path: Path
    lost_after: float

    def read(self) -> StopReason | bool:
        """Return whether the lease is there, or the reason to end soon."""
        try:
            # Opening a file, rather than asking for its state, lets NFS ask the server (close-to-open consistency).
            name = self.path.read_text(encoding="ascii").strip()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, ValueError):
            return True  # the disk fails for a moment; whoever writes there notices it too
        return StopReason[name] if name in StopReason.__members__ else True

    def sign_of_life(self) -> bytes:
        """Return what changes as long as the giver lives; empty if it cannot be read."""
        try:
            return (self.path.parent / _ALIVE).read_bytes()
        except OSError:
            return b""


class LeasedStop(Stop):
    """A request to end that follows a lease. A lease that is gone ends the work at once.

    Args:
        lease: The lease.
        deadline: See `Stop`.
    """

    def __init__(self, lease: Lease, deadline: float | None = None) -> None:
        super().__init__(deadline)
        self._lease = lease
        self._next_look = 0.0
        self._looked = time.monotonic()
        self._sign, self._silent_seconds = b"", 0.0
        self.is_revoked = False

    def should_stop(self, within: float = 0.0) -> bool:
        """Return whether to end; see `Stop.should_stop`."""
        self._look()
        return super().should_stop(within)

    @property
    def is_late(self) -> bool:
        """Whether even the frame under way is given up."""
        self._look()
        return self.is_revoked or super().is_late

    def _look(self) -> None:
        now = time.monotonic()
        if now < self._next_look or self.is_revoked:
            return
        self._next_look = now + LOOK_SECONDS
        order = self._lease.read()
        if isinstance(order, StopReason):
            self.ask(order)
        sign = self._lease.sign_of_life()
        # A machine that was suspended, or a long frame between two looks, is no silence of the giver.
        self._silent_seconds += min(now - self._looked, MOST_SECONDS_A_LOOK)
        self._looked = now
        if sign != self._sign:
            self._sign, self._silent_seconds = sign, 0.0
        if order is False or self._silent_seconds > self._lease.lost_after:
            self.is_revoked = True
            self.ask(StopReason.NO_CLUSTER)


class Leases:
    """Gives and takes back leases, for one run. All leases of earlier runs end.

    Args:
        work: The work folder, whose lock is held.
        run: The name of the run.
        lost_after: See `Lease`.

    Raises:
        OutputError: The work folder cannot be written to.
    """

    def __init__(self, work: Path, run: str, lost_after: float) -> None:
        shutil.rmtree(work / _FOLDER, ignore_errors=True)
        self.folder = work / _FOLDER / run
        self._lost_after = lost_after
        self._signs = itertools.count()
        ensure_folder(self.folder)
        self.show_life()

    def show_life(self) -> None:
        """Show that this process lives. A disk that fails for a moment is ignored."""
        with suppress(OSError):
            self._write(self.folder / _ALIVE, str(next(self._signs)))

    def give(self, name: str) -> Lease:
        """Give a lease.

        Raises:
            OutputError: The work folder cannot be written to.
        """
        lease = Lease(self.folder / name, self._lost_after)
        try:
            self._write(lease.path, "")
        except OSError as error:
            raise OutputError(
                f"{lease.path} cannot be written: {error.strerror}.", "Free some space, and run again."
            ) from error
        return lease

    def ask_to_stop(self, lease: Lease, reason: StopReason) -> None:
        """Ask whoever has a lease to end soon."""
        with suppress(OSError):
            self._write(lease.path, reason.name)

    def take_back(self, lease: Lease) -> None:
        """End a lease."""
        with suppress(OSError):
            lease.path.unlink(missing_ok=True)

    def close(self) -> None:
        """End all leases."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)

    @staticmethod
    def _write(path: Path, text: str) -> None:
        partial = path.with_name(f"{path.name}.part")
        partial.write_text(text, encoding="ascii")
        partial.replace(path)
