"""Where and in which precision the engine computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from nstpipe.errors import MachineError
from nstpipe.memory import memory

FIRST_CUDA_WITH_BFLOAT16 = (8, 0)
"""Compute capability of Ampere; older GPUs only emulate bfloat16."""


def choose_device(name: str) -> torch.device:
    """The device that a name of pipeline.yaml stands for: auto, cpu, cuda or cuda:N.

    Raises:
        MachineError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
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


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type of the network's numbers; pixels, Gram matrices and losses are float32 always.

    Args:
        name: auto, bfloat16 or float32.
        device: where the network runs.
    """
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    return torch.bfloat16 if has_native_bfloat16(device) else torch.float32


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; where it does not, it can be tens of times slower."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= FIRST_CUDA_WITH_BFLOAT16
    # Older releases of torch cannot say; float32 is right everywhere.
    get_capabilities: Callable[[], Mapping[str, object]] = getattr(torch.cpu, "get_capabilities", dict)
    capabilities = get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "avx10_2", "bf16", "sve_bf16"))


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device, for this process."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return memory().free_bytes
