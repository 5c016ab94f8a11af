"""Winograd convolutions: 3 x 3 kernels with a quarter of the multiplications.

A tile of 4 x 4 results takes 6 x 6 products instead of 16 x 9. Kernel and activation are evaluated as polynomials at six points
and multiplied there, and the results are interpolated from the products (Winograd 1980, "Arithmetic Complexity of
Computations"; Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", F(4 x 4, 3 x 3)). In float32 the error
is about 10⁻⁶ of the results' standard deviation, five times that of a plain sum. bfloat16 is too coarse for it.

In a departure from both papers, the points are 0, 1, −1, 1/2, −2 and infinity. Their rounding error is two thirds of that of
the usual ±1 and ±2. The set also stays the same under x → −1/x, so the backward pass, whose kernel is flipped, uses the same
evaluated kernel at other points.
"""

from __future__ import annotations

import functools
import math
import threading
from dataclasses import dataclass

import numpy as np
import torch
from numpy.polynomial import polynomial
from numpy.typing import NDArray
from torch import Tensor

POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
"""The points at which polynomials are evaluated. Infinity, where the value is the highest coefficient, comes after them."""

OPPOSITE = (5, 2, 1, 4, 3, 0)
"""The index of −1/x for each of the six points."""

TILE, SEEN = 4, 6
"""The side of a tile of results, and the side of the positions that they depend on."""

VALUES_AT_ONCE = 32768
"""Tiles times channels that are computed together: few enough to stay in a core's cache between the steps."""

LEAST_CHANNELS = 64 * 128
"""Channels in times channels out. Below it, evaluation and interpolation take as long as the products that they save."""


def _matrices() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the matrices that evaluate an activation (6 x 6) and a kernel (6 x 3), and interpolate the product (4 x 6)."""
    activation, kernel, result = np.zeros((SEEN, SEEN)), np.zeros((SEEN, 3)), np.zeros((TILE, SEEN))
    for row, point in enumerate(POINTS):
        others = [other for other in POINTS if other != point]
        # The factor cancels between the two matrices. With it, a kernel's row is that of the opposite point, reversed.
        factor = abs(point) or 1.0
        kernel[row] = np.array([1, point, point**2]) / factor
        activation[row, :-1] = polynomial.polyfromroots(others) * factor / math.prod(point - other for other in others)
        result[:, row] = [point**power for power in range(TILE)]
    kernel[-1, -1] = result[-1, -1] = 1
    activation[-1] = polynomial.polyfromroots(POINTS)
    return activation, kernel, result


@functools.cache
def _forth() -> tuple[Tensor, Tensor]:
    """Return the matrices that evaluate a tile's activation, 36 x 36, and interpolate the product, 16 x 36."""
    activation, _, result = _matrices()
    return _over_both_sides(activation), _over_both_sides(result)


@functools.cache
def _back() -> tuple[Tensor, Tensor]:
    """Return the matrices of `_forth` for the flipped kernel.

    Its value at x is the kernel's own at −1/x, if activation and result change sign at every other position.
    """
    activation, _, result = _matrices()
    opposite = list(OPPOSITE)
    signs = (-1.0) ** np.arange(SEEN)
    return (
        _over_both_sides(activation[opposite] * signs),
        _over_both_sides(result[:, opposite] * signs[:TILE, None]),
    )


def _over_both_sides(matrix: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.kron(matrix, matrix)).float()


class Workspace(threading.local):
    """Memory for the values between the steps of a convolution, used again by the next one. Each thread has its own.

    Fresh memory would have to be cleared by the system each time.
    """

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def parts(self, *sizes: int) -> list[Tensor]:
        """Return tensors of so many float32 values each, of any content. They are valid until this thread's next call."""
        if len(self._memory) < sum(sizes):
            self._memory = torch.empty(sum(sizes))
        return list(self._memory[: sum(sizes)].split(sizes))


