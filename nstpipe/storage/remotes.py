"""Which paths of a pipeline stand for remote files, and for which, and where a remote work folder lives on this machine."""

from __future__ import annotations

import functools
import glob
import hashlib
import itertools
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from nstpipe.storage.address import Address, parse_address
from nstpipe.storage.clients import Clients
from nstpipe.storage.failures import without_secrets

MIRROR = "remote"
"""Name of the folder in the work folder whose files stand for remote ones."""


LIVE_STATE, LIVE_WORK = "live.json", "work"
"""Names of the file that says what a live folder is like, and of the folder beside it that is the work folder."""


@dataclass(frozen=True)
class LivePlace:
    """Where a remote work folder lives while a run works with it.

    Attributes:
        address: The remote place.
        folder: The folder on this machine.
        shard: The shard that works there, such as ``3-of-40``, with a part of the remote place for itself; empty if it is a run
            that makes everything.
    """

    address: Address
    folder: Path
    shard: str = ""

    @property
    def work(self) -> Path:
        """The work folder within it."""
        return self.folder / LIVE_WORK


def usual_live_folder(address: Address) -> Path:
    """Return the folder in the user's cache in which the work folder of an address lives, if no other one is given.

    Raises:
        RuntimeError: The user has no home.
    """
    given = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    cache = Path(given) if given and Path(given).is_absolute() else Path("~/.cache").expanduser()
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{address.host}-{address.key}")[-40:].strip("-.")
    return cache / "nstpipe" / "work" / f"{readable}-{hashlib.sha256(str(address).encode()).hexdigest()[:12]}"


def is_live(work: Path) -> bool:
    """Return whether a work folder is the live folder of a remote one."""
    return work.name == LIVE_WORK and (work.parent / LIVE_STATE).exists()


def mirrored(text: str, work: Path) -> tuple[Path, Address]:
    """Return the path that stands for an address, and the address.

    Args:
        text: The address.
        work: The work folder.

    Raises:
        AddressError: It cannot be used.
    """
    address = parse_address(text)
    return Path(work, MIRROR, *address.local_parts), address


@dataclass(frozen=True)
class Remotes:
    """The remote files and folders that a pipeline names. It is never written anywhere, as addresses may hold secrets.

    Attributes:
        addresses: The address of each, by the path that stands for it.
        outputs: Those of the paths that are written to.
        work: Where the work folder lives; None if it is a folder of this machine.
        clients: The clients that reach them.
    """

    addresses: Mapping[Path, Address]
    outputs: frozenset[Path] = frozenset()
    work: LivePlace | None = None
    clients: Clients = field(default_factory=Clients, compare=False, repr=False)

    @functools.cached_property
    def roots(self) -> Mapping[Path, tuple[Address, bool]]:
        """What must be listed: each address, or the folder before its first wildcard or its number.

        Each comes with whether it is only written to, and so need not exist.
        """
        found: dict[Path, tuple[Address, bool]] = {}
        for path, address in self.addresses.items():
            root, of_root = path, address
            parts = address.key.split("/")
            fixed = len(list(itertools.takewhile(lambda part: not (glob.has_magic(part) or "%" in part), parts)))
            if fixed < len(parts) and address.protocol not in ("http", "https"):
                root = path.parents[len(parts) - fixed - 1]
                of_root = replace(address, key="/".join(parts[:fixed]))
            is_output = path in self.outputs and found.get(root, (of_root, True))[1]
            found[root] = (of_root, is_output)
        return found

    @functools.cached_property
    def _places(self) -> Mapping[Path, Address]:
        return {**{root: address for root, (address, _) in self.roots.items()}, **self.addresses}

    @functools.cached_property
    def _spelled(self) -> Mapping[str, str]:
        """How the begin of each path is shown."""
        return {
            str(path.parents[len(address.local_parts) - 3]) if len(address.local_parts) > 2 else str(path): (
                f"{address.protocol}://{address.host}"
            )
            for path, address in self.addresses.items()
        }

    @functools.cached_property
    def _secret(self) -> tuple[Address, ...]:
        all_of_them = (*self.addresses.values(), *([self.work.address] if self.work is not None else []))
        return tuple(address for address in all_of_them if address.secrets)

    def of_shard(self, name: str) -> Remotes:
        """Return the same for a shard, which has a part of the remote work folder for itself."""
        return replace(self, work=replace(self.work, shard=name) if self.work is not None else None)

    def address_of(self, path: Path) -> Address | None:
        """Return the address that a path stands for; None if it is one of this machine's own."""
        for above in (path, *path.parents):
            if above in self._places:
                return self._places[above].below(path.relative_to(above).as_posix())
        return None

    def shown(self, text: str) -> str:
        """Return a text with addresses in place of the paths that stand for them, and without secrets."""
        for begin, shown in self._spelled.items():
            text = text.replace(begin, shown)
        return without_secrets(text, *self._secret) if self.addresses or self.work is not None else text
