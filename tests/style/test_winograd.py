"""Convolutions with fewer multiplications, against the definition of a convolution, in float64."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from nstpipe.style import vgg, winograd
from nstpipe.style.vgg import VGG19
from nstpipe.style.weights import load_weights
from nstpipe.style.winograd import OPPOSITE, POINTS, TransformedFilter, Workspace

ROUNDED = 5e-5
"""Of the spread of what is right: float32 has 6e-8, and interpolation multiplies it by up to some hundred."""

EXACT = 1e-12
"""The same in float64, without interpolation in float32."""

WORKSPACE = Workspace()
"""One for all: what one convolution leaves there must not matter to the next."""


def kernel_of(channels: tuple[int, int], seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((*channels[::-1], 3, 3), generator=generator), torch.randn(channels[1], generator=generator)


def right(activation: Tensor, kernel: Tensor, bias: Tensor, *, repeats_edge: bool) -> Tensor:
    mode = "replicate" if repeats_edge else "constant"
    return functional.conv2d(functional.pad(activation.double(), (1, 1, 1, 1), mode=mode), kernel.double(), bias.double())


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.square().mean().sqrt())


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 21),
    width=st.integers(1, 21),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    repeats_edge=st.booleans(),
    values_at_once=st.sampled_from([1, 30, 32768]),
)
def test_is_the_convolution_and_its_gradient_whatever_the_size_and_the_chunks(
    height: int, width: int, channels: tuple[int, int], repeats_edge: bool, values_at_once: int
) -> None:
    kernel, bias = kernel_of(channels, seed=0)
    evaluated = TransformedFilter.of(kernel, WORKSPACE)
    generator = torch.Generator().manual_seed(1)
    activation = torch.randn((1, channels[0], height, width), generator=generator, requires_grad=True)
    upstream = torch.randn((1, channels[1], height, width), generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "VALUES_AT_ONCE", values_at_once)
        found = vgg._FrozenConvolution.apply(activation, kernel, bias, evaluated, repeats_edge)
        (gradient,) = torch.autograd.grad((found * upstream).sum(), activation)
    exact = activation.detach().double().requires_grad_(True)
    expected = right(exact, kernel, bias, repeats_edge=repeats_edge)
    (expected_gradient,) = torch.autograd.grad((expected * upstream.double()).sum(), exact)
    # Of the spread that results of this many products have: a single one may be near 0.
    spread = 3 * np.sqrt(channels[0])
    assert float((found.detach() - expected.detach()).abs().max()) < ROUNDED * spread
    assert float((gradient - expected_gradient).abs().max()) < ROUNDED * 3 * np.sqrt(channels[1])


def test_points_are_the_same_set_after_turning_the_kernel_round() -> None:
    """Each point's −1/x is a point, and its row of the kernel's evaluation the same with signs and order turned."""
    for point, opposite in zip(POINTS[1:], OPPOSITE[1:-1], strict=True):
        assert POINTS[opposite] == -1 / point
    assert (POINTS[0], OPPOSITE[0], OPPOSITE[-1]) == (0.0, len(POINTS), 0)
    activation, kernel, result = winograd._matrices()
    alternating = np.diag([1, -1, 1])
    assert np.array_equal((kernel @ alternating)[:, ::-1], kernel[list(OPPOSITE)])
    # In one dimension, and exactly: four results of three products each.
    generator = np.random.default_rng(0)
    values, weights = generator.normal(size=6), generator.normal(size=3)
    expected = np.correlate(values, weights, mode="valid")
    assert np.allclose(result @ ((kernel @ weights) * (activation @ values)), expected, rtol=0, atol=EXACT)


def test_a_result_keeps_torchs_memory_layout() -> None:
    kernel, bias = kernel_of((8, 8), seed=0)
    made = TransformedFilter.of(kernel, WORKSPACE).convolved(torch.rand(1, 8, 10, 9), bias, repeats_edge=True)
    assert made.is_contiguous(memory_format=torch.channels_last)


def test_network_takes_it_in_float32_alone_and_sees_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    state = load_weights("bundled").state
    image = torch.rand((1, 3, 40, 56), generator=torch.Generator().manual_seed(0)) * 255 - 128

    def seen(network: VGG19, image: Tensor) -> tuple[Tensor, Tensor]:
        pixels = image.clone().requires_grad_(True)
        activation = network(pixels)["relu5_1"]
        (gradient,) = torch.autograd.grad(activation.square().sum(), pixels)
        return activation.detach(), gradient

    network = VGG19(state, ["relu5_1"])
    exact = seen(VGG19(state, ["relu5_1"]).double(), image.double())
    found = seen(network, image)
    taken = {name for name in network.convolutions if name in network._evaluated_kernels}
    assert taken == set(network.convolutions) - {"conv1_1", "conv1_2"}
    monkeypatch.setattr(vgg, "LEAST_CHANNELS", 10**9)
    direct = seen(VGG19(state, ["relu5_1"]), image)
    for ours, torchs, right in zip(found, direct, exact, strict=True):
        assert error(ours, right) < 1e-3  # sixteen layers of it; a rectifier that turns the other way counts whole
        assert error(torchs, right) < 1e-3
    assert not torch.equal(found[0], direct[0])


def test_threads_that_share_a_network_do_not_share_what_is_between_the_steps() -> None:
    """One network serves all engines of a process, and two threads may each paint with one of them."""
    workspace = Workspace()
    (mine,) = workspace.parts(8)
    with ThreadPoolExecutor(1) as other:
        (theirs,) = other.submit(workspace.parts, 8).result()
    assert mine.data_ptr() != theirs.data_ptr()
    assert mine.data_ptr() == workspace.parts(8)[0].data_ptr()
