"""The whole loss and its gradient, against the paper's formulas in float64, written independently of the engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from nstpipe.media.frame import resized
from nstpipe.media.tensors import tensor_of
from nstpipe.style.engines.optimizer import OptimizerEngine
from nstpipe.style.loss_weights import STYLE_STRENGTH, TOTAL_VARIATION
from nstpipe.style.settings import StylePicture
from nstpipe.style.weights import CAFFE, load_weights

from .test_engine import SETTINGS

SAME_LOSS = 1e-4
"""Relative: float32 sums over sixteen layers against float64 ones."""

SAME_GRADIENT = 2e-3
"""Relative, of the whole gradient's length: float32 back through sixteen layers."""

STEP = 1e-8
"""Of a pixel, for central differences in float64: so short that hardly a rectifier or maximum changes sides within it."""

SAME_DIFFERENCE = 1e-4
"""Relative: central differences against the gradient, both in float64."""

STYLE_LAYERS = (0, 2, 4, 8, 12)
"""The first convolution of each block: relu1_1, relu2_1, relu3_1, relu4_1, relu5_1."""

CONTENT_LAYER = 9
"""relu4_2."""

POOLED_BEFORE = (2, 4, 8, 12)
"""A pooling stands before each of these convolutions."""


def rectified(image: torch.Tensor, weights: list[tuple[torch.Tensor, torch.Tensor]]) -> list[torch.Tensor]:
    """Activations of each rectifier up to relu5_1, one after another."""
    x = (255 * image.flip(1)) - torch.tensor(CAFFE.mean, dtype=torch.float64).reshape(1, 3, 1, 1)
    found = []
    for number, (kernel, bias) in enumerate(weights):
        if number in POOLED_BEFORE:
            x = functional.max_pool2d(x, 2)
        x = functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, bias).clamp_min(0)
        found.append(x)
    return found


def gram_by_the_paper(activation: torch.Tensor) -> torch.Tensor:
    """Equation 3, over the number of positions."""
    f = activation.reshape(activation.shape[1], -1)
    return torch.einsum("ik,jk->ij", f, f) / f.shape[1]


class Paper:
    """Equations 1 to 7, each distance over its target's energy, plus the total variation."""

    def __init__(self, content: torch.Tensor, style: torch.Tensor) -> None:
        state = load_weights("bundled").state
        names = [name.removesuffix(".weight") for name in state if name.endswith(".weight")][: STYLE_LAYERS[-1] + 1]
        self.weights = [(state[f"{name}.weight"].double(), state[f"{name}.bias"].double()) for name in names]
        self.p = rectified(content, self.weights)[CONTENT_LAYER]
        seen = rectified(style, self.weights)
        self.a = [gram_by_the_paper(seen[layer]) for layer in STYLE_LAYERS]

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        seen = rectified(image, self.weights)
        content = (seen[CONTENT_LAYER] - self.p).square().sum() / self.p.square().sum()
        grams = [gram_by_the_paper(seen[layer]) for layer in STYLE_LAYERS]
        style = sum((g - a).square().sum() / a.square().sum() for g, a in zip(grams, self.a, strict=True)) / len(grams)
        across, down = image.diff(dim=-1), image.diff(dim=-2)
        smooth = across.square().mean() + down.square().mean()
        return content + STYLE_STRENGTH["gram"] * style + TOTAL_VARIATION * smooth


@pytest.fixture(scope="module")
def pictures(samples: Path) -> tuple[torch.Tensor, np.ndarray, torch.Tensor]:
    """Content, painting (already at the size that it is compared in), and a picture between them."""
    with Image.open(samples / "streetview" / "street_03.jpg") as image:
        content = tensor_of(resized(np.asarray(image.convert("RGB")), (64, 48)))
    with Image.open(samples / "styles" / "van_gogh_starry_night.jpg") as image:
        painting = resized(np.asarray(image.convert("RGB")), (64, 50))
    noise = torch.rand(content.shape, generator=torch.Generator().manual_seed(2))
    return content, painting, torch.lerp(content, noise, 0.3)


def test_loss_and_gradient_are_the_papers(pictures: tuple[torch.Tensor, np.ndarray, torch.Tensor]) -> None:
    content, painting, between = pictures
    paper = Paper(content.double(), tensor_of(painting).double())
    objective = OptimizerEngine(SETTINGS, [StylePicture(painting, 1.0)]).stylizer(None).objective(content)

    exact = between.double().requires_grad_(True)
    expected = paper(exact)
    (expected_gradient,) = torch.autograd.grad(expected, exact)
    image = between.clone().requires_grad_(True)
    found = objective(image).total
    (gradient,) = torch.autograd.grad(found, image)

    assert found.item() == pytest.approx(expected.item(), rel=SAME_LOSS)
    assert ((gradient - expected_gradient).norm() / expected_gradient.norm()).item() < SAME_GRADIENT


def test_the_papers_gradient_is_that_of_finite_differences(pictures: tuple[torch.Tensor, np.ndarray, torch.Tensor]) -> None:
    content, painting, between = pictures
    paper = Paper(content.double(), tensor_of(painting).double())
    image = between.double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(paper(image), image)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for _ in range(4):
            direction = torch.randn(image.shape, generator=generator, dtype=torch.float64)
            by_difference = (paper(image + STEP * direction) - paper(image - STEP * direction)) / (2 * STEP)
            assert (gradient * direction).sum().item() == pytest.approx(by_difference.item(), rel=SAME_DIFFERENCE)
