"""Earlier results warped to the current frame: the start of its painting, and its temporal target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nstpipe.media.tensors import tensor_of_floats
from nstpipe.motion.frames_with_flow import FrameWithFlow
from nstpipe.motion.motion import Motion
from nstpipe.motion.reliability import came_from_inside, resemblance
from nstpipe.motion.warp import warp
from nstpipe.style.color import color_statistics, match_color
from nstpipe.style.objective import TemporalTarget

COLLAPSED_RELIABILITY = 0.1
"""A frame starts on its own if less than this share of it was in view before, as in a dissolve."""


NEWNESS_KEPT = 0.5
"""Factor of the newness from one frame to the next. What came into view has had few iterations, so it stays new for a few
frames."""


@dataclass(frozen=True, eq=False)
class Result:
    """The result of a frame, as the next frames need it.

    Attributes:
        image: 1 x 3 x height x width, RGB, float32, 0 to 1.
        newness: height x width, float32: 1 where something has just come into view, less where it did so a few frames ago, 0
            where it has been painted for long.
    """

    image: Tensor
    newness: Tensor

    @classmethod
    def of_image(cls, image: Tensor) -> Result:
        """Return the result for a picture in which nothing is new."""
        return cls(image, image.new_zeros(image.shape[-2:]))

    @classmethod
    def of_state(cls, state: Tensor) -> Result:
        """Return the result that was stored as this `state`."""
        return cls(state[:, :3].contiguous(), state[0, 3].contiguous())

    @property
    def state(self) -> Tensor:
        """Everything in one tensor, to be stored: 1 x 4 x height x width, float32."""
        return torch.cat([self.image, self.newness[None, None]], dim=1)


def newness(before: Result, motion: Motion, unseen: Tensor) -> Tensor:
    """Return how new the parts of a frame are, height x width, 0 to 1.

    Args:
        before: the result of the previous frame.
        motion: the motion from the frame back to the previous one.
        unseen: height x width, 0 to 1: what was not in view in the previous frame.
    """
    carried = torch.from_numpy(warp(before.newness.numpy(), motion.backward))
    return torch.maximum(unseen, NEWNESS_KEPT * carried)


@dataclass(frozen=True, eq=False)
class Moved:
    """An earlier result, warped to the current frame.

    Attributes:
        image: 1 x 3 x height x width, RGB, float32, 0 to 1.
        reliability: height x width, float32, 0 to 1: where the flow can be trusted.
    """

    image: Tensor
    reliability: Tensor


def moved(result: Tensor, motion: Motion) -> Moved:
    """Warp a result along the flow.

    Args:
        result: 1 x 3 x height x width, RGB, float32, 0 to 1.
        motion: the motion from the current frame back to the result's.
    """
    image = tensor_of_floats(warp(result[0].permute(1, 2, 0).numpy(), motion.backward))
    return Moved(image, torch.from_numpy(motion.reliability))


RETURN_SHARE = 0.1
"""Share of the nearest frame's weight that goes to the farther frames where they are reliable, too. It pulls brush strokes back
that small errors of the flow have moved off their object. See docs/decisions/2026-11-22-longer-lags.md."""


def long_term_weights(reliabilities: Sequence[Tensor]) -> list[Tensor]:
    """Return the weight of each of several earlier frames. A farther one counts mostly where no nearer one is reliable.

    c_long(i − j) = max(c(i − j) − Σ c(i − k), 0), summed over the nearer lags k < j (Ruder, Dosovitskiy, Brox 2016,
    equation 9). In a departure from the paper, `RETURN_SHARE` of the nearest frame's weight goes to the farther frames in equal
    parts, where they are reliable as well. The weights never add up to more than 1.

    Args:
        reliabilities: height x width each, 0 to 1; the nearest frame's first.
    """
    weights: list[Tensor] = []
    nearer = torch.zeros_like(reliabilities[0])
    for reliability in reliabilities:
        weights.append((reliability - nearer).clamp_min(0))
        nearer = nearer + reliability
    nearest, *farther = reliabilities
    for place, reliability in enumerate(farther, start=1):
        returned = RETURN_SHARE / len(farther) * nearest * reliability
        weights[place] = weights[place] + returned
        weights[0] = weights[0] - returned
    return weights


def temporal_target_of(nearest_first: Sequence[Moved]) -> TemporalTarget:
    """Merge several warped results into one target with the same gradient.

    Σ_j c_j (x − p_j)² and C (x − p)², with C = Σ_j c_j and p = Σ_j c_j p_j / C, differ by a constant, so their
    gradients are the same. Where nothing is reliable, the picture is that of the nearest result.
    """
    if len(nearest_first) == 1:
        return TemporalTarget(nearest_first[0].image, nearest_first[0].reliability)
    weights = long_term_weights([one.reliability for one in nearest_first])
    together = torch.stack(weights).sum(dim=0)
    image = nearest_first[0].image.clone()
    is_reliable = together > 0
    mixed = torch.stack([weight * one.image for weight, one in zip(weights, nearest_first, strict=True)]).sum(dim=0)
    image[..., is_reliable] = (mixed / together.clamp_min(_TINY))[..., is_reliable]
    return TemporalTarget(image, together.clamp(0, 1))


def warped_start(
    content: Tensor, step: FrameWithFlow, previous: Tensor, temporal_target: TemporalTarget
) -> tuple[Tensor, Tensor]:
    """Return the start of a frame: the previous result warped, with the content filled in where there is none.

    Args:
        content: the frame, 1 x 3 x height x width, RGB, 0 to 1.
        step: the frame with its motion; it has a frame before it.
        previous: the previous result, not warped, of the same shape.
        temporal_target: the warped earlier results.

    Returns:
        The start, 1 x 3 x height x width, RGB, 0 to 1; and what was not in view before and is not painted yet, height x
        width, float32, 0 to 1.
    """
    assert step.before is not None, "the first frame of a clip has a start of its own"
    motion, reliability = step.motions[1], temporal_target.reliability
    # What has just come into view starts in the colors of the painted parts. As plain content it would look unpainted.
    painted = color_statistics(temporal_target.image, reliability)
    filled = match_color(content, painted, color_statistics(content, reliability))
    # The previous result stays where the original still looks the same, and is warped where the warped original looks like
    # the frame, even if the flow is not reliable there. What comes from outside the frame is always new: repeating the result
    # at the edge frame after frame would draw it out into bands.
    inside = came_from_inside(motion.backward)
    same = torch.from_numpy(inside * resemblance(step.before, step.pixels))
    moved_before = warp(step.before.astype(np.float32), motion.backward)
    same_moved = torch.from_numpy(inside * resemblance(moved_before, step.pixels))
    follows = torch.maximum(reliability, same_moved)
    image = torch.lerp(torch.lerp(filled, previous, same), temporal_target.image, follows)
    return image, (1 - same) * (1 - follows)


_TINY = 1e-12
