"""The start of each frame: the picture to start from, the options, and the temporal target."""

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
from nstpipe.style.engine import FIRST_STEP_NEARBY, MinimizeOptions, Stylizer
from nstpipe.style.objective import TemporalTarget
from nstpipe.style.scales import scale_count

LATER_TOLERANCE = 2.5
"""Factor of `optimizer.tolerance` for a frame that starts from a previous result. It may stop earlier, because the next frame
continues what it leaves. docs/performance.md has the measurements."""


EARLIER_SHARE = 0.5
"""Share of the neighbor's warped result in the start of a later pass. The rest is the frame's own result of the pass before."""


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass over the frames of a clip.

    Attributes:
        order: the clip's frame indices in the order of painting, rising or falling by one.
        is_last: whether the results of this pass are those of the clip.
        earlier: returns the result of the pass before for a frame index, 1 x 3 x height x width, float32, 0 to 1; None in the
            first pass.
    """

    order: range
    is_last: bool = True
    earlier: Callable[[int], Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Start:
    """Where the painting of a frame starts.

    Attributes:
        image: 1 x 3 x height x width, float32, 0 to 1.
        options: how an engine that iterates optimizes the frame.
        temporal_target: what the frame should stay close to, if anything.
        is_kept: whether `image` is the result as well, and only its loss is wanted.
        previous: the result of the frame before, warped; None if the frame shows nothing of it.
        newness: how new the frame's parts are, see `Result`; None if nothing or everything is new.
    """

    image: Tensor
    options: MinimizeOptions
    temporal_target: TemporalTarget | None = None
    is_kept: bool = False
    previous: Moved | None = None
    newness: Tensor | None = None


def start_of(
    stylizer: Stylizer, content: Tensor, step: FrameWithFlow, painted: Sequence[Result], once: Pass, job: Job, seed: int
) -> Start:
    """Return where a frame starts.

    Args:
        stylizer: paints the frame.
        content: the frame as the stylizer sees it, 1 x 3 x height x width, RGB, 0 to 1.
        step: the frame with its motion from earlier ones.
        painted: the results of the frames before, the newest last.
        once: the pass over the clip.
        job: the job's settings.
        seed: seed of the noise.
    """
    temporal = job.temporal
    earlier = None if once.earlier is None else once.earlier(step.frame.frame_index)
    if not painted:
        return first_start(stylizer, content, job, seed) if earlier is None else Start(earlier, _later(job))
    if temporal.init != "content" and earlier is None and step.before is not None and _is_equal(step.before, step.pixels):
        # More iterations would change a picture whose original stands still: flicker.
        return Start(painted[-1].image, _later(job, 1), is_kept=True, newness=painted[-1].newness)
    warped = [moved(painted[-lag].image, motion) for lag, motion in step.motions.items() if lag <= len(painted)]
    temporal_target = temporal_target_of(warped) if warped else None
    if temporal_target is not None and temporal_target.reliability.mean() < COLLAPSED_RELIABILITY:
        # As after a dissolve, nothing of the previous results is left.
        temporal_target = None
        if temporal.init == "warped":
            return first_start(stylizer, content, job, seed) if earlier is None else Start(earlier, _later(job))
    options, new = _later(job), None
    if temporal.init == "content":
        first = first_start(stylizer, content, job, seed)
        image, options = first.image, replace(first.options, max_iterations=options.max_iterations, scales=1)
    elif temporal.init == "previous" or temporal_target is None or step.before is None:
        image = painted[-1].image
    else:
        image, unseen = warped_start(content, step, painted[-1].image, temporal_target)
        if earlier is None:
            new = newness(painted[-1], step.motions[1], unseen)
            temporal_target = replace(temporal_target, newness=new)
            # A part that has not been painted yet takes its share of what a first frame takes.
            options = _later(job, max(options.max_iterations, round(float(unseen.mean()) * job.first_iterations)))
    if earlier is not None:
        share = EARLIER_SHARE if temporal_target is None else EARLIER_SHARE * temporal_target.reliability
        image = torch.lerp(earlier, image, torch.as_tensor(share))
    previous = warped[0] if temporal_target is not None else None
    return Start(image, options, temporal_target if temporal.weight else None, previous=previous, newness=new)


def first_start(stylizer: Stylizer, content: Tensor, job: Job, seed: int) -> Start:
    """Return where the first frame of a clip, or a single picture, starts. It is painted from a small to its full size.

    Args:
        stylizer: paints the frame.
        content: the frame as the stylizer sees it, 1 x 3 x height x width, RGB, 0 to 1.
        job: the job's settings.
        seed: seed of the noise.
    """
    width, height = content.shape[3], content.shape[2]
    if isinstance(job.init, Path):
        pixels, _ = read_picture(job.init)
        image = stylizer.seen(tensor_of(resized(pixels, (width, height))))
    else:
        image = stylizer.first_start(content, job.init, seed)
    optimizer, scales = job.optimizer, scale_count(job.first_scales, (width, height))
    return Start(image, MinimizeOptions(job.first_iterations, optimizer.name, optimizer.tolerance, scales))


def _later(job: Job, max_iterations: int | None = None) -> MinimizeOptions:
    """Return the options of a frame that starts from a result; by default with the job's number of iterations."""
    return MinimizeOptions(
        job.next_iterations if max_iterations is None else max_iterations,
        job.optimizer.name,
        job.optimizer.tolerance * LATER_TOLERANCE,
        first_step=FIRST_STEP_NEARBY,
    )


def _is_equal(one: Pixels, other: Pixels) -> bool:
    """Return whether two frames are equal to the last level. Frames that differ slightly may be part of a slow change."""
    return bool(np.array_equal(one, other))
