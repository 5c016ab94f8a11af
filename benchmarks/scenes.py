"""Sequences whose flow and occlusion are known exactly: layers cut from real pictures, moved by matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nstpipe.media.frame import Pixels
from nstpipe.motion.flow.method import Floats
from nstpipe.motion.motion import Motion

Matrix = NDArray[np.float64]
"""3 x 3, in homogeneous coordinates: from a position in the frame (x, y) to one in the layer's picture, in pixels."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A picture that moves by itself; layers listed later cover those before them.

    Attributes:
        picture: height x width x 3, uint8.
        mask: height x width, bool: what of the picture is there.
        places: one matrix a frame.
    """

    picture: Pixels
    mask: NDArray[np.bool_]
    places: tuple[Matrix, ...]


@dataclass(frozen=True, eq=False)
class Scene:
    """Frames with their exact motion.

    Attributes:
        size: width and height of the motion, in pixels.
        layers: the first one fills every frame.
        detail: how many times larger the frames are, as originals are that are painted smaller.
    """

    size: tuple[int, int]
    layers: tuple[Layer, ...]
    detail: int = 1

    @property
    def frames(self) -> list[Pixels]:
        """All of them, in order."""
        return [self._frame(index) for index in range(len(self.layers[0].places))]

    def _frame(self, index: int) -> Pixels:
        width, height = (self.detail * side for side in self.size)
        frame = np.zeros((height, width, 3), np.uint8)
        # A pixel's middle is half a pixel from its edge, in large pixels as in small ones.
        fine_x, fine_y = ((places + 0.5) / self.detail - 0.5 for places in _grid((width, height)))
        top = self._top_at(index, fine_x, fine_y)
        for number, layer in enumerate(self.layers):
            x, y = _moved(layer.places[index], fine_x, fine_y)
            seen = cv2.remap(layer.picture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC)
            frame[top == number] = seen[top == number]
        return frame

    def _parts_of_a_pixel(self) -> list[tuple[float, float]]:
        """Where the frames' pixels are in one of the motion's, from its middle."""
        places = [(part + 0.5) / self.detail - 0.5 for part in range(self.detail)]
        return [(right, down) for right in places for down in places]

    def _top(self, index: int) -> NDArray[np.int64]:
        """Which layer is seen at each pixel of a frame."""
        return self._top_at(index, *_grid(self.size))

    def _top_at(self, index: int, x: Matrix, y: Matrix) -> NDArray[np.int64]:
        top = np.zeros(x.shape, np.int64)
        for number, layer in enumerate(self.layers[1:], start=1):
            height, width = layer.mask.shape
            u, v = (np.rint(values).astype(np.int64) for values in _moved(layer.places[index], x, y))
            inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
            covered = np.zeros(x.shape, bool)
            covered[inside] = layer.mask[v[inside], u[inside]]
            top[covered] = number
        return top

    def motion(self, previous: int, index: int) -> Motion:
        """The exact backward flow from a frame to an earlier one; reliable (1) exactly where the same thing was seen.

        Where a frame's pixels are finer than the motion's, those in which two layers meet have no motion of their own, and
        are not reliable.
        """
        x, y = _grid(self.size)
        top = self._top(index)
        there_x, there_y = x.copy(), y.copy()
        for number, layer in enumerate(self.layers):
            back = np.linalg.inv(layer.places[previous]) @ layer.places[index]
            moved_x, moved_y = _moved(back, x, y)
            there_x, there_y = np.where(top == number, moved_x, there_x), np.where(top == number, moved_y, there_y)
        width, height = self.size
        seen = (there_x >= 0) & (there_x <= width - 1) & (there_y >= 0) & (there_y <= height - 1)
        for fine_x, fine_y in self._parts_of_a_pixel():
            seen &= self._top_at(index, x + fine_x, y + fine_y) == top
            seen &= self._top_at(previous, there_x + fine_x, there_y + fine_y) == top
        flow: Floats = np.stack([there_x - x, there_y - y], axis=2).astype(np.float32)
        return Motion(flow, seen.astype(np.float32))


def _grid(size: tuple[int, int]) -> tuple[Matrix, Matrix]:
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float64)
    return x, y


def _moved(matrix: Matrix, x: Matrix, y: Matrix) -> tuple[Matrix, Matrix]:
    a, b = matrix[0], matrix[1]
    return a[0] * x + a[1] * y + a[2], b[0] * x + b[1] * y + b[2]


def shifted(right: float, down: float) -> Matrix:
    """A view that begins so many pixels right and down in the picture."""
    return np.array([[1, 0, right], [0, 1, down], [0, 0, 1]], np.float64)


def enlarged(times: int) -> Matrix:
    """A picture of which so many pixels, across and down, are one of the motion's."""
    middle = (times - 1) / 2
    return np.array([[times, 0, middle], [0, times, middle], [0, 0, 1]], np.float64)


