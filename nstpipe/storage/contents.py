"""What reads a file's content asks here first, so that a remote file is fetched. Files of this machine are left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from nstpipe.storage.failures import StorageError
from nstpipe.system.files import sha256_of


class Files(Protocol):
    """Remote files, as the mirror has them."""

    def covers(self, path: Path) -> bool:
        """Return whether a path stands for a remote file."""

    def hold(self, *paths: Path) -> None:
        """Fetch files, and keep them until `release` is called as often."""

    def release(self, *paths: Path) -> None:
        """Let files go that were held."""

    def remembered(self, path: Path, name: str, compute: Callable[[], str]) -> str:
        """Return a fact of a file. It is computed once for each content."""

    def problem_of(self, path: Path) -> StorageError | None:
        """Return why a remote file or folder could not be listed; None if it could."""

    def unsafe_below(self, folder: Path) -> list[tuple[Path, str]]:
        """Return the remote files below a folder that cannot have their names here, each with the reason."""

    def expect(self, paths: Iterable[Path]) -> None:
        """Say which files will be held, in this order."""


_in_force: list[Files] = []
_lock = threading.Lock()


@contextmanager
def in_force(files: Files) -> Iterator[None]:
    """Let `held` and `remembered` ask these files within the block."""
    with _lock:
        _in_force.append(files)
    try:
        yield
    finally:
        with _lock:
            _in_force.remove(files)


def _files_of(path: Path) -> Files | None:
    return next((files for files in _in_force if files.covers(path)), None) if _in_force else None


@contextmanager
def held(*paths: Path) -> Iterator[None]:
    """Keep the contents of files on this machine within the block. Remote ones are fetched first.

    Raises:
        StorageError: One of them cannot be fetched.
    """
    if not _in_force:
        yield
        return
    remote: dict[Files, list[Path]] = {}
    for path in paths:
        if (files := _files_of(path)) is not None:
            remote.setdefault(files, []).append(path)
    with ExitStack() as stack:
        for files, of_files in remote.items():
            files.hold(*of_files)
            stack.callback(files.release, *of_files)
        yield


def remembered(path: Path, name: str, compute: Callable[[], str]) -> str:
    """Return a fact of a file's content. That of a remote file is computed once, so that it need not be fetched again.

    Args:
        path: The file.
        name: The name of the fact.
        compute: Computes it. Within the call, the file is there.

    Raises:
        StorageError: The file cannot be fetched.
    """
    files = _files_of(path)
    return files.remembered(path, name, compute) if files is not None else compute()


def check_listed(path: Path) -> None:
    """See that a remote file or folder could be listed. Any other path is left alone.

    Raises:
        StorageError: It could not.
    """
    files = _files_of(path)
    problem = files.problem_of(path) if files is not None else None
    if problem is not None:
        raise problem


def unsafe_below(folder: Path) -> list[tuple[Path, str]]:
    """Return the remote files below a folder that cannot have their names here: a path for each, and the reason."""
    files = _files_of(folder)
    return files.unsafe_below(folder) if files is not None else []


def expect(paths: Sequence[Path]) -> None:
    """Say which files will be held, in this order, so that remote ones can be fetched meanwhile."""
    files = next((found for path in paths[:1] if (found := _files_of(path)) is not None), None)
    if files is not None:
        files.expect(paths)


def is_remote(path: Path) -> bool:
    """Return whether a path stands for a remote file."""
    return _files_of(path) is not None


def content_sha256(path: Path) -> str:
    """Return the sha256 of a file, or of numbered files one after another; see `sha256_of`.

    Raises:
        OSError: It cannot be read.
        StorageError: It cannot be fetched.
    """
    with held(path):
        return sha256_of(path)
