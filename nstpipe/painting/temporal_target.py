"""Where a frame's painting begins, and what it holds on to: earlier results, moved to where their parts are now."""

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
"""Where less of a frame than this has been seen before, as in a dissolve, it starts afresh."""


NEWNESS_KEPT = 0.5
"""From one frame to the next. What came into view has had few iterations, and goes on being painted in the next frames."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a frame became, as the next ones need it.

    Attributes:
        image: 1 x 3 x height x width, RGB, float32, 0 to 1.
        newness: height x width, float32: 1 where a thing was not in view before, less where it came into view lately, 0
            where all of it has been painted for long.
    """

    image: Tensor
    newness: Tensor

    @classmethod
    def of_image(cls, image: Tensor) -> Result:
        """A picture nothing of which is new."""
        return cls(image, image.new_zeros(image.shape[-2:]))

    @classmethod
    def of_state(cls, state: Tensor) -> Result:
        """What `state` stands for."""
        return cls(state[:, :3].contiguous(), state[0, 3].contiguous())

    @property
    def state(self) -> Tensor:
        """All of it, to be stored: 1 x 4 x height x width, float32."""
        return torch.cat([self.image, self.newness[None, None]], dim=1)


def newness(before: Result, motion: Motion, unseen: Tensor) -> Tensor:
    """How new the parts of a frame are.

    Args:
        before: the result of the frame before.
        motion: from the frame back to it.
        unseen: height x width, 0 to 1: what was not in view before.
    """
    carried = torch.from_numpy(warp(before.newness.numpy(), motion.backward))
    return torch.maximum(unseen, NEWNESS_KEPT * carried)


@dataclass(frozen=True, eq=False)
class Moved:
    """An earlier result, moved to where its parts are in a frame.

    Attributes:
        image: 1 x 3 x height x width, RGB, float32, 0 to 1.
        reliability: height x width, float32, 0 to 1.
    """

    image: Tensor
    reliability: Tensor


def moved(result: Tensor, motion: Motion) -> Moved:
    """Move a result along the flow.

    Args:
        result: 1 x 3 x height x width, RGB, float32, 0 to 1.
        motion: from the frame back to the result's.
    """
    image = tensor_of_floats(warp(result[0].permute(1, 2, 0).numpy(), motion.backward))
    return Moved(image, torch.from_numpy(motion.reliability))


RETURN_SHARE = 0.1
"""Of the nearest frame's weight that farther ones take where they are reliable, too. Small errors of the flow from frame to
frame add up, and paint slides off what it was painted on; direct flow over more frames pulls it back. On two clips, 0.1 made
the change over 10 frames smaller by a fourth and by four tenths, and that between neighbors larger by 1 and 6 %; 0.3 made it
smaller by two fifths and by two thirds, and larger by 18 and 34 %."""


def long_term_weights(reliabilities: Sequence[Tensor]) -> list[Tensor]:
    """How much each of several earlier frames counts: mostly where no nearer one is reliable.

    c_long(i − j) = max(c(i − j) − Σ c(i − k), 0), summed over the nearer lags k < j (Ruder, Dosovitskiy, Brox 2016,
    equation 9). A departure: `RETURN_SHARE` of the nearest frame's weight goes to the farther ones, in equal parts, where
    they are reliable as well. Together they never count more than 1.

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
    """The one anchor that pulls like several.

    Σ_j c_j (x − p_j)² and C (x − p)², with C = Σ_j c_j and p = Σ_j c_j p_j / C, differ by a constant, so that their
    gradients are the same. Where nothing is reliable the picture is the nearest one's.
    """
    if len(nearest_first) == 1:
        return TemporalTarget(nearest_first[0].image, nearest_first[0].reliability)
    weights = long_term_weights([one.reliability for one in nearest_first])
    together = torch.stack(weights).sum(dim=0)
    image = nearest_first[0].image.clone()
    held = together > 0
    mixed = torch.stack([weight * one.image for weight, one in zip(weights, nearest_first, strict=True)]).sum(dim=0)
    image[..., held] = (mixed / together.clamp_min(_TINY))[..., held]
    return TemporalTarget(image, together.clamp(0, 1))


def warped_start(
    content: Tensor, step: FrameWithFlow, previous: Tensor, temporal_target: TemporalTarget
) -> tuple[Tensor, Tensor]:
    """What was painted before, moved; and something to begin with where nothing was.

    Args:
        content: the frame, 1 x 3 x height x width, RGB, 0 to 1.
        step: of the frame; there is one before it.
        previous: the result of the frame before, not moved, of the same shape.
        temporal_target: what was painted, moved.

    Returns:
        1 x 3 x height x width, RGB, 0 to 1; and height x width, float32, 0 to 1: what was not in view before, and so has
        not been painted.
    """
    assert step.before is not None, "the first frame of a clip has a start of its own"
    motion, reliability = step.motions[1], temporal_target.reliability
    # What was hidden until now starts in the colors of what is painted already; as plain content it would look bare.
    painted = color_statistics(temporal_target.image, reliability)
    filled = match_color(content, painted, color_statistics(content, reliability))
    # Paint stays wherever the original still looks the same, and goes where the moved original does, even where its flow
    # cannot be trusted. What comes from beyond the frame is new, whatever it looks like: paint of the edge, taken over frame
    # after frame, would be drawn out into bands.
    inside = came_from_inside(motion.backward)
    same = torch.from_numpy(inside * resemblance(step.before, step.pixels))
    moved_before = warp(step.before.astype(np.float32), motion.backward)
    same_moved = torch.from_numpy(inside * resemblance(moved_before, step.pixels))
    follows = torch.maximum(reliability, same_moved)
    image = torch.lerp(torch.lerp(filled, previous, same), temporal_target.image, follows)
    return image, (1 - same) * (1 - follows)


_TINY = 1e-12
