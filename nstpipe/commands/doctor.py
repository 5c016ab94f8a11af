"""What this machine has for nstpipe, what is missing, and how to get it."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import joblib
import torch

from nstpipe.config import Pipeline, load_pipeline, load_right_part
from nstpipe.config.engines import BUNDLED, AdainEngine, NetworkEngine
from nstpipe.errors import MachineError
from nstpipe.media.video import ffmpeg_program
from nstpipe.style.networks.load import load_network
from nstpipe.style.precision import bfloat16_speedup, choose_precision, has_native_bfloat16
from nstpipe.style.weights import load_weights
from nstpipe.style.weights_files import bundled_path
from nstpipe.system.devices import choose_device
from nstpipe.system.files import sha256_of
from nstpipe.system.memory import memory

SMALLEST_FREE_BYTES = 2 * 10**9
"""Below it a night's work of even a short film may not fit."""

WANTED_ENCODERS = {
    "libx264": "the default codec of .mp4, .mov and .mkv",
    "libx265": "encode.codec: libx265",
    "libsvtav1": ".webm, encode.codec: libsvtav1",
    "prores_ks": "encode.codec: prores",
    "ffv1": "encode.codec: ffv1",
    "gif": "output to .gif",
    "libwebp_anim": "output to .webp",
    "mov_text": "subtitles in .mp4 and .mov",
}
"""The encoders that nstpipe uses, and what for."""

WANTED_DECODERS = {"h264": "H.264", "hevc": "H.265", "vp9": "VP9", "libdav1d": "AV1", "prores": "ProRes", "ffv1": "FFV1"}
"""The decoders of common videos, and what they decode."""

WANTED_FILTERS = {"bwdif": "interlaced videos", "zscale": "HDR videos", "tonemap": "HDR videos", "palettegen": "output to .gif"}
"""The filters that nstpipe uses that are not in every ffmpeg, and what for."""


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


def examine(folder: Path, pipeline: Pipeline | None = None) -> tuple[Finding, ...]:
    """Look at this machine.

    Args:
        folder: whose disk is meant.
        pipeline: whose networks are looked at; None for no pipeline.

    The ffmpeg that is looked at is the one in use; see `nstpipe.media.video.ffmpeg_program.using`.
    """
    return (
        Finding("python", f"{platform.python_version()} at {sys.executable}"),
        Finding("torch", torch.__version__),
        _torchvision(),
        *_devices(),
        _memory(),
        *_ffmpeg(),
        _weights(),
        *_engines(pipeline),
        _disk(folder),
    )


def pipeline_named_by(path: Path | None) -> Pipeline | None:
    """The pipeline whose ffmpeg and networks are looked at; None if there is none.

    Args:
        path: the file; None for the one of the current folder, if there is one.

    Raises:
        ConfigError: the file that is given is wrong.
    """
    if path is not None:
        return load_pipeline(path)
    usual = Path("pipeline.yaml")
    return load_right_part(usual).pipeline if usual.is_file() else None


def ffmpeg_of(pipeline: Pipeline | None) -> AbstractContextManager[None]:
    """A block in which the ffmpeg is used that a pipeline names."""
    return nullcontext() if pipeline is None else ffmpeg_program.using(pipeline.ffmpeg, pipeline.place_of("ffmpeg"))


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


def _ffmpeg() -> list[Finding]:
    try:
        program = ffmpeg_program.program()
        found = f"{ffmpeg_program.version()} at {program.path} ({program.reason})"
        ffmpeg_program.check()
        built_with = (
            ("encoders", WANTED_ENCODERS, ffmpeg_program.encoders()),
            ("decoders", WANTED_DECODERS, ffmpeg_program.decoders()),
            ("filters", WANTED_FILTERS, ffmpeg_program.filters()),
        )
    except MachineError as error:
        remedy = f"{error.next_step} ffmpeg is needed for videos.".strip()
        return [Finding("ffmpeg", error.problem, remedy, is_needed=True), Finding("encoders", "unknown without ffmpeg")]
    return [Finding("ffmpeg", found), *(_features(*features) for features in built_with)]


def _features(topic: str, wanted: Mapping[str, str], there: Collection[str]) -> Finding:
    """Which features an ffmpeg has of those that nstpipe uses."""
    missing = [name for name in wanted if name not in there]
    found = ", ".join(name for name in wanted if name in there)
    if not missing:
        return Finding(topic, found)
    uses = "; ".join(f"{name} is needed for {wanted[name]}" for name in missing)
    return Finding(topic, f"{found}; missing {', '.join(missing)}", f"{uses}. {ffmpeg_program.how_to_get()}")


def _weights() -> Finding:
    try:
        load_weights("bundled")
    except MachineError as error:
        return Finding("weights", error.problem, error.next_step, is_needed=True)
    return Finding("weights", f"bundled, checked, at {bundled_path()}")


def _engines(pipeline: Pipeline | None) -> list[Finding]:
    """What paints: the optimizer, and the networks of the pipeline, or else the one whose weights come with nstpipe."""
    jobs = pipeline.jobs if pipeline is not None else ()
    networks = dict.fromkeys(job.engine for job in jobs if isinstance(job.engine, NetworkEngine))
    if pipeline is None or not networks:
        networks = dict.fromkeys([AdainEngine(name="adain")])
    findings = [Finding("engines", "optimizer; network, trained by the run; iecontrast, with weights of yours")]
    weights = pipeline.weights if pipeline is not None else BUNDLED
    for engine in networks:
        try:
            load_network(engine, weights)
        except MachineError as error:
            findings.append(Finding(f"engine {engine.name}", error.problem, error.next_step, is_needed=True))
        else:
            named = [
                f"{key}: {'bundled' if key == 'weights' and engine.bundled else path}, sha256 {sha256_of(path)[:8]}"
                for key, path in engine.files.items()
            ]
            findings.append(Finding(f"engine {engine.name}", "; ".join(named)))
    return findings


def _disk(folder: Path) -> Finding:
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    remedy = "" if free > SMALLEST_FREE_BYTES else "Free some space: unfinished frames of a video wait on the disk."
    return Finding("disk", f"{free / 1e9:.1f} GB free at {existing}", remedy)
