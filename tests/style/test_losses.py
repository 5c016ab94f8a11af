"""The distances, against what the formulas say by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nstpipe.style.losses import (
    COVARIANCE_EPS,
    Moments,
    content_distance,
    gram,
    gram_distance,
    moments,
    temporal_distance,
    total_variation,
    wasserstein_distance,
)

EXACT = 1e-6
"""Relative: float32 sums of a few thousand numbers of order one."""

BFLOAT16_GRAM = 0.005
"""Relative: bfloat16 keeps 8 bits, and a Gram's entry is rounded once in a sum of 1024 products."""


def random_activation(channels: int = 7, height: int = 9, width: int = 11, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


def test_content_distance_of_a_picture_to_itself_is_zero_and_to_nothing_is_one() -> None:
    activation = random_activation()
    assert content_distance(activation, activation).item() == 0
    assert content_distance(torch.zeros_like(activation), activation).item() == pytest.approx(1, rel=EXACT)


def test_content_distance_is_the_squared_share_that_is_off() -> None:
    activation = random_activation()
    assert content_distance(activation * 1.1, activation).item() == pytest.approx(0.01, rel=1e-3)


def test_black_targets_give_finite_distances() -> None:
    black = torch.zeros(1, 2, 3, 3)
    assert content_distance(black, black).item() == 0
    assert gram_distance(gram(black), gram(black)).item() == 0


def test_gram_is_the_mean_of_outer_products() -> None:
    activation = random_activation().double()
    rows = activation[0].flatten(1)
    by_hand = sum(torch.outer(column, column) for column in rows.T) / rows.shape[1]
    assert torch.allclose(gram(activation), by_hand, rtol=1e-12)


@given(channels=st.integers(1, 12), height=st.integers(1, 70), width=st.integers(1, 40), seed=st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_gram_is_symmetric_and_positive_semi_definite(channels: int, height: int, width: int, seed: int) -> None:
    matrix = gram(random_activation(channels, height, width, seed).double())
    assert torch.allclose(matrix, matrix.T, rtol=1e-12)
    assert torch.linalg.eigvalsh(matrix).min().item() > -1e-12


def test_gram_does_not_see_where_things_are() -> None:
    activation = random_activation(height=40, width=50).double()
    shuffled = activation.flatten(2)[:, :, torch.randperm(2000, generator=torch.Generator().manual_seed(1))]
    assert torch.allclose(gram(shuffled.reshape(activation.shape)), gram(activation), rtol=1e-12)


def test_gram_does_not_depend_on_size_for_a_repeated_texture() -> None:
    tile = random_activation(height=8, width=8).double()
    assert torch.allclose(gram(tile.repeat(1, 1, 5, 7)), gram(tile), rtol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(3, 4), (32, 32), (36, 29)], ids=["one rest", "one product", "both"])
def test_gradient_of_gram_agrees_with_finite_differences(height: int, width: int) -> None:
    activation = random_activation(1, height, width).double().requires_grad_(True)
    assert torch.autograd.gradcheck(gram, (activation,))


def test_gradient_of_gram_agrees_with_autograd_in_channels_last_memory() -> None:
    activation = random_activation(5, 40, 40).double().contiguous(memory_format=torch.channels_last).requires_grad_(True)
    weight = torch.rand(5, 5, generator=torch.Generator().manual_seed(3)).double()
    (ours,) = torch.autograd.grad((gram(activation) * weight).sum(), activation)
    rows = activation[0].flatten(1)
    (autograds,) = torch.autograd.grad(((rows @ rows.T / rows.shape[1]) * weight).sum(), activation)
    assert torch.allclose(ours, autograds, rtol=1e-12)


def test_gram_of_bfloat16_stays_close_and_does_not_overflow() -> None:
    activation = random_activation(16, 90, 90) * 1000
    exact = gram(activation.double())
    rounded = gram(activation.bfloat16())
    assert rounded.dtype == torch.float32
    assert ((rounded - exact).norm() / exact.norm()).item() < BFLOAT16_GRAM


def test_gram_distance_of_a_style_to_itself_is_zero() -> None:
    matrix = gram(random_activation())
    assert gram_distance(matrix, matrix).item() == 0
    assert gram_distance(torch.zeros_like(matrix), matrix).item() == pytest.approx(1, rel=EXACT)


def test_total_variation_of_a_checkerboard_is_two() -> None:
    checkerboard = (torch.arange(8)[:, None] + torch.arange(8)[None]).remainder(2).float().expand(1, 3, 8, 8)
    assert total_variation(checkerboard).item() == 2
    assert total_variation(torch.full((1, 3, 8, 8), 0.3)).item() == 0


@pytest.mark.parametrize(("height", "width"), [(6, 7), (2, 4), (5, 2)])
def test_gradient_of_total_variation_agrees_with_finite_differences(height: int, width: int) -> None:
    image = torch.rand(1, 3, height, width, dtype=torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(total_variation, (image,))


def test_gradient_of_content_distance_agrees_with_finite_differences() -> None:
    activation = random_activation().double().requires_grad_(True)
    target = random_activation(seed=1).double()
    assert torch.autograd.gradcheck(lambda seen: content_distance(seen, target), (activation,))


def test_temporal_distance_counts_reliable_pixels_only() -> None:
    image, target = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    left_half = torch.zeros(4, 4)
    left_half[:, :2] = 1
    assert temporal_distance(image, target, left_half).item() == 0.5
    assert temporal_distance(image, target, torch.zeros(4, 4)).item() == 0
    assert not math.isnan(temporal_distance(target, target, left_half).item())


def with_mean(activation: torch.Tensor, weight: torch.Tensor | None = None) -> Moments:
    return moments(activation, weight, with_mean=True)


def test_moments_are_mean_and_covariance() -> None:
    activation = random_activation().double()
    found = with_mean(activation)
    assert found.mean is not None
    assert torch.allclose(found.mean, activation.mean(dim=(0, 2, 3)), rtol=1e-12)
    assert torch.allclose(found.covariance, torch.cov(activation[0].flatten(1), correction=0), rtol=1e-9)


def test_weights_of_zero_and_one_choose_positions() -> None:
    activation = random_activation(height=8, width=10).double()
    weight = torch.zeros(1, 1, 8, 10).double()
    weight[..., :4] = 1
    chosen, alone = with_mean(activation, weight), with_mean(activation[..., :4])
    assert torch.allclose(chosen.gram, alone.gram, rtol=1e-12)
    assert chosen.mean is not None
    assert alone.mean is not None
    assert torch.allclose(chosen.mean, alone.mean, rtol=1e-12)
    assert chosen.count.item() == alone.count.item() == 32


def test_a_position_that_counts_twice_is_there_twice() -> None:
    activation = random_activation(height=6, width=7).double()
    weight = torch.ones(1, 1, 6, 7).double()
    weight[..., :3] = 2
    twice = torch.cat([activation[..., :3], activation], dim=-1)
    assert torch.allclose(gram(activation, weight), gram(twice), rtol=1e-12)


def test_gradient_of_a_weighted_gram_agrees_with_finite_differences() -> None:
    activation = random_activation(3, 4, 5).double().requires_grad_(True)
    weight = torch.rand(1, 1, 4, 5, generator=torch.Generator().manual_seed(3)).double()
    assert torch.autograd.gradcheck(lambda seen: gram(seen, weight), (activation,))


def test_positions_without_weight_get_no_gradient() -> None:
    activation = random_activation(height=6, width=6).double().requires_grad_(True)
    weight = torch.zeros(1, 1, 6, 6).double()
    weight[..., 2:, :] = 0.5
    (gradient,) = torch.autograd.grad(moments(activation, weight).gram.sum(), activation)
    assert (gradient[..., :2, :] == 0).all()
    assert (gradient[..., 2:, :] > 0).all()


def test_wasserstein_distance_of_a_style_to_itself_is_zero_and_to_nothing_is_one() -> None:
    activation = random_activation().double()
    target = with_mean(activation)
    assert wasserstein_distance(target, target).item() == pytest.approx(0, abs=1e-12)
    # `eps` is a share of the variance, and its root one of the spread.
    nothing = wasserstein_distance(with_mean(torch.zeros_like(activation)), target).item()
    assert nothing == pytest.approx(1, abs=2 * math.sqrt(COVARIANCE_EPS))


def test_wasserstein_distance_of_a_shift_is_its_square() -> None:
    activation = random_activation().double()
    target, shifted = with_mean(activation), with_mean(activation + 0.25)
    expected = activation.shape[1] * 0.25**2 / activation.square().mean(dim=(0, 2, 3)).sum()
    assert wasserstein_distance(shifted, target).item() == pytest.approx(expected.item(), rel=1e-9)


def test_wasserstein_distance_of_one_channel_is_that_of_means_and_spreads() -> None:
    one, other = random_activation(1, seed=1).double(), random_activation(1, seed=2).double() * 3 + 1
    eps = COVARIANCE_EPS * other.var(correction=0)
    apart = (one.var(correction=0) + eps).sqrt() - (other.var(correction=0) + eps).sqrt()
    expected = ((one.mean() - other.mean()) ** 2 + apart**2) / other.square().mean()
    assert wasserstein_distance(with_mean(one), with_mean(other)).item() == pytest.approx(expected.item(), rel=1e-9)


def test_wasserstein_distance_does_not_see_how_channels_are_turned() -> None:
    """Turning both clouds by the same rotation leaves their distance."""
    one, other = random_activation(5, seed=1).double(), random_activation(5, seed=2).double().square()
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(4)).double())
    turned = [torch.einsum("ij,bjhw->bihw", rotation, activation) for activation in (one, other)]
    plain = wasserstein_distance(with_mean(one), with_mean(other)).item()
    assert wasserstein_distance(with_mean(turned[0]), with_mean(turned[1])).item() == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True], ids=["whole", "weighted"])
def test_gradient_of_wasserstein_distance_agrees_with_finite_differences(weighted: bool) -> None:
    activation = random_activation(4, 5, 6, seed=1).double().requires_grad_(True)
    target = with_mean(random_activation(4, 7, 6, seed=2).double().square())
    weight = torch.rand(1, 1, 5, 6, generator=torch.Generator().manual_seed(3)).double() if weighted else None
    assert torch.autograd.gradcheck(lambda seen: wasserstein_distance(with_mean(seen, weight), target), (activation,))


def test_wasserstein_distance_is_finite_where_channels_are_alike_or_dead() -> None:
    """Equal eigenvalues have no eigenvectors of their own, and autograd through them would give no number."""
    activation = random_activation(1).expand(1, 4, 9, 11).clone()
    activation[:, 3] = 0
    activation.requires_grad_(True)
    loss = wasserstein_distance(with_mean(activation), with_mean(random_activation(4, seed=5)))
    (gradient,) = torch.autograd.grad(loss, activation)
    assert loss.isfinite()
    assert gradient.isfinite().all()
