"""Pictures opened with Pillow, within nstpipe's own limit, and without a lasting change to what Pillow keeps per process."""

from __future__ import annotations

import functools
import importlib
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from PIL import Image

from nstpipe.media.pictures.formats import PICTURE_FORMATS, PictureFormat
from nstpipe.media.signature import SIGNATURE_BYTES, matches
from nstpipe.system.files import check_is_no_special_file
from nstpipe.system.raw_messages import discard_raw_messages

PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""All that Pillow raises for damaged files; SyntaxError is what its PNG and TIFF readers use."""

DEFAULT_MEGAPIXELS = 500
"""The limit unless another one is set. A 360° panorama has some hundred megapixels, and a file that claims more than this is
likely an attack."""

_megapixels: float = DEFAULT_MEGAPIXELS


def limit_megapixels(megapixels: float) -> None:
    """Set how large a picture may be that nstpipe opens in this process. Pillow's own limit stays as it is."""
    global _megapixels
    _megapixels = megapixels


def megapixel_limit() -> float:
    """How many megapixels a picture may have."""
    return _megapixels


def check_pixels(size: tuple[int, int]) -> None:
    """Check a picture's size against the limit, before anything is decoded.

    Args:
        size: Width and height in pixels.

    Raises:
        DecompressionBombError: It is larger.
    """
    if size[0] * size[1] > _megapixels * 1_000_000:
        raise Image.DecompressionBombError(f"{size[0]}x{size[1]} pixels")


_lock = threading.Lock()
_users = 0
_undo = ExitStack()


@contextmanager
def pillow_settings() -> Iterator[None]:
    """Give Pillow nstpipe's limit and plugins for the time of a call, and put back what the process had.

    Threads may overlap: the first one that enters sets them, and the last one that leaves puts them back.
    """
    global _users
    with _lock:
        if not _users:
            _undo.enter_context(discard_raw_messages())
            _undo.enter_context(_limit())
            _undo.enter_context(_plugins())
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _undo.close()


@contextmanager
def _limit() -> Iterator[None]:
    before = Image.MAX_IMAGE_PIXELS
    # Pillow warns above its limit and refuses twice as much. Some formats take the memory for a picture when it is opened.
    Image.MAX_IMAGE_PIXELS = round(_megapixels * 500_000)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # What can be read of a damaged file is used, and what cannot is an error. Neither is news to a user.
            warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


@contextmanager
def _plugins() -> Iterator[None]:
    """Register the plugins that are installed and that the process has not registered itself."""
    registers = [_function(row.plugin) for row in PICTURE_FORMATS.values() if row.plugin and row.name not in Image.OPEN]
    found = [register for register in registers if register is not None]
    if not found:
        yield
        return
    Image.init()
    tables: tuple[Any, ...] = (Image.ID, Image.OPEN, Image.MIME, Image.SAVE, Image.SAVE_ALL, Image.EXTENSION)
    before = [table.copy() for table in tables]
    for register in found:
        register()
    try:
        yield
    finally:
        for table, content in zip(tables, before, strict=True):
            table.clear()
            table.extend(content) if isinstance(table, list) else table.update(content)


@functools.cache  # Python looks for a module that is missing in all folders, and a picture is opened several times
def _function(name: str) -> Callable[[], None] | None:
    """A function named as ``module:function``; None if its module is not installed."""
    module, _, function = name.partition(":")
    try:
        found: Callable[[], None] = getattr(importlib.import_module(module), function)
    except ImportError:
        return None
    return found


@contextmanager
def opened(source: Path | IO[bytes], name: str | None = None) -> Iterator[Image.Image]:
    """A picture whose head is read.

    Args:
        source: The file, or its content.
        name: Pillow's name of the only format that is accepted; None for any that has a row.

    Raises:
        UnidentifiedImageError: It has none of these formats.
        DecompressionBombError: It is larger than the limit.
        OSError: It cannot be read for another reason; see `PILLOW_ERRORS`.
    """
    if isinstance(source, Path):
        check_is_no_special_file(source)
    with pillow_settings(), Image.open(source, formats=_readable() if name is None else [name]) as image:
        yield image


def _readable() -> list[str]:
    """Pillow's names of the formats that are read here. A format whose plugin is not installed is missing."""
    return [row.name for row in PICTURE_FORMATS.values() if not row.plugin or row.name in Image.OPEN]


def missing_plugin(path: Path) -> PictureFormat | None:
    """The format of a file whose plugin is not installed; None if that is not what keeps it from being read."""
    try:
        with path.open("rb") as file:
            head = file.read(SIGNATURE_BYTES)
    except OSError:
        return None
    for row in PICTURE_FORMATS.values():
        is_missing = bool(row.plugin) and row.name not in Image.OPEN and _function(row.plugin) is None
        if is_missing and (matches(head, row.signatures) or (b"ftyp" in head and path.suffix.lower() in row.suffixes)):
            return row
    return None
