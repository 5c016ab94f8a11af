"""Files of networks that have learned one look."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import torch

from nstpipe.errors import MachineError
from nstpipe.style.networks.files import read_tensors, serialized
from nstpipe.style.networks.transformation import DEFAULT_TILE, TransformationNetwork, shapes_of
from nstpipe.system.files import Stamp, stamp_of

ENGINE = "network"
"""The engine that a file of this kind is for, as it is written there."""

MADE_BY = "`nstpipe train pipeline.yaml --job NAME -o FILE` makes such a file."


def load_look(path: Path, regions: int) -> TransformationNetwork:
    """Load a network, on the CPU in float32. It is shared, and nobody changes it.

    Args:
        path: the file.
        regions: the number of the job's regions that have paintings of their own.

    Raises:
        MachineError: the file is missing, or is not what is expected there; the message names the first tensor that is wrong.
    """
    return _loaded(path, regions, stamp_of(path))


@functools.lru_cache(maxsize=2)
def _loaded(path: Path, regions: int, stamp: Stamp | None) -> TransformationNetwork:
    weights = read_tensors("engine.weights", path)
    made_for = weights.metadata.get("engine")
    if made_for not in (None, ENGINE):
        raise MachineError(
            f"engine.weights: {path} was trained for engine {made_for}; this job has engine {ENGINE}.",
            f"Give `engine: {{name: {made_for}, …}}`. {MADE_BY}",
        )
    trained_for = weights.metadata.get("regions", regions)
    if trained_for != regions:
        raise MachineError(
            f"engine.weights: {path} was trained for {trained_for} regions with paintings of their own, and this job has "
            f"{regions}.",
            "Train a network for this job: leave out `weights`.",
        )
    grain = weights.tensors.get("grain")
    tile = (grain.shape[-2], grain.shape[-1]) if grain is not None and grain.dim() == 4 and grain.numel() else DEFAULT_TILE
    state = weights.taken("engine.weights", shapes_of(lambda: TransformationNetwork(regions, tile)))
    with torch.device("meta"):
        network = TransformationNetwork(regions, tile)
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval()


def saved_look(network: TransformationNetwork, card: Mapping[str, object]) -> bytes:
    """Return the content of a file. Half the bytes of a float32 are enough.

    Args:
        network: the network.
        card: what is known of it, such as how it was trained: values that JSON can hold.
    """
    tensors = {name: tensor.half() for name, tensor in network.state_dict().items()}
    return serialized(tensors, {**card, "engine": ENGINE, "regions": network.regions})
