"""What this machine has for nstpipe, what is missing, and how to get it."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import joblib
import torch

from nstpipe.errors import MachineError
from nstpipe.media.video import ffmpeg
from nstpipe.style.precision import bfloat16_speedup, choose_precision, has_native_bfloat16
from nstpipe.style.weights import load_weights
from nstpipe.style.weights_files import bundled_path
from nstpipe.system.devices import choose_device
from nstpipe.system.memory import memory

SMALLEST_FREE_BYTES = 2 * 10**9
"""Below it a night's work of even a short film may not fit."""

WANTED_ENCODERS = ("libx264", "libx265", "libsvtav1", "prores_ks", "ffv1")


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        topic: what was looked at.
        found: what was found.
        remedy: what to do about it; empty if all is well.
        is_needed: whether nstpipe cannot run without the remedy.
    """

    topic: str
    found: str
    remedy: str = ""
    is_needed: bool = False


def examine(folder: Path) -> tuple[Finding, ...]:
    """Look at this machine.

    Args:
        folder: whose disk is meant.
    """
    return (
        Finding("python", f"{platform.python_version()} at {sys.executable}"),
        Finding("torch", torch.__version__),
        _torchvision(),
        *_devices(),
        _memory(),
        _ffmpeg(),
        _encoders(),
        _weights(),
        _disk(folder),
    )


def _torchvision() -> Finding:
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:
        remedy = "Only needed for `weights: torchvision`: install the torchvision that was built for this torch."
        return Finding("torchvision", f"cannot be imported: {error}", remedy)
    return Finding("torchvision", str(torchvision.__version__))


def _devices() -> list[Finding]:
    cpu = torch.device("cpu")
    native = "no native bfloat16 that torch can see"
    if has_native_bfloat16(cpu):
        native = f"in bfloat16 {bfloat16_speedup():.1f} times as fast as in float32"
    findings = [Finding("cpu", f"{joblib.cpu_count()} cores, {native}")]
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        memory_gb = torch.cuda.get_device_properties(index).total_memory / 1e9
        findings.append(Finding(f"cuda:{index}", f"{torch.cuda.get_device_name(index)}, {memory_gb:.0f} GB"))
    if not count:
        remedy = "A CUDA GPU makes frames many times faster; nstpipe works without."
        findings.append(Finding("cuda", "no usable GPU", remedy))
    chosen = choose_device("auto")
    precision = str(choose_precision("auto", chosen)).removeprefix("torch.")
    return [*findings, Finding("device: auto", f"takes {chosen} in {precision}")]


def _memory() -> Finding:
    found = memory()
    return Finding("memory", f"{found.free_bytes / 1e9:.1f} of {found.total_bytes / 1e9:.1f} GB available")


def _ffmpeg() -> Finding:
    try:
        return Finding("ffmpeg", f"{ffmpeg.version()} at {ffmpeg.executable()}")
    except (MachineError, OSError) as error:
        return Finding("ffmpeg", str(error), "Needed for videos.", is_needed=True)


def _encoders() -> Finding:
    try:
        missing = [name for name in WANTED_ENCODERS if name not in ffmpeg.encoders()]
    except (MachineError, OSError):
        return Finding("encoders", "unknown without ffmpeg")
    if missing:
        have = ", ".join(name for name in WANTED_ENCODERS if name not in missing)
        return Finding("encoders", f"{have}; missing {', '.join(missing)}", "Take another ffmpeg if you need them.")
    return Finding("encoders", ", ".join(WANTED_ENCODERS))


def _weights() -> Finding:
    try:
        load_weights("bundled")
    except MachineError as error:
        return Finding("weights", error.problem, error.next_step, is_needed=True)
    return Finding("weights", f"bundled, checked, at {bundled_path()}")


def _disk(folder: Path) -> Finding:
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    remedy = "" if free > SMALLEST_FREE_BYTES else "Free some space: unfinished frames of a video wait on the disk."
    return Finding("disk", f"{free / 1e9:.1f} GB free at {existing}", remedy)
