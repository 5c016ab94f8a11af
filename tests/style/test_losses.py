"""The distances, against what the formulas say by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nstpipe.style.losses import content_distance, gram, gram_distance, temporal_distance, total_variation

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


def test_temporal_distance_counts_reliable_pixels_only() -> None:
    image, target = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    left_half = torch.zeros(4, 4)
    left_half[:, :2] = 1
    assert temporal_distance(image, target, left_half).item() == 0.5
    assert temporal_distance(image, target, torch.zeros(4, 4)).item() == 0
    assert not math.isnan(temporal_distance(target, target, left_half).item())
