"""The devices of this machine and their memory.

torch takes seconds to load, so it is imported only where it must be asked.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nstpipe.errors import MachineError, UsageError
from nstpipe.system.memory import memory

if TYPE_CHECKING:
    import torch

DEVICE_PATTERN = r"^(auto|cpu|cuda(:[0-9]+)?)$"
"""Names of devices in pipeline.yaml."""


def choose_device(name: str) -> torch.device:
    """Return the device for a name of pipeline.yaml: auto, cpu, cuda or cuda:N.

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


VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
"""The environment variable that names the GPUs which a process can see. It counts only before torch is imported there."""


def only_visible(device: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a process that sees a single GPU, which it then knows as ``cuda``.

    Args:
        device: The GPU as this process counts it, such as cuda:1.
        environment: The environment of this process, which may itself see some GPUs only.
    """
    visible = [name.strip() for name in environment.get(VISIBLE_GPUS, "").split(",") if name.strip()]
    index = int(device.partition(":")[2] or 0)
    return {VISIBLE_GPUS: visible[index] if index < len(visible) else str(index)}


GPU_DRIVER_LIBRARIES = ("libcuda.so.1", "nvcuda.dll")
"""NVIDIA's driver, which is installed apart from torch; without it no CUDA device can be used."""

AMD_DRIVER = Path("/dev/kfd")
"""AMD's driver, which torch's builds for ROCm need."""


def has_gpu_driver() -> bool:
    """Whether a driver is installed through which torch could use a GPU."""
    for name in GPU_DRIVER_LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return AMD_DRIVER.exists()


def gpu_names() -> tuple[str, ...]:
    """Return the names of the GPUs that NVIDIA's driver shows to this process, in its order. torch is not imported.

    The driver is asked directly (CUDA Driver API: cuInit, cuDeviceGetCount, cuDeviceGet, cuDeviceGetName).
    """
    for library in GPU_DRIVER_LIBRARIES:
        try:
            driver = ctypes.CDLL(library)
        except OSError:
            continue
        count, device, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
            return ()
        found = []
        for index in range(count.value):
            if driver.cuDeviceGet(ctypes.byref(device), index) or driver.cuDeviceGetName(name, len(name), device):
                return ()
            found.append(name.value.decode(errors="replace"))
        return tuple(found)
    return ()


def is_cpu(name: str) -> bool:
    """Return whether a name of pipeline.yaml means the CPU. torch is imported only where there might be a GPU.

    Raises:
        UsageError: the name is no name of a device.
        MachineError: this machine has no such device.
    """
    if name == "cpu" or (name == "auto" and not has_gpu_driver()):
        return True
    return choose_device(name).type == "cpu"


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
