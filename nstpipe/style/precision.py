"""Chooses the precision in which the network computes."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping

import torch
from torch.nn import functional

from nstpipe.style.winograd import TransformedFilter, Workspace

FIRST_CUDA_WITH_BFLOAT16 = (8, 0)
"""Compute capability of Ampere. Older GPUs only emulate bfloat16."""


PROBE_SHAPE = (1, 128, 64, 64)
"""Shape of the activation that is convolved to compare precisions: some milliseconds of work for a core, about as much as
one of VGG19's convolutions of a small picture."""


PROBE_ROUNDS = 6
"""Repetitions. The fastest counts, because other work on the machine can only make one slower."""


_clock_seconds = time.perf_counter if os.name == "nt" else time.thread_time
"""Seconds of this thread's own work, where that is measured finely enough. Several processes may start at the same time, and
wall-clock time would include the others' work."""


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type of the network's weights and activations. Pixels, Gram matrices and losses are always float32.

    Args:
        name: auto, bfloat16 or float32. With auto it is bfloat16 if the device is no slower in it, because it takes half the
            memory.
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
    """Return whether the device multiplies bfloat16 in hardware. Where it does not, it can be tens of times slower."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= FIRST_CUDA_WITH_BFLOAT16
    # Older releases of torch cannot tell. float32 works everywhere.
    get_capabilities: Callable[[], Mapping[str, object]] = getattr(torch.cpu, "get_capabilities", dict)
    capabilities = get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "avx10_2", "bf16", "sve_bf16"))


@functools.cache
def bfloat16_speedup() -> float:
    """Return how many times as fast the CPU convolves in bfloat16 as in float32, measured once in a process.

    A processor that has the instructions is not always fast in them. In float32 nstpipe's own convolution counts, which takes
    fewer multiplications. One thread is measured, because several wait for each other and for other processes. See
    docs/decisions/2026-11-29-precision.md.
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
