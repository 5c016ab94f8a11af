"""Colors moved to a target's mean and covariance."""

from __future__ import annotations

import pytest
import torch

from nstpipe.style.color import (
    ColorStatistics,
    color_statistics,
    luminance,
    luminance_matched,
    match_color,
    mixed_statistics,
    with_colors_of,
)

CLOSE = 1e-3
"""Of the range 0 to 1: a quarter of a level of an 8-bit picture."""


def noise(mean: float, spread: float, seed: int) -> torch.Tensor:
    """A picture whose channels hang together, far from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(1, 1, 40, 50, generator=generator) + 0.5 * torch.randn(1, 3, 40, 50, generator=generator)
    return (mean + spread * base).clamp(0, 1)


def test_matched_picture_has_the_targets_statistics() -> None:
    target = color_statistics(noise(0.6, 0.05, 1))
    result = color_statistics(match_color(noise(0.4, 0.08, 2), target))
    assert torch.allclose(result.mean, target.mean, atol=CLOSE)
    assert torch.allclose(result.covariance, target.covariance, atol=CLOSE)


def test_matching_a_picture_to_itself_changes_nothing() -> None:
    image = noise(0.5, 0.1, 3)
    assert torch.allclose(match_color(image, color_statistics(image)), image, atol=CLOSE)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_flat_picture_becomes_the_targets_mean_color(value: float) -> None:
    flat = torch.full((1, 3, 10, 10), value)
    target = color_statistics(noise(0.6, 0.1, 4))
    result = match_color(flat, target)
    assert result.isfinite().all()
    assert torch.allclose(result.mean(dim=(0, 2, 3)).double(), target.mean, atol=CLOSE)


def test_a_gray_picture_stays_finite_and_within_range() -> None:
    gray = torch.linspace(0, 1, 300).reshape(1, 1, 10, 30).expand(1, 3, 10, 30)
    result = match_color(gray, color_statistics(noise(0.5, 0.2, 5)))
    assert result.isfinite().all()
    assert 0 <= result.min() <= result.max() <= 1


def test_weights_choose_which_pixels_count() -> None:
    image = torch.zeros(1, 3, 4, 4)
    image[..., 2:] = 1
    right = torch.zeros(4, 4)
    right[:, 2:] = 1
    assert color_statistics(image, right).mean.tolist() == [1, 1, 1]
    everywhere = color_statistics(image, torch.ones(4, 4))
    assert torch.allclose(everywhere.covariance, color_statistics(image).covariance)


def test_mixture_is_that_of_the_pictures_side_by_side() -> None:
    one, other = noise(0.3, 0.05, 6), noise(0.7, 0.1, 7)
    together = color_statistics(torch.cat([one, other], dim=3))
    mixed = mixed_statistics([color_statistics(one), color_statistics(other)], [2.0, 2.0])
    assert torch.allclose(mixed.mean, together.mean)
    assert torch.allclose(mixed.covariance, together.covariance)


def test_a_picture_of_little_weight_hardly_counts() -> None:
    one = ColorStatistics(torch.zeros(3).double(), torch.eye(3).double())
    other = ColorStatistics(torch.ones(3).double(), torch.eye(3).double())
    assert mixed_statistics([one, other], [999.0, 1.0]).mean.tolist() == pytest.approx([0.001] * 3)


def test_luminance_of_white_is_one_and_green_is_brighter_than_blue() -> None:
    white, green, blue = (torch.tensor(color).reshape(1, 3, 1, 1) for color in ([1.0, 1, 1], [0.0, 1, 0], [0.0, 0, 1]))
    assert luminance(white).item() == pytest.approx(1)
    assert luminance(green) > 5 * luminance(blue)


def test_matched_luminance_has_the_references_mean_and_spread() -> None:
    reference = noise(0.6, 0.05, 1)
    result = luminance_matched(noise(0.3, 0.1, 2), color_statistics(reference))
    assert torch.equal(result[:, 0], result[:, 1])
    assert result.mean().item() == pytest.approx(luminance(reference).mean().item(), abs=CLOSE)
    assert result[:, 0].std().item() == pytest.approx(luminance(reference).std().item(), abs=CLOSE)


def test_colors_of_the_content_with_its_own_luminance_are_the_content() -> None:
    image = noise(0.5, 0.1, 3)
    assert torch.allclose(with_colors_of(image, image), image, atol=CLOSE)


def test_a_color_that_does_not_fit_is_paled_and_its_luminance_stays() -> None:
    red = torch.tensor([1.0, 0, 0]).reshape(1, 3, 1, 1)
    bright = torch.full((1, 3, 1, 1), 0.9)
    result = with_colors_of(bright, red)
    assert luminance(result).item() == pytest.approx(0.9, abs=CLOSE)
    assert 0 <= result.min() <= result.max() <= 1
    assert result[0, 0] > result[0, 1]
