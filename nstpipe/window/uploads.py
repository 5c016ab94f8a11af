"""Takes the files that are dropped on the page: bounded, checked by their content, and never over another file."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from nstpipe.commands.scaffold import look_at
from nstpipe.errors import DiskFullError, InputError, OutputError, UsageError
from nstpipe.media.pictures.formats import PICTURE_FORMATS, PICTURE_SUFFIXES
from nstpipe.media.signature import SIGNATURE_BYTES, matches
from nstpipe.media.video.containers import CONTAINERS, OTHER_VIDEO_SIGNATURES, VIDEO_SUFFIXES
from nstpipe.system.files import as_megabytes, ensure_folder, free_bytes

UPLOADS = "uploads"
"""The folder for uploads, in the folder of the pipeline."""

ROOM_LEFT_BYTES = 200_000_000
"""An upload leaves as much of the disk free."""

LONGEST_NAME_BYTES = 200
"""File systems take 255. A number and a suffix come behind it."""


def safe_name(name: str) -> str:
    """Return the name under which an upload is stored: letters, digits, dots and dashes, with a known suffix.

    Raises:
        UsageError: The suffix is that of no picture or video.
    """
    last = re.split(r"[/\\]", name)[-1]
    stem, _, suffix = last.rpartition(".")
    suffix = f".{suffix.lower()}"
    if suffix not in (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES):
        known = ", ".join((*PICTURE_SUFFIXES, *VIDEO_SUFFIXES))
        raise UsageError(f"{last or 'The file'} is no picture or video by its name.", f"Known are {known}.")
    plain = _short(re.sub(r"[^\w.-]+", "_", stem).strip("._-"))
    return f"{plain or 'picture'}{suffix}"


def safe_folder(name: str) -> str:
    """Return the name of the folder for the files of a dropped folder; empty for files that were dropped by themselves."""
    return _short(re.sub(r"[^\w-]+", "_", re.split(r"[/\\]", name)[0]).strip("_-"))


def _short(name: str) -> str:
    return name.encode("utf-8", "ignore")[:LONGEST_NAME_BYTES].decode("utf-8", "ignore")


async def receive_upload(chunks: AsyncIterator[bytes], length: int, name: str, folder: Path) -> Path:
    """Store an upload, and return its place.

    Args:
        chunks: The content.
        length: The number of bytes that were announced; 0 if unknown.
        name: The name of the file in the browser.
        folder: Where it goes.

    Raises:
        UsageError: Its name or its content is that of no picture or video.
        InputError: It is damaged, or was cut off.
        DiskFullError: The disk has no room for it.
        OutputError: It cannot be written.
    """
    stored = safe_name(name)
    free = free_bytes(folder)
    if length + ROOM_LEFT_BYTES > free:
        raise DiskFullError(
            f"The disk has no room for {stored}: {as_megabytes(length)} are to come, and {as_megabytes(free)} are free.",
            "Free some space.",
        )
    ensure_folder(folder)
    descriptor, partial = tempfile.mkstemp(prefix=".upload-", suffix=Path(stored).suffix, dir=folder)
    try:
        try:
            received = await _write(descriptor, chunks, stored)
        finally:
            os.close(descriptor)
        if length and received != length:
            raise InputError(f"{stored} was cut off: {received} of {length} bytes came.", "Drop it again.")
        await asyncio.to_thread(_check, Path(partial), stored)
        return _placed(Path(partial), folder / stored)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(f"The disk became full while {stored} was stored.", "Free some space.") from error
        raise OutputError(f"{stored} cannot be stored: {error.strerror}.", "Look at the folder's permissions.") from error
    finally:
        with suppress(OSError):
            os.unlink(partial)  # noqa: PTH108


async def _write(descriptor: int, chunks: AsyncIterator[bytes], name: str) -> int:
    received, head, is_known = 0, b"", False
    async for chunk in chunks:
        if not is_known:
            head += chunk[:SIGNATURE_BYTES]
            if len(head) >= SIGNATURE_BYTES:
                if not matches(head[:SIGNATURE_BYTES], _SIGNATURES):
                    raise UsageError(f"{name} is no picture or video by its content.", "Drop another file.")
                is_known = True
        await asyncio.to_thread(_write_all, descriptor, chunk)
        received += len(chunk)
    if not is_known:
        raise UsageError(f"{name} is no picture or video by its content.", "Drop another file.")
    return received


_SIGNATURES = (
    *(one for row in PICTURE_FORMATS.values() for one in row.signatures),
    *(one for row in CONTAINERS.values() for one in row.signatures),
    *OTHER_VIDEO_SIGNATURES,
)


def _write_all(descriptor: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _check(partial: Path, name: str) -> None:
    """Open the file as a run would."""
    try:
        look_at(partial)
    except UsageError as error:
        raise InputError(error.problem.replace(str(partial), name), error.next_step) from error


def _placed(partial: Path, path: Path) -> Path:
    """Give a file its name, or one with a number if that is taken. Nothing is replaced, whoever else writes there."""
    for number in range(1, 10_000):
        place = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        with suppress(FileExistsError):
            reserved = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            mode = os.fstat(reserved).st_mode & 0o777
            os.close(reserved)
            partial.chmod(mode)
            return partial.replace(place)
    raise OutputError(f"{path} and its numbered names are taken.", "Give the file another name.")
