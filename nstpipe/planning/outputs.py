"""From config, probes and journal to outputs and their clips, each with the reason why it must run. Pure."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nstpipe.config.models import Job, StyleImage
from nstpipe.errors import ItemError
from nstpipe.events import ItemFailed
from nstpipe.journal.records import Record
from nstpipe.media.frame import working_size
from nstpipe.media.pictures.masks import Mask
from nstpipe.planning.inputs import InputFile
from nstpipe.style import ALGORITHM_VERSION
from nstpipe.style.scales import cost, scale_count
from nstpipe.system.files import sha256_of, state_of

if TYPE_CHECKING:
    from nstpipe.media.video.info import VideoInfo

_KEYS_OF_THE_OUTPUT = frozenset({"encode", "audio", "metadata", "rate"})
"""Keys of a job that change the file, but not the stylized frames in it; a picture's file only `metadata`."""

_KEYS_THAT_CHANGE_NO_FRAME = frozenset({"name", "input", "output", "include", "exclude", "shots", "link"})
"""Keys of a job that only say where things are; `shots` acts through the frames that each clip begins with, and `link`
through the pictures that go on from others."""


@dataclass(frozen=True)
class Neighbor:
    """The picture before one, in the order of a folder's files.

    Attributes:
        path: of the picture before.
        refusal: why the picture does not go on from it; empty if it does.
        reliability: of the flow between the two, 0 to 1; None if something else decided.
    """

    path: Path
    refusal: str
    reliability: float | None = None

    def __str__(self) -> str:
        if self.refusal:
            return f"starts afresh: {self.refusal}"
        return f"goes on from {self.path.name}: {self.reliability:.0%} of the flow is reliable"


@dataclass(frozen=True)
class InputInfo:
    """An input file that was looked into.

    Attributes:
        file: where it is and where its result goes.
        sha256: of its content.
        size: width and height in pixels, upright.
        video: what a probe found; None for a picture.
        shot_starts: indices of the frames that begin a shot; the first is 0.
        masks: of the job's regions, in order.
        masks_sha256: of their contents, in order.
        stamp: size in bytes and time in nanoseconds of the file when it was looked into; None if nobody asks.
        neighbor: the picture before it, of a folder; None if there is none, or nobody asks.
    """

    file: InputFile
    sha256: str
    size: tuple[int, int]
    video: VideoInfo | None = None
    shot_starts: tuple[int, ...] = (0,)
    stamp: tuple[int, int] | None = None
    masks: tuple[Mask, ...] = ()
    masks_sha256: tuple[str, ...] = ()
    neighbor: Neighbor | None = None

    @property
    def frame_count(self) -> int:
        """Frames in the file."""
        return len(self.video.ticks) if self.video is not None else 1


@dataclass(frozen=True)
class Clip:
    """Frames that must be done in order, because each starts from the one before: the unit of parallel work.

    Attributes:
        first_frame_index: from 0, in the file.
        end_frame_index: the first one that is no longer part of the clip.
        fingerprint: of all that decides the stylized frames.
    """

    first_frame_index: int
    end_frame_index: int
    fingerprint: str

    @property
    def frame_count(self) -> int:
        """Frames of the clip."""
        return self.end_frame_index - self.first_frame_index


@dataclass(frozen=True)
class Output:
    """A file to be made, and the clips that it is made of.

    Attributes:
        job: whose settings hold.
        found: what is read.
        size: width and height in pixels of the stylized frames.
        clips: in the order of the file.
        fingerprint: of all that decides the file.
        reason: why it must be made; empty if it is done.
        fingerprint_inputs: what the fingerprint is of, in readable form.
        failed_before: what is known of an earlier failure that nothing has changed about; None if there was none.
        follows: the output that a picture goes on from; None if it starts afresh.
    """

    job: Job
    found: InputInfo
    size: tuple[int, int]
    clips: tuple[Clip, ...]
    fingerprint: str
    reason: str
    fingerprint_inputs: Mapping[str, Any] = field(default_factory=dict)
    failed_before: Record | None = None
    linked_output: Path | None = None

    @property
    def path(self) -> Path:
        """Where the file goes."""
        return self.found.file.output

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return not self.reason

    @property
    def own_reason(self) -> str:
        """The reason, without which picture it goes on from."""
        return self.reason.removesuffix(f"; {self.found.neighbor}")

    def most_evaluations(self, clip: Clip, frames_done: int) -> int:
        """Iterations at most for the rest of a clip, those at smaller scales counted by their pixels."""
        frames_left = clip.frame_count - frames_done
        if not frames_left:
            return 0
        if frames_done:
            return frames_left * self.job.optimizer.next
        neighbor = self.found.neighbor
        if neighbor is not None and neighbor.reliability is not None and not neighbor.refusal:
            # What has no paint yet takes its share of what a whole first frame takes.
            unseen = 1 - neighbor.reliability
            return max(self.job.optimizer.next, round(unseen * self.job.optimizer.first))
        first = cost(self.job.optimizer.first, scale_count(self.job.scales, self.size))
        return first + (self.passes_of(clip) * clip.frame_count - 1) * self.job.optimizer.next

    def passes_of(self, clip: Clip) -> int:
        """How often a clip is painted over; a single frame has nothing to go along with."""
        return self.job.temporal.passes if clip.frame_count > 1 else 1


