"""The steps of the optimizers: from the gradients seen so far to the next change of the picture.

They take the steps of torch's own optimizers, to rounding (tests hold it). Those are not used, since making the first of them
imports torch's compiler, which takes a process nearly two seconds and 150 MB.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque

import torch
from torch import Tensor

LEAST_CURVATURE = 1e-10
"""Product of a step and what it changed of the gradient, below which the pair says nothing about the curvature."""

ADAM_DECAY, ADAM_SQUARES_DECAY, ADAM_FLOOR = 0.9, 0.999, 1e-8
"""β₁, β₂ and ε of the paper."""


class Optimizer(ABC):
    """A way downhill."""

    @abstractmethod
    def step(self, gradient: Tensor) -> Tensor:
        """What to add to the values.

        Args:
            gradient: at the values as they are now, after the last step was added; contiguous.

        Returns:
            Of the same shape. It is this object's own memory, and right until the next call.
        """

    @abstractmethod
    def reset(self) -> None:
        """Begin as new: what was seen does not describe where the values are now."""


class Lbfgs(Optimizer):
    """L-BFGS without a line search (Liu and Nocedal 1989, "On the limited memory BFGS method for large scale optimization").

    The first step is 1 long as a sum over all values, or the gradient if that is shorter. A direction that does not lead down
    gives no step. Nothing of a step is decided on the host, which on a GPU would have to wait for each answer.

    The history is one block of memory. Pieces that come one after another, between the activations of a network that come and
    go, would keep those places from being used again.

    Args:
        like: of the values' number, type and device.
        history: how many pairs of a step and the gradient's change are kept.
    """

    def __init__(self, like: Tensor, history: int) -> None:
        # One row more than is kept is being written: the last step, and its gradient until the next one is there.
        self._steps = torch.empty((history + 1, like.numel()), dtype=like.dtype, device=like.device)
        self._changes = torch.empty_like(self._steps)
        self._direction = torch.empty_like(self._steps[0])
        self.reset()

    def reset(self) -> None:
        """Begin as new."""
        self._kept: deque[tuple[int, Tensor]] = deque()
        """Rows, oldest first, and one over the curvature of each, or 0 if it shows none."""
        self._free = deque(range(len(self._steps)))
        self._scale = self._steps.new_ones(())
        self._is_first = True

    def step(self, gradient: Tensor) -> Tensor:
        """See `Optimizer`."""
        flat = gradient.reshape(-1)
        if not self._is_first:
            self._remember(flat)
        row = self._free[0]
        step, before = self._steps[row], self._changes[row]
        if self._is_first:
            self._is_first = False
            torch.neg(flat, out=step)
            step *= (1.0 / flat.abs().sum()).clamp_max(1.0)
        else:
            self._descend(flat, step)
        step.masked_fill_(flat.dot(step) > 0, 0)
        before.copy_(flat)
        return step.view_as(gradient)

    def _remember(self, gradient: Tensor) -> None:
        """The pair of the last step and what it changed of the gradient."""
        row = self._free.popleft()
        step, change = self._steps[row], self._changes[row]
        torch.sub(gradient, change, out=change)
        curvature = change.dot(step)
        shows = curvature > LEAST_CURVATURE
        # A departure from the usual: a pair without curvature keeps its place in the history, and counts nothing there.
        self._kept.append((row, torch.where(shows, 1.0 / curvature, 0.0)))
        self._scale = torch.where(shows, curvature / change.dot(change), self._scale)
        if not self._free:
            oldest, _ = self._kept.popleft()
            self._free.append(oldest)

    def _descend(self, gradient: Tensor, found: Tensor) -> None:
        """The inverse curvature times the gradient, downhill (the two loops of the paper's section 2)."""
        torch.neg(gradient, out=self._direction)
        shares: list[Tensor] = []
        for row, inverse in reversed(self._kept):
            share = self._steps[row].dot(self._direction) * inverse
            self._direction.addcmul_(self._changes[row], share, value=-1)
            shares.append(share)
        torch.mul(self._direction, self._scale, out=found)
        for (row, inverse), share in zip(self._kept, reversed(shares), strict=True):
            found.addcmul_(self._steps[row], share - self._changes[row].dot(found) * inverse)


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, "Adam: a method for stochastic optimization", algorithm 1).

    Args:
        like: of the values' shape, type and device.
        rate: about how far a value moves by a step.
    """

    def __init__(self, like: Tensor, rate: float) -> None:
        self._rate = rate
        self._mean, self._squares = torch.zeros_like(like), torch.zeros_like(like)
        self._count = 0

    def reset(self) -> None:
        """Begin as new."""
        self._mean.zero_()
        self._squares.zero_()
        self._count = 0

    def step(self, gradient: Tensor) -> Tensor:
        """See `Optimizer`."""
        self._count += 1
        self._mean.lerp_(gradient, 1 - ADAM_DECAY)
        self._squares.mul_(ADAM_SQUARES_DECAY).addcmul_(gradient, gradient, value=1 - ADAM_SQUARES_DECAY)
        # Both began at zero; divided by the share of gradients in them, they are means of these.
        spread = self._squares.sqrt().div_(math.sqrt(1 - ADAM_SQUARES_DECAY**self._count)).add_(ADAM_FLOOR)
        return torch.div(self._mean, spread).mul_(-self._rate / (1 - ADAM_DECAY**self._count))
