"""Computes how many workers a run has, and how much disk space its unfinished frames need."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from pathlib import Path

from nstpipe.config import Pipeline
from nstpipe.journal.frames import frame_store, stored_bytes
from nstpipe.planning.fingerprints import bits_waiting
from nstpipe.planning.outputs import EARLIER_BITS, Clip, Output
from nstpipe.system.devices import is_cpu
from nstpipe.system.threads import core_count

CORES_A_WORKER = 8
"""The number of CPU cores that the optimization of one frame keeps busy. More cores are better used by more workers."""


def bytes_needed(outputs: Iterable[Output], pipeline: Pipeline) -> int:
    """Return the space that outputs need on the disk of the work folder.

    It is that of one waiting video for each worker, and of one that is encoded while they paint the next ones.
    """
    videos = (output for output in outputs if output.is_video)
    needed = [sum(clip_bytes(clip, output, pipeline.work) for clip in output.own_clips) for output in videos]
    return sum(heapq.nlargest(worker_count(pipeline) + 1, needed)) if any(needed) else 0


def clip_bytes(clip: Clip, output: Output, work: Path) -> int:
    """Return the space that the frames left of a clip will take on the disk of the work folder."""
    if not output.is_video:
        return 0
    frames, history = clip.frame_count - frames_done(work, clip), max(output.job.temporal.lags)
    all_bits = (_bits_of(output), *[EARLIER_BITS] * (output.passes_of(clip) - 1))
    return sum(stored_bytes(frames, output.size, bits, history) for bits in all_bits)


def _bits_of(output: Output) -> int:
    return bits_waiting(output.job, output.input)


def worker_count(pipeline: Pipeline) -> int:
    """Return the number of processes that work on clips at the same time; if it is open, the least that `auto` chooses."""
    if pipeline.workers != "auto":
        return pipeline.workers
    if not is_cpu(pipeline.devices[0]):
        return len(pipeline.devices)  # one process fills a GPU; several would share its memory
    return max(1, core_count() // CORES_A_WORKER)


def frames_done(work: Path, clip: Clip) -> int:
    """Return how many frames of a clip are finished and wait to be encoded."""
    return frame_store(work, clip.fingerprint).count(clip.first_frame_index, clip.end_frame_index)
