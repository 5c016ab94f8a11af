"""Makes the file of an output from its finished frames, and tries again after transient errors."""

from __future__ import annotations

import errno
import time
from dataclasses import replace
from itertools import repeat
from pathlib import Path

from nstpipe.errors import DiskFullError, ItemError, OutputError
from nstpipe.events import Emit, ItemFailed, OutputDone
from nstpipe.journal.frames import DamagedFramesError, frame_store
from nstpipe.journal.placing import Placing
from nstpipe.media.frame import Frame
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.encode import video_sink
from nstpipe.media.video.encoding import keeps_alpha
from nstpipe.media.video.info import VideoInfo
from nstpipe.painting.attempts import check_unchanged, wait_to_retry
from nstpipe.planning.outputs import Output, failed
from nstpipe.storage.contents import held
from nstpipe.system.files import ensure_writable, sha256_of
from nstpipe.system.item_errors import item_errors
from nstpipe.system.retry import RETRY_WAITS_SECONDS, is_transient
from nstpipe.system.stop import Stop, Stopped


def finish_output(output: Output, placing: Placing, emit: Emit, stop: Stop) -> OutputDone | ItemFailed:
    """Make the file of an output whose clips are all done. Its stored frames are kept until the output is recorded.

    Args:
        output: what to make.
        placing: gives it its place.
        emit: takes events.
        stop: asks to end.

    Raises:
        Stopped: a stop was requested.
        DamagedFramesError: stored frames were damaged and have been removed. Their clips must be run again.
        OutputError: the file cannot be written under its name. It is a DiskFullError if there is no room.
    """
    began = time.monotonic()
    for attempt, wait_seconds in enumerate((*RETRY_WAITS_SECONDS, None), start=1):
        try:
            if output.input.video is not None:
                with item_errors(output.input.file.path), held(output.input.file.path):
                    _encode(output, output.input.video, placing, stop)
            break
        except DamagedFramesError:
            raise
        except (ItemError, OutputError) as error:
            if "No space left on device" in str(error):
                raise DiskFullError(error.problem, "Free some space. Finished work is kept.") from error
            if "Read-only file system" in str(error):
                ensure_writable(output.path.parent)  # the error is its own, not the item's
            # The folder itself may have been removed, and is then made again.
            again = is_transient(error, also=(errno.ENOENT,))
            if again and stop.should_stop():
                raise Stopped from error
            if again and wait_seconds is not None:
                wait_to_retry(output, None, error.problem, attempt, wait_seconds, emit, stop)
            elif isinstance(error, ItemError):
                return replace(failed(output.job, output.input.file.path, error, output), attempts=attempt)
            else:
                raise
    return OutputDone(
        job=output.job.name,
        path=str(output.input.file.path),
        output=str(output.path),
        frames=output.input.frame_count,
        encode_seconds=time.monotonic() - began,
        fingerprint=output.fingerprint,
        sha256=_sha256_of_made(output.path),
        painting=output.painting,
    )


def _sha256_of_made(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        next_step = "See that nothing moves it away, and run again."
        raise OutputError(f"{path} is made, but cannot be read again: {error.strerror}.", next_step) from error


def _encode(output: Output, info: VideoInfo, placing: Placing, stop: Stop) -> None:
    job = output.job
    check_unchanged(output.input)
    is_transparent = keeps_alpha(job.encode, info, output.path)
    with video_sink(
        output.path,
        info,
        output.size,
        job.encode,
        copy_audio=job.audio == "copy",
        keep_metadata=job.metadata == "keep",
        frame_count=output.input.frame_count,
        place=placing,
    ) as sink:
        for clip in output.clips:
            first, end = clip.first_frame_index, clip.end_frame_index
            stored = frame_store(placing.work, clip.fingerprint).frames(first, end)
            # Transparency is not painted: it is that of the original.
            originals = VideoSource(info).read(first, end) if is_transparent else repeat(None)
            for frame_index, (pixels, original) in enumerate(zip(stored, originals, strict=False), start=first):
                if stop.should_stop():
                    raise Stopped
                sink.write(pixels, Frame(pixels, frame_index, alpha=original.alpha if original is not None else None))
        sink.finish()
