"""Devices of this machine and their memory. torch is imported when it is asked, since it takes seconds to load."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nstpipe.errors import MachineError, UsageError
from nstpipe.system.memory import memory

if TYPE_CHECKING:
    import torch

DEVICE_PATTERN = r"^(auto|cpu|cuda(:[0-9]+)?)$"
"""Names of devices in pipeline.yaml."""


def choose_device(name: str) -> torch.device:
    """The device that a name of pipeline.yaml stands for: auto, cpu, cuda or cuda:N.

    Raises:
        UsageError: the name is none of them.
        MachineError: this machine has no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.match(DEVICE_PATTERN, name):
        raise UsageError(f"device: found {name}; should be auto, cpu, cuda or cuda:N.")
    device = torch.device(name)
    if device.type == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if found <= (device.index or 0):
            allowed = ", ".join(["auto", "cpu", *(f"cuda:{index}" for index in range(found))])
            raise MachineError(
                f"device: found {name}, but this machine has {found} usable CUDA devices; allowed here: {allowed}.",
                "Give another device, or look at `nstpipe doctor` for what is missing.",
            )
    return device


def total_bytes(device: torch.device) -> int:
    """Memory of a device, as far as this process may have it."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    return memory().total_bytes


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device, for this process."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return memory().free_bytes