def plan_job(
    job: Job,
    found: Iterable[InputInfo],
    known: Mapping[Path, Record],
    *,
    seed: int,
    weights_sha256: str,
    picture_sha256: Mapping[Path, str],
    frames_stored: Callable[[Clip], int],
    precision: str = "auto",
) -> tuple[Output, ...]:
    """The outputs of one job.

    Args:
        job: from the pipeline.
        found: its inputs, in order.
        known: what the journal knows, by output.
        seed: of the pipeline.
        weights_sha256: what identifies the weights.
        picture_sha256: of the style pictures, of the picture given for `init`, and of the weights given for
            `temporal.flow`; masks come with what was found.
        frames_stored: how many frames of a clip are finished and wait to be encoded.
        precision: of the pipeline; auto is what a machine finds best, and decides nothing that people chose.
    """
    settings = job.model_dump(mode="json", exclude=set(_KEYS_THAT_CHANGE_NO_FRAME | _KEYS_OF_THE_OUTPUT))
    _identify(job.style.images, settings["style"], picture_sha256)
    for region, dumped in zip(job.regions, settings["regions"], strict=True):
        del dumped["mask"]  # a part of what was found, for each input has its own
        if region.style is not None:
            _identify(region.style.images, dumped["style"], picture_sha256)
    if isinstance(job.init, Path):
        settings["init"] = picture_sha256[job.init]
    if isinstance(job.temporal.flow, Path):
        settings["temporal"]["flow"] = picture_sha256[job.temporal.flow]
    given = job.model_dump(mode="json", include=set(_KEYS_OF_THE_OUTPUT))
    outputs: list[Output] = []
    for item in found:
        goes_on = item.neighbor is not None and not item.neighbor.refusal
        of_the_output: dict[str, Any] = {"metadata": given["metadata"]}
        frames: dict[str, Any] = settings
        if item.video is not None:
            codec = job.encode.codec_for(item.file.output.suffix)
            of_the_output = {**given, "encode": {**given["encode"], "codec": codec}}
        elif not goes_on:
            frames = _of_a_picture_alone(settings)
        of_all_clips: dict[str, Any] = {
            "algorithm": ALGORITHM_VERSION,
            "input": item.sha256,
            **({"masks": list(item.masks_sha256)} if item.masks else {}),
            "settings": frames,
            "seed": seed,
            "weights": weights_sha256,
            **({"precision": precision} if precision != "auto" else {}),
            # Of frames that wait on disk.
            **({"bits": bits} if (bits := bits_waiting(job, item)) > 8 else {}),
        }
        before = outputs[-1] if outputs and goes_on else None
        if before is not None:
            # Whatever changes the picture before changes this one.
            of_all_clips["follows"] = before.clips[0].fingerprint
        bounds = list(itertools.pairwise((*item.shot_starts, item.frame_count)))
        fingerprint_inputs = {**of_all_clips, "output": of_the_output, "clips": [list(bound) for bound in bounds]}
        clips = tuple(map(Clip, *zip(*bounds, strict=True), clip_fingerprints(fingerprint_inputs)))
        fingerprint = fingerprint_of(clips=[clip.fingerprint for clip in clips], output=of_the_output)
        size = working_size(item.size, job.size, even=item.video is not None)
        record = known.get(item.file.output)
        stored = sum(frames_stored(clip) for clip in clips) if item.video is not None else 0
        reason = _reason(fingerprint, fingerprint_inputs, record, stored, item.frame_count)
        if reason and item.neighbor is not None:
            reason = f"{reason}; {item.neighbor}"
        failed = record if record is not None and record.state == "failed" and record.fingerprint == fingerprint else None
        linked_output = before.path if before is not None else None
        outputs.append(Output(job, item, size, clips, fingerprint, reason, fingerprint_inputs, failed, linked_output))
    return tuple(outputs)


