"""What a file holds, told by its content."""

from __future__ import annotations

import re
from pathlib import Path

from nstpipe.config.models import PICTURE_SUFFIXES
from nstpipe.media.pictures.formats import PILLOW_ERRORS, opened
from nstpipe.media.video.animation import is_animated_webp


def natural_key(text: str) -> tuple[tuple[int, str], ...]:
    """Sorts ``frame_9`` before ``frame_10``."""
    parts = re.split(r"(\d+)", text.casefold())
    # What was split at has odd places; asking for digits would take a superscript for a number.
    return tuple((int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts))


def is_moving(path: Path) -> bool | None:
    """Whether a file holds a video or an animation rather than a picture, by its content; None if that does not say."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    if head.startswith(_PICTURE_HEADS):
        return False
    if head[:2] == b"BM" and head[6:10] == bytes(4):  # two letters alone may begin any text
        return False
    if head.startswith(b"GIF8"):
        return _has_several_frames(path)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return is_animated_webp(path)
    if head[4:8] == b"ftyp":
        return head[8:12] not in _PICTURE_BRANDS
    return True if head.startswith(_VIDEO_HEADS) or (head[:4] == b"RIFF" and head[8:12] == b"AVI ") else None


_HEAD_BYTES = 12


_PICTURE_HEADS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\x00", b"MM\x00*")


_PICTURE_BRANDS = (b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1")
"""ISO media files that hold one picture: AVIF and HEIF."""


_VIDEO_HEADS = (b"\x1aE\xdf\xa3", b"FLV\x01", b"0&\xb2u", b"\x00\x00\x01\xba", b"OggS")
"""Matroska and WebM, Flash, Windows Media, MPEG program streams, Ogg."""


def _has_several_frames(path: Path) -> bool:
    try:
        with opened(path) as image:
            return bool(getattr(image, "is_animated", False))
    except PILLOW_ERRORS:
        return False


def holds_video(path: Path) -> bool:
    """By content; where that does not say, by suffix."""
    moving = is_moving(path)
    return path.suffix.lower() not in PICTURE_SUFFIXES if moving is None else moving


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether a file, or a folder on the way to it from another, has a name that file managers do not show."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
