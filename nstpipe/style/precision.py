"""Where and in which precision the engine computes."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping

import torch
from torch.nn import functional

from nstpipe.style.winograd import TransformedFilter, Workspace

FIRST_CUDA_WITH_BFLOAT16 = (8, 0)
"""Compute capability of Ampere; older GPUs only emulate bfloat16."""


PROBE_SHAPE = (1, 128, 64, 64)
"""Of the activation with which precisions are compared: about as much work as one of VGG19's convolutions in a small picture,
some milliseconds on a core."""


PROBE_ROUNDS = 6
"""The fastest of each counts, as other work on the machine only ever makes one slower."""


_clock_seconds = time.perf_counter if os.name == "nt" else time.thread_time
"""Of this thread's own work, where that is measured finely enough: several processes may start at once, and each would take the
others' work for its own."""


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type of the network's numbers; pixels, Gram matrices and losses are float32 always.

    Args:
        name: auto, bfloat16 or float32. The first takes bfloat16 where the device is no slower in it, since it takes half
            the memory.
        device: where the network runs.
    """
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if not has_native_bfloat16(device):
        return torch.float32
    if device.type == "cpu" and bfloat16_speedup() < 1:
        return torch.float32
    return torch.bfloat16


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; where it does not, it can be tens of times slower."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= FIRST_CUDA_WITH_BFLOAT16
    # Older releases of torch cannot say; float32 is right everywhere.
    get_capabilities: Callable[[], Mapping[str, object]] = getattr(torch.cpu, "get_capabilities", dict)
    capabilities = get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "avx10_2", "bf16", "sve_bf16"))


@functools.cache
def bfloat16_speedup() -> float:
    """How many times as fast the CPU convolves in bfloat16 as in float32, measured once in a process; below 1 it is slower.

    That a processor has the instructions does not say so: a fifth-generation Xeon whose matrix unit the virtual machine hid was
    half as fast in torch's own convolutions, and another server with the same instructions more than twice. In float32 it is
    nstpipe's that counts, with fewer multiplications. One thread is asked: several wait for each other, and longer where
    another process wants the same cores, so that what they took together said the opposite in four of six starts beside one.
    """
    channels = PROBE_SHAPE[1]
    activation = torch.ones(PROBE_SHAPE).contiguous(memory_format=torch.channels_last)
    kernel, bias = torch.ones((channels, channels, 3, 3)), torch.zeros(channels)
    evaluated = TransformedFilter.of(kernel, Workspace())
    coarse_activation, coarse_kernel, coarse_bias = (tensor.bfloat16() for tensor in (activation, kernel, bias))
    fastest_seconds = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(PROBE_ROUNDS):
            for precision in fastest_seconds:
                began = _clock_seconds()
                if precision == torch.float32:
                    evaluated.convolved(activation, bias, repeats_edge=False)
                else:
                    functional.conv2d(coarse_activation, coarse_kernel, coarse_bias, padding=1)
                fastest_seconds[precision] = min(fastest_seconds[precision], _clock_seconds() - began)
    finally:
        torch.set_num_threads(threads)
    return fastest_seconds[torch.float32] / fastest_seconds[torch.bfloat16]
