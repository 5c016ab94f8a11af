"""The optimizer that trains convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nstpipe.training.muon import COEFFICIENTS, ROUNDS, Muon, orthogonalized


def test_singular_values_become_about_one_and_their_vectors_stay() -> None:
    # A diagonal matrix has the unit vectors as singular vectors, so it must stay diagonal, with its signs.
    values = torch.tensor([3.0, -1.0, 0.5, 0.1])
    found = orthogonalized(torch.diag(values))
    assert torch.equal(found.sign(), torch.diag(values).sign())
    kept = found.diag().abs()
    # Fixed points of the iteration's polynomial enclose this range (Jordan et al. 2024).
    assert 0.6 < float(kept.min()) <= float(kept.max()) < 1.3


def test_each_singular_value_follows_the_polynomial() -> None:
    a, b, c = COEFFICIENTS
    value = torch.tensor([0.6, 0.8])  # their norm is 1, so they enter the iteration as they are
    expected = value.clone()
    for _ in range(ROUNDS):
        expected = a * expected + b * expected**3 + c * expected**5
    assert torch.allclose(orthogonalized(torch.diag(value)).diag(), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(40, 8), (8, 40), (16, 16)])
def test_any_shape_becomes_about_orthogonal(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalized(matrix))
    # The smallest singular values of a square random matrix are too small to be raised to one in so few rounds.
    assert float(values.max()) < 1.3
    assert float(values.median()) > 0.6


def test_a_step_does_not_depend_on_the_size_of_the_gradient_nor_on_the_order_in_memory() -> None:
    start = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    gradient = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(2))
    moved = []
    for scale, order in [(1.0, torch.contiguous_format), (1000.0, torch.contiguous_format), (1.0, torch.channels_last)]:
        weight = nn.Parameter(start.clone(memory_format=order))
        weight.grad = (scale * gradient).contiguous(memory_format=order)
        Muon([weight], 0.1, torch.float32).step()
        moved.append(weight.detach() - start)
    assert torch.allclose(moved[0], moved[1], atol=1e-5)
    assert torch.allclose(moved[0], moved[2], atol=1e-5)
    # 6 rows of 36: a step is as long as the learning rate, by the spectral norm, and against the gradient.
    assert 0.06 < float(torch.linalg.matrix_norm(moved[0].flatten(1), 2)) < 0.13
    assert float((moved[0] * gradient).sum()) < 0


def test_without_a_gradient_nothing_moves_and_a_gradient_of_zero_is_no_fault() -> None:
    still, zero = nn.Parameter(torch.ones(2, 2, 1, 1)), nn.Parameter(torch.ones(2, 2, 1, 1))
    zero.grad = torch.zeros_like(zero)
    Muon([still, zero], 0.1, torch.float32).step()
    assert torch.equal(still, torch.ones(2, 2, 1, 1))
    assert torch.equal(zero, torch.ones(2, 2, 1, 1))


def test_a_saved_state_goes_on_as_if_it_had_not_been_saved() -> None:
    generator = torch.Generator().manual_seed(3)
    gradients = [torch.randn(3, 3, 1, 1, generator=generator) for _ in range(3)]

    def walked(*, restarted: bool) -> torch.Tensor:
        weight = nn.Parameter(torch.zeros(3, 3, 1, 1))
        optimizer = Muon([weight], 0.1, torch.float32)
        for gradient in gradients:
            if restarted:
                state = optimizer.state_dict()
                optimizer = Muon([weight], 0.1, torch.float32)
                optimizer.load_state_dict(state)
            weight.grad = gradient.clone()
            optimizer.step()
        return weight.detach()

    assert torch.equal(walked(restarted=True), walked(restarted=False))
