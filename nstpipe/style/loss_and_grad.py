"""Evaluates a loss and its gradient, on a GPU as a captured graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nstpipe.style.objective import Losses

LossesAndGradient = tuple[Losses, Tensor]
"""The losses, and the gradient of the total with respect to the picture."""

GraphCapture = Callable[[Callable[[], LossesAndGradient]], tuple[LossesAndGradient, Callable[[], None]]]
"""Captures a computation. Returns its results, and a function that repeats it and writes new results to the same tensors."""

WARM_UP_EVALUATIONS = 3
"""Evaluations before one is captured. In the first ones, libraries choose their kernels and allocate their memory."""

SAME_SHARE = 0.01
"""How much the loss and the gradient of a replay may differ from those of the evaluation that it repeats, relatively. With the
same kernels they are equal; a replay that reads memory of others is far off."""


class LossAndGrad:
    """Evaluates a loss and its gradient at the current values of a picture.

    On a GPU, Python takes longer to launch the evaluation of a small picture than the GPU takes to do it. With `capture` it is
    launched as one graph.

    Args:
        objective: a differentiable loss of a picture from 0 to 1.
        image: 1 x channels x height x width, RGB or luminance, 0 to 1, float32; a leaf that requires a gradient. The caller
            changes it in place between calls.
        capture: such as `captured_on_gpu`, for a loss that never reads a value from the device. None evaluates the loss each
            time, as does a loss that cannot be captured or whose replay differs.
    """

    def __init__(self, objective: Callable[[Tensor], Losses], image: Tensor, capture: GraphCapture | None = None) -> None:
        self._objective, self._image, self._capture = objective, image, capture
        self._count = 0
        self._replay: Callable[[], None] | None = None

    def __call__(self) -> LossesAndGradient:
        """Return the losses and the gradient. They are valid until the next call."""
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
            return  # also if memory is too short for a graph: a single evaluation takes less
        if is_same:
            self._captured, self._replay = captured, replay


def _is_same(one: LossesAndGradient, other: LossesAndGradient) -> bool:
    (losses, gradient), (expected, expected_gradient) = one, other
    apart = (losses.total - expected.total).abs() <= SAME_SHARE * expected.total.abs()
    turned = (gradient - expected_gradient).norm() <= SAME_SHARE * expected_gradient.norm()
    return bool(apart & turned)


def captured_on_gpu(evaluate: Callable[[], LossesAndGradient]) -> tuple[LossesAndGradient, Callable[[], None]]:
    """Capture an evaluation as a CUDA graph; see `GraphCapture`.

    Raises:
        RuntimeError: the evaluation waits for the device, or there is not enough memory.
    """
    graph = torch.cuda.CUDAGraph()
    # Other threads of the process, such as the one that computes flow, may use the device meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        found = evaluate()
    return found, graph.replay
