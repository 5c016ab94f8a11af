"""Minimizes a loss of a picture. The caller asks for one iterate after another, and decides when to stop."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nstpipe.errors import ItemError
from nstpipe.style.engine import FIRST_STEP, Iterate
from nstpipe.style.loss_and_grad import GraphCapture, LossAndGrad
from nstpipe.style.objective import Losses
from nstpipe.style.optimizers import Adam, Lbfgs, Optimizer
from nstpipe.system.devices import total_bytes

# The measurements behind these constants: docs/decisions/2026-11-29-lbfgs.md.

LBFGS_HISTORY = 20
"""The number of correction pairs that L-BFGS keeps."""

LBFGS_HISTORY_BYTES, LBFGS_HISTORY_SHARE = 2 * 10**9, 1 / 4
"""The most bytes, and the largest share of the device's total memory, that the pairs may take. Large pictures keep fewer pairs.
The share is of all memory, not of what is free, because the number of pairs changes the last digits of a result."""

LBFGS_SHORTEST_HISTORY = 3

PICTURES_HELD = 6
"""Pictures in memory while a loss is evaluated, beside L-BFGS' pairs and what the loss itself takes: the start, the change, the
picture as it is and clamped, the best one, and the gradient."""

DIVERGED = 2.0
"""L-BFGS restarts when the loss exceeds that of the start by this factor: its pairs then no longer describe the loss."""

ADAM_LEARNING_RATE = 0.02
"""In units of the picture's range, 0 to 1."""

LONGEST_WAVE_PIXELS = 64
"""Longer waves are scaled like this one; see `_Preconditioner`."""

TOLERANCE_WINDOW = 8
"""The number of iterations over which the fall of the loss is averaged. Single L-BFGS steps may raise it."""


@dataclass(frozen=True, eq=False)
class MinimizerIterate(Iterate):
    """The best picture that an optimization has evaluated so far, with its losses. See `nstpipe.style.engine.Iterate`."""

    loss: float = math.inf
    content_loss: float = math.inf
    style_loss: float = math.inf


class _Preconditioner:
    """Scales each wave of a picture by one over the root of its frequency: L-BFGS is preconditioned in Fourier space.

    The loss curves more along short waves than along long ones, about as the root of their frequency. L-BFGS works on a
    variable z with x = start + S z, in which the curvature is about equal, so it needs fewer steps to learn the curvature
    (preconditioning by a change of variables; Nocedal and Wright 2006, "Numerical Optimization", section 5.1). S is
    symmetric, so the gradient with respect to z is S times the gradient with respect to x.

    S also has a common factor. The first step of L-BFGS has the length 1 as a sum over all of z, which would change a pixel
    by next to nothing.

    Args:
        picture: 1 x channels x height x width. Only its size and device matter.
        first_step: about the mean change of a value by the first step.
    """

    def __init__(self, picture: Tensor, first_step: float) -> None:
        down = torch.fft.fftfreq(picture.shape[-2], device=picture.device)[:, None]
        across = torch.fft.rfftfreq(picture.shape[-1], device=picture.device)[None]
        waves = torch.hypot(down, across) * LONGEST_WAVE_PIXELS
        self._gain = first_step * picture.numel() * waves.clamp_min(1).rsqrt()

    def __call__(self, picture: Tensor) -> Tensor:
        """Return S times a picture, 1 x channels x height x width, float32. Opposite edges are taken to touch."""
        smooth: Tensor = torch.fft.irfft2(torch.fft.rfft2(picture).mul_(self._gain), s=picture.shape[-2:])
        return smooth


def minimize(
    objective: Callable[[Tensor], Losses],
    start: Tensor,
    *,
    optimizer: str,
    max_iterations: int,
    tolerance: float,
    first_step: float = FIRST_STEP,
    capture: GraphCapture | None = None,
) -> Iterator[MinimizerIterate]:
    """Minimize a loss among pictures with values from 0 to 1.

    Values outside 0 to 1 cannot be shown. The loss is therefore that of the clamped picture, and the gradient of a value
    beyond a bound counts only if it leads back (the projected gradient; Nocedal and Wright 2006, section 16.7). The paper's
    own code clamps once at the end, which undoes a part of what was gained; docs/performance.md has the figures.

    Args:
        objective: a differentiable loss of a picture from 0 to 1.
        start: 1 x 3 x height x width, RGB, or 1 x 1 x height x width, luminance; 0 to 1, float32. It is not changed.
        optimizer: ``lbfgs`` (Liu and Nocedal 1989, without a line search, as in the paper's own code) or ``adam``.
        max_iterations: the most iterations; each evaluates the loss once.
        tolerance: stop when the loss falls by less than this share in an iteration; 0 never stops early.
        first_step: mean change of a value by the first step of L-BFGS. Adam ignores it.
        capture: see `nstpipe.style.loss_and_grad.LossAndGrad`.

    Yields:
        The best picture so far, after each iteration.

    Raises:
        ItemError: the loss is not finite.
    """
    moving = _MovingPicture(start, optimizer, first_step)
    loss_and_grad = LossAndGrad(objective, moving.image, capture)
    fall = _Fall(tolerance)
    first: float | None = None
    # Without a line search any step may raise the loss, the last one too. The result is the best picture evaluated.
    best = MinimizerIterate(moving.image.detach().clone())
    stuck = False
    for iteration in range(1, max_iterations + 1):
        losses, gradient = loss_and_grad()
        # One transfer for all values that the host needs: on a GPU each transfer waits until the device is done.
        answers = (losses.total, losses.content, losses.style, moving.step(gradient))
        total, content, style, moves = torch.stack([answer.double() for answer in answers]).tolist()
        if not math.isfinite(total):
            raise ItemError(
                f"the loss became {total} after {iteration} iterations of {optimizer}.",
                "Try `optimizer: {name: adam}`, a smaller style.strength, or `precision: float32`.",
            )
        first = total if first is None else first
        if total < best.loss:
            # The picture is still the one that was evaluated; the step is shown only below.
            best = MinimizerIterate(best.image.copy_(moving.image.detach()), iteration, total, content, style)
        yield replace(best, iterations=iteration)
        if fall.is_over(best.loss):
            return
        if optimizer == "lbfgs" and total > DIVERGED * first:
            # Restart from the best picture so far: the pairs no longer describe the loss.
            moving.restart(best.image)
            fall.reset()
            moves = True
        moving.show()
        if not moves:
            # A direction that does not lead down, as rounding may cause, is no minimum. After a reset the direction is the
            # gradient; if even that moves nothing, the gradient is zero.
            if stuck:
                return
            moving.reset()
            fall.reset()
        stuck = not moves


