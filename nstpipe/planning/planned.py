"""The outputs of a plan. Pictures of a folder are kept as packed rows, from which outputs are made when they are asked for."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nstpipe.config.models import Job
from nstpipe.journal.folders import FolderPlan
from nstpipe.media.frame import working_size
from nstpipe.media.losses import Omission
from nstpipe.planning.fingerprints import Fingerprinter
from nstpipe.planning.input_info import InputInfo, Neighbor
from nstpipe.planning.inputs import InputFile
from nstpipe.planning.lazy_sequence import LazySequence
from nstpipe.planning.outputs import Output, identified


@dataclass(frozen=True, slots=True)
class PictureFolder:
    """The planned pictures of one folder.

    Attributes:
        job: Their job.
        fingerprinter: That of the job.
        inputs: The folder of the pictures.
        outputs: The folder of their results, which have the same names.
        plan: What is planned of them.
        only_left: Whether only those that are not done are meant.
    """

    job: Job
    fingerprinter: Fingerprinter
    inputs: Path
    outputs: Path
    plan: FolderPlan
    only_left: bool = False

    def __len__(self) -> int:
        """Return the number of pictures."""
        return self.plan.left if self.only_left else self.plan.pictures

    @property
    def done(self) -> int:
        """How many of them are done."""
        return len(self) - self.plan.left

    def __iter__(self) -> Iterator[Output]:
        """Make the outputs, in the order of the folder."""
        return (output for output in self._all() if not (self.only_left and output.is_done))

    def _all(self) -> Iterator[Output]:
        unpacked = json.loads(zlib.decompress(self.plan.planned))
        reasons = unpacked["reasons"]
        omissions = [tuple(Omission(**one) for one in found) for found in unpacked["omissions"]]
        before: Output | None = None
        for row in unpacked["rows"]:
            name, sha256, width, height, size_bytes, modified_ns, reason_index, link, omissions_index = row
            neighbor = Neighbor(before.input.file.path, *link) if link is not None and before is not None else None
            file = InputFile(self.inputs / name, self.outputs / name, is_video=False)
            item = InputInfo(
                file,
                sha256,
                (width, height),
                stamp=(size_bytes, modified_ns),
                neighbor=neighbor,
                omissions=omissions[omissions_index],
            )
            linked = before if item.is_linked else None
            described, clips, fingerprint = identified(self.fingerprinter, item, linked)
            reason = reasons[reason_index]
            before = Output(
                self.job,
                item,
                working_size(item.size, self.job.size, even=False),
                clips,
                fingerprint,
                f"{reason}; {neighbor}" if reason and neighbor is not None else reason,
                described,
                linked_output=linked.path if linked is not None else None,
            )
            yield before

    def names(self, *, done: bool = True, left: bool = True) -> list[str]:
        """Return the names of the pictures.

        Args:
            done: Whether to return those that are done.
            left: Whether to return the others.
        """
        unpacked = json.loads(zlib.decompress(self.plan.planned))
        wanted = [left if reason else done for reason in unpacked["reasons"]]
        return [row[0] for row in unpacked["rows"] if wanted[row[6]]]

    def omissions_left(self) -> Iterator[tuple[str, Omission]]:
        """Yield what the results that are not done will not hold of their pictures, each with the name of the picture."""
        unpacked = json.loads(zlib.decompress(self.plan.planned)) if self.plan.left else {"omissions": []}
        if any(unpacked["omissions"]):
            omissions = [[Omission(**one) for one in found] for found in unpacked["omissions"]]
            for row in unpacked["rows"]:
                if unpacked["reasons"][row[6]]:
                    yield from ((row[0], one) for one in omissions[row[8]])


def packed(outputs: Sequence[Output], inputs: Path, folder: Path, state: str) -> FolderPlan | None:
    """Pack the outputs of one folder; return None if they are more than `PictureFolder` can tell.

    Args:
        outputs: All outputs of the folder, in order.
        inputs: The folder of the pictures.
        folder: The folder of the outputs.
        state: What the plan depends on; see `FolderPlan`.
    """
    reasons: dict[str, int] = {}
    omissions: dict[tuple[Omission, ...], int] = {}
    rows: list[list[Any]] = []
    for output in outputs:
        item = output.input
        file = item.file
        fits = file.path.name == output.path.name and file.path.parent == inputs and output.path.parent == folder
        if not fits or output.is_video or item.masks or output.failed_before is not None or item.stamp is None:
            return None
        neighbor = item.neighbor
        if neighbor is not None and (not rows or neighbor.path.name != rows[-1][0]):
            return None
        link = [neighbor.refusal, neighbor.reliability] if neighbor is not None else None
        reason = reasons.setdefault(output.own_reason, len(reasons))
        omitted = omissions.setdefault(item.omissions, len(omissions))
        rows.append([file.path.name, item.sha256, *item.size, *item.stamp, reason, link, omitted])
    content = {
        "reasons": list(reasons),
        "omissions": [[asdict(one) for one in found] for found in omissions],
        "rows": rows,
    }
    left = sum(not output.is_done for output in outputs)
    text = json.dumps(content, separators=(",", ":")).encode()
    return FolderPlan(state, len(rows), left, zlib.compress(text, level=1))


@dataclass(frozen=True, slots=True)
class JobCount:
    """How many outputs and frames a job has.

    Attributes:
        outputs: Its outputs.
        done: Those that are done.
        frames: The frames of all of them, without the clips that other shards make.
    """

    outputs: int = 0
    done: int = 0
    frames: int = 0


class PlannedOutputs(LazySequence[Output]):
    """All outputs of a plan, in the order of the pipeline. Those of a `PictureFolder` are made again by each iteration.

    Args:
        parts: The outputs, and the folders of outputs, in order.
    """

    def __init__(self, parts: Iterable[Output | PictureFolder]) -> None:
        self._parts = tuple(parts)
        self._length = sum(len(part) if isinstance(part, PictureFolder) else 1 for part in self._parts)

    def __len__(self) -> int:
        """Return the number of outputs."""
        return self._length

    def __iter__(self) -> Iterator[Output]:
        """Return an iterator over all outputs."""
        return itertools.chain.from_iterable(part if isinstance(part, PictureFolder) else (part,) for part in self._parts)

    def left(self, without: Collection[str] = frozenset()) -> PlannedOutputs:
        """Return the outputs that are not done.

        Args:
            without: The paths of some that are left out.
        """
        return PlannedOutputs(self._left(without))

    def _left(self, without: Collection[str]) -> Iterator[Output | PictureFolder]:
        folders = {Path(path).parent for path in without}
        for part in self._parts:
            if not isinstance(part, PictureFolder):
                yield from () if part.is_done or str(part.path) in without else (part,)
            elif part.plan.left and part.outputs in folders:
                yield from (output for output in part if not output.is_done and str(output.path) not in without)
            elif part.plan.left:
                yield replace(part, only_left=True)

    def of_jobs(self, jobs: Collection[str]) -> PlannedOutputs:
        """Return the outputs of some jobs, given by their names."""
        return PlannedOutputs(part for part in self._parts if part.job.name in jobs)

    def tried_again(self) -> PlannedOutputs:
        """Return the same outputs, as if none had failed before."""
        return PlannedOutputs(
            part if isinstance(part, PictureFolder) else replace(part, failed_before=None) for part in self._parts
        )

    def folders(self) -> Iterator[Path]:
        """Yield the folder of each output. Some come several times."""
        return (part.outputs if isinstance(part, PictureFolder) else part.path.parent for part in self._parts)

    def single(self) -> Iterator[Output]:
        """Yield the outputs that belong to no `PictureFolder`. Every video is one of them."""
        return (part for part in self._parts if not isinstance(part, PictureFolder))

    @property
    def done(self) -> int:
        """The number of outputs that are done."""
        return sum(count.done for count in self.counts().values())

    def counts(self) -> dict[str, JobCount]:
        """Count the outputs of each job that has some, by its name."""
        counts: dict[str, JobCount] = {}
        for part in self._parts:
            before = counts.get(part.job.name, JobCount())
            if isinstance(part, PictureFolder):
                pictures, done, frames = len(part), part.done, len(part)
            else:
                pictures, done, frames = 1, int(part.is_done), part.own_frames
            counts[part.job.name] = JobCount(before.outputs + pictures, before.done + done, before.frames + frames)
        return counts

    def job_of(self, name: str) -> Job | None:
        """Return a job as it was planned, with the engine that it has after all; None if it has no outputs."""
        return next((part.job for part in self._parts if part.job.name == name), None)

    def jobs_done(self) -> Iterator[Job]:
        """Yield the job of each output, or folder of outputs, of which something is done."""
        for part in self._parts:
            is_done = part.done > 0 if isinstance(part, PictureFolder) else part.is_done
            if is_done:
                yield part.job

    def omissions_left(self) -> dict[str, Iterator[tuple[str, Omission]]]:
        """Return what the outputs that are not done will not hold of their inputs, each with its name, by job."""
        parts: dict[str, list[Output | PictureFolder]] = {}
        for part in self._parts:
            parts.setdefault(part.job.name, []).append(part)
        return {job: itertools.chain.from_iterable(map(_omissions_left, of_job)) for job, of_job in parts.items()}

    def done_paths(self) -> Paths:
        """Return the paths of the outputs that are done."""
        return Paths(self.done, self._done_paths)

    def _done_paths(self) -> Iterator[Path]:
        for part in self._parts:
            if isinstance(part, PictureFolder):
                yield from (part.outputs / name for name in part.names(left=False)) if part.done else ()
            elif part.is_done:
                yield part.path


NO_OUTPUTS = PlannedOutputs(())


class Paths(LazySequence[Path]):
    """Paths that are made when they are asked for, since there may be a million.

    Args:
        length: The number of paths.
        make: Makes all of them.
    """

    def __init__(self, length: int, make: Callable[[], Iterator[Path]]) -> None:
        self._length = length
        self._make = make

    def __len__(self) -> int:
        """Return the number of paths."""
        return self._length

    def __iter__(self) -> Iterator[Path]:
        """Return an iterator over all paths."""
        return self._make()


def _omissions_left(part: Output | PictureFolder) -> Iterator[tuple[str, Omission]]:
    if isinstance(part, PictureFolder):
        yield from part.omissions_left()
    elif not part.is_done:
        yield from ((part.input.file.path.name, one) for one in part.input.omissions)
