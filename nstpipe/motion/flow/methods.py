"""The methods of optical flow, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nstpipe.motion.flow.dis import dis_flow
from nstpipe.motion.flow.farneback import farneback_flow
from nstpipe.motion.flow.method import FlowMethod


def _raft(device: str) -> FlowMethod:
    return _raft_of(None, device)


def _raft_of(path: Path | None, device: str) -> FlowMethod:
    # torchvision is imported only if RAFT is asked for.
    from nstpipe.motion.flow.raft import raft_flow

    return raft_flow(path, device)


FLOW_METHODS: dict[str, Callable[[str], FlowMethod]] = {
    "dis": lambda device: dis_flow,
    "farneback": lambda device: farneback_flow,
    "raft": _raft,
}
"""For each name that `temporal.flow` may have, a function from the device (auto, cpu, cuda or cuda:N) to the method."""


def flow_method(name: str | Path, device: str = "cpu") -> FlowMethod:
    """The optical flow of a name.

    Args:
        name: A name of `FLOW_METHODS`, or the path of a RAFT state dict.
        device: The device of a method that uses a network: auto, cpu, cuda or cuda:N.

    Raises:
        MachineError: The weights of a network are missing.
    """
    make = FLOW_METHODS.get(str(name))
    return make(device) if make is not None else _raft_of(Path(name), device)
