"""Where a frame's optimization starts, for how long it runs, and what the frame holds on to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nstpipe.config.models import Job
from nstpipe.media.frame import Pixels, resized
from nstpipe.media.pictures.files import read_picture
from nstpipe.media.tensors import tensor_of
from nstpipe.motion.frames_with_flow import FrameWithFlow
from nstpipe.painting.temporal_target import (
    COLLAPSED_RELIABILITY,
    Moved,
    Result,
    moved,
    newness,
    temporal_target_of,
    warped_start,
)
from nstpipe.style.minimize import FIRST_STEP, FIRST_STEP_NEARBY
from nstpipe.style.objective import TemporalTarget
from nstpipe.style.scales import scale_count
from nstpipe.style.stylizer import Stylizer

LATER_TOLERANCE = 2.5
"""Of a frame that goes on from paint, over `optimizer.tolerance`: what it leaves to do, the next one goes on with.

Chosen by measurement: docs/performance.md has the table.
"""


EARLIER_SHARE = 0.5
"""Of the moved result of the neighbor in the start of a later pass; the rest is the frame's own earlier result."""


@dataclass(frozen=True, eq=False)
class Pass:
    """Once over a clip.

    Attributes:
        order: the clip's frame indices as they are painted, rising or falling by one.
        is_last: whether its results are the clip's.
        earlier: what the pass before made of a frame, 1 x 3 x height x width, float32, 0 to 1; None in the first pass.
    """

    order: range
    is_last: bool = True
    earlier: Callable[[int], Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Start:
    """Where a frame's optimization begins.

    Attributes:
        image: 1 x 3 x height x width, float32, 0 to 1.
        most: iterations at most, at each scale.
        tolerance: the fall of the loss at which it stops, over `optimizer.tolerance`.
        scales: sizes at which it is optimized, one after another.
        first_step: mean change of a value by its first step, of 1.
        temporal_target: what the frame holds on to, if anything.
        is_kept: whether it is the result as well, and only its loss is asked for.
        before: the result of the frame before, moved; None if nothing of it is to be seen.
        newness: of the frame's parts, see `Result`; None if nothing is new, or all.
    """

    image: Tensor
    most: int
    temporal_target: TemporalTarget | None = None
    tolerance: float = LATER_TOLERANCE
    scales: int = 1
    first_step: float = FIRST_STEP_NEARBY
    is_kept: bool = False
    before: Moved | None = None
    newness: Tensor | None = None


def start_of(
    stylizer: Stylizer, content: Tensor, step: FrameWithFlow, painted: Sequence[Result], once: Pass, job: Job, seed: int
) -> Start:
    """Where a frame starts, for how long it is optimized at most, and what it holds on to."""
    optimizer, temporal = job.optimizer, job.temporal
    earlier = None if once.earlier is None else once.earlier(step.frame.frame_index)
    if not painted:
        if earlier is not None:
            return Start(earlier, optimizer.next)
        return _afresh(stylizer, content, job, seed)
    if temporal.init != "content" and earlier is None and step.before is not None and _is_equal(step.before, step.pixels):
        # Whatever more iterations would change would be seen as flicker.
        return Start(painted[-1].image, 1, is_kept=True, newness=painted[-1].newness)
    held = [moved(painted[-lag].image, motion) for lag, motion in step.motions.items() if lag <= len(painted)]
    temporal_target = temporal_target_of(held) if held else None
    if temporal_target is not None and temporal_target.reliability.mean() < COLLAPSED_RELIABILITY:
        # As after a dissolve: nothing of what was painted is left.
        temporal_target = None
        if temporal.init == "warped":
            return _afresh(stylizer, content, job, seed) if earlier is None else Start(earlier, optimizer.next)
    most, tolerance, first_step, new = optimizer.next, LATER_TOLERANCE, FIRST_STEP_NEARBY, None
    if temporal.init == "content":
        image, tolerance, first_step = _first_start(stylizer, content, job, seed), 1.0, FIRST_STEP
    elif temporal.init == "previous" or temporal_target is None or step.before is None:
        image = painted[-1].image
    else:
        image, unseen = warped_start(content, step, painted[-1].image, temporal_target)
        if earlier is None:
            new = newness(painted[-1], step.motions[1], unseen)
            temporal_target = replace(temporal_target, newness=new)
            # Where much has no paint yet, its share of what a whole first frame takes.
            most = max(most, round(float(unseen.mean()) * optimizer.first))
    if earlier is not None:
        share = EARLIER_SHARE if temporal_target is None else EARLIER_SHARE * temporal_target.reliability
        image = torch.lerp(earlier, image, torch.as_tensor(share))
    before = held[0] if temporal_target is not None else None
    held_to = temporal_target if temporal.weight else None
    return Start(image, most, held_to, tolerance, first_step=first_step, before=before, newness=new)


def _is_equal(one: Pixels, other: Pixels) -> bool:
    """Whether two frames are the same to the last level; one that differs a little may be part of a slow change."""
    return bool(np.array_equal(one, other))


def _afresh(stylizer: Stylizer, content: Tensor, job: Job, seed: int) -> Start:
    """As the first frame of a clip: from small to full size."""
    scales = scale_count(job.scales, (content.shape[3], content.shape[2]))
    start = _first_start(stylizer, content, job, seed)
    return Start(start, job.optimizer.first, tolerance=1.0, scales=scales, first_step=FIRST_STEP)


def _first_start(stylizer: Stylizer, content: Tensor, job: Job, seed: int) -> Tensor:
    if isinstance(job.init, Path):
        pixels, _ = read_picture(job.init)
        return stylizer.seen(tensor_of(resized(pixels, (content.shape[3], content.shape[2]))))
    return stylizer.first_start(content, job.init, seed)
