"""Inspects many pictures at once with all cores, before they are planned one after another."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path

from nstpipe.config import Job
from nstpipe.journal.journal import Journal
from nstpipe.media.pictures.files import picture_size
from nstpipe.media.pictures.omissions import omissions_of_picture
from nstpipe.media.pictures.pillow import limit_megapixels, megapixel_limit
from nstpipe.planning.input_info import omissions_kind, picture_kind
from nstpipe.system.files import Stamp, sha256_of, state_of

LEAST_PICTURES = 10_000
"""Fewer new pictures are inspected by this process alone: others take some seconds to start."""

PICTURES_A_BATCH = 100
"""Pictures that a process inspects before it tells what it has found."""


def inspect_ahead(
    job: Job, pictures: Iterable[tuple[Path, Path]], count: int, journal: Journal, progress: Callable[[int, Path], None]
) -> None:
    """Let the journal keep what there is to know of the pictures of a job, if many have not been inspected yet.

    A picture that cannot be read is left out. Whoever inspects it next finds the reason.

    Args:
        job: The job.
        pictures: Those that may not have been inspected, each with its output. They are on this machine.
        count: The number of all pictures of the job, at most.
        journal: Keeps what is found.
        progress: Called again and again with the number of pictures that have been inspected, and the last one. If it raises,
            the inspection ends.
    """
    if count - journal.count(picture_kind()) < LEAST_PICTURES:
        return
    import joblib  # takes a tenth of a second

    keep_metadata, limit = job.metadata == "keep", megapixel_limit()
    remaining = iter(pictures)
    batches = iter(lambda: tuple(itertools.islice(remaining, PICTURES_A_BATCH)), ())
    parallel = joblib.Parallel(n_jobs=joblib.cpu_count(), return_as="generator", batch_size=1)
    done = 0
    try:
        for found in parallel(joblib.delayed(_inspected)(batch, limit, keep_metadata) for batch in batches):
            for path, stamp, inspected, output, sha256, omissions in found:
                journal.keep_inspected(picture_kind(), path, stamp, inspected)
                journal.remember(omissions_kind(output, job), sha256, omissions)
            done += len(found)
            if found:
                progress(min(done, count), found[-1][0])
    except BrokenProcessPool:  # what joblib raises is one of these
        return  # for want of memory, say; what is left is inspected without other processes


def _inspected(
    batch: Sequence[tuple[Path, Path]], limit: float, keep_metadata: bool
) -> list[tuple[Path, Stamp, str, Path, str, str]]:
    """Inspect some pictures in another process."""
    limit_megapixels(limit)
    return list(_those_that_can_be_read(batch, keep_metadata=keep_metadata))


def _those_that_can_be_read(
    batch: Sequence[tuple[Path, Path]], *, keep_metadata: bool
) -> Iterator[tuple[Path, Stamp, str, Path, str, str]]:
    omissions: dict[tuple[str, str], str] = {}  # of equal files they are looked for once
    for path, output in batch:
        try:
            state = state_of(path)  # before its content: what changes from here on is noticed
            sha256 = sha256_of(path)
            inspected = json.dumps([sha256, *picture_size(path)])
            key = (sha256, output.suffix.lower())
            if key not in omissions:
                found = omissions_of_picture(path, output, keep_metadata=keep_metadata)
                omissions[key] = json.dumps([asdict(one) for one in found])
        except Exception:  # whatever it is, it is told where this input is inspected alone
            continue
        yield path, (state.size_bytes, state.modified_ns), inspected, output, sha256, omissions[key]
