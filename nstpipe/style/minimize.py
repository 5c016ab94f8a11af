"""The optimizers, as iterators of iterates: who asks for the next one decides what to show, keep or stop."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nstpipe.errors import ItemError
from nstpipe.style.loss_and_grad import GraphCapture, LossAndGrad
from nstpipe.style.objective import Losses
from nstpipe.style.optimizers import Adam, Lbfgs, Optimizer
from nstpipe.system.devices import total_bytes

LBFGS_HISTORY = 20
"""Pairs of steps kept. 100 gained nothing over 20 on two pairs of pictures at 256 pixels, and 5 lost 1 % of the loss."""

LBFGS_HISTORY_BYTES, LBFGS_HISTORY_SHARE = 2 * 10**9, 1 / 4
"""What the steps kept may take of memory, and of all there is; large pictures keep fewer of them. All, not what is free: how
many are kept changes a result's last digits, and should not change from run to run."""

LBFGS_SHORTEST_HISTORY = 3

PICTURES_HELD = 6
"""While a picture's loss is evaluated, beside L-BFGS' history and whatever the objective takes: its start, its change, as it is
and as it is shown, the best one, and the gradient. Three more, in the making of a step, come when the objective has given its
memory back."""

DIVERGED = 2.0
"""A loss of so many times the start's is no step on the way, as L-BFGS takes them, but a history gone wrong."""

ADAM_LEARNING_RATE = 0.02
"""In units of the picture's range, 0 to 1."""

LONGEST_WAVE_PIXELS = 64
"""Waves that are longer take steps as wide as this one's; see `_Smoothing`."""

FIRST_STEP = 1 / 255
"""Mean change of a pixel by L-BFGS' first step. What it learns from a step that bfloat16 cannot tell from none is noise."""

FIRST_STEP_NEARBY = FIRST_STEP / 4
"""The same from a start that is nearly done, such as the result before. A longer one raised the loss by nearly a fifth
on frames of 512 pixels, and 20 iterations ended 0.3 % higher; on frames of 192 pixels both did alike."""

TOLERANCE_WINDOW = 8
"""Iterations over which the fall of the loss is averaged: single L-BFGS steps may go up."""


@dataclass(frozen=True, eq=False)
class Iterate:
    """How far an optimization is: the best picture whose loss is known.

    Attributes:
        evaluations: evaluations of loss and gradient so far.
        loss: total loss of the picture.
        content_loss: its weighted content part.
        style_loss: its weighted style part.
        image: of the start's shape, 0 to 1, float32. It is the optimizer's own memory until it ends: copy what is to be kept.
    """

    evaluations: int
    loss: float
    content_loss: float
    style_loss: float
    image: Tensor


class _Smoothing:
    """Divides each wave of a picture by the root of its frequency.

    The loss bends more along short waves than along long ones: measured between L-BFGS' steps, about as the root of the
    frequency, from waves of 100 pixels to waves of 6. In a variable z that holds the picture's change divided by this,
    x = start + S z, it bends about equally, and L-BFGS needs fewer steps to learn how (preconditioning by a change of
    variables; Nocedal and Wright 2006, "Numerical Optimization", section 5.1). S is symmetric: a gradient after z is S
    times the gradient after x.

    S is scaled, too: the first step of L-BFGS is 1 long, as a sum over all of z, which is next to nothing a pixel.

    Args:
        picture: 1 x channels x height x width; which device it is on matters, and its size.
        first_step: about the mean change of a value by the first step.
    """

    def __init__(self, picture: Tensor, first_step: float) -> None:
        down = torch.fft.fftfreq(picture.shape[-2], device=picture.device)[:, None]
        across = torch.fft.rfftfreq(picture.shape[-1], device=picture.device)[None]
        waves = torch.hypot(down, across) * LONGEST_WAVE_PIXELS
        self._gain = first_step * picture.numel() * waves.clamp_min(1).rsqrt()

    def __call__(self, picture: Tensor) -> Tensor:
        """1 x channels x height x width, float32; the edges are taken to touch the opposite ones."""
        smooth: Tensor = torch.fft.irfft2(torch.fft.rfft2(picture).mul_(self._gain), s=picture.shape[-2:])
        return smooth