@dataclass(frozen=True, eq=False)
class TransformedFilter:
    """A frozen kernel, evaluated at the points once, for activations in float32 on the CPU.

    Attributes:
        values: 36 x channels x channels', float32: four times the size of the kernel.
        workspace: the memory that all kernels of a network share.
    """

    values: Tensor
    workspace: Workspace

    @classmethod
    def of(cls, kernel: Tensor, workspace: Workspace) -> TransformedFilter:
        """Evaluate a kernel as torch has it, channels' x channels x 3 x 3."""
        _, evaluate, _ = _matrices()
        channels_out, channels_in = kernel.shape[:2]
        products = torch.from_numpy(np.kron(evaluate, evaluate)) @ kernel.detach().double().flatten(2).flatten(0, 1).T
        return cls(products.reshape(SEEN**2, channels_out, channels_in).transpose(1, 2).float().contiguous(), workspace)

    def convolved(self, activation: Tensor, bias: Tensor, *, repeats_edge: bool) -> Tensor:
        """Convolve an activation. The result has the same height and width.

        Args:
            activation: 1 x channels x height x width, float32; fastest in channels_last memory.
            bias: channels'.
            repeats_edge: whether the padding repeats the edge; else it is zeros.
        """
        return _convolved(activation, self.values, *_forth(), bias, self.workspace, repeats_edge=repeats_edge)

    def input_grad(self, upstream: Tensor) -> Tensor:
        """Return the gradient of an activation that was convolved with zero padding.

        Args:
            upstream: the gradient of the result, 1 x channels' x height x width.
        """
        return _convolved(upstream, self.values.transpose(1, 2), *_back(), None, self.workspace, repeats_edge=False)


def _convolved(
    activation: Tensor,
    kernel: Tensor,
    evaluate: Tensor,
    interpolate: Tensor,
    bias: Tensor | None,
    workspace: Workspace,
    *,
    repeats_edge: bool,
) -> Tensor:
    source = activation[0].permute(1, 2, 0).contiguous()
    height, width, channels_in = source.shape
    channels_out = kernel.shape[2]
    columns = math.ceil(width / TILE)
    rows_at_once = min(max(1, VALUES_AT_ONCE // (columns * max(channels_in, channels_out))), math.ceil(height / TILE))
    made = torch.empty((1, channels_out, height, width), memory_format=torch.channels_last)
    result = made[0].permute(1, 2, 0)
    tiles_at_once, around_shape = rows_at_once * columns, (TILE * rows_at_once + 2, TILE * columns + 2, channels_in)
    around, tiles, values_in, values_out, interpolated = workspace.parts(
        math.prod(around_shape),
        SEEN**2 * tiles_at_once * channels_in,
        SEEN**2 * tiles_at_once * channels_in,
        SEEN**2 * tiles_at_once * channels_out,
        TILE**2 * tiles_at_once * channels_out,
    )
    around = around.view(around_shape).zero_()
    for first in range(0, height, TILE * rows_at_once):
        end = min(first + TILE * rows_at_once, height)
        rows = math.ceil((end - first) / TILE)
        _surround(source, first, around, repeats_edge=repeats_edge)
        down, right, _ = around.stride()
        seen = around.as_strided((SEEN, SEEN, rows, columns, channels_in), (down, right, TILE * down, TILE * right, 1))
        count = rows * columns
        tile = _first(tiles, SEEN**2, count * channels_in)
        value_in, value_out = _first(values_in, SEEN**2, count * channels_in), _first(values_out, SEEN**2, count * channels_out)
        out = _first(interpolated, TILE**2, count * channels_out)
        tile.view(seen.shape).copy_(seen)
        torch.mm(evaluate, tile, out=value_in)
        torch.bmm(value_in.view(-1, count, channels_in), kernel, out=value_out.view(-1, count, channels_out))
        torch.mm(interpolate, value_out, out=out)
        out = out.view(TILE, TILE, rows, columns, channels_out).permute(2, 0, 3, 1, 4)
        if (TILE * rows, TILE * columns) == (end - first, width):
            place = result[first:end].view(rows, TILE, columns, TILE, channels_out)
        else:
            out = out.reshape(TILE * rows, TILE * columns, channels_out)[: end - first, :width]
            place = result[first:end]
        if bias is None:
            place.copy_(out)
        else:
            torch.add(out, bias, out=place)
    return made


def _first(memory: Tensor, rows: int, columns: int) -> Tensor:
    return memory[: rows * columns].view(rows, columns)


def _surround(source: Tensor, first: int, around: Tensor, *, repeats_edge: bool) -> None:
    """Copy to `around` the rows of an activation that some rows of tiles depend on, with one position of padding."""
    height, width, _ = source.shape
    above = first - 1
    begin, end = max(above, 0), min(above + len(around), height)
    around[begin - above : end - above, 1 : width + 1] = source[begin:end]
    around[end - above :] = 0
    if repeats_edge:
        around[begin - above : end - above, 0] = source[begin:end, 0]
        around[begin - above : end - above, width + 1] = source[begin:end, -1]
        around[: begin - above] = around[begin - above]
        around[end - above :] = around[end - above - 1]
