"""Finds the frames of a video from which on the picture has another size or other colors."""

from __future__ import annotations

import dataclasses
import json
from bisect import bisect_left
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice, pairwise
from typing import Any

import av

from nstpipe.media.pictures.files import picture_size
from nstpipe.media.video.color import color_of
from nstpipe.media.video.frame_times import opened
from nstpipe.media.video.info import QUARTER_TURN, Reader, Shape, VideoColor, VideoInfo
from nstpipe.system.files import numbered_files

SHAPES_VERSION = 1
"""Part of the journal's key of the shapes: raised when the same video gives another result."""


def shapes_of(info: VideoInfo, on_frame: Callable[[int], None] = lambda _: None) -> tuple[Shape, ...]:
    """Look at the key frames of a video, with which a change begins, or at the header of each of numbered pictures.

    Args:
        info: The result of a probe.
        on_frame: Called with the number of each frame that was looked at. It can end the work by raising an exception.

    Returns:
        The frames with which something changes; empty if nothing does.

    Raises:
        ItemError: A picture cannot be read.
    """
    found: list[Shape] = []
    for shape in _looks(info):
        on_frame(shape.first_frame_index)
        last = found[-1] if found else Shape(0, info.width, info.height, info.color)
        if dataclasses.replace(shape, first_frame_index=last.first_frame_index) != last:
            found.append(shape)
    return tuple(found)


def with_shapes(info: VideoInfo, text: str) -> VideoInfo:
    """A video with its shapes, out of the text that `shapes_as_json` made."""
    shapes = (Shape(**{**one, "color": VideoColor(**one["color"])}) for one in json.loads(text))
    return dataclasses.replace(info, shapes=tuple(shapes))


def shapes_as_json(shapes: tuple[Shape, ...]) -> str:
    """Shapes as text, for the journal."""
    return json.dumps([dataclasses.asdict(shape) for shape in shapes])


def upright_size(frame: av.VideoFrame, sample_aspect: Fraction) -> tuple[int, int]:
    """Width and height of a decoded frame in pixels, upright and with square pixels."""
    width, height = round(frame.width * sample_aspect), frame.height
    return (height, width) if frame.rotation % 180 == QUARTER_TURN else (width, height)


def _looks(info: VideoInfo) -> Iterator[Shape]:
    if info.reader is Reader.SEQUENCE:
        for index, (_, path) in enumerate(sorted(numbered_files(info.path).items())):
            yield Shape(index, *picture_size(path), info.color)
    elif info.reader is Reader.FFMPEG:
        try:
            yield from _looks_at_key_frames(info)
        except av.FFmpegError:
            return  # the decode check tells what is damaged


def _looks_at_key_frames(info: VideoInfo) -> Iterator[Shape]:
    line = info.timeline
    ticks = info.ticks if line is None else line.raw
    joints = line.mending.joints if line is not None and line.mending is not None else ()
    parts = list(pairwise((0, *joints, len(ticks))))
    last = -1
    first_aspect: Fraction | None = None
    with opened(info.path) as container:
        stream = container.streams[info.index]
        assert isinstance(stream, av.VideoStream)
        stream.thread_type = "AUTO"
        stream.codec_context.skip_frame = "NONKEY"
        for frame in container.decode(stream):
            if frame.pts is None:
                continue
            places = (bisect_left(ticks, frame.pts, max(first, last + 1), end) for first, end in parts if end > last + 1)
            index = next((place for place in places if place < len(ticks) and ticks[place] == frame.pts), last + 1)
            index = last = min(index, len(ticks) - 1)
            aspect = stream.codec_context.sample_aspect_ratio
            first_aspect = aspect if first_aspect is None else first_aspect
            # A container may give another shape of the pixels than its stream does, and has precedence.
            square = info.sample_aspect if aspect == first_aspect else Fraction(aspect or 1)
            yield Shape(index, *upright_size(frame, square), _comparable(info, color_of(frame)))


def _comparable(info: VideoInfo, color: VideoColor) -> VideoColor:
    """The colors of a frame; those of the video if only what is said of the mastering differs."""
    same = dataclasses.replace(color, mastering=info.color.mastering) == info.color
    return info.color if same else dataclasses.replace(color, mastering="")


def color_runs(info: VideoInfo, first_frame_index: int, end_frame_index: int) -> Iterator[tuple[VideoColor, int, int]]:
    """Ranges of frames with the same colors: the colors, the first frame, and the first one behind."""
    changes: list[tuple[int, VideoColor]] = [(0, info.color)]
    for shape in info.shapes:
        if shape.color != changes[-1][1]:
            changes.append((shape.first_frame_index, shape.color))
    ends: list[Any] = [start for start, _ in islice(changes, 1, None)]
    for (start, color), end in zip(changes, [*ends, end_frame_index], strict=True):
        first, behind = max(start, first_frame_index), min(end, end_frame_index)
        if first < behind:
            yield color, first, behind
