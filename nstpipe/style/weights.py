"""VGG19's weights: where they come from, which input they expect, and how they are checked."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from nstpipe.errors import MachineError
from nstpipe.style.layers import LAYERS
from nstpipe.style.weights_files import BUNDLED_SHA256, hash_in_name, read_bundled, read_file, torchvision_entry

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum


@dataclass(frozen=True)
class Preprocessing:
    """The input that a set of weights expects. The rest of nstpipe has RGB from 0 to 1.

    Attributes:
        order: the order of the channels.
        scale: factor of the values, before the mean is subtracted.
        mean: subtracted from each channel, in `order`.
        deviation: divides each channel after that, in `order`.
    """

    order: Literal["RGB", "BGR"]
    scale: float
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def __call__(self, image: Tensor) -> Tensor:
        """Convert a picture, 1 x 3 x height x width, RGB, 0 to 1, to the expected input, in the same floating type."""
        if self.order == "BGR":
            image = image.flip(1)
        return (image * self.scale - _by_channel(self.mean, image)) / _by_channel(self.deviation, image)


def _by_channel(values: tuple[float, float, float], image: Tensor) -> Tensor:
    """Return 1 x 3 x 1 x 1, made on the picture's device. A copy from the host would wait for the device to finish its work."""
    return torch.cat([image.new_full((1, 1, 1, 1), value) for value in values], dim=1)


CAFFE = Preprocessing("BGR", 255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
"""The original weights by Simonyan and Zisserman."""

TORCHVISION = Preprocessing("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Torchvision's weights, from a training of its own. They give pictures another look."""

CAFFE_FILE_SHA256_PREFIX = "d01eb7cb"
"""jcjohnson's vgg19-d01eb7cb.pth has torchvision's keys, but the original weights."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Checked weights of the convolutional part.

    Attributes:
        name: ``bundled``, ``torchvision`` or the file's path.
        sha256: hash of the file. It is part of every fingerprint.
        preprocessing: the input that the weights expect.
        state: ``conv1_1.weight`` (out x in x 3 x 3), ``conv1_1.bias`` (out), …, float32.
    """

    name: str
    sha256: str
    preprocessing: Preprocessing
    state: Mapping[str, Tensor]


def load_weights(spec: str | Path) -> Weights:
    """Load weights by their name in pipeline.yaml: ``bundled``, ``torchvision`` or a path.

    Raises:
        MachineError: the weights are missing, cannot be read, or are not VGG19's.
    """
    if spec == "bundled":
        return _bundled()
    if spec == "torchvision":
        return _torchvision()
    return _from_file(Path(spec))


def _bundled() -> Weights:
    quantized = torch.load(io.BytesIO(read_bundled()), map_location="cpu", weights_only=True)
    state: dict[str, Tensor] = {}
    for layer in LAYERS:
        if layer.kind != "conv":
            continue
        block, number = layer.name.removeprefix("conv").split("_")
        key = f"block{block}_conv{number}"
        # 8-bit k-means: each entry is an index into a table of 256 values. torch takes five times as long to look them up.
        table, indices = quantized[f"{key}_W_table"].numpy(), quantized[f"{key}_W_q"].numpy()
        state[f"{layer.name}.weight"] = torch.from_numpy(np.take(table, indices))
        state[f"{layer.name}.bias"] = quantized[f"{key}_b"]
    return Weights("bundled", BUNDLED_SHA256, CAFFE, state)


def _torchvision(entry: WeightsEnum | None = None) -> Weights:
    entry = entry or torchvision_entry()
    try:
        # torch finds the file in its cache or downloads it, and checks the hash in its name.
        content = entry.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise MachineError(
            f"weights: torchvision: {entry.url} could not be fetched: {error}.",
            f"Put the file into {Path(torch.hub.get_dir()) / 'checkpoints'}, or use `weights: bundled`.",
        ) from error
    return Weights("torchvision", hash_in_name(entry.url), TORCHVISION, _checked(content, entry.url))


def _from_file(path: Path) -> Weights:
    raw = read_file(path)
    try:
        content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception as error:  # torch takes the bytes of a foreign file for a pickle, and fails in any way
        raise MachineError(
            f"weights: {path} is no file of tensors that torch can load safely: {_first_line(error)}",
            "Save the model's state_dict() with torch.save and give that file.",
        ) from error
    sha256 = hashlib.sha256(raw).hexdigest()
    preprocessing = CAFFE if sha256.startswith(CAFFE_FILE_SHA256_PREFIX) else TORCHVISION
    return Weights(str(path), sha256, preprocessing, _checked(content, str(path)))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _checked(content: object, origin: str) -> dict[str, Tensor]:
    """Rename torchvision's keys to nstpipe's, without those of the classifier.

    Raises:
        MachineError: naming the first key that is missing or whose tensor has the wrong shape.
    """
    if not isinstance(content, Mapping):
        raise MachineError(
            f"weights: {origin} holds a {type(content).__name__}, not a state dict.",
            "Save the model's state_dict() with torch.save and give that file.",
        )
    state: dict[str, Tensor] = {}
    for layer in LAYERS:
        if layer.kind != "conv":
            continue
        shapes = {"weight": (layer.out_channels, layer.in_channels, 3, 3), "bias": (layer.out_channels,)}
        for part, shape in shapes.items():
            key = f"features.{layer.index}.{part}"
            tensor = content.get(key)
            found = tuple(tensor.shape) if isinstance(tensor, Tensor) else None
            if tensor is None or found != shape:
                what = f"has the shape {found}" if found is not None else "is missing"
                raise MachineError(
                    f"weights: {origin}: {key} {what}; VGG19 has {shape} there.",
                    "Give the state dict of torchvision's vgg19, with or without its classifier.",
                )
            state[f"{layer.name}.{part}"] = tensor.float()
    return state
