"""The engine on a GPU, against itself on the CPU: `pytest -m cuda`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from nstpipe.media.frame import resized
from nstpipe.media.tensors import tensor_of
from nstpipe.style.engine import MinimizeOptions
from nstpipe.style.engines.optimizer import LEAST_CAPTURED, OptimizerEngine
from nstpipe.style.loss_and_grad import LossAndGrad, captured_on_gpu
from nstpipe.style.minimize import MinimizerIterate, minimize
from nstpipe.style.objective import Losses, Objective, TemporalTarget
from nstpipe.style.settings import EngineSettings, StylePicture

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU that torch can use"),
]

SAME = 1e-3
"""Relative: float32 sums of up to a hundred thousand products, in another order."""

COARSE_LOSS = 0.03
"""Relative: how much worse a picture optimized in bfloat16 may be, its loss measured in float32; as on the CPU."""

SETTINGS = EngineSettings(
    weights="bundled",
    device="cuda",
    precision="float32",
    pooling="max",
    padding="replicate",
    content_layers=(("relu4_2", 1.0),),
    style_layers=tuple((f"relu{block}_1", 1.0) for block in range(1, 6)),
    strength=1.0,
    style_scale=1.0,
    total_variation=1.0,
    temporal=1.0,
)


@pytest.fixture(scope="module")
def content(samples: Path) -> Tensor:
    with Image.open(samples / "streetview" / "street_03.jpg") as image:
        return tensor_of(resized(np.asarray(image), (192, 108)))


@pytest.fixture(scope="module")
def style(samples: Path) -> StylePicture:
    with Image.open(samples / "styles" / "van_gogh_starry_night.jpg") as image:
        return StylePicture(np.asarray(image.convert("RGB")), 1.0)


def evaluated(engine: OptimizerEngine, content: Tensor) -> tuple[float, Tensor]:
    """Of the content in a little gray, held to itself on its left side."""
    reliability = torch.zeros(content.shape[-2:])
    reliability[:, : content.shape[-1] // 2] = 1
    on_device = content.to(engine.network.device)
    objective = engine.stylizer(content).objective(on_device, TemporalTarget(content, reliability))
    image = (0.8 * on_device + 0.1).requires_grad_(True)
    losses, gradient = LossAndGrad(objective, image)()
    return float(losses.total), gradient.cpu()


def painted(engine: OptimizerEngine, content: Tensor, max_iterations: int) -> MinimizerIterate:
    stylizer = engine.stylizer(content)
    *_, last = stylizer.stylize(content, stylizer.first_start(content, "matched", 0), MinimizeOptions(max_iterations))
    return replace(last, image=last.image.cpu())


@pytest.mark.parametrize("padding", ["replicate", "zeros"])
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_loss_and_gradient_are_those_of_the_cpu(content: Tensor, style: StylePicture, pooling: str, padding: str) -> None:
    settings = replace(SETTINGS, pooling=pooling, padding=padding)
    loss, gradient = evaluated(OptimizerEngine(settings, [style]), content)
    expected, expected_gradient = evaluated(OptimizerEngine(replace(settings, device="cpu"), [style]), content)
    assert loss == pytest.approx(expected, rel=SAME)
    # Of the whole: where two of four values are equal but for rounding, another one is the maximum.
    assert (gradient - expected_gradient).norm() < 0.01 * expected_gradient.norm()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("max_iterations", [LEAST_CAPTURED // 2, LEAST_CAPTURED], ids=["anew", "captured"])
def test_the_same_run_gives_the_same_bytes(content: Tensor, style: StylePicture, precision: str, max_iterations: int) -> None:
    engine = OptimizerEngine(replace(SETTINGS, precision=precision), [style])
    assert torch.equal(painted(engine, content, max_iterations).image, painted(engine, content, max_iterations).image)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_captured_evaluation_is_replayed_and_gives_what_one_anew_does(
    content: Tensor, style: StylePicture, precision: str
) -> None:
    engine = OptimizerEngine(replace(SETTINGS, precision=precision), [style])
    start = content.to(engine.network.device)
    objective = engine.stylizer(content).objective(start)
    assert isinstance(objective, Objective)
    evaluations = 0

    def counted(image: Tensor) -> Losses:
        nonlocal evaluations
        evaluations += 1
        return objective(image)

    *_, captured = minimize(counted, start, optimizer="lbfgs", max_iterations=40, tolerance=0.0, capture=captured_on_gpu)
    assert evaluations < 10, "it was evaluated anew"
    *_, anew = minimize(objective, start, optimizer="lbfgs", max_iterations=40, tolerance=0.0)
    assert captured.loss == pytest.approx(anew.loss, rel=SAME)


def test_bfloat16_paints_as_well_as_float32(content: Tensor, style: StylePicture) -> None:
    exact = OptimizerEngine(SETTINGS, [style])
    objective = exact.stylizer(content).objective(content.to(exact.network.device))
    with torch.no_grad():
        coarse, fine = (
            float(
                objective(
                    painted(OptimizerEngine(replace(SETTINGS, precision=precision), [style]), content, 60).image.cuda()
                ).total
            )
            for precision in ("bfloat16", "float32")
        )
    assert coarse < fine * (1 + COARSE_LOSS)


def test_want_of_memory_is_met_with_tiles_and_the_same_loss(content: Tensor, style: StylePicture) -> None:
    engine = OptimizerEngine(SETTINGS, [style])
    large = torch.nn.functional.interpolate(content, size=(768, 1360), mode="bicubic").clamp(0, 1)
    loss, gradient = evaluated(engine, large)
    _, total = torch.cuda.mem_get_info()
    torch.cuda.empty_cache()
    # About 4 GB are wanted in one piece.
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 2e9) / total)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            evaluated(engine, large)
        torch.cuda.empty_cache()
        assert engine.take_less_memory(*large.shape[-2:]) is not None
        tiled_loss, tiled_gradient = evaluated(engine, large)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert tiled_loss == pytest.approx(loss, rel=SAME)
    assert (tiled_gradient - gradient).norm() < 0.01 * gradient.norm()
