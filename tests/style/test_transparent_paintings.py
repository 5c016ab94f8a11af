"""What is transparent in a painting is no paint: a painting with a hole has the style of the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nstpipe.config.models import Job
from nstpipe.errors import ItemError
from nstpipe.media.pictures.files import read_picture
from nstpipe.planning.inspect import check_pictures
from nstpipe.style.color import color_statistics
from nstpipe.style.color_transfer import ColorTransfer
from nstpipe.style.engines import make_engine
from nstpipe.style.engines.optimizer import OptimizerEngine
from nstpipe.style.settings import EngineSettings, StylePicture

SETTINGS = EngineSettings(
    weights="bundled",
    device="cpu",
    precision="float32",
    pooling="max",
    padding="replicate",
    content_layers=(("relu4_2", 1.0),),
    style_layers=(("relu1_1", 1.0), ("relu3_1", 1.0), ("relu5_1", 1.0)),
    strength=1.0,
    style_scale=1.0,
    total_variation=1.0,
)


def stripes() -> NDArray[np.uint8]:
    pixels = np.full((96, 96, 3), (230, 180, 120), np.uint8)
    pixels[::8] = (250, 220, 90)
    return pixels


def holed(background: int) -> StylePicture:
    """Stripes whose right half is transparent, over some color."""
    pixels, alpha = stripes(), np.full((96, 96), 255, np.uint8)
    pixels[:, 48:], alpha[:, 48:] = background, 0
    return StylePicture.of(pixels, alpha, 1.0)


def test_the_moments_are_those_of_the_paint_alone() -> None:
    def grams(style: StylePicture) -> list[torch.Tensor]:
        engine = make_engine(SETTINGS, [style])
        assert isinstance(engine, OptimizerEngine)
        return [found.gram for found in engine.stylizer(None).regions.paintings[0].targets(96).values()]

    black, white, whole = (grams(style) for style in (holed(0), holed(255), StylePicture.of(stripes(), None, 1.0)))
    for of_black, of_white, of_whole in zip(black, white, whole, strict=True):
        assert torch.equal(of_black, of_white)
        # Stripes go on from one side to the other, so that each column has the same moments.
        assert (of_black - of_whole).norm() < 0.001 * of_whole.norm()


def test_colors_are_those_of_the_paint_alone() -> None:
    engine = make_engine(SETTINGS, [holed(0)])
    content = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    start = engine.stylizer(None).first_start(content, "matched", 0)
    paint = stripes()[:, :48] / 255
    assert torch.allclose(start.mean((0, 2, 3)).double(), torch.from_numpy(paint.mean((0, 1))), atol=0.02)


@pytest.mark.parametrize("color", ["content", "matched"])
def test_colors_are_adapted_by_the_paint_alone(color: str) -> None:
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    weight = torch.zeros(16, 16)
    weight[:, :8] = 1
    transfer = ColorTransfer(color, color_statistics(torch.rand(1, 3, 16, 16)))  # type: ignore[arg-type]
    assert torch.allclose(transfer.adapted(picture, weight)[..., :8], transfer.adapted(picture[..., :8]), atol=1e-6)


def test_a_painting_that_covers_everything_is_as_before() -> None:
    opaque = StylePicture.of(stripes(), np.full((96, 96), 255, np.uint8), 1.0)
    assert opaque.opacity is None
    assert np.array_equal(opaque.pixels, stripes())


def test_a_painting_without_paint_is_refused(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64)).save(tmp_path / "nothing.png")
    job = Job.model_validate({"name": "a", "input": "in", "output": "out", "style": str(tmp_path / "nothing.png")})
    with pytest.raises(ItemError, match=r"style.images\[0\]: .* is transparent everywhere"):
        check_pictures(job)
    assert read_picture(tmp_path / "nothing.png")[1].alpha is not None
