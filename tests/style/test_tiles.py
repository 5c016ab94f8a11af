"""Tiles give what the whole gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nstpipe.media.frame import resized
from nstpipe.media.tensors import tensor_of
from nstpipe.style import tile_budget, vgg
from nstpipe.style.engines.optimizer import OptimizerEngine, OptimizerStylizer
from nstpipe.style.features import FeatureExtractor
from nstpipe.style.layers import pixels_a_position
from nstpipe.style.objective import Objective, TemporalTarget
from nstpipe.style.settings import RegionPaint, StylePicture
from nstpipe.style.tile_budget import TileBudget
from nstpipe.style.tiles import TiledObjective, margin_pixels, measure, tiles_of
from nstpipe.style.vgg import VGG19
from nstpipe.style.weights import load_weights

from .test_engine import SETTINGS

SAME = 1e-3
"""Relative: the sums run over other pieces, in float32."""


@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    side=st.sampled_from([16, 32, 64]),
    layer=st.sampled_from(["relu1_1", "relu3_1", "relu5_1"]),
)
@settings(max_examples=60, deadline=None)
def test_tiles_count_every_position_of_every_layer_once(height: int, width: int, side: int, layer: str) -> None:
    step = pixels_a_position(layer)
    counted = torch.zeros(1, 1, height // step, width // step)
    for tile in tiles_of(height, width, side, 32):
        rows, columns = tile.place(layer)
        counted[..., rows, columns] += 1
        top, bottom, left, right = tile.outer
        seen = torch.zeros(1, 1, (bottom - top) // step, (right - left) // step)
        assert tile.counted(layer, seen).shape == counted[..., rows, columns].shape
    assert (counted == 1).all()


@pytest.mark.parametrize(
    ("layer", "reach", "margin"),
    # One pixel for each convolution of the first block, two for each of the second, then 4, 8 and 16.
    [("relu1_1", 1, 16), ("relu3_1", 2 + 4 + 4, 16), ("relu4_2", 2 + 4 + 16 + 16, 48), ("relu5_1", 2 + 4 + 16 + 32 + 16, 80),
     ("relu5_4", 2 + 4 + 16 + 32 + 64, 128)],
)  # fmt: skip
def test_margin_is_as_wide_as_the_deepest_layer_sees(
    monkeypatch: pytest.MonkeyPatch, layer: str, reach: int, margin: int
) -> None:
    # By plain sums: with fewer multiplications, rounding errors reach a few positions farther.
    monkeypatch.setattr(vgg, "LEAST_CHANNELS", 10**9)
    network = VGG19(load_weights("bundled").state, [layer], pooling="avg")
    image = torch.rand(1, 3, 16, 640, requires_grad=True) * 100
    image.retain_grad()
    step = pixels_a_position(layer)
    place = 320 // step
    network(image)[layer][..., place].sum().backward()
    assert image.grad is not None
    touched = image.grad.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    assert (320 - int(touched.min()), int(touched.max()) - (320 + step - 1)) == (reach, reach)
    assert (network.reach_pixels, margin_pixels(network)) == (reach, margin)


@pytest.fixture(scope="module")
def content(samples: Path) -> torch.Tensor:
    with Image.open(samples / "streetview" / "street_06.jpg") as image:
        return tensor_of(resized(np.asarray(image), (306, 153)))


@pytest.fixture(scope="module")
def style(samples: Path) -> StylePicture:
    with Image.open(samples / "styles" / "van_gogh_starry_night.jpg") as image:
        return StylePicture(np.asarray(image.convert("RGB")), 1.0)


@pytest.fixture(scope="module")
def stylizer(style: StylePicture) -> OptimizerStylizer:
    return OptimizerEngine(replace(SETTINGS, temporal=1.0), [style]).stylizer(None)


def both_objectives(
    stylizer: OptimizerStylizer, content: torch.Tensor, monkeypatch: pytest.MonkeyPatch, *, wrapped: bool
) -> tuple[Objective, TiledObjective]:
    """The same loss, in one piece and in tiles of 64 pixels."""
    generator = torch.Generator().manual_seed(1)
    reliability, newness = torch.rand(2, *content.shape[-2:], generator=generator)
    temporal_target = TemporalTarget(torch.rand(content.shape, generator=generator), reliability, newness)
    whole = stylizer.objective(content, temporal_target, wrapped=wrapped)
    monkeypatch.setattr(TileBudget, "tile_side", lambda budget, height, width, is_optimized=True: 64)
    tiled = stylizer.objective(content, temporal_target, wrapped=wrapped)
    assert isinstance(whole, Objective)
    assert isinstance(tiled, TiledObjective)
    return whole, tiled


EARLY = replace(SETTINGS, style_layers=SETTINGS.style_layers[:-1])
"""Without relu5_1 the margins are 48 pixels instead of 80, so that a smaller picture has tiles that see only a part of it."""


@pytest.fixture(scope="module")
def small(samples: Path) -> torch.Tensor:
    with Image.open(samples / "streetview" / "street_06.jpg") as image:
        return tensor_of(resized(np.asarray(image), (214, 121)))


def regional(samples: Path) -> OptimizerStylizer:
    """The other distance, and three regions: one painted, one kept, and the rest."""
    pictures = []
    for name in ("van_gogh_starry_night.jpg", "van_gogh_night_cafe.jpg"):
        with Image.open(samples / "styles" / name) as image:
            pictures.append(StylePicture(np.asarray(image.convert("RGB")), 1.0))
    masks = torch.zeros(2, 121, 214)
    masks[0, :, 70:150] = torch.linspace(0, 1, 80)
    masks[1, 70:, :50] = 1
    settings = replace(EARLY, distance="wasserstein")
    return (
        OptimizerEngine(settings, pictures[:1], [RegionPaint((pictures[1],), 2.0), RegionPaint()]).stylizer(None).masked(masks)
    )


def test_regions_of_a_panorama_are_those_of_the_whole(
    samples: Path, small: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    stylizer = regional(samples)
    compare(stylizer, *both_objectives(stylizer, small, monkeypatch, wrapped=True), small)


def test_loss_and_gradient_of_a_panorama_are_those_of_the_whole(
    style: StylePicture, small: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = OptimizerEngine(replace(EARLY, temporal=1.0), [style]).stylizer(None)
    compare(early, *both_objectives(early, small, monkeypatch, wrapped=True), small)


def test_loss_and_gradient_are_those_of_the_whole(
    stylizer: OptimizerStylizer, content: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(stylizer, *both_objectives(stylizer, content, monkeypatch, wrapped=False), content)


def compare(stylizer: OptimizerStylizer, whole: Objective, tiled: TiledObjective, content: torch.Tensor) -> None:
    start = stylizer.first_start(content, "noise", 5)
    results = []
    for objective in (whole, tiled):
        image = start.clone().requires_grad_(True)
        losses = objective(image)
        losses.total.backward()  # type: ignore[no-untyped-call]
        assert image.grad is not None
        results.append((losses, image.grad))
    (expected, expected_gradient), (found, gradient) = results
    assert found.total.item() == pytest.approx(expected.total.item(), rel=SAME)
    assert found.content.item() == pytest.approx(expected.content.item(), rel=SAME)
    assert found.style.item() == pytest.approx(expected.style.item(), rel=SAME)
    assert ((gradient - expected_gradient).norm() / expected_gradient.norm()).item() < SAME


def test_without_gradient_the_loss_is_the_same(
    stylizer: OptimizerStylizer, content: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, tiled = both_objectives(stylizer, content, monkeypatch, wrapped=False)
    with torch.no_grad():
        assert tiled(content).total.item() == pytest.approx(whole(content).total.item(), rel=SAME)


def test_measured_layers_are_those_of_the_whole(content: torch.Tensor) -> None:
    weights = load_weights("bundled")
    view = FeatureExtractor(VGG19(weights.state, ["relu2_1", "relu4_2"]), weights.preprocessing)
    layers = frozenset({"relu2_1", "relu4_2"})
    tiled = measure(view, content, 48, styles=layers, activations=layers)
    whole = measure(view, content, 4096, styles=layers, activations=layers)
    for layer in layers:
        assert torch.allclose(tiled.activations[layer], whole.activations[layer], rtol=SAME, atol=1e-2)
        assert ((tiled.moments[layer].gram - whole.moments[layer].gram).norm() / whole.moments[layer].gram.norm()).item() < SAME


def test_tiles_are_chosen_from_free_memory(stylizer: OptimizerStylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = stylizer.objectives.tile_budget
    sides = []
    for free_gigabytes in (1000, 16, 4, 0.5):
        monkeypatch.setattr(tile_budget, "free_bytes", lambda device, free=free_gigabytes: int(free * 1e9))
        sides.append(budget.tile_side(4000, 6000))
    assert sides[0] is None
    chosen = [side for side in sides[1:] if side is not None]
    assert len(chosen) == 3
    assert chosen == sorted(chosen, reverse=True)
    assert chosen[-1] == tile_budget.TILE_SIDES[-1]


def test_a_picture_that_is_changed_leaves_less_memory_to_its_tiles(
    stylizer: OptimizerStylizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 24 megapixels in float32: 15 copies of 288 MB for the optimizer, which remembers three steps; 768 MB for relu4_2; and 80 %
    # of the rest of 9 GB for a tile, 2640 bytes a pixel: 1088 pixels a side, 80 of them beyond each edge.
    monkeypatch.setattr(tile_budget, "free_bytes", lambda device: 9 * 10**9)
    assert stylizer.objectives.tile_budget.tile_side(4000, 6000) == 768
    # All of it: 1651 pixels.
    assert stylizer.objectives.tile_budget.tile_side(4000, 6000, is_optimized=False) == 1024
