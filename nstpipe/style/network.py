"""VGG19 with its weights on a device. A process builds it once for all engines that need the same one."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import torch

from nstpipe.config.models import Padding, Pooling
from nstpipe.style.features import FeatureExtractor
from nstpipe.style.precision import choose_precision
from nstpipe.style.settings import EngineSettings
from nstpipe.style.vgg import VGG19
from nstpipe.style.weights import Preprocessing, load_weights
from nstpipe.style.weights_files import weights_sha256
from nstpipe.system.devices import choose_device
from nstpipe.system.memory import ask_for_large_pages
from nstpipe.system.spinning import adapt_spinning
from nstpipe.system.threads import respect_quota


@dataclass(frozen=True, eq=False)
class Network:
    """VGG19 ready for use, and what its user must know about it. It is shared, and nobody changes it.

    Attributes:
        vgg: the frozen layers, with the transformed filters that they prepare when they are first needed.
        preprocessing: converts a picture to the input that the weights expect.
        device: where the layers compute.
        precision: the type of their weights and activations.
    """

    vgg: VGG19
    preprocessing: Preprocessing
    device: torch.device
    precision: torch.dtype

    def features(self, wrap_pixels: int = 0) -> FeatureExtractor:
        """Return the network as a function of RGB pictures; see `FeatureExtractor`."""
        return FeatureExtractor(self.vgg, self.preprocessing, wrap_pixels)


def network_of(settings: EngineSettings) -> Network:
    """Return the network for these settings. It is built only if the last one was another.

    A painting, a strength or any other setting that the network does not depend on changes nothing.

    Raises:
        MachineError: the weights or the device are not available.
    """
    ask_for_large_pages()
    device = choose_device(settings.device)
    layers = frozenset(name for name, _ in (*settings.content_layers, *settings.style_layers))
    precision = choose_precision(settings.precision, device)
    if device.type == "cpu":
        respect_quota()
        adapt_spinning()
    return built_network(
        settings.weights,
        # The file at a path may have been replaced since.
        weights_sha256(settings.weights),
        device,
        precision,
        layers,
        settings.pooling,
        settings.padding,
    )


@functools.lru_cache(maxsize=1)  # with its transformed filters a network takes up to 400 MB
def built_network(
    spec: str | Path,
    sha256: str,
    device: torch.device,
    precision: torch.dtype,
    layers: frozenset[str],
    pooling: Pooling,
    padding: Padding,
) -> Network:
    """Build a network, or return the last one if it was built of the same things.

    Args:
        spec: the name or path of the weights.
        sha256: the hash of their file. It tells two files apart that had the same path one after the other.
        device: where the network computes.
        precision: the type of its weights and activations.
        layers: the names of the layers whose activations are wanted.
        pooling: max or average.
        padding: zeros or replicate.
    """
    weights = load_weights(spec)
    state = {name: tensor.to(device, precision) for name, tensor in weights.state.items()}
    vgg = VGG19(state, layers, pooling=pooling, padding=padding)
    return Network(vgg.to(memory_format=torch.channels_last), weights.preprocessing, device, precision)  # type: ignore[call-overload]
