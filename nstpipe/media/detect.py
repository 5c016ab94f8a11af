"""Recognizes what a file holds by its content."""

from __future__ import annotations

import json
import re
from pathlib import Path

from nstpipe.media.pictures.formats import PICTURE_FORMATS, PICTURE_SUFFIXES
from nstpipe.media.pictures.pillow import PILLOW_ERRORS, opened
from nstpipe.media.pictures.raw import RAW_SUFFIXES, begins_as_raw, is_raw
from nstpipe.media.signature import SIGNATURE_BYTES, matches
from nstpipe.media.video.containers import CONTAINERS, OTHER_VIDEO_SIGNATURES
from nstpipe.storage.contents import remembered
from nstpipe.system.files import check_is_no_special_file


def natural_key(text: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts ``frame_9`` before ``frame_10``."""
    parts = re.split(r"(\d+)", text.casefold())
    # What was split at has odd places; asking for digits would take a superscript for a number.
    return tuple((int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts))


def is_moving(path: Path) -> bool | None:
    """Whether a file holds a video or an animation rather than a picture, by its content; None if that does not tell."""
    try:
        check_is_no_special_file(path)
        with path.open("rb") as file:
            head = file.read(SIGNATURE_BYTES)
    except OSError:
        return None
    if begins_as_raw(head):
        return False  # some are containers that also hold a preview as a video
    for picture_format in PICTURE_FORMATS.values():
        if matches(head, picture_format.signatures):
            return picture_format.may_move and _has_several_frames(path)
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
