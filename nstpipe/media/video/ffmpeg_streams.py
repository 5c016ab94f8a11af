"""Finds the streams of a file in the ffmpeg program, which may number them in another way than the libraries that probed it."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import islice

import ffmpeg as graphs

from nstpipe.errors import ItemError, MachineError
from nstpipe.media.video.ffmpeg import LOCAL_ONLY, Process, local, silent_seconds
from nstpipe.media.video.ffmpeg_program import described, environment, executable, how_to_get
from nstpipe.media.video.info import Reader, VideoInfo
from nstpipe.system.programs import run_program

_STREAM_LINE = re.compile(r"^ +Stream #0:(\d+)(?:\[0x[0-9a-f]+\])?(?:\([^)]*\))?: (\w+)", re.MULTILINE)
"""A line of ffmpeg's description of a file: the number of a stream and its kind. All versions from 4 to 9 write it."""

TIMES_COMPARED = 4
"""Frames whose times tell two streams of pictures in one file apart."""


def ffmpeg_stream(info: VideoInfo, index: int) -> str:
    """The number that the ffmpeg program has for a stream, for its option `map`.

    Args:
        info: The video, as it was probed.
        index: The number of the stream in the probed file.

    Raises:
        ItemError: This ffmpeg does not find the stream.
    """
    if info.reader is not Reader.FFMPEG:
        return str(index)
    return str(_numbers(executable(), info)[index])


@functools.lru_cache(maxsize=8)
def _numbers(program: str, info: VideoInfo) -> Mapping[int, int]:
    """The program's number of each stream, by the number of the probe."""
    probed = {info.stream_index: "video", **{stream.index: stream.kind for stream in info.streams}}
    found = _kinds(program, info)
    if all(found.get(index) == kind for index, kind in probed.items()):
        return {index: index for index in probed}
    numbers: dict[int, int] = {}
    for kind in dict.fromkeys(probed.values()):
        wanted = sorted(index for index, other in probed.items() if other == kind)
        there = sorted(number for number, other in found.items() if other == kind)
        if len(wanted) == len(there):
            numbers |= dict(zip(wanted, there, strict=True))
        elif kind == "video":
            numbers |= {info.stream_index: _with_the_same_times(info, there)}
    missing = [index for index, kind in probed.items() if kind != "video" and index not in numbers]
    if missing:
        raise _unseen(info, ", ".join(str(stream) for stream in info.streams if stream.index in missing))
    return numbers


def _kinds(program: str, info: VideoInfo) -> dict[int, str]:
    """The kind of each stream that the program finds."""
    command = [program, "-hide_banner", "-nostdin", "-protocol_whitelist", "file", "-i", local(info.path)]
    try:
        said = run_program(command, limit_seconds=silent_seconds(), environment=environment()).stderr
    except MachineError as error:
        raise ItemError(f"{info.path}: {error.problem}", how_to_get()) from error
    return {int(number): kind.lower() for number, kind in _STREAM_LINE.findall(said)}


def _with_the_same_times(info: VideoInfo, numbers: Sequence[int]) -> int:
    """The stream of pictures whose first frames have the times of the probe.

    Raises:
        ItemError: There is none, or more than one.
    """
    wanted = [tick * info.time_base for tick in info.ticks[:TIMES_COMPARED]]
    found = [number for number in numbers if _first_times(info, number) == wanted]
    if len(found) != 1:
        raise _unseen(info, f"the picture's stream {info.stream_index}")
    return found[0]


def _first_times(info: VideoInfo, number: int) -> list[Fraction]:
    stream = graphs.input(local(info.path), **LOCAL_ONLY)[str(number)]
    graph = graphs.output(stream, "pipe:1", format="framecrc", c="copy").global_args("-copyts")
    base, times = Fraction(1), []
    with Process(graph, info.path, stdout=True, loglevel="error") as process:
        lines = (line.decode() for line in process.stdout)
        # Packets come in the order of decoding: those that follow the first frames on the screen may come before them.
        for line in islice(lines, 100):
            if line.startswith("#tb 0: "):
                base = Fraction(line.removeprefix("#tb 0: "))
            elif not line.startswith("#"):
                times.append(int(line.split(",")[2]) * base)
    return sorted(times)[:TIMES_COMPARED]


def _unseen(info: VideoInfo, what: str) -> ItemError:
    return ItemError(f"{info.path}: {described()} does not find {what}.", how_to_get())
