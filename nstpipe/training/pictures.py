"""The pictures of a training, and the random crops of each step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nstpipe.errors import InputError, ItemError
from nstpipe.media.detect import natural_key
from nstpipe.media.frame import in_eight_bits, resized
from nstpipe.media.pictures.files import read_picture
from nstpipe.media.pictures.formats import PICTURE_SUFFIXES
from nstpipe.media.tensors import tensor_of

KEPT_PICTURES_BYTES = 1 << 30
"""The most bytes of resized pictures that are kept in memory for each of the two folders."""


@dataclass(eq=False)
class PictureFolder:
    """The pictures of a folder and its subfolders, in natural order.

    Attributes:
        folder: where they are.
        paths: those that are trained on.
        held_out: those that are never trained on.
        resize: the shorter side to which they are resized, in pixels.
        tell: called with a sentence about a picture that cannot be read.
    """

    folder: Path
    paths: list[Path]
    held_out: list[Path]
    resize: int
    tell: Callable[[str], None]
    _kept: dict[Path, NDArray[np.uint8]] = field(default_factory=dict)
    _kept_bytes: int = 0
    _unreadable: set[Path] = field(default_factory=set)

    @classmethod
    def of(cls, folder: Path, resize: int, held_out: int, tell: Callable[[str], None]) -> PictureFolder:
        """Find the pictures of a folder, and hold some out: those whose names have the least hashes.

        Raises:
            InputError: there are too few pictures.
        """
        found = (path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())
        paths = sorted(found, key=lambda path: natural_key(str(path.relative_to(folder))))
        if not paths:
            raise InputError(f"{folder} has no pictures.", f"nstpipe reads {', '.join(sorted(PICTURE_SUFFIXES))}.")
        by_hash = sorted(paths, key=lambda path: hashlib.sha256(path.name.encode(errors="surrogateescape")).digest())
        # A folder of few pictures gives up a quarter of them at most.
        kept_back = set(by_hash[: min(held_out, len(paths) // 4)])
        trained_on = [path for path in paths if path not in kept_back]
        return cls(folder, trained_on, sorted(kept_back or by_hash[:held_out]), resize, tell)

    def crop(self, generator: np.random.Generator, side: int) -> Tensor:
        """Return a random square of a random picture, 1 x 3 x side x side, RGB, 0 to 1.

        A picture that cannot be read is told, left out from then on, and replaced by another.

        Raises:
            InputError: none of the pictures can be read.
        """
        index = int(generator.integers(len(self.paths)))
        place_down, place_right = generator.random(2)
        pixels = self._readable(index)
        down, right = (pixels.shape[0] - side, pixels.shape[1] - side)
        top, left = int(place_down * (down + 1)), int(place_right * (right + 1))
        return _square(pixels, top, left, side)

    def whole(self, paths: Sequence[Path], side: int) -> Tensor:
        """Return the middle squares of some pictures, pictures x 3 x side x side. Those that cannot be read are left out."""
        squares = []
        for path in paths:
            try:
                pixels = _resized(path, side)
            except ItemError:
                continue
            top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
            squares.append(_square(pixels, top, left, side))
        return torch.cat(squares) if squares else torch.empty(0, 3, side, side)

    def _readable(self, index: int) -> NDArray[np.uint8]:
        broken = 0
        while broken < len(self.paths):
            # The list keeps its order and length, so that a training continues with the same pictures.
            path = self.paths[(index + broken) % len(self.paths)]
            if path in self._unreadable:
                broken += 1
                continue
            try:
                return self._pixels(path)
            except ItemError as error:
                self._unreadable.add(path)
                self.tell(f"left out: {error.problem}")
        raise InputError(f"{self.folder}: none of its {len(self.paths)} pictures can be read.", "Give another folder.")

    def _pixels(self, path: Path) -> NDArray[np.uint8]:
        if path in self._kept:
            return self._kept[path]
        pixels = _resized(path, self.resize)
        if self._kept_bytes + pixels.nbytes <= KEPT_PICTURES_BYTES:
            self._kept[path] = pixels
            self._kept_bytes += pixels.nbytes
        return pixels


def _square(pixels: NDArray[np.uint8], top: int, left: int, side: int) -> Tensor:
    return tensor_of(pixels[top : top + side, left : left + side])


def _resized(path: Path, shorter: int) -> NDArray[np.uint8]:
    """Read a picture, and resize its shorter side.

    Raises:
        ItemError: it cannot be read.
    """
    pixels, _ = read_picture(path)
    height, width = pixels.shape[:2]
    scale = shorter / min(height, width)
    size = max(shorter, round(width * scale)), max(shorter, round(height * scale))
    return in_eight_bits(resized(pixels, size))


def crops_of(folder: PictureFolder, key: tuple[int, ...], count: int, side: int) -> Tensor:
    """Return the crops of a step, count x 3 x side x side. The key alone decides them, so that a training continues exactly."""
    generator = np.random.default_rng(key)
    return torch.cat([folder.crop(generator, side) for _ in range(count)])
