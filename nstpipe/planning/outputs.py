"""Plans the outputs of a job and their clips, from its inputs and from what the journal knows. Opens no file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nstpipe.config.models import Job
from nstpipe.errors import BugError, NstpipeError
from nstpipe.events import ItemFailed
from nstpipe.journal.records import FrameKind, Record
from nstpipe.media.frame import working_size
from nstpipe.planning.fingerprints import Fingerprinter, clip_fingerprints, output_fingerprint
from nstpipe.planning.input_info import InputInfo
from nstpipe.planning.reasons import reason_to_run
from nstpipe.style.scales import cost, scale_count

EARLIER_BITS = 16
"""Bits per value in which each pass but the last stores its frames. 16 bits keep rounding errors from adding up over passes."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames that must be done in order, because each starts from the one before: the unit of parallel work.

    Attributes:
        first_frame_index: The index of the first frame in the file, from 0.
        end_frame_index: The index after the last frame.
        fingerprint: The hash of everything that decides the stylized frames.
    """

    first_frame_index: int
    end_frame_index: int
    fingerprint: str

    @property
    def frame_count(self) -> int:
        """The number of frames in the clip."""
        return self.end_frame_index - self.first_frame_index


@dataclass(frozen=True)
class FrameGroup:
    """Frames of a clip that take about equally long.

    Attributes:
        kind: What they start from.
        frames: How many they are.
        max_iterations: The most iterations of each. Those at smaller scales count by their pixels. 1 for an engine that does
            not iterate.
    """

    kind: FrameKind
    frames: int
    max_iterations: int


@dataclass(frozen=True, slots=True)
class Output:
    """A file to be made, and the clips that it is made of.

    Attributes:
        job: The job whose settings apply, with the painting that was picked if its style is a collection.
        input: The file that is read, and what it holds.
        size: Width and height in pixels of the stylized frames.
        clips: The clips, in the order of the file.
        fingerprint: The hash of everything that decides the file.
        reason: Why it must be made; empty if it is done.
        fingerprint_inputs: The values that the fingerprint is the hash of, in readable form.
        failed_before: The record of an earlier failure, if nothing has changed since; None if there was none.
        linked_output: The output that a picture starts from; None if it is not linked.
        elsewhere: The first frame indices of the clips that other shards make.
    """

    job: Job
    input: InputInfo
    size: tuple[int, int]
    clips: tuple[Clip, ...]
    fingerprint: str
    reason: str
    fingerprint_inputs: Mapping[str, Any] = field(default_factory=dict)
    failed_before: Record | None = None
    linked_output: Path | None = None
    elsewhere: frozenset[int] = frozenset()

    @property
    def own_clips(self) -> tuple[Clip, ...]:
        """The clips that this run makes: all of them, except where shards share a video."""
        return tuple(clip for clip in self.clips if clip.first_frame_index not in self.elsewhere)

    @property
    def own_frames(self) -> int:
        """The number of frames in these clips."""
        return sum(clip.frame_count for clip in self.own_clips)

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self.input.file.output

    @property
    def painting(self) -> str:
        """The painting that was picked for it, by its path in the style's collection; empty if there is no collection."""
        return self.job.style.painting

    @property
    def is_video(self) -> bool:
        """Whether it is made from a video. Its frames wait on disk until all of them can be encoded."""
        return self.input.video is not None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return not self.reason

    @property
    def own_reason(self) -> str:
        """The reason, without the previous picture that it is linked to."""
        return self.reason.removesuffix(f"; {self.input.neighbor}")

    def max_iterations(self, clip: Clip, frames_done: int) -> int:
        """The maximum number of iterations for the rest of a clip. Those at smaller scales count by their pixels.

        A frame of an engine that does not iterate counts as one.
        """
        return sum(group.frames * group.max_iterations for group in self.frame_groups(clip, frames_done))

    def frame_groups(self, clip: Clip, frames_done: int) -> tuple[FrameGroup, ...]:
        """The frames that are left of a clip, by what they start from. A frame is counted once for each pass over the clip."""
        frames_left = clip.frame_count - frames_done
        if not frames_left:
            return ()
        first: FrameKind = "first" if self.is_video else "picture"
        later: FrameKind = "later" if self.is_video else "linked"
        most_first = cost(self.job.first_iterations, scale_count(self.job.first_scales, self.size))
        most_later = self.job.next_iterations
        if not self.job.iterates:
            most_first = most_later = 1
        if frames_done:
            return (FrameGroup(later, frames_left, most_later),)
        neighbor = self.input.neighbor
        if neighbor is not None and neighbor.reliability is not None and self.input.is_linked:
            # The unreliable share has no paint yet, and takes its share of the iterations of a first frame.
            unseen = round((1 - neighbor.reliability) * self.job.first_iterations) if self.job.iterates else 1
            return (FrameGroup(later, 1, max(most_later, unseen)),)
        rest = self.passes_of(clip) * clip.frame_count - 1
        return (FrameGroup(first, 1, most_first), *((FrameGroup(later, rest, most_later),) if rest else ()))

    def passes_of(self, clip: Clip) -> int:
        """The number of passes over a clip. A single frame needs only one."""
        return self.job.temporal.passes if clip.frame_count > 1 else 1


