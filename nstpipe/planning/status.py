"""How far a job is: what its runs have written down of those outputs that it names now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nstpipe.config import Job
from nstpipe.errors import ItemError
from nstpipe.journal.journal import Journal
from nstpipe.journal.records import FrameRecord, Record
from nstpipe.planning.inputs import InputFile, find_inputs


@dataclass(frozen=True)
class JobProgress:
    """What is known of a job's outputs. The job may have had another name, and other inputs, when it was written down.

    Attributes:
        records: of the outputs that were planned or could not be, by path.
        unknown: inputs that no run has looked at yet.
    """

    records: tuple[Record, ...]
    unknown: tuple[InputFile, ...] = ()

    def frames(self, journal: Journal) -> tuple[FrameRecord, ...]:
        """The finished frames of its inputs, by input and frame index."""
        inputs: dict[str, set[str]] = {}
        for record in self.records:
            inputs.setdefault(record.job, set()).add(record.input)
        return tuple(frame for name in inputs for frame in journal.frames(name) if frame.path in inputs[name])


def job_progress(job: Job, known: Mapping[str, Record]) -> JobProgress:
    """How far a job is; opens no input beyond its first bytes.

    Args:
        job: of the pipeline as it is now.
        known: all records of the journal, by path.
    """
    try:
        files = find_inputs(job)
    except ItemError:
        # Where its inputs are out of reach, what was written down under its name has to do.
        return JobProgress(tuple(record for record in known.values() if record.job == job.name))
    # What failed before it could be planned is known by its input, which may be another job's output.
    failed = {path: record for path, record in known.items() if record.state == "failed" and record.input == path}
    found = [known.get(str(file.output)) or failed.get(str(file.path)) for file in files]
    of_all = [record for path in {str(job.input)} - {str(file.path) for file in files} if (record := failed.get(path))]
    records = [*(record for record in found if record is not None), *(record for record in of_all if record.job == job.name)]
    unknown = tuple(file for file, record in zip(files, found, strict=True) if record is None)
    return JobProgress(tuple(sorted(records, key=lambda record: record.path)), unknown)
