"""Plans the outputs of a job and their clips, from its inputs and from what the journal knows. Opens no file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nstpipe.config.models import Job
from nstpipe.errors import BugError, ItemError
from nstpipe.events import ItemFailed
from nstpipe.journal.records import Record
from nstpipe.media.frame import working_size
from nstpipe.planning.fingerprints import Fingerprinter, clip_fingerprints, output_fingerprint
from nstpipe.planning.input_info import InputInfo
from nstpipe.planning.reasons import reason_to_run
from nstpipe.style.scales import cost, scale_count

EARLIER_BITS = 16
"""In which a pass that is not the last hands its results on; each is used once, so that roundings do not add up."""


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
        input: the file that is read, and what it holds.
        size: width and height in pixels of the stylized frames.
        clips: in the order of the file.
        fingerprint: of all that decides the file.
        reason: why it must be made; empty if it is done.
        fingerprint_inputs: what the fingerprint is of, in readable form.
        failed_before: what is known of an earlier failure that nothing has changed about; None if there was none.
        linked_output: the output that a picture starts from; None if it starts afresh.
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

    @property
    def path(self) -> Path:
        """Where the file goes."""
        return self.input.file.output

    @property
    def is_video(self) -> bool:
        """Whether it is made of a video, whose frames wait on disk until all of them can be encoded."""
        return self.input.video is not None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return not self.reason

    @property
    def own_reason(self) -> str:
        """The reason, without which picture it goes on from."""
        return self.reason.removesuffix(f"; {self.input.neighbor}")

    def max_iterations(self, clip: Clip, frames_done: int) -> int:
        """Iterations at most for the rest of a clip, those at smaller scales counted by their pixels."""
        frames_left = clip.frame_count - frames_done
        if not frames_left:
            return 0
        if frames_done:
            return frames_left * self.job.optimizer.next
        neighbor = self.input.neighbor
        if neighbor is not None and neighbor.reliability is not None and self.input.is_linked:
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
    """Plan the outputs of one job.

    Args:
        job: from the pipeline.
        found: its inputs, in order.
        known: what the journal knows, by output.
        seed: of the pipeline.
        weights_sha256: what identifies the weights.
        picture_sha256: of the style pictures, of the picture given for `init`, and of the weights given for
            `temporal.flow`; masks come with the inputs.
        frames_stored: how many frames of a clip are finished and wait to be encoded.
        precision: of the pipeline.
    """
    fingerprinter = Fingerprinter(job, picture_sha256, weights_sha256, seed, precision)
    outputs: list[Output] = []
    for item in found:
        before = outputs[-1] if outputs and item.is_linked else None
        fingerprint_inputs = fingerprinter.inputs_of(item, before.clips[0].fingerprint if before is not None else None)
        bounds = fingerprint_inputs["clips"]
        clips = tuple(map(Clip, *zip(*bounds, strict=True), clip_fingerprints(fingerprint_inputs)))
        fingerprint = output_fingerprint(fingerprint_inputs)
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


def failed(job: Job, path: Path, error: ItemError, output: Output | None = None) -> ItemFailed:
    """The value that an item's error becomes."""
    made = str(output.path) if output is not None else ""
    # A name that is no UTF-8 can neither be recorded nor printed as it is.
    shown = str(path).encode(errors="backslashreplace").decode()
    trace = error.trace if isinstance(error, BugError) else ""
    return ItemFailed(job=job.name, path=shown, reason=error.problem, next_step=error.next_step, output=made, traceback=trace)
