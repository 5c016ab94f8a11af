"""An evaluation that is captured, and what may be captured."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nstpipe.config.models import Padding, Pooling
from nstpipe.style.features import FeatureExtractor
from nstpipe.style.layers import LAYERS
from nstpipe.style.loss_and_grad import WARM_UP_EVALUATIONS, GraphCapture, LossAndGrad, LossesAndGradient
from nstpipe.style.loss_weights import LossWeights
from nstpipe.style.losses import Moments
from nstpipe.style.minimize import MinimizerIterate, minimize
from nstpipe.style.objective import KeepMask, Losses, Objective, StyleTarget, TemporalTarget
from nstpipe.style.optimizers import Lbfgs
from nstpipe.style.regions import downsample_to_layers
from nstpipe.style.vgg import VGG19
from nstpipe.style.weights import CAFFE

WANTED = torch.linspace(0.2, 0.8, 48).reshape(1, 3, 4, 4)


def bowl(image: Tensor) -> Losses:
    squared = (image - WANTED).square()
    total = (torch.linspace(1, 30, 48).reshape(1, 3, 4, 4) * squared).sum()
    return Losses(total, squared.sum(), total / 2)


def captured_on_cpu(evaluate: Callable[[], LossesAndGradient]) -> tuple[LossesAndGradient, Callable[[], None]]:
    """Evaluates anew, but leaves all of it in the tensors of the first time, as a GPU's graph does."""
    losses, gradient = evaluate()

    def replay() -> None:
        again, new_gradient = evaluate()
        gradient.copy_(new_gradient)
        for part in ("total", "content", "style"):
            getattr(losses, part).copy_(getattr(again, part))

    return (losses, gradient), replay


def impossible(evaluate: Callable[[], LossesAndGradient]) -> tuple[LossesAndGradient, Callable[[], None]]:
    raise RuntimeError("operation not permitted when stream is capturing")


def out_of_memory(evaluate: Callable[[], LossesAndGradient]) -> tuple[LossesAndGradient, Callable[[], None]]:
    raise torch.OutOfMemoryError("CUDA out of memory")


def lost_gradient(evaluate: Callable[[], LossesAndGradient]) -> tuple[LossesAndGradient, Callable[[], None]]:
    """As if the gradient's memory had been given to somebody else."""
    losses, gradient = evaluate()
    return (losses, gradient), lambda: gradient.fill_(7.0) and None


def lost_loss(evaluate: Callable[[], LossesAndGradient]) -> tuple[LossesAndGradient, Callable[[], None]]:
    losses, gradient = evaluate()
    return (losses, gradient), lambda: losses.total.fill_(float("nan")) and None


def painted(capture: GraphCapture | None) -> list[tuple[MinimizerIterate, Tensor]]:
    start = torch.full_like(WANTED, 0.5)
    found = minimize(bowl, start, optimizer="lbfgs", max_iterations=12, tolerance=0.0, capture=capture)
    return [(iterate, iterate.image.clone()) for iterate in found]


@pytest.mark.parametrize("capture", [captured_on_cpu, impossible, out_of_memory, lost_gradient, lost_loss])
def test_whatever_comes_of_a_capture_the_iterates_are_those_evaluated_anew(capture: GraphCapture) -> None:
    for (iterate, image), (expected, expected_image) in zip(painted(capture), painted(None), strict=True):
        assert torch.equal(image, expected_image)
        assert (iterate.loss, iterate.content_loss) == (expected.loss, expected.content_loss)


@pytest.mark.parametrize(("capture", "replays"), [(captured_on_cpu, 5), (lost_gradient, 1), (lost_loss, 1)])
def test_what_repeats_itself_is_replayed_and_what_does_not_never_again(capture: GraphCapture, replays: int) -> None:
    evaluated = replayed = 0

    def counted(image: Tensor) -> Losses:
        nonlocal evaluated
        evaluated += 1
        return bowl(image)

    def watched(evaluate: Callable[[], LossesAndGradient]) -> tuple[LossesAndGradient, Callable[[], None]]:
        # What a capture computes does not count as evaluated.
        found, replay = capture(lambda: LossAndGrad(bowl, image)())

        def count() -> None:
            nonlocal replayed
            replayed += 1
            replay()

        return found, count

    image = torch.full_like(WANTED, 0.5).requires_grad_(True)
    evaluation = LossAndGrad(counted, image, watched)
    for _ in range(WARM_UP_EVALUATIONS + 4):
        evaluation()
    # Once to see whether it repeats itself; and then, if so, instead of each evaluation.
    assert replayed == replays
    assert evaluated == (WARM_UP_EVALUATIONS if capture is captured_on_cpu else WARM_UP_EVALUATIONS + 4)


def without_values(pooling: Pooling, padding: Padding, *, wrap_pixels: int, weighted: bool) -> tuple[Objective, Tensor]:
    """An objective with all that a frame may have, and a picture, on torch's device that has shapes and no values.

    There whoever asks for a value gets an error; on a GPU he would wait, and could not be captured.
    """
    style = {f"relu{block}_1": 1.0 for block in range(1, 6)}
    loss_weights = LossWeights({"relu4_2": 1.0}, style, style_strength=10.0, total_variation=10.0, temporal=150.0)
    with torch.device("meta"):
        state = {}
        for layer in LAYERS:
            state[f"{layer.name}.weight"] = torch.empty(layer.out_channels, layer.in_channels, 3, 3)
            state[f"{layer.name}.bias"] = torch.empty(layer.out_channels)
        network: nn.Module = VGG19(state, loss_weights.layers, pooling=pooling, padding=padding).to(torch.bfloat16)
        assert isinstance(network, VGG19)
        image, where = torch.empty(1, 3, 96, 128), torch.empty(96, 128)
        view = FeatureExtractor(network, CAFFE, wrap_pixels)
        activations = dict(view(image))
        targets = {
            layer: Moments(torch.empty(channels, channels), torch.empty(channels), torch.empty(()))
            for layer, channels in ((layer, activations[layer].shape[1]) for layer in style)
        }
        target = StyleTarget(targets, weights=downsample_to_layers(where[None, None], style) if weighted else None)
        temporal_target, keep_mask = TemporalTarget(image, where), KeepMask(image, where[None, None])
        objective = Objective(view, loss_weights, {"relu4_2": activations["relu4_2"]}, (target,), temporal_target, keep_mask)
    return objective, image.requires_grad_(True)


@pytest.mark.parametrize("weighted", [False, True], ids=["everywhere", "weighted"])
@pytest.mark.parametrize("wrap_pixels", [0, 64])
@pytest.mark.parametrize("padding", ["replicate", "zeros"])
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_no_evaluation_and_no_step_asks_the_device_for_a_value(
    pooling: Pooling, padding: Padding, wrap_pixels: int, weighted: bool
) -> None:
    objective, image = without_values(pooling, padding, wrap_pixels=wrap_pixels, weighted=weighted)
    losses, gradient = LossAndGrad(objective, image)()
    assert gradient.shape == image.shape
    descent = Lbfgs(image.detach(), history=2)
    for _ in range(4):
        assert descent.step(gradient).shape == image.shape
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        float(losses.total)
