"""What nstpipe's own handling of a video costs: decode and encode with the identity for an engine, against ffmpeg alone.

ffmpeg alone makes the same transcode: the same codec and settings, the same times, the sound copied. Both results are
checked before any number is shown: the same count of frames at the same times, and pictures that are alike. The rows:

    ffmpeg: one process from file to file, pictures never leave it.
    nstpipe: source to sink; every picture passes through this process in RGB.
    nstpipe, stored: likewise, with each picture kept in the frame store between, as a run does.

Run: python benchmarks/media.py [--frames 120] [--rounds 3] [--codec libx264] [--json results.json]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nstpipe.config.models import Encode
from nstpipe.journal.frames import FrameStore
from nstpipe.media.frame import Frame
from nstpipe.media.video import ffmpeg
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.encode import VideoSink
from nstpipe.media.video.probe import probe

SAMPLE = Path(__file__).parent.parent / "samples" / "video" / "city_night.mp4"
CRF = 18
ALIKE_LEVELS = 2.0
"""Mean difference allowed between the two results: both are lossy, and one has gone through RGB."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        share: of ffmpeg's own frames a second.
    """

    way: str
    frames_a_second: float
    share: float


def made(folder: Path, frames: int) -> Path:
    """The sample at 1080p, with film grain so that it is no easier to encode than footage, and with sound."""
    path = folder / "original.mp4"
    command = [ffmpeg.executable(), "-v", "error", "-y", "-stream_loop", "-1", "-i", str(SAMPLE)]
    command += ["-f", "lavfi", "-i", "sine=frequency=440", "-map", "0:v", "-map", "1:a", "-t", str(frames / 25)]
    command += ["-vf", "fps=25,scale=1920:1080:flags=bicubic,noise=alls=4:allf=t,setsar=1,setparams=colorspace=bt709"]
    command += ["-frames:v", str(frames), "-c:v", "libx264", "-preset", "veryfast", "-crf", "16", "-c:a", "aac", str(path)]
    subprocess.run(command, check=True)
    return path


def by_ffmpeg(original: Path, result: Path, codec: str) -> None:
    command = [ffmpeg.executable(), "-v", "error", "-y", "-copyts", "-i", str(original), "-map", "0:v", "-map", "0:a"]
    command += ["-c:v", codec, "-crf", str(CRF), "-pix_fmt", "yuv420p", "-fps_mode", "passthrough", "-c:a", "copy"]
    subprocess.run([*command, str(result)], check=True)


def by_nstpipe(original: Path, result: Path, codec: str, store: FrameStore | None = None) -> None:
    info = probe(original)
    source = VideoSource(info)
    count = source.frame_count
    encode = Encode(codec=codec, crf=CRF)
    with VideoSink(result, info, source.size, encode, copy_audio=True, keep_metadata=True, frame_count=count) as sink:
        for frame in source.read(0, count) if store is None else stored(source, store):
            sink.write(frame.pixels, frame)
        sink.finish()


def stored(source: VideoSource, store: FrameStore) -> Iterator[Frame]:
    no_state = np.zeros((1, 3, 1, 1), np.float32)
    for frame in source.read(0, source.frame_count):
        store.save(frame.frame_index, frame.pixels, no_state)
    for frame_index, pixels in enumerate(store.frames(0, source.frame_count)):
        yield Frame(pixels, frame_index)


def check(original: Path, one: Path, other: Path) -> None:
    """Stop unless both results have the original's frames at their times, and look alike."""
    before, first, second = probe(original), probe(one), probe(other)
    times = [[tick * info.time_base for tick in info.ticks] for info in (before, first, second)]
    assert times[0] == times[1] == times[2], "frames are missing or elsewhere in time"
    assert before.audio_streams == first.audio_streams == second.audio_streams == 1
    frames = [next(VideoSource(info).read(len(info.ticks) // 2, len(info.ticks) // 2 + 1)) for info in (first, second)]
    apart = np.abs(frames[0].pixels.astype(int) - frames[1].pixels).mean()
    assert apart < ALIKE_LEVELS, f"the results differ by {apart:.2f} levels on average"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--codec", default="libx264", choices=["libx264", "libx265"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        original = made(folder, arguments.frames)
        results = {way: folder / f"{index}.mp4" for index, way in enumerate(("ffmpeg", "nstpipe", "nstpipe, stored"))}
        store = FrameStore(folder / "store")
        ways: dict[str, Callable[[], None]] = {
            "ffmpeg": lambda: by_ffmpeg(original, results["ffmpeg"], arguments.codec),
            "nstpipe": lambda: by_nstpipe(original, results["nstpipe"], arguments.codec),
            "nstpipe, stored": lambda: by_nstpipe(original, results["nstpipe, stored"], arguments.codec, store),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        # In turn, so that what else the machine does falls on all of them.
        for _ in range(arguments.rounds):
            for way, run in ways.items():
                began = time.perf_counter()
                run()
                seconds[way].append(time.perf_counter() - began)
        for way in ("nstpipe", "nstpipe, stored"):
            check(original, results["ffmpeg"], results[way])
    rates = {way: arguments.frames / statistics.median(measured) for way, measured in seconds.items()}
    rows = [Row(way, rate, rate / rates["ffmpeg"]) for way, rate in rates.items()]
    print(f"{arguments.codec}, 1920x1080, {arguments.frames} frames, median of {arguments.rounds}; ffmpeg {ffmpeg.version()}")
    print("| way | frames a second | share of ffmpeg's |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {row.way} | {row.frames_a_second:.1f} | {row.share:.0%} |")
    if arguments.json is not None:
        content = {"machine": platform.processor() or platform.machine(), "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps({**content, "seconds": seconds}, indent=2) + "\n")


if __name__ == "__main__":
    main()
