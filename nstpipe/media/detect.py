"""Recognizes what a file holds by its content."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Literal

from nstpipe.media.pictures.formats import PICTURE_FORMATS, PICTURE_SUFFIXES
from nstpipe.media.pictures.pillow import PILLOW_ERRORS, opened
from nstpipe.media.pictures.raw import RAW_SUFFIXES, begins_as_raw, is_raw
from nstpipe.media.signature import head_of, matches
from nstpipe.media.video.containers import CONTAINERS, OTHER_VIDEO_SIGNATURES
from nstpipe.storage.contents import remembered


def natural_key(text: str) -> str:
    """A key that sorts ``frame_9`` before ``frame_10``. It is a text, because a tuple takes five times the memory."""
    parts = _DIGITS.split(text.casefold())
    # What was split at has odd places; asking for digits would take a superscript for a number.
    parts[1::2] = [f"{len(number):08d}{number}" for number in map(str, map(int, parts[1::2]))]
    return "\0".join(parts)


_DIGITS = re.compile(r"(\d+)")


def is_moving(path: Path) -> bool | None:
    """Whether a file holds a video or an animation rather than a picture, by its content; None if that does not tell."""
    try:
        moving = _tells(head_of(path))
    except OSError:
        return None
    return _has_several_frames(path) if moving == "perhaps" else moving


@functools.lru_cache(maxsize=4096)
def _tells(head: bytes) -> bool | Literal["perhaps"] | None:
    """Whether the beginning of a file is that of a video; ``perhaps`` for a picture that may be an animation."""
    if begins_as_raw(head):
        return False  # some are containers that also hold a preview as a video
    for picture_format in PICTURE_FORMATS.values():
        if matches(head, picture_format.signatures):
            return "perhaps" if picture_format.may_move else False
    signatures = (*OTHER_VIDEO_SIGNATURES, *(one for container in CONTAINERS.values() for one in container.signatures))
    return True if matches(head, signatures) else None


def _has_several_frames(path: Path) -> bool:
    def look() -> str:
        try:
            with opened(path) as image:
                return json.dumps(bool(getattr(image, "is_animated", False)))
        except PILLOW_ERRORS:
            return json.dumps(False)

    return bool(json.loads(remembered(path, "moves", look)))


def holds_raw(path: Path) -> bool:
    """Whether a file is a camera's raw file: by its content, or by its suffix unless it holds a picture of another format."""
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return False  # looked into when it is read, as there may be many
    if is_moving(path) is not False:
        return suffix in RAW_SUFFIXES
    return bool(json.loads(remembered(path, "raw", lambda: json.dumps(is_raw(path)))))


def holds_video(path: Path) -> bool:
    """Whether a file holds a video: by its content, or by its suffix if the content does not tell."""
    moving = is_moving(path)
    return path.suffix.lower() not in (*PICTURE_SUFFIXES, *RAW_SUFFIXES) if moving is None else moving


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether a file, or a folder between it and another folder, has a name that file managers hide."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
