"""The optimizers: they compute the next step from the gradients so far.

They take the steps of torch's own optimizers, up to rounding. Those are not used, because the first one that is made imports
torch's compiler; see docs/decisions/2026-11-21-own-optimizers.md.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque

import torch
from torch import Tensor

LEAST_CURVATURE = 1e-10
"""A pair of a step and a change of the gradient says nothing about the curvature if their product is below this."""

ADAM_DECAY, ADAM_SQUARES_DECAY, ADAM_FLOOR = 0.9, 0.999, 1e-8
"""β₁, β₂ and ε in the paper."""


class Optimizer(ABC):
    """Computes steps that lower a function of many values."""

    @abstractmethod
    def step(self, gradient: Tensor) -> Tensor:
        """Return what to add to the values.

        Args:
            gradient: the gradient at the current values, after the last step was added; contiguous.

        Returns:
            A tensor of the same shape. It is this object's own memory, and is valid until the next call.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget all gradients, because they do not describe the function where the values are now."""


class Lbfgs(Optimizer):
    """L-BFGS without a line search (Liu and Nocedal 1989, "On the limited memory BFGS method for large scale optimization").

    The first step has the length 1 as a sum over all values, or is the gradient if that is shorter. A direction that does not
    lead down gives a step of zero. The host decides nothing, because on a GPU it would wait for each value.

    The history is one block of memory. Single pieces, allocated between the activations of a network, would fragment it.

    Args:
        like: a tensor with the values' number, type and device.
        history: the number of pairs of a step and a change of the gradient that are kept.
    """

    def __init__(self, like: Tensor, history: int) -> None:
        # One more row than is kept: the last step, and its gradient until the next one is known.
        self._steps = torch.empty((history + 1, like.numel()), dtype=like.dtype, device=like.device)
        self._changes = torch.empty_like(self._steps)
        self._direction = torch.empty_like(self._steps[0])
        self.reset()

    def reset(self) -> None:
        """Forget all gradients."""
        self._kept: deque[tuple[int, Tensor]] = deque()
        """Rows, oldest first, each with one over its curvature, or with 0 if it shows none."""
        self._free = deque(range(len(self._steps)))
        self._scale = self._steps.new_ones(())
        self._is_first = True

    def step(self, gradient: Tensor) -> Tensor:
        """See `Optimizer.step`."""
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
        """Keep the pair of the last step and its change of the gradient."""
        row = self._free.popleft()
        step, change = self._steps[row], self._changes[row]
        torch.sub(gradient, change, out=change)
        curvature = change.dot(step)
        shows = curvature > LEAST_CURVATURE
        # Unlike in other implementations, a pair without curvature keeps its row in the history, with the factor 0.
        self._kept.append((row, torch.where(shows, 1.0 / curvature, 0.0)))
        self._scale = torch.where(shows, curvature / change.dot(change), self._scale)
        if not self._free:
            oldest, _ = self._kept.popleft()
            self._free.append(oldest)

    def _descend(self, gradient: Tensor, found: Tensor) -> None:
        """Write the negative gradient times the inverse Hessian to `found` (the two loops of the paper's section 2)."""
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
        like: a tensor with the values' shape, type and device.
        rate: about the change of a value by a step.
    """

    def __init__(self, like: Tensor, rate: float) -> None:
        self._rate = rate
        self._mean, self._squares = torch.zeros_like(like), torch.zeros_like(like)
        self._count = 0

    def reset(self) -> None:
        """Forget all gradients."""
        self._mean.zero_()
        self._squares.zero_()
        self._count = 0

    def step(self, gradient: Tensor) -> Tensor:
        """See `Optimizer.step`."""
        self._count += 1
        self._mean.lerp_(gradient, 1 - ADAM_DECAY)
        self._squares.mul_(ADAM_SQUARES_DECAY).addcmul_(gradient, gradient, value=1 - ADAM_SQUARES_DECAY)
        # Both started at zero, so they are divided by the share of gradients in them.
        spread = self._squares.sqrt().div_(math.sqrt(1 - ADAM_SQUARES_DECAY**self._count)).add_(ADAM_FLOOR)
        return torch.div(self._mean, spread).mul_(-self._rate / (1 - ADAM_DECAY**self._count))