def _of_a_picture_alone(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide a picture which goes on from none."""
    optimizer = {key: value for key, value in settings["optimizer"].items() if key != "next"}
    return {**{key: value for key, value in settings.items() if key != "temporal"}, "optimizer": optimizer}


def bits_waiting(job: Job, item: InputInfo) -> int:
    """The bits of a color value in the frames that wait on disk until a video is encoded; 8 for a picture."""
    if item.video is None:
        return 8
    from nstpipe.media.video.encoding import bits_of

    return bits_of(job.encode, item.video, item.file.output)


def _identify(images: Iterable[StyleImage], style: dict[str, Any], sha256: Mapping[Path, str]) -> None:
    """Put the contents of paintings in the place of their paths."""
    for image, dumped in zip(images, style["images"], strict=True):
        dumped["path"] = sha256[image.path]


def _reason(fingerprint: str, fingerprint_inputs: Mapping[str, Any], record: Record | None, stored: int, frames: int) -> str:
    unfinished = f"unfinished (frame {stored + 1} of {frames})" if stored < frames else f"unfinished (all {frames} frames done)"
    if record is None:
        return unfinished if stored else "new"
    if record.fingerprint == fingerprint:
        if record.state == "done":
            return f"output {record.damage}" if record.damage else ""
        if record.state == "failed":
            return f"failed before ({record.attempts} {'try' if record.attempts == 1 else 'tries'}): {record.reason}"
        return unfinished if stored else "new"
    if not record.fingerprint:
        return unfinished if stored else f"failed before: {record.reason}"
    changes = list(changes_between(record.fingerprint_inputs, fingerprint_inputs))
    said = ", ".join(changes[:CHANGES_NAMED]) or "settings changed since it was made"
    more = len(changes) - CHANGES_NAMED
    return f"{said} and {more} more" if more > 0 else said


CHANGES_NAMED = 3
"""More would not be read in a table."""

_NEVER_SHOWN = ("input", "masks", "weights", "settings.init", "settings.temporal.flow")
"""Hashes; and `init` and `temporal.flow`, which may be one."""


def changes_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two descriptions of a result, as ``style.strength changed from 1.0 to 2.0``."""
    old, new = dict(_flat(before)), dict(_flat(after))
    if not old:
        return  # it was recorded before descriptions were
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) == new.get(key):
            continue
        name = key.removeprefix("settings.").removeprefix("output.")
        if key == "clips":
            yield "cuts changed"
        elif key == "follows":
            yield "the picture before it changed"
        elif key in _NEVER_SHOWN or key.endswith(".path"):
            yield f"{name.removesuffix('.path')} changed"
        else:
            yield f"{name} changed from {old.get(key, 'nothing')} to {new.get(key, 'nothing')}"


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, child in value.items():
        key = f"{prefix}{name}"
        if isinstance(child, Mapping):
            yield from _flat(child, f"{key}.")
        elif isinstance(child, list) and child and isinstance(child[0], Mapping):
            for index, entry in enumerate(child):
                yield from _flat(entry, f"{key}[{index}].")
        else:
            yield key, child


def clip_fingerprints(fingerprint_inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the clips of a described result: of all that decides their stylized frames.

    Args:
        fingerprint_inputs: as in `Output`, also after a way through JSON.
    """
    of_all_clips = {name: part for name, part in fingerprint_inputs.items() if name not in ("clips", "output")}
    return tuple(fingerprint_of(frames=list(bounds), **of_all_clips) for bounds in fingerprint_inputs.get("clips", ()))


def fingerprint_of(**parts: object) -> str:
    """A sha256 of values that JSON can hold, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def failed(job: Job, path: Path, error: ItemError, output: Output | None = None) -> ItemFailed:
    """The value that an item's error becomes."""
    made = str(output.path) if output is not None else ""
    # A name that is no UTF-8 can neither be recorded nor printed as it is.
    shown = str(path).encode(errors="backslashreplace").decode()
    return ItemFailed(job=job.name, path=shown, reason=error.problem, next_step=error.next_step, output=made)


@functools.lru_cache(maxsize=64)
def _sha256_of(path: Path, stamp: tuple[int, int]) -> str:
    return sha256_of(path)


def is_unchanged(found: InputInfo) -> bool:
    """Whether an input is still what was planned for."""
    path = found.file.path
    try:
        state = state_of(path)
        stamp = state.size_bytes, state.modified_ns
        return found.stamp in (None, stamp) or _sha256_of(path, stamp) == found.sha256
    except OSError:
        return False


EARLIER_BITS = 16
"""In which a pass that is not the last hands its results on; each is used once, so that roundings do not add up."""
