"""VGG19's layers as a table; imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from nstpipe.errors import ItemError


@dataclass(frozen=True)
class Layer:
    """One row of the layer table.

    Attributes:
        name: such as ``relu4_2``, the second rectifier of the fourth block.
        kind: what the layer does.
        in_channels: channels of its input.
        out_channels: channels of its output.
        index: its index in torchvision's ``vgg19().features``, which is part of the key of its weights in a state dict.
    """

    name: str
    kind: Literal["conv", "relu", "pool"]
    in_channels: int
    out_channels: int
    index: int


def _layer_table() -> tuple[Layer, ...]:
    convolutions_and_channels = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))
    table: list[Layer] = []
    in_channels = 3
    for block, (convolutions, channels) in enumerate(convolutions_and_channels, start=1):
        for number in range(1, convolutions + 1):
            table.append(Layer(f"conv{block}_{number}", "conv", in_channels, channels, len(table)))
            table.append(Layer(f"relu{block}_{number}", "relu", channels, channels, len(table)))
            in_channels = channels
        table.append(Layer(f"pool{block}", "pool", channels, channels, len(table)))
    return tuple(table)


LAYERS = _layer_table()


def pixels_a_position(layer_name: str) -> int:
    """Return the side, in pixels, of the square that one position of a layer stands for: 1, 2, 4 and so on."""
    poolings = 0
    for layer in LAYERS:
        poolings += layer.kind == "pool"
        if layer.name == layer_name:
            return int(2**poolings)
    raise ValueError(f"{layer_name} is no layer of VGG19")


def check_size(size: tuple[int, int], layers: Iterable[str]) -> None:
    """Check that each layer has a position in a frame.

    Args:
        size: the frame's width and height when stylized, in pixels.
        layers: the names of the layers.

    Raises:
        ItemError: a layer has no position, because the frame is too small.
    """
    smallest = max(map(pixels_a_position, layers))
    if min(size) < smallest:
        raise ItemError(
            f"the frame is {size[0]}x{size[1]} pixels when stylized; the layers asked for need {smallest} on the shorter side.",
            "Give a larger size, or layers of earlier blocks.",
        )


def check_network_size(size: tuple[int, int], last: str) -> None:
    """Check that a network can paint a frame: its reflection padding needs two positions in its encoder's last layer.

    Args:
        size: the frame's width and height when stylized, in pixels.
        last: the name of the last layer.

    Raises:
        ItemError: the frame is too small.
    """
    smallest = pixels_a_position(last) + 1
    if min(size) < smallest:
        raise ItemError(
            f"the frame is {size[0]}x{size[1]} pixels when stylized; the network needs {smallest} on the shorter side.",
            "Give a larger size.",
        )