def minimize(
    objective: Callable[[Tensor], Losses],
    start: Tensor,
    *,
    name: str,
    most: int,
    tolerance: float,
    first_step: float = FIRST_STEP,
    capture: GraphCapture | None = None,
) -> Iterator[Iterate]:
    """Minimize `objective` among pictures from 0 to 1, from `start`.

    A color that would be brighter than white or darker than black cannot be shown. What is judged is therefore the
    nearest picture that can be, and the gradient of values beyond a bound counts only where it leads back (the projected
    gradient; Nocedal and Wright 2006, section 16.7). The paper's own code leaves the values free and cuts them off at the
    end, which undoes a part of what was gained: `docs/performance.md` has the figures.

    Args:
        objective: loss of a picture from 0 to 1; differentiable.
        start: 1 x 3 x height x width, RGB, or 1 x 1 x height x width, luminance; 0 to 1, float32; not changed.
        name: ``lbfgs`` (Liu and Nocedal 1989, without a line search, as in the paper's own code) or ``adam``.
        most: iterations at most; each evaluates the objective once.
        tolerance: stop when the loss falls by less than this share an iteration; 0 never stops early.
        first_step: mean change of a value by the first step of L-BFGS, of 1; Adam has its own.
        capture: see `nstpipe.style.loss_and_grad.LossAndGrad`.

    Raises:
        ItemError: the loss is not finite.
    """
    smoothing = _Smoothing(start, first_step) if name == "lbfgs" else None
    start = start.detach().clone()
    # What the optimizer moves; the picture itself stays exact where nothing is moved.
    change = torch.zeros_like(start, memory_format=torch.contiguous_format)
    unbounded = start.clone()
    image = start.clamp(0, 1).requires_grad_(True)
    descent = _descent(name, change)
    evaluation = LossAndGrad(objective, image, capture)

    first: float | None = None
    # Without a line search a step may lead anywhere, the last one too: what counts is what was seen to be good.
    best = Iterate(0, math.inf, math.inf, math.inf, image.detach().clone())
    stuck = False
    recent: deque[float] = deque(maxlen=TOLERANCE_WINDOW + 1)
    for evaluations in range(1, most + 1):
        losses, gradient = evaluation()
        gradient.masked_fill_(((unbounded > 1) & (gradient < 0)) | ((unbounded < 0) & (gradient > 0)), 0)
        # L-BFGS works on flat views, which a channels_last gradient does not have.
        change += descent.step((smoothing(gradient) if smoothing is not None else gradient).contiguous())
        following = smoothing(change).add_(start) if smoothing is not None else start + change
        # All that the host wants to know of an iteration is asked for at once: on a GPU each question waits until all is done.
        answers = (losses.total, losses.content, losses.style, (following != unbounded).any())
        total, content, style, moves = torch.stack([answer.double() for answer in answers]).tolist()
        if not math.isfinite(total):
            raise ItemError(
                f"the loss became {total} after {evaluations} iterations of {name}.",
                "Try `optimizer: {name: adam}`, a smaller style.strength, or `precision: float32`.",
            )
        first = total if first is None else first
        if total < best.loss:
            # The step has moved `change`, but not yet the picture that was evaluated.
            best = Iterate(evaluations, total, content, style, best.image.copy_(image.detach()))
        yield replace(best, evaluations=evaluations)
        recent.append(best.loss)
        fall_wanted = tolerance * TOLERANCE_WINDOW * recent[0]
        if tolerance > 0 and len(recent) > TOLERANCE_WINDOW and recent[0] - recent[-1] < fall_wanted:
            return
        if name == "lbfgs" and total > DIVERGED * first:
            # Its history no longer describes the loss: forget it, and go on from the best picture so far.
            start.copy_(best.image)
            change.zero_()
            descent.reset()
            recent.clear()
            following, moves = start.clone(), True
        stands_still = not moves
        unbounded = following
        torch.clamp(unbounded, 0, 1, out=image.detach())
        if stands_still:
            # Its direction no longer leads down, as rounding can have it: that is no minimum. Without a history the
            # direction is the gradient; if even that moves nothing, the gradient is zero.
            if stuck:
                return
            descent.reset()
            recent.clear()
        stuck = stands_still


def _descent(name: str, change: Tensor) -> Optimizer:
    if name == "adam":
        return Adam(change, ADAM_LEARNING_RATE)
    return Lbfgs(change, pairs_kept(change.numel(), change.device))


def pairs_kept(values: int, device: torch.device) -> int:
    """How many of its steps L-BFGS remembers of a picture of so many values on a device."""
    affordable = min(LBFGS_HISTORY_BYTES, total_bytes(device) * LBFGS_HISTORY_SHARE)
    return max(LBFGS_SHORTEST_HISTORY, min(LBFGS_HISTORY, int(affordable // (2 * 4 * values))))


def bytes_held(values: int, device: torch.device) -> int:
    """Memory that is taken beside the objective's while that is evaluated, for a picture of so many values on a device."""
    # L-BFGS has a pair more in the making, and a direction.
    return 4 * values * (PICTURES_HELD + 2 * (pairs_kept(values, device) + 1) + 1)
