"""Masks of regions: which pictures they are, and where in a frame they are white."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nstpipe.errors import ItemError
from nstpipe.media.detect import natural_key
from nstpipe.media.frame import resized
from nstpipe.media.pictures.files import read_picture
from nstpipe.media.pictures.formats import PICTURE_SUFFIXES
from nstpipe.system.files import suggest_path


@dataclass(frozen=True)
class Mask:
    """The masks of one region for one input.

    Attributes:
        files: one picture for all frames, or one for each.
    """

    files: tuple[Path, ...]

    def file_of(self, frame_index: int) -> Path:
        """The picture for a frame."""
        return self.files[frame_index] if len(self.files) > 1 else self.files[0]


def mask_of(given: Path, key: str, name: Path, frame_count: int, *, is_video: bool) -> Mask:
    """Find the masks of a region for one input.

    Args:
        given: The region's mask: a picture, or a folder of them.
        key: The region's place in the YAML, such as ``regions[0]``.
        name: the input's path within its folder; its suffix does not matter.
        frame_count: of the input.
        is_video: whether a folder has one mask for each frame, or one for each picture.

    Raises:
        ItemError: a mask is missing, or there are more or fewer than frames.
    """
    if not given.is_dir():
        if not given.exists():
            raise ItemError(f"{key}.mask: {given} does not exist.", suggest_path(given))
        return Mask((given,))
    if is_video:
        files = [path for path in given.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]
        files.sort(key=lambda path: (natural_key(path.name), path.name))
        if len(files) != frame_count:
            raise ItemError(
                f"{key}.mask: {given} holds {len(files)} pictures, and {name.name} has {frame_count} frames.",
                "Give one mask for each frame, or a single picture for all.",
            )
        return Mask(tuple(files))
    for suffix in PICTURE_SUFFIXES:
        path = given / name.with_suffix(suffix)
        if path.is_file():
            return Mask((path,))
    raise ItemError(
        f"{key}.mask: {given} holds no mask for {name}.", f"Add {name.with_suffix('.png')} there, black for nowhere."
    )


def read_masks(masks: Sequence[Mask], frame_index: int, size: tuple[int, int]) -> NDArray[np.float32] | None:
    """Where each region is in a frame.

    Args:
        masks: of the regions, in order.
        frame_index: of the frame, from 0, in its file.
        size: width and height of the frame when stylized, in pixels.

    Returns:
        regions x height x width, 0 (black) to 1 (white); None if there are no regions.

    Raises:
        ItemError: a mask cannot be read.
    """
    if not masks:
        return None
    return np.stack([_read(mask.file_of(frame_index), size) for mask in masks])


def forget_masks() -> None:
    """Read each mask again when it is next wanted: it may have been changed since."""
    _read.cache_clear()


@functools.lru_cache(maxsize=8)
def _read(path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    pixels, _ = read_picture(path)
    white = pixels.astype(np.float32).mean(axis=2) / np.float32(np.iinfo(pixels.dtype).max)
    mask: NDArray[np.float32] = resized(white, size).clip(0, 1)
    return mask
