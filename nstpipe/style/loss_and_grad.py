"""Loss and gradient of a picture that stays in one place of memory while it changes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nstpipe.style.objective import Losses

LossesAndGradient = tuple[Losses, Tensor]
"""The losses, and the gradient of the total after the picture."""

GraphCapture = Callable[[Callable[[], LossesAndGradient]], tuple[LossesAndGradient, Callable[[], None]]]
"""Keeps what a computation does: gives its results, and what does it again and leaves the new results in the same tensors."""

WARM_UP_EVALUATIONS = 3
"""Before one is captured: in the first ones libraries choose their kernels and take their memory."""

SAME_SHARE = 0.01
"""Of the loss, and of the gradient's length, by which a replay may differ from the evaluation that it repeats. With the same
kernels it differs by nothing; what reads memory that is no longer its own differs by anything."""


class LossAndGrad:
    """Evaluates a loss, and its gradient, at the picture as it is at the moment.

    A GPU does one evaluation of a small picture sooner than Python says what to do. With `capture` it is said once.

    Args:
        objective: loss of a picture from 0 to 1; differentiable.
        image: 1 x channels x height x width, RGB or luminance, 0 to 1, float32; a leaf whose gradient is wanted. It is changed
            in place from one call to the next.
        capture: such as `captured_on_gpu`, for an objective that never asks the device for a value; None evaluates anew each
            time. What cannot be captured, or does not repeat itself, is evaluated anew as well.
    """

    def __init__(self, objective: Callable[[Tensor], Losses], image: Tensor, capture: GraphCapture | None = None) -> None:
        self._objective, self._image, self._capture = objective, image, capture
        self._count = 0
        self._replay: Callable[[], None] | None = None

    def __call__(self) -> LossesAndGradient:
        """The losses, and the gradient of the image's shape; right until the next call."""
        if self._replay is not None:
            self._replay()
            return self._captured
        found = self._evaluated()
        self._count += 1
        if self._capture is not None and self._count == WARM_UP_EVALUATIONS:
            self._try_capture(self._capture, found)
        return found

    def _evaluated(self) -> LossesAndGradient:
        with torch.enable_grad():
            losses = self._objective(self._image)
            [gradient] = torch.autograd.grad(losses.total, self._image)
        return Losses(losses.total.detach(), losses.content.detach(), losses.style.detach()), gradient

    def _try_capture(self, capture: GraphCapture, found: LossesAndGradient) -> None:
        try:
            captured, replay = capture(self._evaluated)
            replay()
            is_same = _is_same(captured, found)
        except RuntimeError:
            return  # also want of memory for what a graph holds: an evaluation by itself takes less
        if is_same:
            self._captured, self._replay = captured, replay


def _is_same(one: LossesAndGradient, other: LossesAndGradient) -> bool:
    (losses, gradient), (expected, expected_gradient) = one, other
    apart = (losses.total - expected.total).abs() <= SAME_SHARE * expected.total.abs()
    turned = (gradient - expected_gradient).norm() <= SAME_SHARE * expected_gradient.norm()
    return bool(apart & turned)


def captured_on_gpu(evaluate: Callable[[], LossesAndGradient]) -> tuple[LossesAndGradient, Callable[[], None]]:
    """A `GraphCapture`, as a CUDA graph.

    Raises:
        RuntimeError: it waits for the device in its midst, or the memory does not suffice.
    """
    graph = torch.cuda.CUDAGraph()
    # Other threads of the process, such as the one that finds the flow, may use the device as they like.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        found = evaluate()
    return found, graph.replay
