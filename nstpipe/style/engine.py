"""What an engine is: the part of nstpipe that paints a frame, as those see it who ask for frames.

The engines themselves are in `nstpipe.style.engines`, one file each. docs/extending/engine.md shows how to add one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from nstpipe.style.objective import TemporalTarget

FIRST_STEP = 1 / 255
"""Mean change of a pixel by the first step of L-BFGS: one level of 255."""

FIRST_STEP_NEARBY = FIRST_STEP / 4
"""The same for a start that is nearly done, such as the previous result. See docs/decisions/2026-11-29-lbfgs.md."""


@dataclass(frozen=True)
class MinimizeOptions:
    """How an engine that iterates optimizes a frame, and when it stops. Other engines ignore it.

    Attributes:
        max_iterations: the most iterations at each scale, 1 or more.
        optimizer: ``lbfgs`` or ``adam``.
        tolerance: stop when the loss falls by less than this share in an iteration; 0 never stops early.
        scales: the number of sizes at which the frame is optimized, one after another. Each is twice as wide as the one
            before, and the last is the frame's own.
        first_step: mean change of a value by the first step of L-BFGS, where 1 is the step from black to white.
    """

    max_iterations: int
    optimizer: str = "lbfgs"
    tolerance: float = 0.0
    scales: int = 1
    first_step: float = FIRST_STEP


@dataclass(frozen=True, eq=False)
class Iterate:
    """A frame as far as it is painted. The last iterate is the result.

    Attributes:
        image: 1 x 3 x height x width, RGB, 0 to 1, float32. The engine may reuse its memory: copy what you want to keep.
        iterations: the number of iterations so far, counted by their cost at full size; 0 from an engine that does not iterate.
        loss: the total loss; None from an engine that knows of none.
        content_loss: the weighted content loss, or None.
        style_loss: the weighted style loss, or None.
    """

    image: Tensor
    iterations: int = 0
    loss: float | None = None
    content_loss: float | None = None
    style_loss: float | None = None


class Stylizer(Protocol):
    """Paints the frames of one clip."""

    def masked(self, masks: Tensor | None) -> Stylizer:
        """Return the same stylizer for a frame with these regions.

        Args:
            masks: regions x height x width, 0 to 1, at the frame's size. They say where each of the engine's regions is; where
                several overlap, the first one counts. None if the frame has no regions.
        """

    def seen(self, content: Tensor) -> Tensor:
        """Return a frame as this stylizer works on it, such as in gray where only luminance is transferred.

        Args:
            content: 1 x 3 x height x width, RGB, 0 to 1, float32.
        """

    def first_start(self, content: Tensor, init: str, seed: int) -> Tensor:
        """Return the picture from which the first frame of a clip is painted.

        Args:
            content: the frame as `seen` returns it.
            init: ``matched``, ``content``, ``noise`` or ``blank``.
            seed: seed of the noise.

        Returns:
            1 x 3 x height x width, RGB, 0 to 1, float32.
        """

    def stylize(
        self,
        content: Tensor,
        start: Tensor,
        options: MinimizeOptions,
        *,
        temporal_target: TemporalTarget | None = None,
        wrapped: bool = False,
    ) -> Iterator[Iterate]:
        """Paint one frame. Yield at least one iterate; the last is the result.

        Args:
            content: the frame as `seen` returns it.
            start: the picture to start from, of the same shape.
            options: how an engine that iterates optimizes the frame.
            temporal_target: the warped previous result, which the frame should stay close to; None for a clip's first frame.
            wrapped: whether the left edge continues the right one, as in a 360° panorama.

        Raises:
            ItemError: the frame cannot be painted; the run goes on with other items.
        """

    def shown(self, image: Tensor, content: Tensor) -> Tensor:
        """Return a result as people see it, such as with the frame's own colors.

        Args:
            image: the last iterate's image, on the CPU.
            content: the frame itself, not as `seen` returns it; of the same shape.
        """


class Engine(Protocol):
    """Paints in the style of a job's paintings. One engine serves all clips of a job in a process."""

    @property
    def needs_first_frame(self) -> bool:
        """Whether `stylizer` must be given the clip's first frame."""

    def stylizer(self, first_content: Tensor | None) -> Stylizer:
        """Return what paints the frames of a clip.

        Args:
            first_content: the clip's first frame, 1 x 3 x height x width, RGB, 0 to 1, float32. An engine that adapts colors
                takes them from this frame for the whole clip, so that they do not drift. It may be None unless
                `needs_first_frame`.
        """

    def take_less_memory(self, height: int, width: int) -> int | None:
        """Work on frames of this size in smaller tiles from now on; called after an attempt ran out of memory.

        Args:
            height: in pixels.
            width: in pixels.

        Returns:
            The new side of the tiles, in pixels; None if the engine cannot take any less memory.
        """
