"""The methods of optical flow, by name."""

from __future__ import annotations

from pathlib import Path

from nstpipe.motion.flow.dis import dis_flow
from nstpipe.motion.flow.farneback import farneback_flow
from nstpipe.motion.flow.method import Flow


def flow_method(name: str | Path, device: str = "cpu") -> Flow:
    """The optical flow of a name.

    Args:
        name: dis, farneback, raft, or the path of a RAFT state dict.
        device: that RAFT runs on: auto, cpu, cuda or cuda:N.

    Raises:
        MachineError: RAFT's weights are not to be had.
    """
    if name == "dis":
        return dis_flow
    if name == "farneback":
        return farneback_flow
    # torchvision is imported only when RAFT is asked for.
    from nstpipe.motion.flow.raft import raft_flow

    return raft_flow(None if name == "raft" else Path(name), device)
