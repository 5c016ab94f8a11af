"""Decides which painting of a collection each input of a job gets."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

from nstpipe.config import Job, Pipeline
from nstpipe.errors import ItemError, OutputError
from nstpipe.journal.journal import Journal
from nstpipe.media.pictures.files import read_picture
from nstpipe.media.pictures.pillow import megapixel_limit
from nstpipe.planning.collection import Collection, collection_of, slug_of
from nstpipe.planning.input_info import InputInfo
from nstpipe.planning.inputs import InputFile, find_inputs, is_output_folder, name_in_job
from nstpipe.planning.job_notice import JobNotice
from nstpipe.planning.picker import Picker
from nstpipe.system.files import MOST_NAMED
from nstpipe.system.item_errors import item_errors
from nstpipe.system.retry import is_transient

PAINTING_CHECK_VERSION = 1
"""Part of the key under which the journal keeps whether a painting can be used. Raise it if the check gives another answer."""

MOST_PAINTINGS_EACH = 1000
"""The most paintings with which `pick: each` paints every input. More are a mistake."""

ProblemOf = Callable[[Path], str]
"""Returns why a painting cannot be used; empty if it can."""


def problem_of_painting(path: Path) -> str:
    """Return why a picture cannot be used as a painting; empty if it can.

    Raises:
        ItemError: The system cannot read it now, which says nothing about the picture.
    """
    try:
        with item_errors(path):
            _, metadata = read_picture(path)
    except ItemError as error:
        if is_transient(error):
            raise
        return error.problem.rstrip(".")
    is_empty = metadata.alpha is not None and not metadata.alpha.any()
    return f"{path} is transparent everywhere, so there is no paint" if is_empty else ""


def remembered_problems(journal: Journal) -> ProblemOf:
    """Return the check of a painting that decodes each content once: the journal keeps the answer."""

    def problem_of(path: Path) -> str:
        try:
            sha256 = journal.digest(path)
        except OSError as error:
            if is_transient(error):
                raise ItemError(f"{path} cannot be read: {error.strerror}.") from error
            return f"{path} cannot be read: {error.strerror}"
        return journal.cached(_kind_of_check(), sha256, lambda: problem_of_painting(path))

    return problem_of


def _kind_of_check() -> str:
    return f"painting/{PAINTING_CHECK_VERSION}/{megapixel_limit():g}"


@dataclass(frozen=True)
class Picked:
    """The inputs of a job, each with its painting.

    Attributes:
        jobs: The job of each input, with its painting; in the order of the inputs.
        notices: Paintings that were picked and cannot be used, and what of the collection is left out.
    """

    jobs: tuple[Job, ...]
    notices: tuple[JobNotice, ...] = ()


def picked(
    job: Job, files: Sequence[InputFile], found: Sequence[InputInfo], *, seed: int, work: Path, problem_of: ProblemOf
) -> Picked:
    """Pick a painting for each input of a job. A job without a collection has its paintings already.

    Pictures that are linked get one painting. It depends on the first of them.

    Args:
        job: The job.
        files: All its inputs. In a cycle, one that cannot be used takes its turn too, so mending it changes nothing.
        found: The inputs that can be used, in the same order.
        seed: The pipeline's seed, which counts if the style has none.
        work: The work folder.
        problem_of: Checks a painting.

    Raises:
        ItemError: No painting can be used, or the collection cannot be read.
    """
    style = job.style
    if style.collection is None:
        return Picked((job,) * len(found))
    if style.images:  # of `pick: each`
        problem = problem_of(style.images[0].path)
        return Picked((), (JobNotice(job.name, f"passed over: {problem}"),)) if problem else Picked((job,) * len(found))
    collection = collection_of(style, work)
    if style.pick == "each":
        raise _too_many(collection)
    picker = _picker(collection, job, seed, problem_of)
    followers = {item.file.path for item in found if item.is_linked}
    units = list(dict.fromkeys(_unit_of(file, job) for file in files if file.path not in followers))
    picks = dict(zip(units, _picks(picker, collection, job, units), strict=True))
    jobs: list[Job] = []
    for item in found:
        jobs.append(jobs[-1] if item.is_linked else job.with_painting(picks[_unit_of(item.file, job)]))
    return Picked(tuple(jobs), tuple(JobNotice(job.name, said) for said in _notices(collection, picker)))


def with_painting_for(file: InputFile, job: Job, pipeline: Pipeline) -> Job:
    """Return a job with the painting of one input, which counts as not linked. For `pick: each` it is the first one.

    Raises:
        ItemError: There is none.
    """
    if job.style.collection is None or job.style.images:
        return job
    collection = collection_of(job.style, pipeline.work)
    with ExitStack() as stack:
        problem_of: ProblemOf = problem_of_painting
        with suppress(OutputError):  # no run has begun, or the journal is damaged
            journal = stack.enter_context(closing(Journal(pipeline.work, pipeline=pipeline.file, read_only=True)))
            problem_of = remembered_problems(journal)
        if job.style.pick == "each":
            paths = map(collection.path_of, collection.names)
            first = next((path for path in paths if not problem_of(path)), None)
            if first is None:
                raise _none_usable(collection)
            return job.with_painting(first)
        unit = _unit_of(file, job)
        # In a cycle, those before it decide which paintings are left to it.
        before = [_unit_of(one, job) for one in find_inputs(job)] if job.style.pick == "cycle" else []
        units = [*before[: before.index(unit)], unit] if unit in before else [unit]
        *_, path = _picks(_picker(collection, job, pipeline.seed, problem_of), collection, job, units)
        return job.with_painting(path)


def _picker(collection: Collection, job: Job, seed: int, problem_of: ProblemOf) -> Picker:
    return Picker(
        collection.names,
        job.style.seed if job.style.seed is not None else seed,
        lambda index: problem_of(collection.path_of(collection.names[index])),
    )


def _unit_of(file: InputFile, job: Job) -> str:
    return unicodedata.normalize("NFC", name_in_job(file, job).as_posix())


def _picks(picker: Picker, collection: Collection, job: Job, units: Sequence[str]) -> Iterator[Path]:
    """Yield the painting of each of several units.

    Raises:
        ItemError: No painting can be used.
    """
    if job.style.pick == "cycle":
        indices = picker.in_turn(units)
    else:
        indices = (picker.best("" if job.style.pick == "one" else unit) for unit in units)
    for index in indices:
        if index is None:
            raise _none_usable(collection, picker.skipped[0].problem)
        yield collection.path_of(collection.names[index])


def _none_usable(collection: Collection, problem: str = "") -> ItemError:
    such = f"; the first: {problem}" if problem else ""
    count = len(collection.names)
    return ItemError(
        f"style.collection: none of the {count:,} paintings in {collection.folder} can be used{such}.", "Give other paintings."
    )


def _notices(collection: Collection, picker: Picker) -> Iterator[str]:
    yield from collection.notices
    for skipped in picker.skipped[:MOST_NAMED]:
        taken = collection.names[skipped.successor] if skipped.successor is not None else "no other"
        yield f"passed over: {skipped.problem}; {taken} takes its place"
    more = len(picker.skipped) - MOST_NAMED
    if more > 0:
        yield f"passed over: {more} more paintings that cannot be used; the next in order takes the place of each"


def check_collection(job: Job, work: Path) -> tuple[bool, tuple[str, ...]]:
    """Check that a job can pick from its collection. Which paintings it picks, only a plan can tell.

    Returns:
        Whether the job paints anything, which one of `pick: each` with a broken painting does not; and what is left out of the
        collection, in words.

    Raises:
        ItemError: It cannot.
    """
    if job.style.images:
        problem = problem_of_painting(job.style.images[0].path)
        return not problem, ((f"passed over: {problem}",) if problem else ())
    collection = collection_of(job.style, work)
    if job.style.pick == "each":
        raise _too_many(collection)
    return True, collection.notices


def without_broken_paintings(pipeline: Pipeline, journal: Journal) -> Pipeline:
    """Return a pipeline without those jobs of `pick: each` that make nothing, because a plan found their painting broken."""
    kind = _kind_of_check()

    def is_broken(job: Job) -> bool:
        if not job.style.painting:
            return False
        with suppress(OSError):
            return bool(journal.known(kind, journal.digest(job.style.images[0].path)))
        return False

    return pipeline.with_jobs(tuple(job for job in pipeline.jobs if not is_broken(job)))


def with_each_painting(pipeline: Pipeline) -> Pipeline:
    """Return a pipeline that has a job for each painting in place of each job with `pick: each`.

    A job that has too many paintings, or none, stays as it is. Its plan says so.
    """
    expanded: dict[str, tuple[Job, ...]] = {}

    def expand(job: Job) -> tuple[Job, ...]:
        if job.name not in expanded:
            expanded[job.name] = tuple(_job_for_each(job, pipeline.work))
        return expanded[job.name]

    if not any(_is_to_expand(job) for job in pipeline.all_jobs):
        return pipeline
    return pipeline.with_expanded_jobs(expand)


def jobs_from(pipeline: Pipeline, name: str) -> tuple[Job, ...]:
    """Return the jobs that a name means: the job of that name, or those that were made of it for each painting."""
    return tuple(job for job in pipeline.jobs if name in (job.name, job.made_of))


def _is_to_expand(job: Job) -> bool:
    return job.style.collection is not None and job.style.pick == "each" and not job.style.images


def _job_for_each(job: Job, work: Path) -> Iterator[Job]:
    if not _is_to_expand(job):
        yield job
        return
    try:
        collection = collection_of(job.style, work)
    except ItemError:
        yield job
        return
    if len(collection.names) > MOST_PAINTINGS_EACH:
        yield job
        return
    has_folder = is_output_folder(job)
    for name in collection.names:
        slug = slug_of(name)
        output = job.output / slug if has_folder else job.output.parent / slug / job.output.name
        yield job.with_painting(collection.path_of(name)).made_from(job, name=f"{job.name}-{slug}", output=output)


def _too_many(collection: Collection) -> ItemError:
    return ItemError(
        f"style.pick: each would paint every input with each of {len(collection.names):,} paintings; at most "
        f"{MOST_PAINTINGS_EACH:,} are allowed.",
        "Narrow the collection by artists or genres, or give pick: random.",
    )
