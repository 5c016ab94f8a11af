"""The methods of optical flow, by name: one row each.

A method is imported only when it is made, so the configuration can read the table at no cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nstpipe.errors import MachineError
from nstpipe.system.files import suggest_path

if TYPE_CHECKING:
    from nstpipe.motion.flow.method import FlowMethod


@dataclass(frozen=True)
class FlowEntry:
    """A method of optical flow.

    Attributes:
        make: Makes the method for a device: auto, cpu, cuda or cuda:N.
        needs_weights: Whether it is a network, whose weights may be missing.
    """

    make: Callable[[str], FlowMethod]
    needs_weights: bool = False


def _dis(_device: str) -> FlowMethod:
    from nstpipe.motion.flow.dis import dis_flow

    return dis_flow


def _farneback(_device: str) -> FlowMethod:
    from nstpipe.motion.flow.farneback import farneback_flow

    return farneback_flow


def _raft(device: str) -> FlowMethod:
    return _raft_of(None, device)


def _raft_of(path: Path | None, device: str) -> FlowMethod:
    from nstpipe.motion.flow.raft import raft_flow

    return raft_flow(path, device)


FLOW_METHODS: dict[str, FlowEntry] = {
    "dis": FlowEntry(_dis),
    "farneback": FlowEntry(_farneback),
    "raft": FlowEntry(_raft, needs_weights=True),
}
"""Every method, by its name in `temporal.flow`."""

ALLOWED_FLOWS = f"{', '.join(FLOW_METHODS)}, or the path of a RAFT state dict"
"""What `temporal.flow` may be, in the words of help texts and messages."""


def flow_method(name: str | Path, device: str = "cpu") -> FlowMethod:
    """The optical flow of a name.

    Args:
        name: A name of `FLOW_METHODS`, or the path of a RAFT state dict.
        device: The device of a method that uses a network: auto, cpu, cuda or cuda:N.

    Raises:
        MachineError: The weights of a network are missing.
    """
    entry = FLOW_METHODS.get(str(name))
    if entry is not None:
        return entry.make(device)
    if not Path(name).exists():
        raise MachineError(f"flow: {name} does not exist; should be {ALLOWED_FLOWS}.", suggest_path(Path(name)))
    return _raft_of(Path(name), device)
