"""Decodes a whole video once, to see which of its frames decode and what of it is damaged."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import median_low
from typing import Any

import ffmpeg as graphs

from nstpipe.errors import ItemError, TransientError
from nstpipe.media.video.clock import UNKNOWN_TICK, Timeline, aligned, pushed_apart
from nstpipe.media.video.ffmpeg import LOCAL_ONLY, Process, UnresponsiveError, each_at_its_time, local
from nstpipe.media.video.ffmpeg_streams import ffmpeg_stream
from nstpipe.media.video.info import DecodeCheck, MissingFrames, Reader, VideoInfo

DECODE_CHECK_VERSION = 3
"""Part of the journal's key of a check: raised when the same video gives another result."""

ONE_THREAD: dict[str, Any] = {"threads": 1}
"""Options of ffmpeg for a damaged video: with several threads, each run may give other frames."""


def decode_check(info: VideoInfo, on_frame: Callable[[int], None] = lambda _: None) -> DecodeCheck:
    """Decode all of a video with ffmpeg, as painting will, to see which frames it gives and what is wrong with it.

    This takes as long as playing it at full speed.

    Args:
        info: The result of a probe.
        on_frame: Called with the number of frames decoded so far. It can end the decoding by raising an exception.
    """
    if info.reader is not Reader.FFMPEG:
        return DecodeCheck(None, "")
    # If the file is damaged, several threads may give other frames each time.
    expected = info.ticks if info.timeline is None else info.timeline.raw
    ticks, complaints = _decoded(info, ONE_THREAD if info.loss else {}, on_frame)
    if info.loss is None and (ticks != expected or complaints):
        ticks, complaints = _decoded(info, ONE_THREAD, on_frame)
    return DecodeCheck(None if ticks == expected else ticks, complaints)


def _decoded(info: VideoInfo, options: dict[str, Any], on_frame: Callable[[int], None]) -> tuple[tuple[int, ...], str]:
    source = graphs.input(local(info.path), **LOCAL_ONLY, **options)
    video = source[ffmpeg_stream(info, info.stream_index)]
    graph, pattern = _rising_times(video, info) if info.timeline is None else _any_times(video, info.timeline)
    ticks: list[int] = []
    with Process(graph.global_args("-copyts"), info.path, stdout=True, loglevel="error") as process:
        for line in process.stdout:
            if (found := pattern.match(line)) is not None:
                ticks.append(int(found[1]) if found[1] != b"NOPTS" else UNKNOWN_TICK)
                on_frame(len(ticks))
        try:
            process.finish()
        except ItemError as error:
            # A decoder that was killed, or that hung, says nothing of the frames that it would have given.
            if not ticks or isinstance(error, (TransientError, UnresponsiveError)):
                raise
        return tuple(ticks if info.timeline is not None else sorted(ticks)), process.messages()


def _rising_times(video: Any, info: VideoInfo) -> tuple[Any, re.Pattern[bytes]]:
    """A graph that writes a line for each frame, and where its time stands in the line."""
    time_base = f"{info.time_base.numerator}/{info.time_base.denominator}"
    # One line per frame, with its time. The frame is wrapped, because its pixels are not needed.
    graph = graphs.output(
        video, "pipe:1", format="framecrc", vcodec="wrapped_avframe", enc_time_base=time_base, **each_at_its_time()
    )
    return graph, re.compile(rb"\d+,[^,]*, *(-?\d+),")


def _any_times(video: Any, line: Timeline) -> tuple[Any, re.Pattern[bytes]]:
    """The same for times that fall: ffmpeg changes them when it writes a file, but not before."""
    printed = (
        video.filter("settb", f"{line.raw_time_base.numerator}/{line.raw_time_base.denominator}")
        .filter("metadata", mode="add", key="shown", value="1")
        .filter("metadata", mode="print", file="-")
    )
    # Of all containers, this one takes times that do not rise without a complaint.
    graph = graphs.output(printed, os.devnull, format="framecrc", vcodec="wrapped_avframe", **each_at_its_time())
    return graph, re.compile(rb"frame:\d+ +pts:(-?\d+|NOPTS)")


GAP_STEPS = 1.5
"""If the decoder has complained, a frame that lasts longer than this many usual steps has a missing frame behind it."""


def apply_decode_check(info: VideoInfo, found: DecodeCheck) -> VideoInfo:
    """The facts of a video after all of it was decoded: its frames are those that decode, and its loss is known.

    Raises:
        ItemError: No frame of it decodes.
    """
    ticks = info.ticks if found.ticks is None else _mended(info, found.ticks)
    if not ticks:
        raise ItemError(f"{info.path} has a video stream, but no frame of it can be decoded.")
    loss = info.loss
    said = found.complaints.splitlines()[-1] if found.complaints else ""
    if len(ticks) < len(info.ticks):
        missing = sorted(set(info.ticks).difference(ticks)) or [ticks[-1]]
        more = len(info.ticks) - len(ticks)
        reason = loss.reason if loss is not None else f"they cannot be decoded ({said or 'the decoder gives no reason'})"
        before = loss.frames if loss is not None else 0
        time = missing[0] * info.time_base if loss is None else min(loss.time, missing[0] * info.time_base)
        loss = MissingFrames(time, None if before is None else before + more, reason)
    elif loss is None and said:
        loss = _loss_in_times(ticks, info, said)
    end_tick = info.end_tick if ticks[-1] == info.ticks[-1] else None
    return dataclasses.replace(info, ticks=ticks, end_tick=end_tick, loss=loss, complaint="" if loss is not None else said)


_CUT_SHORT = ("ended prematurely", "partial file", "runcated")
"""Words of ffmpeg's messages about a file that ends too early."""


def _mended(info: VideoInfo, decoded: tuple[int, ...]) -> tuple[int, ...]:
    """The times of the frames that decode, as they are encoded."""
    return pushed_apart(decoded) if info.timeline is None else aligned(info.timeline, decoded)


def _loss_in_times(ticks: Sequence[int], info: VideoInfo, said: str) -> MissingFrames | None:
    time_base, line = info.time_base, info.timeline
    joints = {line.ticks[joint] for joint in line.mending.joints} if line is not None and line.mending is not None else set()
    steps = [later - earlier for earlier, later in pairwise(ticks)]
    usual = median_low(steps) if steps else 0
    gaps: Iterable[tuple[int, int]] = ((tick, step) for tick, step in zip(ticks, steps, strict=False))
    # Between two recordings that were joined there may be a gap, but no frame is missing.
    wide = [(tick, step) for tick, step in gaps if step > GAP_STEPS * usual and tick + step not in joints]
    if wide:
        frames = sum(round(step / usual) - 1 for _, step in wide)
        return MissingFrames((wide[0][0] + usual) * time_base, frames, f"the decoder said: {said}")
    if any(words in said for words in _CUT_SHORT):
        return MissingFrames((ticks[-1] + usual) * time_base, None, f"the decoder said: {said}")
    return None
