"""The layer table, and what the network does at its edges."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nstpipe.config.models import LAYER_NAMES, Padding
from nstpipe.errors import MachineError
from nstpipe.style import vgg
from nstpipe.style.layers import LAYERS
from nstpipe.style.vgg import VGG19
from nstpipe.style.weights import Weights, load_weights
from nstpipe.style.weights_files import torchvision_entry

SAME = 1e-4
"""Relative: float32 convolutions that sum in another order."""

ROUNDED = 1e-12
"""Relative: the same in float64."""


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_weights("bundled")


def test_table_has_the_names_that_the_config_allows() -> None:
    assert tuple(layer.name for layer in LAYERS) == LAYER_NAMES


def test_table_has_sixteen_convolutions_with_vgg19s_channels() -> None:
    convolutions = [layer for layer in LAYERS if layer.kind == "conv"]
    assert [layer.out_channels for layer in convolutions] == [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8
    assert [layer.in_channels for layer in convolutions[1:]] == [layer.out_channels for layer in convolutions[:-1]]
    # Published positions in torchvision's vgg19().features.
    index = {layer.name: layer.index for layer in LAYERS}
    assert (index["conv1_1"], index["conv4_2"], index["conv5_1"], index["pool5"]) == (0, 21, 28, 36)


def test_table_agrees_with_torchvision() -> None:
    try:
        torchvision_entry()
    except MachineError as error:
        pytest.skip(f"torchvision cannot be used here: {error}")
    from torchvision.models import vgg19

    kinds = {"Conv2d": "conv", "ReLU": "relu", "MaxPool2d": "pool"}
    assert [kinds[type(module).__name__] for module in vgg19().features] == [layer.kind for layer in LAYERS]


def test_network_ends_with_the_last_layer_asked_for(weights: Weights) -> None:
    network = VGG19(weights.state, ["relu2_1", "relu1_1"])
    assert network.table[-1].name == "relu2_1"
    activations = network(torch.rand(1, 3, 20, 30))
    assert {name: tuple(activation.shape) for name, activation in activations.items()} == {
        "relu1_1": (1, 64, 20, 30),
        "relu2_1": (1, 128, 10, 15),
    }
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_in_bfloat16_a_picture_changes_in_smaller_steps_than_bfloat16_has(weights: Weights) -> None:
    # Near 100 the steps of bfloat16 are 0.5 wide, so this picture and the darker one round to the same values.
    picture = torch.full((1, 3, 16, 16), 100.0, requires_grad=True)
    darker = picture.detach() - 0.125
    assert torch.equal(picture.bfloat16(), darker.bfloat16())
    state = {"conv1_1.weight": torch.full((64, 3, 3, 3), 0.5), "conv1_1.bias": torch.full((64,), -1344.0)}
    network = VGG19(state, ["relu1_1"]).to(torch.bfloat16)
    for image, value in ((picture, 100.0), (darker, 99.875)):
        assert network(image)["relu1_1"][0, 0, 8, 8].item() == 0.5 * 27 * value - 1344
    network(picture + 1)["relu1_1"][0, 0, 8, 8].backward()
    assert picture.grad is not None
    assert picture.grad.sum().item() == 0.5 * 27


def test_a_convolution_asked_for_is_not_overwritten_by_its_rectifier(weights: Weights) -> None:
    both = VGG19(weights.state, ["conv2_1", "relu2_1"])(torch.rand(1, 3, 16, 16))
    assert both["conv2_1"].min() < 0
    assert torch.equal(both["conv2_1"].clamp_min(0), both["relu2_1"])


def test_rectifying_after_the_pooling_changes_nothing(weights: Weights) -> None:
    image = torch.rand(1, 3, 24, 24) * 255 - 128
    found = []
    # What was not asked for is rectified after the pooling; what was asked for must outlive the way back.
    for asked in ([], ["relu1_2", "relu2_2"], ["conv1_2"]):
        network = VGG19(weights.state, [*asked, "relu3_1"])
        pixels = image.clone().requires_grad_(True)
        activations = network(pixels)
        kept = {layer: activations[layer].detach().clone() for layer in asked}
        activations["relu3_1"].square().sum().backward()  # type: ignore[no-untyped-call]
        assert all(torch.equal(activations[layer], before) for layer, before in kept.items())
        found.append((activations["relu3_1"].detach(), pixels.grad))
    assert found[0][0].max() > 0
    for activation, gradient in found[1:]:
        assert torch.equal(activation, found[0][0])
        assert torch.equal(gradient, found[0][1])


def test_repeated_edges_are_not_seen_in_any_layer_and_zeros_are(weights: Weights) -> None:
    flat = torch.full((1, 3, 40, 56), 50.0)

    def edge_against_middle(layer: str, padding: Padding) -> float:
        activation = VGG19(weights.state, [layer], padding=padding)(flat)[layer][0]
        middle = activation[:, activation.shape[1] // 2, activation.shape[2] // 2, None, None]
        return float((activation - middle).abs().max() / activation.max())

    for layer in ("relu1_1", "relu1_2", "relu3_4", "relu5_1"):
        assert edge_against_middle(layer, "replicate") < SAME
        assert edge_against_middle(layer, "zeros") > 0.1


CONVOLUTIONS = {
    "CPU": lambda activation, kernel, bias, edge: vgg._FrozenConvolution.apply(activation, kernel, bias, None, edge),
    "GPU": vgg._EnlargedConvolution.apply,
}


@pytest.mark.parametrize("edge", ["replicate", "constant"])
@pytest.mark.parametrize("convolution", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (2, 3), (6, 7)], ids=str)
def test_convolution_sees_beyond_the_edge_what_an_enlarged_picture_has_there(
    size: tuple[int, int], convolution: Callable[..., torch.Tensor], edge: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    activation = torch.rand(1, 4, *size, generator=generator).double().requires_grad_(True)
    kernel, bias = torch.rand(5, 4, 3, 3, generator=generator).double(), torch.rand(5, generator=generator).double()
    upstream = torch.rand(1, 5, *size, generator=generator).double()
    enlarged = torch.nn.functional.pad(activation, (1, 1, 1, 1), mode=edge)
    found = convolution(activation, kernel, bias, edge == "replicate")
    expected = torch.nn.functional.conv2d(enlarged, kernel, bias)
    assert torch.allclose(found, expected, rtol=ROUNDED, atol=0)
    (gradient,) = torch.autograd.grad((found * upstream).sum(), activation)
    (expected_gradient,) = torch.autograd.grad((expected * upstream).sum(), activation)
    assert torch.allclose(gradient, expected_gradient, rtol=ROUNDED, atol=0)


def test_average_pooling_is_the_mean_and_maximum_pooling_the_maximum(weights: Weights) -> None:
    image = torch.rand(1, 3, 8, 8) * 100
    before = VGG19(weights.state, ["relu1_2"])(image)["relu1_2"]
    blocks = before.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    average = VGG19(weights.state, ["pool1"], pooling="average")(image)["pool1"]
    largest = VGG19(weights.state, ["pool1"], pooling="max")(image)["pool1"]
    assert torch.allclose(average, blocks.mean(-1), rtol=SAME, atol=SAME)
    assert torch.allclose(largest, blocks.amax(-1), rtol=SAME, atol=SAME)


@pytest.mark.parametrize(("layer", "pixels"), [("relu1_1", 1), ("relu2_1", 2), ("relu4_2", 8), ("relu5_1", 16)])
def test_smallest_side_is_the_first_that_works(weights: Weights, layer: str, pixels: int) -> None:
    network = VGG19(weights.state, [layer])
    assert network.smallest_side == pixels
    assert network(torch.rand(1, 3, pixels, pixels))[layer].shape[-2:] == (1, 1)
    if pixels > 1:
        with pytest.raises(RuntimeError):
            network(torch.rand(1, 3, pixels - 1, pixels))


@pytest.mark.parametrize("size", [(6, 8), (7, 9)], ids=["even", "odd"])
def test_gradient_of_maximum_pooling_is_torchs_own(size: tuple[int, int]) -> None:
    """Whole numbers, so that many maxima are equal: torch gives all to the first."""
    generator = torch.Generator().manual_seed(0)
    activation = torch.randint(0, 3, (1, 4, *size), generator=generator).double().requires_grad_(True)
    upstream = torch.rand(1, 4, size[0] // 2, size[1] // 2, generator=generator).double()
    ours = vgg._MaxPool.apply(activation, True)
    torchs = torch.nn.functional.max_pool2d(activation, 2)
    assert torch.equal(ours, torchs)
    (gradient,) = torch.autograd.grad((ours * upstream).sum(), activation)
    (expected,) = torch.autograd.grad((torchs * upstream).sum(), activation)
    assert torch.equal(gradient, expected)