class _MovingPicture:
    """A picture that an optimizer moves, and the part of it that can be shown, which the loss is computed of.

    Args:
        start: see `minimize`. It is not changed.
        optimizer: ``lbfgs`` or ``adam``.
        first_step: see `minimize`.

    Attributes:
        image: the picture to evaluate, from 0 to 1. It stays the same tensor, and changes in `show` only.
    """

    def __init__(self, start: Tensor, optimizer: str, first_step: float) -> None:
        self._precondition = _Preconditioner(start, first_step) if optimizer == "lbfgs" else None
        self._start = start.detach().clone()
        # The optimizer moves the change, not the picture, so values that it does not move stay exact.
        self._change = torch.zeros_like(self._start, memory_format=torch.contiguous_format)
        self._optimizer = _optimizer(optimizer, self._change)
        self._unbounded = self._following = self._start.clone()
        self.image = self._start.clamp(0, 1).requires_grad_(True)

    def step(self, gradient: Tensor) -> Tensor:
        """Take a step, and return whether it moves any value, as a tensor: the caller decides when to wait for it.

        Args:
            gradient: of the loss at `image`, of its size. What leads a value farther beyond a bound is set to 0 in it.
        """
        gradient.masked_fill_(((self._unbounded > 1) & (gradient < 0)) | ((self._unbounded < 0) & (gradient > 0)), 0)
        wanted = self._precondition(gradient) if self._precondition is not None else gradient
        # L-BFGS needs flat views, and a channels_last gradient has none.
        self._change += self._optimizer.step(wanted.contiguous())
        if self._precondition is not None:
            self._following = self._precondition(self._change).add_(self._start)
        else:
            self._following = self._start + self._change
        return (self._following != self._unbounded).any()

    def show(self) -> None:
        """Let `image` be what can be shown of the picture after the last step."""
        self._unbounded = self._following
        torch.clamp(self._unbounded, 0, 1, out=self.image.detach())

    def restart(self, image: Tensor) -> None:
        """Go back to a picture, and forget the steps that led away from it."""
        self._start.copy_(image)
        self._change.zero_()
        self._following = self._start.clone()
        self.reset()

    def reset(self) -> None:
        """Forget what the optimizer has learned of the loss."""
        self._optimizer.reset()


class _Fall:
    """Tells when a loss hardly falls any more, on the average of `TOLERANCE_WINDOW` iterations.

    Args:
        tolerance: see `minimize`.
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._recent: deque[float] = deque(maxlen=TOLERANCE_WINDOW + 1)

    def is_over(self, loss: float) -> bool:
        """Take the best loss so far after an iteration, and say whether the fall is over."""
        self._recent.append(loss)
        fallen = self._recent[0] - self._recent[-1]
        is_full = len(self._recent) > TOLERANCE_WINDOW
        return self._tolerance > 0 and is_full and fallen < self._tolerance * TOLERANCE_WINDOW * self._recent[0]

    def reset(self) -> None:
        """Begin a new average."""
        self._recent.clear()


def _optimizer(name: str, change: Tensor) -> Optimizer:
    if name == "adam":
        return Adam(change, ADAM_LEARNING_RATE)
    return Lbfgs(change, pairs_kept(change.numel(), change.device))


def pairs_kept(values: int, device: torch.device) -> int:
    """Return the number of pairs that L-BFGS keeps for a picture.

    Args:
        values: the picture's number of values: 3 x height x width.
        device: where it is optimized.
    """
    affordable = min(LBFGS_HISTORY_BYTES, total_bytes(device) * LBFGS_HISTORY_SHARE)
    return max(LBFGS_SHORTEST_HISTORY, min(LBFGS_HISTORY, int(affordable // (2 * 4 * values))))


def bytes_held(values: int, device: torch.device) -> int:
    """Return the bytes that an optimization takes while the loss is evaluated, beside what the loss itself takes.

    Args:
        values: the picture's number of values: 3 x height x width.
        device: where it is optimized.
    """
    # Beside its pairs, L-BFGS holds an unfinished one and a direction.
    return 4 * values * (PICTURES_HELD + 2 * (pairs_kept(values, device) + 1) + 1)
