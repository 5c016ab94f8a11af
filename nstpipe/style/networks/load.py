"""Loads the networks that a pipeline names."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from nstpipe.config.engines import ENGINE_TRAITS, BundledWeights, NetworkEngine
from nstpipe.errors import MachineError
from nstpipe.style.networks.attention import Transformer
from nstpipe.style.networks.encoders import encoder_shapes, folded
from nstpipe.style.networks.files import TensorFile, read_tensors
from nstpipe.style.networks.layers import Encoder, decoder_layers, encoder_convolutions
from nstpipe.style.weights import CAFFE, load_weights
from nstpipe.system.files import Stamp, sha256_of, stamp_of

LAST_LAYERS = {name: traits.last_layer for name, traits in ENGINE_TRAITS.items() if traits.last_layer is not None}
"""The last layer of the encoder that each engine needs."""

TENSORFLOW_SCOPES = ("conv4_1", "conv3_4", "conv3_3", "conv3_2", "conv3_1", "conv2_2", "conv2_1", "conv1_2", "conv1_1")
"""The convolutions of the decoder of github.com/elleryqueenhomels/arbitrary_style_transfer, by their variables' scopes."""


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network with its weights, on the CPU in float32. It is shared, and nobody changes it.

    Attributes:
        encoder: the encoder, up to the last layer that is needed.
        decoder: see `nstpipe.style.networks.layers.decoder_layers`.
        transformer: the attention modules; None for AdaIN.
    """

    encoder: Encoder
    decoder: nn.Sequential
    transformer: Transformer | None


def load_network(engine: NetworkEngine, vgg_weights: str | Path) -> TrainedNetwork:
    """Load what an engine's settings name.

    Args:
        engine: the settings.
        vgg_weights: VGG19's weights: bundled, torchvision or a path. They make the encoder unless it has a file of its own.

    Raises:
        MachineError: a file is missing, or is not what is expected there; the message names the first tensor that is wrong.
    """
    if engine.bundled is not None:
        _check_bundled(engine.bundled)
    stamps = tuple(stamp_of(path) for path in engine.files.values())
    return _loaded(engine.name, tuple(engine.files.items()), vgg_weights, stamps)


def _check_bundled(weights: BundledWeights) -> None:
    try:
        found = f"has sha256 {sha256_of(weights.path)}"
    except OSError as error:
        found = f"cannot be read: {error.strerror}"
    if found != f"has sha256 {weights.sha256}":
        raise MachineError(
            f"engine.weights: bundled: {weights.path} {found}; expected sha256 {weights.sha256}.", "Install nstpipe again."
        )


@functools.lru_cache(maxsize=1)  # the larger of the two takes 180 MB
def _loaded(
    name: str, named: tuple[tuple[str, Path], ...], vgg_weights: str | Path, stamps: tuple[Stamp | None, ...]
) -> TrainedNetwork:
    files = dict(named)
    weights = read_tensors("engine.weights", files["weights"])
    if weights.metadata:
        decoder, transformer = _of_nstpipe(name, weights)
    elif _is_of_tensorflow(weights):
        decoder, transformer = _of_tensorflow(name, weights), None
    else:
        decoder = weights.taken("engine.weights", _shapes(decoder_layers))
        transformer = _transformer_of(name, files)
    encoder = _encoder_of(name, weights, files, vgg_weights)
    return TrainedNetwork(Encoder(encoder, LAST_LAYERS[name]), _filled(decoder_layers, decoder), transformer)


def _of_nstpipe(name: str, weights: TensorFile) -> tuple[dict[str, Tensor], Transformer | None]:
    made_for = weights.metadata.get("engine")
    if made_for != name:
        raise MachineError(
            f"engine.weights: {weights.path} was trained for engine {made_for}; this job has engine {name}.",
            f"Give `engine: {{name: {made_for}, …}}`, or a file that `nstpipe train {name}` made.",
        )
    decoder = weights.taken("engine.weights", _shapes(decoder_layers), "decoder.")
    if name == "adain":
        return decoder, None
    return decoder, _filled(Transformer, weights.taken("engine.weights", _shapes(Transformer), "transformer."))


def _transformer_of(name: str, files: Mapping[str, Path]) -> Transformer | None:
    if name != "iecontrast":
        return None
    if "transformer" not in files:
        raise MachineError(
            f"engine.transformer: {files['weights']} holds a decoder alone, and iecontrast needs its attention modules, too.",
            "Give the authors' transformer_iter_160000.pth as `transformer`, beside the decoder as `weights`.",
        )
    tensors = read_tensors("engine.transformer", files["transformer"])
    return _filled(Transformer, tensors.taken("engine.transformer", _shapes(Transformer)))


def _is_of_tensorflow(weights: TensorFile) -> bool:
    return any(re.search(r"/kernel(:0)?$", name) for name in weights.tensors)


def _of_tensorflow(name: str, weights: TensorFile) -> dict[str, Tensor]:
    """Return the decoder of a file of TensorFlow's variables, such as ``decoder/conv4_1/kernel``.

    Its kernels are height x width x in x out. It makes pictures in BGR, 0 to 255, less the mean, so its last convolution is
    changed to make RGB from 0 to 1.
    """
    if name != "adain":
        raise MachineError(
            f"engine.weights: {weights.path} holds TensorFlow's variables of AdaIN's decoder; this job has engine {name}.",
            "Give `engine: {name: adain, …}`.",
        )
    by_scope = {re.sub(r":0$", "", variable): variable for variable in weights.tensors}
    shapes = _shapes(decoder_layers)
    places = [shape.removesuffix(".weight") for shape in shapes if shape.endswith(".weight")]
    state: dict[str, Tensor] = {}
    for scope, place in zip(TENSORFLOW_SCOPES, places, strict=True):
        for part, own in (("kernel", "weight"), ("bias", "bias")):
            wanted = shapes[f"{place}.{own}"]
            wanted = (*wanted[2:], wanted[1], wanted[0]) if own == "weight" else wanted
            ending = f"{scope}/{part}"
            found = next((full for short, full in by_scope.items() if short == ending or short.endswith(f"/{ending}")), ending)
            tensor = weights.taken("engine.weights", {found: wanted})[found]
            state[f"{place}.{own}"] = tensor.permute(3, 2, 0, 1).contiguous() if own == "weight" else tensor
    last = places[-1]
    mean = torch.tensor(CAFFE.mean)
    state[f"{last}.weight"] = state[f"{last}.weight"].flip(0) / CAFFE.scale
    state[f"{last}.bias"] = (state[f"{last}.bias"] + mean).flip(0) / CAFFE.scale
    return state


def _encoder_of(name: str, weights: TensorFile, files: Mapping[str, Path], vgg_weights: str | Path) -> dict[str, Tensor]:
    """Return the weights of the encoder with which a network was trained.

    Raises:
        MachineError: another encoder is given, or none where one is needed.
    """
    trained_with = weights.metadata.get("encoder_sha256")
    given = files.get("encoder")
    if given is not None:
        if trained_with is not None and trained_with != sha256_of(given):
            raise MachineError(
                f"engine.encoder: {weights.path} was trained with another encoder than {given}.",
                "Leave out `encoder`, or give the file with which it was trained.",
            )
        return read_tensors("engine.encoder", given).taken("engine.encoder", encoder_shapes(LAST_LAYERS[name]))
    if not weights.metadata and not _is_of_tensorflow(weights):
        raise MachineError(
            f"engine.encoder: is missing; {weights.path} was trained with the authors' VGG19, whose activations have another "
            "scale than those of VGG19's usual weights.",
            "Give their vgg_normalised.pth as `encoder`. It is published beside the decoder.",
        )
    vgg = load_weights(vgg_weights)
    if weights.metadata and trained_with != vgg.sha256:
        raise MachineError(
            f"engine.weights: {weights.path} was trained with other VGG19 weights than `weights: {vgg_weights}`.",
            f"Give the file with the sha256 {trained_with}: as `encoder` if it is a vgg_normalised.pth, else as the `weights` "
            "of the pipeline.",
        )
    if not weights.metadata and vgg.preprocessing != CAFFE:
        raise MachineError(
            f"engine.weights: {weights.path} was trained with VGG19's original weights; `weights: {vgg_weights}` are others.",
            "Use `weights: bundled`.",
        )
    return folded(vgg, encoder_means("engine.weights", weights, name) or None)


def encoder_means(key: str, weights: TensorFile, engine: str) -> dict[str, Tensor]:
    """Return the mean activations by which the encoder of a network is normalized; none if it is not.

    Args:
        key: the key or option that names the file, for messages.
        weights: the file of the network.
        engine: the engine that it is for.

    Raises:
        MachineError: there are some, but not all of them.
    """
    if not any(name.startswith(MEANS) for name in weights.tensors):
        return {}
    convolutions = encoder_convolutions(LAST_LAYERS[engine])
    return weights.taken(key, {name: encoder_shapes()[f"{place}.bias"] for name, place in convolutions}, MEANS)


MEANS = "encoder.means."
"""What the names of the mean activations begin with, by which a folded encoder is normalized; see `folded`."""


_Module = TypeVar("_Module", bound=nn.Module)


def _shapes(make: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of a module, by its name."""
    with torch.device("meta"):
        module = make()
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _filled(make: Callable[[], _Module], state: Mapping[str, Tensor]) -> _Module:
    """Return a frozen module with these weights."""
    with torch.device("meta"):  # takes no memory and no random numbers
        module = make()
    module.load_state_dict(state, assign=True)
    module.requires_grad_(False)
    return module