def turned(center: tuple[float, float], degrees: float, scale: float) -> Matrix:
    """A view turned about its own center, and seen so many times larger."""
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    about = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    return shifted(*center) @ about @ shifted(-center[0], -center[1])


def view(picture: Pixels, size: tuple[int, int], places: Sequence[Matrix], detail: int = 1) -> Scene:
    """A camera that moves over one still picture, of which `detail` pixels are one of the motion's."""
    larger = enlarged(detail)
    return Scene(size, (Layer(picture, np.ones(picture.shape[:2], bool), tuple(larger @ place for place in places)),), detail)


def slide(
    picture: Pixels,
    size: tuple[int, int],
    frames: int,
    step: tuple[float, float],
    start: tuple[float, float],
    detail: int = 1,
) -> Scene:
    """The camera goes so many pixels right and down a frame."""
    return view(picture, size, [shifted(start[0] + i * step[0], start[1] + i * step[1]) for i in range(frames)], detail)


def zoom(picture: Pixels, size: tuple[int, int], frames: int, factor: float, start: tuple[float, float]) -> Scene:
    """Each frame shows things so many times larger than the one before."""
    center = ((size[0] - 1) / 2, (size[1] - 1) / 2)
    return view(picture, size, [shifted(*start) @ turned(center, 0, factor**i) for i in range(frames)])


def rotation(picture: Pixels, size: tuple[int, int], frames: int, degrees: float, start: tuple[float, float]) -> Scene:
    """The camera turns so many degrees a frame."""
    center = ((size[0] - 1) / 2, (size[1] - 1) / 2)
    return view(picture, size, [shifted(*start) @ turned(center, degrees * i, 1) for i in range(frames)])


def passing(
    background: Pixels,
    foreground: Pixels,
    size: tuple[int, int],
    frames: int,
    *,
    camera_step: float,
    step: float,
    start: tuple[float, float],
    detail: int = 1,
) -> Scene:
    """A slow pan over a background, before which an ellipse passes by and uncovers what was behind it.

    Args:
        background: large enough for the pan; `detail` pixels of it are one of the motion's.
        foreground: fills the ellipse; likewise.
        size: width and height of the frames.
        frames: how many.
        camera_step: pixels right a frame.
        step: pixels that the ellipse goes right in the frame.
        start: left and top of the ellipse in the first frame.
        detail: see `Scene`.
    """
    height, width = foreground.shape[:2]
    y, x = np.mgrid[:height, :width]
    ellipse = ((x - width / 2 + 0.5) / (width / 2)) ** 2 + ((y - height / 2 + 0.5) / (height / 2)) ** 2 <= 1
    larger = enlarged(detail)
    camera = tuple(larger @ shifted(i * camera_step, 0) for i in range(frames))
    behind = Layer(background, np.ones(background.shape[:2], bool), camera)
    before = Layer(foreground, ellipse, tuple(larger @ shifted(-start[0] - i * step, -start[1]) for i in range(frames)))
    return Scene(size, (behind, before), detail)
