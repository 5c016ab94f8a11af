"""The encoder and the decoder that AdaIN and IEContraAST share, with the layer numbers of their public weights.

Both are sequences of layers, whose places are in the names of their weights: ``2.weight`` is conv1_1 of the encoder. The facts
are those of github.com/naoto0804/pytorch-AdaIN and github.com/HalbertCH/IEContraAST.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nstpipe.style.layers import LAYERS, pixels_a_position

ENCODER_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
"""The layers whose activations are used, for painting or for a loss."""

DECODED_LAYER = "relu4_1"
"""The layer whose activations the decoder turns into a picture."""

DECODED_PIXELS = pixels_a_position(DECODED_LAYER)
"""Side, in pixels, of the square that a position of `DECODED_LAYER` stands for."""

DECODER_REACH_POSITIONS = 4
"""How far the decoder's receptive field reaches, in positions of `DECODED_LAYER`, rounded up: a convolution at 8 pixels a
position, four at 4, two at 2 and two at 1 reach 8 + 16 + 4 + 2 = 30 pixels."""


def encoder_convolutions(last: str = "relu5_1") -> Iterator[tuple[str, int]]:
    """Yield the convolutions of the encoder, as VGG19 names them, with their places in `encoder_layers`.

    Args:
        last: the last layer that is needed.
    """
    place = 1
    for layer in LAYERS:
        if layer.kind == "conv":
            yield layer.name, place + 1
            place += 3  # padding, convolution, rectifier
        elif layer.kind == "pool":
            place += 1
        if layer.name == last:
            return


def encoder_layers(last: str = "relu5_1") -> nn.Sequential:
    """Return VGG19 to a layer, without weights: a 1 x 1 convolution for the preprocessing, reflection padding, max pooling.

    Args:
        last: the last layer that is needed.
    """
    layers: list[nn.Module] = [nn.Conv2d(3, 3, 1)]
    for layer in LAYERS:
        if layer.kind == "conv":
            layers += [nn.ReflectionPad2d(1), nn.Conv2d(layer.in_channels, layer.out_channels, 3), nn.ReLU(inplace=True)]
        elif layer.kind == "pool":
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        if layer.name == last:
            break
    return nn.Sequential(*layers)


def decoder_layers() -> nn.Sequential:
    """Return the mirrored encoder from relu4_1 to a picture, with nearest upsampling in place of pooling, without weights."""
    layers: list[nn.Module] = []
    for block, channels in enumerate(((512, 256), (256, 256, 256, 256, 128), (128, 128, 64), (64, 64, 3))):
        pairs = [channels] if block == 0 else list(itertools.pairwise(channels))
        for in_channels, out_channels in pairs:
            layers += [nn.ReflectionPad2d(1), nn.Conv2d(in_channels, out_channels, 3), nn.ReLU(inplace=True)]
        layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
    return nn.Sequential(*layers[:-2])  # the last convolution has no rectifier, and nothing is upsampled after it


class Encoder(nn.Module):
    """VGG19's frozen layers in the authors' form.

    Args:
        state: the weights, by place: ``0.weight``, ``0.bias``, ``2.weight``, …
        last: the last layer that is needed.
    """

    def __init__(self, state: Mapping[str, Tensor], last: str) -> None:
        super().__init__()
        self.last = last
        self._names = {place + 1: name.replace("conv", "relu") for name, place in encoder_convolutions(last)}
        with torch.device("meta"):  # takes no memory and no random numbers
            self.layers = encoder_layers(last)
        self.layers.load_state_dict({name: state[name] for name in self.layers.state_dict()}, assign=True)
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the activations of `ENCODER_LAYERS`, as far as this encoder has them.

        Args:
            image: pictures x 3 x height x width, RGB, 0 to 1. A side has at least 2 positions in the last layer.

        Returns:
            By layer: pictures x channels x height' x width'. A pooling halves height and width, rounding up.
        """
        found: dict[str, Tensor] = {}
        first, *others = self.layers
        # In float32: bfloat16 has 8 bits of precision, too few to spend on the mean that is subtracted.
        x = _in_float32(first, image).to(cast(Tensor, others[1].weight).dtype)
        for place, layer in enumerate(others, start=1):
            x = layer(x)
            if self._names.get(place) in ENCODER_LAYERS:
                found[self._names[place]] = x
        return found

    @property
    def reach_pixels(self) -> int:
        """How far the receptive field of the last layer extends beyond its own pixels, in each direction."""
        return sum(pixels_a_position(name) for name, _ in encoder_convolutions(self.last))


def decode(decoder: nn.Sequential, features: Tensor) -> Tensor:
    """Return the picture that a decoder makes of activations.

    The last convolution computes in float32: the 8 bits of precision of bfloat16 would show as bands in smooth areas.

    Args:
        decoder: see `decoder_layers`.
        features: pictures x 512 x height x width.

    Returns:
        pictures x 3 x (8 height) x (8 width), RGB; not clamped.
    """
    *layers, last = decoder
    x = features
    for layer in layers:
        x = layer(x)
    return _in_float32(last, x)


def _in_float32(convolution: nn.Module, x: Tensor) -> Tensor:
    """Return the result of a convolution in float32, also where others compute in bfloat16."""
    with torch.autocast(x.device.type, enabled=False):
        kernel, bias = cast(Tensor, convolution.weight).float(), cast(Tensor, convolution.bias).float()
        return functional.conv2d(x.float(), kernel, bias)
