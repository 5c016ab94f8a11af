"""Finds the streams of a file in the ffmpeg program, which may number them in another way than the libraries that probed it."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import ffmpeg as graphs

from nstpipe.errors import ItemError, KilledError, MachineError, TransientError
from nstpipe.media.video.ffmpeg import IO_ERROR, LOCAL_ONLY, Process, local, silent_seconds, was_ended_from_outside
from nstpipe.media.video.ffmpeg_program import described, environment, executable, how_to_get
from nstpipe.media.video.info import Reader, VideoInfo
from nstpipe.system.programs import how_it_ended, run_program

_STREAM_LINE = re.compile(r"^ +Stream #0:(\d+)(?:\[0x[0-9a-f]+\])?(?:\([^)]*\))?: (\w+)", re.MULTILINE)
"""A line of ffmpeg's description of a file: the number of a stream and its kind. All versions from 4 to 9 write it."""

TIMES_COMPARED = 4
"""Frames whose times tell two streams of pictures in one file apart."""

PACKETS_LOOKED_AT = 100
"""Packets come in the order of decoding: those that follow the first frames on the screen may come before them."""


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
    probed = {info.stream_index: "video", **{stream.index: stream.kind for stream in info.streams}}
    found = _kinds(executable(), info.path, _changed(info.path))
    kind = probed[index]
    if found.get(index) == kind and list(found.values()).count(kind) == list(probed.values()).count(kind):
        return str(index)
    wanted = sorted(one for one, other in probed.items() if other == kind)
    there = sorted(number for number, other in found.items() if other == kind)
    if len(wanted) == len(there):
        return str(there[wanted.index(index)])
    if index == info.stream_index:
        return str(_with_the_same_times(info, there))
    raise _unseen(info, next(str(stream) for stream in info.streams if stream.index == index))


def _changed(path: Path) -> int:
    """When a file was changed, in nanoseconds since 1970; 0 if it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=64)
def _kinds(program: str, path: Path, changed: int) -> Mapping[int, str]:
    """The kind of each stream that a program finds in a file."""
    command = [program, "-hide_banner", "-nostdin", "-protocol_whitelist", "file", "-i", local(path)]
    try:
        finished = run_program(command, limit_seconds=silent_seconds(), environment=environment())
    except MachineError as error:
        raise ItemError(f"{path}: {error.problem}", how_to_get()) from error
    said = finished.stderr
    # ffmpeg always fails, because it is given no output. But what it says is not whole if it was killed.
    if was_ended_from_outside(finished.exit_code, said):
        raise KilledError(f"{path}: ffmpeg ended with {how_it_ended(finished.exit_code)} before it had described the file.")
    kinds = {int(number): kind.lower() for number, kind in _STREAM_LINE.findall(said)}
    if not kinds and IO_ERROR in said:
        raise TransientError(f"{path}: ffmpeg cannot read it now. It said: {finished.last_words}")
    return kinds


def _with_the_same_times(info: VideoInfo, numbers: Sequence[int]) -> int:
    """The stream of pictures whose first frames have the times of the probe.

    Raises:
        ItemError: There is none, or more than one.
    """
    wanted = tuple(tick * info.time_base for tick in info.ticks[:TIMES_COMPARED])
    found = [number for number in numbers if _first_times(executable(), info.path, _changed(info.path), number) == wanted]
    if len(found) != 1:
        raise _unseen(info, f"the picture's stream {info.stream_index}")
    return found[0]


@functools.lru_cache(maxsize=64)
def _first_times(program: str, path: Path, changed: int, number: int) -> tuple[Fraction, ...]:
    """The times of the first frames of a stream, in order."""
    stream = graphs.input(local(path), **LOCAL_ONLY)[str(number)]
    graph = graphs.output(stream, "pipe:1", format="framecrc", c="copy").global_args("-copyts")
    base, rows = Fraction(1), list[str]()
    with Process(graph, path, stdout=True, loglevel="error") as process:
        lines = (line.decode() for line in process.stdout)
        for line in lines:
            if line.startswith("#tb 0: "):
                base = Fraction(line.removeprefix("#tb 0: "))
            elif not line.startswith("#"):
                rows.append(line)
            if len(rows) == PACKETS_LOOKED_AT:
                break
        else:
            process.finish(may_fail=True)
    times = [int(row.split(",")[2]) * base for row in rows]
    return tuple(sorted(times)[:TIMES_COMPARED])


def _unseen(info: VideoInfo, what: str) -> ItemError:
    return ItemError(f"{info.path}: {described()} does not find {what}.", how_to_get())
