"""Which paths of a pipeline stand for remote files, and for which."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nstpipe.storage.address import Address, parse_address
from nstpipe.storage.failures import without_secrets

MIRROR = "remote"
"""Name of the folder in the work folder whose files stand for remote ones."""


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
        work: The address of the work folder; None if it is on this machine.
    """

    addresses: Mapping[Path, Address]
    outputs: frozenset[Path] = frozenset()
    work: Address | None = None

    def roots(self) -> dict[Path, tuple[Address, bool]]:
        """Return what must be listed: each address, or the folder before its first wildcard or its number.

        Each comes with whether it is only written to, and so need not exist.
        """
        found: dict[Path, tuple[Address, bool]] = {}
        for path, address in self.addresses.items():
            root, of_root = path, address
            parts = address.key.split("/")
            fixed = len(list(itertools.takewhile(lambda part: not (glob.has_magic(part) or "%" in part), parts)))
            if fixed < len(parts) and not address.query and address.protocol not in ("http", "https"):
                root = path.parents[len(parts) - fixed - 1]
                of_root = replace(address, key="/".join(parts[:fixed]))
            is_output = path in self.outputs and found.get(root, (of_root, True))[1]
            found[root] = (of_root, is_output)
        return found

    def address_of(self, path: Path) -> Address | None:
        """Return the address that a path stands for; None if it is one of this machine's own."""
        roots = {**{root: address for root, (address, _) in self.roots().items()}, **self.addresses}
        for above in (path, *path.parents):
            if above in roots:
                return roots[above].below(path.relative_to(above).as_posix())
        return None

    def shown(self, text: str) -> str:
        """Return a text with addresses in place of the paths that stand for them, and without secrets."""
        for root in {path.parents[len(address.local_parts) - 1] for path, address in self.addresses.items()}:
            for address in self.addresses.values():
                begin = str(root.joinpath(*address.local_parts[:2]))
                text = text.replace(begin, f"{address.protocol}://{address.host}")
        return without_secrets(text, *self.addresses.values(), *([self.work] if self.work is not None else []))


def packages_of(addresses: Iterable[Address]) -> tuple[str, ...]:
    """Return the extras of nstpipe that addresses need."""
    return tuple(dict.fromkeys(address.kind.name for address in addresses))
