"""Muon: steps along the orthogonalized momentum of each matrix of weights.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". torch's own Muon is not in every version
that nstpipe runs with. It takes matrices only, and computes in bfloat16 even where that is slow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

MOMENTUM = 0.95

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the iteration. It brings each singular value to between about 0.7 and 1.2, which is near enough, in few rounds."""

ROUNDS = 5

COLOR_CHANNELS = 3

LEAST_NORM = 1e-7
"""A smaller momentum is taken to be zero."""


class Muon(torch.optim.Optimizer):
    """Moves each convolution along its momentum, as if all singular values were one.

    A convolution is a matrix here: one row for each channel of its output.

    Args:
        weights: of convolutions, outputs x inputs x height x width; or groups of them, as torch's optimizers take.
        lr: the learning rate: about how far a step moves a matrix, by its spectral norm.
        precision: of the products of matrices.
    """

    def __init__(self, weights: Iterable[nn.Parameter] | Iterable[dict[str, Any]], lr: float, precision: torch.dtype) -> None:
        super().__init__(weights, {"lr": lr})
        self._precision = precision

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step along the gradients of the weights. A closure is not called."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum: Tensor = state["momentum"].lerp_(weight.grad, 1 - MOMENTUM)
                # Nesterov's momentum.
                direction = weight.grad.lerp(momentum, MOMENTUM)
                # Inputs last: so the convolutions in channels-last order need no copy.
                rows = direction.permute(0, 2, 3, 1).flatten(1)
                moved = orthogonalized(rows, self._precision)
                outputs, inputs, height, width = weight.shape
                moved = moved.to(weight.dtype).view(outputs, height, width, inputs).permute(0, 3, 1, 2)
                weight.add_(moved, alpha=-group["lr"] * math.sqrt(max(1.0, rows.shape[0] / rows.shape[1])))


def matrices_of(modules: Iterable[nn.Module]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the weights that Muon should train, and all others, which Adam should.

    The first are those of convolutions, but for the ones that make colors: these have so few outputs that Adam suits them.

    Args:
        modules: what is trained, with all of its parts.
    """
    kept = list(modules)
    matrices = [
        cast(nn.Parameter, part.weight)
        for module in kept
        for part in module.modules()
        if isinstance(part, nn.Conv2d) and part.out_channels > COLOR_CHANNELS
    ]
    chosen = {id(weight) for weight in matrices}
    return matrices, [weight for module in kept for weight in module.parameters() if id(weight) not in chosen]


def orthogonalized(matrix: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
    """Return a matrix with about the same singular vectors, whose singular values are about one.

    Args:
        matrix: rows x columns. One whose norm is less than `LEAST_NORM` stays next to zero.
        precision: in which it is computed and returned.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    found = matrix.T if is_tall else matrix
    found = (found / found.norm().clamp(min=LEAST_NORM)).to(precision)
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        gram = found @ found.T
        found = torch.addmm(found, torch.addmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.T if is_tall else found
