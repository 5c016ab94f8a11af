"""Files of weights with the names and shapes of those that are published, and random values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nstpipe.style.networks.files import serialized
from nstpipe.style.networks.looks import saved_look
from nstpipe.style.networks.transformation import made
from nstpipe.style.weights_files import BUNDLED_SHA256

DECODER = {
    1: (512, 256), 5: (256, 256), 8: (256, 256), 11: (256, 256), 14: (256, 128),
    18: (128, 128), 21: (128, 64), 25: (64, 64), 28: (64, 3),
}  # fmt: skip
"""The places of the convolutions in decoder.pth and in decoder_iter_160000.pth, with their channels in and out."""

ENCODER = {
    2: (3, 64), 5: (64, 64), 9: (64, 128), 12: (128, 128), 16: (128, 256), 19: (256, 256), 22: (256, 256), 25: (256, 256),
    29: (256, 512), 32: (512, 512), 35: (512, 512), 38: (512, 512), 42: (512, 512), 45: (512, 512), 48: (512, 512),
    51: (512, 512),
}  # fmt: skip
"""The places of the 3 x 3 convolutions in vgg_normalised.pth. At place 0 is a 1 x 1 convolution of 3 channels."""

SANETS = ("sanet4_1", "sanet5_1")

TENSORFLOW = ("conv4_1", "conv3_4", "conv3_3", "conv3_2", "conv3_1", "conv2_2", "conv2_1", "conv1_2", "conv1_1")


def random_decoder(seed: int = 0) -> dict[str, Tensor]:
    state = _convolutions(DECODER, seed)
    state["28.weight"] /= 4
    state["28.bias"] += 0.5  # pictures of medium gray, most of whose values need no clamping
    return state


def random_encoder(seed: int = 1) -> dict[str, Tensor]:
    """The authors' preprocessing, BGR from 0 to 255 less the mean, and random layers."""
    first = {"0.weight": torch.eye(3).flip(0).reshape(3, 3, 1, 1) * 255, "0.bias": -torch.tensor([103.939, 116.779, 123.68])}
    state = _convolutions(ENCODER, seed)
    state["2.weight"] /= 100
    return first | state


def random_transformer(seed: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for sanet in SANETS:
        for name in ("f", "g", "h", "out_conv"):
            # Scores of some units, so that the attention is neither even nor all on one position.
            spread = 0.02 if name in "fg" else 0.04
            state[f"{sanet}.{name}.weight"] = torch.randn(512, 512, 1, 1, generator=generator) * spread
            state[f"{sanet}.{name}.bias"] = torch.randn(512, generator=generator) * 0.1
    state["merge_conv.weight"] = torch.randn(512, 512, 3, 3, generator=generator) * (1 / (9 * 512)) ** 0.5
    state["merge_conv.bias"] = torch.zeros(512)
    return state


def _convolutions(places: Mapping[int, tuple[int, int]], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for place, (in_channels, out_channels) in places.items():
        kernel = torch.randn(out_channels, in_channels, 3, 3, generator=generator)
        state[f"{place}.weight"] = kernel * (2 / (9 * in_channels)) ** 0.5
        state[f"{place}.bias"] = torch.randn(out_channels, generator=generator) * 0.05
    return state


def own_file(path: Path, engine: str, seed: int = 0) -> Path:
    """A file as `nstpipe train` makes it, whose encoder is the bundled VGG19."""
    if engine == "network":
        return look_file(path, seed)
    tensors = {f"decoder.{name}": tensor.half() for name, tensor in random_decoder(seed).items()}
    if engine == "iecontrast":
        tensors |= {f"transformer.{name}": tensor.half() for name, tensor in random_transformer().items()}
    names = ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "3_4", "4_1", "4_2", "4_3", "4_4", "5_1")
    channels = [out_channels for _, out_channels in ENCODER.values()]
    means = {name: torch.full((width,), 50.0) for name, width in zip(names, channels, strict=False)}
    tensors |= {f"encoder.means.conv{name}": mean for name, mean in means.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(serialized(tensors, {"engine": engine, "encoder_sha256": BUNDLED_SHA256}))
    return path


def saved(path: Path, state: Mapping[str, Tensor]) -> Path:
    torch.save(dict(state), path)
    return path


def tensorflow_file(path: Path, state: Mapping[str, Tensor]) -> Path:
    """The variables of a decoder in TensorFlow's order, as `numpy.savez` writes what a checkpoint's reader returns."""
    arrays = {}
    for scope, place in zip(TENSORFLOW, DECODER, strict=True):
        arrays[f"decoder/{scope}/kernel"] = state[f"{place}.weight"].permute(2, 3, 1, 0).numpy()
        arrays[f"decoder/{scope}/bias"] = state[f"{place}.bias"].numpy()
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def look_file(path: Path, seed: int = 0, regions: int = 0, **card: object) -> Path:
    """A network that has learned a look, with random weights."""
    network = made(seed, regions)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        network.last.weight.copy_(torch.randn(network.last.weight.shape, generator=generator) * 0.02)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(saved_look(network, card))
    return path