def plan_job(
    fingerprinter: Fingerprinter,
    found: Iterable[InputInfo],
    known: Mapping[Path, Record],
    *,
    frames_stored: Callable[[Clip], int],
) -> tuple[Output, ...]:
    """Plan the outputs of one job.

    Args:
        fingerprinter: That of the job.
        found: Its inputs, in order.
        known: The journal's records, by the path of the output.
        frames_stored: Returns how many frames of a clip are finished and wait to be encoded.
    """
    job = fingerprinter.job
    outputs: list[Output] = []
    for item in found:
        before = outputs[-1] if outputs and item.is_linked else None
        fingerprint_inputs, clips, fingerprint = identified(fingerprinter, item, before)
        record = known.get(item.file.output)
        stored = sum(map(frames_stored, clips)) if item.video is not None else 0
        reason = reason_to_run(fingerprint, fingerprint_inputs, record, stored, item.frame_count)
        if reason and item.neighbor is not None:
            reason = f"{reason}; {item.neighbor}"
        outputs.append(
            Output(
                job,
                item,
                working_size(item.size, job.size, even=item.video is not None),
                clips,
                fingerprint,
                reason,
                fingerprint_inputs,
                record if record is not None and record.state == "failed" and record.fingerprint == fingerprint else None,
                before.path if before is not None else None,
            )
        )
    return tuple(outputs)


def identified(
    fingerprinter: Fingerprinter, item: InputInfo, before: Output | None
) -> tuple[dict[str, Any], tuple[Clip, ...], str]:
    """Return what decides the output of an input, in readable form, then its clips and its fingerprint.

    Args:
        fingerprinter: That of the job.
        item: The input.
        before: The output of the picture that it starts from; None if it is not linked.
    """
    described = fingerprinter.inputs_of(item, before.clips[0].fingerprint if before is not None else None)
    of_clips = clip_fingerprints(described)
    clips = tuple(map(Clip, *zip(*described["clips"], strict=True), of_clips))
    return described, clips, output_fingerprint(described, of_clips)


def failed(job: Job, path: Path, error: NstpipeError, output: Output | None = None) -> ItemFailed:
    """Return the event for an item that failed."""
    made = str(output.path) if output is not None else ""
    # A name that is no UTF-8 can neither be recorded nor printed as it is.
    shown = str(path).encode(errors="backslashreplace").decode()
    trace = error.trace if isinstance(error, BugError) else ""
    return ItemFailed(job=job.name, path=shown, reason=error.problem, next_step=error.next_step, output=made, traceback=trace)
