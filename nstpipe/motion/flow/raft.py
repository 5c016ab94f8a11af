"""RAFT, optical flow by a network (Teed and Deng 2020), from torchvision."""

from __future__ import annotations

import functools
import pickle
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from nstpipe.errors import MachineError
from nstpipe.media.frame import Pixels, resized
from nstpipe.motion.flow.method import Floats, FlowMethod
from nstpipe.system.devices import choose_device
from nstpipe.system.files import check_is_no_special_file

SIDE_STEP = 8
"""The sides of RAFT's pictures are multiples of this, in pixels."""

SMALLEST_SIDE = 128
"""Pixels. At an eighth of this side, RAFT's coarsest correlations still have two positions."""

LONGEST_SIDE = 1024
"""Pixels. Larger pictures are reduced to this side. RAFT compares all positions with all others, which takes 1 GB for a square
of this side and grows with its fourth power."""

_SMALL_MODEL_KEY = "feature_encoder.convnormrelu.0.weight"
_SMALL_MODEL_CHANNELS = 32
"""Channels of the small model's first layer, by which its weights are recognized. The large model has twice as many."""


@functools.lru_cache(maxsize=2)
def raft_flow(path: Path | None, device: str) -> FlowMethod:
    """RAFT as a `FlowMethod`.

    Args:
        path: of a state dict of torchvision's raft_large or raft_small; None for torchvision's own of raft_large, which
            torch downloads, or finds in its cache.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        MachineError: torchvision or the weights are not to be had.
    """
    try:
        from torchvision.models.optical_flow import Raft_Large_Weights, raft_large, raft_small
    except (ImportError, RuntimeError) as error:
        # A torchvision built for CUDA raises RuntimeError beside a CPU-only torch.
        raise MachineError(
            f"flow: raft: torchvision cannot be imported beside torch {torch.__version__}: {error}.",
            "Install the torchvision that was built for this torch, or use `flow: dis`.",
        ) from error
    state = _downloaded(Raft_Large_Weights.DEFAULT) if path is None else _loaded(path)
    first = state.get(_SMALL_MODEL_KEY)
    is_small = isinstance(first, Tensor) and len(first) == _SMALL_MODEL_CHANNELS
    with torch.random.fork_rng(devices=[]):  # the random weights that it begins with are none of the caller's
        network = (raft_small if is_small else raft_large)(weights=None)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise MachineError(
            f"flow: {path or 'raft'} does not hold the weights of torchvision's RAFT: {str(error).splitlines()[0]}",
            "Give a state dict of torchvision's raft_large or raft_small, or use `flow: dis`.",
        ) from error
    where = choose_device(device)
    network = network.eval().requires_grad_(False).to(where)

    def flow(picture: Pixels, other: Pixels, _at_least: tuple[int, int]) -> Floats:
        height, width, _ = picture.shape
        times = max(min(1.0, LONGEST_SIDE / max(height, width)), SMALLEST_SIDE / min(height, width))
        rows, columns = (round(side * times / SIDE_STEP + 0.5) * SIDE_STEP for side in (height, width))
        one, two = (_seen(pixels, rows, columns).to(where) for pixels in (picture, other))
        with torch.no_grad():
            found = network(one, two)[-1][0].permute(1, 2, 0).cpu().numpy()
        at_size: Floats = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
        return at_size * np.array([width / columns, height / rows], np.float32)

    return flow


def _seen(pixels: Pixels, rows: int, columns: int) -> Tensor:
    """A picture as RAFT was trained on: 1 x 3 x rows x columns, from -1 to 1."""
    return torch.from_numpy(resized(pixels, (columns, rows))).permute(2, 0, 1)[None].float() / 127.5 - 1


def _downloaded(entry: object) -> dict[str, Tensor]:
    try:
        # torch downloads to its cache, or finds the file there, and checks it against the hash in its name.
        state: dict[str, Tensor] = entry.get_state_dict(  # type: ignore[attr-defined]
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        place = Path(torch.hub.get_dir()) / "checkpoints"
        raise MachineError(
            f"flow: raft: its weights could not be fetched from {entry.url}: {error}.",  # type: ignore[attr-defined]
            f"Put the file into {place}, give the path of one, or use `flow: dis`.",
        ) from error
    return state


def _loaded(path: Path) -> dict[str, Tensor]:
    try:
        check_is_no_special_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise MachineError(
            f"flow: {path} is no file of tensors that torch can load safely: {said}",
            "Give a state dict of torchvision's raft_large or raft_small, or use `flow: dis`.",
        ) from error
    if not isinstance(state, dict):
        raise MachineError(f"flow: {path} holds a {type(state).__name__}, not a state dict.", "Save the model's state_dict().")
    return state
