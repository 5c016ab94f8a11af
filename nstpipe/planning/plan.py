"""Opens all inputs of a pipeline, and plans what must be done."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from nstpipe.config import Job, Pipeline
from nstpipe.config.engines import AutoEngine
from nstpipe.errors import ItemError, MachineError, OutputError
from nstpipe.events import Emit, ItemFailed
from nstpipe.journal.journal import Journal
from nstpipe.planning.ahead import inspect_ahead
from nstpipe.planning.by_folder import FolderPlanner, Part
from nstpipe.planning.fingerprints import Fingerprinter
from nstpipe.planning.input_info import InputInfo, picture_kind
from nstpipe.planning.input_tree import InputTree, input_tree
from nstpipe.planning.inputs import (
    FolderListing,
    InputFile,
    can_list_by_folder,
    find_inputs,
    ignored_settings,
    listed_once,
)
from nstpipe.planning.inspect import (
    InspectionProgress,
    check_pictures,
    inspect_with_retry,
    pictures_of,
    with_masks,
    with_omissions,
)
from nstpipe.planning.job_notice import JobNotice
from nstpipe.planning.known_folders import KnownFolders, is_planned_by_folder
from nstpipe.planning.links import LinkMeasurements, linked
from nstpipe.planning.looks import Look, Looks, check_one_look, chosen_engine, settings_hash
from nstpipe.planning.notices import omission_notices
from nstpipe.planning.outputs import Output, failed, plan_job
from nstpipe.planning.partition import Share
from nstpipe.planning.picks import picked, remembered_problems
from nstpipe.planning.places import Places
from nstpipe.planning.planned import PlannedOutputs
from nstpipe.planning.requirements import check_engine_files, check_flow, raise_if_none_is_usable
from nstpipe.planning.resources import bytes_needed, frames_done
from nstpipe.storage.contents import expect, is_remote
from nstpipe.storage.remotes import Remotes
from nstpipe.style.weights_files import weights_sha256
from nstpipe.system.files import free_bytes
from nstpipe.system.item_errors import item_errors
from nstpipe.system.retry import RETRY_WAITS_SECONDS
from nstpipe.system.stop import Stop

NONE_UNUSABLE: Mapping[str, MachineError] = {}


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        outputs: All outputs, done and not done, in the order of the pipeline.
        failures: The inputs that cannot be used.
        bytes_needed: Space needed on the disk of the work folder, for frames that wait to be encoded.
        bytes_free: Free space on that disk.
        notices: Settings that have no effect, and what the outputs to make will not hold of their inputs; each with its job.
        unwritable: Why the first of the outputs that cannot be written cannot; None if all can.
        paintings: What of collections is passed over. It is among the notices too.
        remotes: The addresses that paths of the plan stand for.
        unshared: Inputs that no shard makes, because they came after the work was divided. They are among the notices too.
        looks: The networks that jobs with engine `network` use, trained or not.
        material: The outputs of all shards whose originals these learn from; empty if the plan is not that of a shard.
        engines: What `engine: auto` stands for in each job that has it. It is among the notices too.
        ignored: Settings that have no effect, and files that are passed over. They are among the notices too.
    """

    outputs: PlannedOutputs
    failures: tuple[ItemFailed, ...]
    bytes_needed: int = 0
    bytes_free: int = 0
    notices: tuple[str, ...] = ()
    unwritable: OutputError | None = None
    paintings: tuple[JobNotice, ...] = ()
    remotes: Remotes = field(default_factory=lambda: Remotes({}), repr=False)
    unshared: tuple[JobNotice, ...] = ()
    looks: tuple[Look, ...] = ()
    material: tuple[Output, ...] = ()
    engines: tuple[JobNotice, ...] = ()
    ignored: tuple[JobNotice, ...] = ()

    def look_of(self, job: Job) -> Look | None:
        """Return the network that a job uses; None if it has another engine, or weights of the user's own."""
        return next((look for look in self.looks if job.name in look.jobs), None)


@dataclass(frozen=True, eq=False)
class _Inspected:
    """Inputs of a job that have been inspected.

    Attributes:
        job: The job, with the engine that it has after all.
        files: The inputs.
        found: Those that can be used.
        pictures: The hashes of the files that its settings name, by path.
        fingerprinter: That of the job, if it is known.
    """

    job: Job
    files: Sequence[InputFile]
    found: Sequence[InputInfo]
    pictures: Mapping[Path, str]
    fingerprinter: Fingerprinter | None = None


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A job whose engine and pictures can be used.

    Attributes:
        job: The job, with the engine that `auto` stands for as soon as that is known.
        pictures: The hashes of the files that its settings name, by path.
    """

    job: Job
    pictures: Mapping[Path, str]


def plan_pipeline(
    pipeline: Pipeline,
    journal: Journal,
    *,
    stop: Stop,
    emit: Emit,
    unusable: Mapping[str, MachineError] = NONE_UNUSABLE,
    share: Share | None = None,
) -> Plan:
    """Open all inputs, and decide what must be done and why.

    Args:
        pipeline: The pipeline with the jobs to plan.
        journal: Knows what earlier runs did, and keeps what is measured of the inputs.
        stop: Checked before each input, and while one is decoded.
        emit: Receives the progress.
        unusable: Why the engines of some jobs cannot be used, by the name of the job. Nothing of theirs is planned.
        share: What a shard makes, if the plan is that of a shard; None for the whole plan.

    Raises:
        MachineError: The engine of no job can be used.
        Stopped: The time is up. What was measured by then is kept.
    """
    try:
        with listed_once():
            return _Planner(pipeline, journal, stop, emit, unusable, share).plan()
    finally:
        journal.save()


class _Planner:
    """Plans the jobs of a pipeline one after the other, and collects what cannot be done. See `plan_pipeline`."""

    def __init__(
        self,
        pipeline: Pipeline,
        journal: Journal,
        stop: Stop,
        emit: Emit,
        unusable: Mapping[str, MachineError],
        share: Share | None,
    ) -> None:
        self._pipeline = pipeline
        self._share = share
        self._journal = journal
        self._watch = InspectionProgress(stop, emit)
        self._trees = dict(self._input_trees())
        self._places = Places(pipeline, journal, self._trees)
        self._waits = list(RETRY_WAITS_SECONDS)
        self._weights_sha256 = weights_sha256(pipeline.weights)
        self._unusable = dict(unusable)
        self._failures: list[ItemFailed] = []
        self._unwritable: OutputError | None = None
        self._paintings: list[JobNotice] = []
        self._unshared: list[JobNotice] = []
        self._problem_of = remembered_problems(journal)
        self._looks = Looks(pipeline.work)
        self._engines: list[JobNotice] = []
        self._prepared: dict[str, _Prepared | None] = {}
        self._ignored: dict[str, tuple[JobNotice, ...]] = {}

    def _input_trees(self) -> Iterator[tuple[str, InputTree]]:
        """Yield the tree of inputs of each job that is planned folder by folder, with the name of the job.

        Networks may be shared among jobs, and what they learn from must be known before the first of these is planned. So they
        are planned folder by folder only if all of them are, and if no other job may take the places of their outputs.
        """
        trees: dict[Path, InputTree | None] = {}
        found: dict[str, InputTree] = {}
        for job in self._pipeline.jobs if self._share is None else ():
            if is_planned_by_folder(job) and can_list_by_folder(job):
                if job.input not in trees:
                    trees[job.input] = input_tree(job.input, self._watch.check_stop)
                if (tree := trees[job.input]) is not None:
                    found[job.name] = tree
        learning = [job for job in self._pipeline.jobs if job.engine.may_learn]
        by_folder = all(job.name in found and not self._shares_outputs(job) for job in learning)
        names = {job.name for job in learning}
        yield from ((name, tree) for name, tree in found.items() if by_folder or name not in names)

    def _shares_outputs(self, job: Job) -> bool:
        """Return whether another job writes to the output folder of a job, to one in it, or to one that it is in."""
        own = job.output.resolve()
        others = (other.output.resolve() for other in self._pipeline.jobs if other is not job)
        return any(own == other or own in other.parents or other in own.parents for other in others)

    def plan(self) -> Plan:
        """Plan all jobs."""
        pipeline = self._pipeline
        for job in pipeline.jobs:
            if job.engine.may_learn and job.name in self._trees:
                self._look_at_material(job, self._trees[job.name])
        inspected = [one for job in pipeline.jobs if (one := self._inspected_job(job)) is not None]
        raise_if_none_is_usable(pipeline, self._unusable)
        looks = self._looks.looks()  # jobs may share one, so all are inspected first
        parts: list[Part] = []
        material: list[Output] = []
        for one in inspected:
            if isinstance(one, _Inspected):
                job, pictures = _with_look(one.job, one.pictures, looks)
                outputs = self._outputs_of(replace(one, job=job, pictures=pictures))
                material += outputs if self._share is not None and any(one.job.name in look.jobs for look in looks) else ()
                parts += (self._with_omissions(own) for output in outputs if (own := self._own_part_of(output)) is not None)
            else:
                parts += one
        planned = PlannedOutputs(parts)
        needed = bytes_needed([output for output in planned.single() if not output.is_done], pipeline)
        mended = (JobNotice(output.job.name, said) for output in planned.single() for said in output.input.mended)
        lost = (notice for job, found in planned.omissions_left().items() for notice in omission_notices(job, found))
        paintings = tuple(dict.fromkeys(self._paintings))
        ignored = tuple(
            notice
            for job in pipeline.jobs
            for notice in (self._ignored[job.name] if job.name in self._ignored else ignored_settings((job,)))
        )
        notices = (*ignored, *self._engines, *paintings, *self._unshared, *mended, *lost)
        return Plan(
            planned,
            tuple(self._failures),
            needed,
            free_bytes(pipeline.work),
            tuple(map(str, notices)),
            unwritable=self._unwritable,
            paintings=paintings,
            unshared=tuple(self._unshared),
            looks=looks,
            material=tuple(material),
            engines=tuple(self._engines),
            ignored=ignored,
        )

    def _own_part_of(self, output: Output) -> Output | None:
        return output if self._share is None else self._share.of_output(output)

    def _with_omissions(self, output: Output) -> Output:
        """Look for what the result of a picture will not hold, unless it is made already."""
        if output.is_done or output.is_video:
            return output
        self._watch.check_stop()
        return replace(output, input=with_omissions(output.input, output.job, self._journal))

    def _refuse(self, job: Job, path: Path, error: ItemError | OutputError) -> None:
        self._failures.append(failed(job, path, error))
        if isinstance(error, OutputError):
            self._unwritable = self._unwritable or error

    def _has_usable_engine(self, job: Job) -> bool:
        """Whether the files of a job's engine can be used. If not, the job fails, and the others go on."""
        if job.name not in self._unusable:
            try:
                check_engine_files(self._pipeline, job)
            except MachineError as error:
                self._unusable[job.name] = error
        if (found := self._unusable.get(job.name)) is not None:
            self._failures.append(failed(job, job.input, found))
        return found is None

    def _prepared_job(self, job: Job) -> _Prepared | None:
        """Check what a job reads beside its inputs; None if that, or its engine, cannot be used, so that the job fails."""
        if job.name not in self._prepared:
            self._prepared[job.name] = self._prepare(job) if self._has_usable_engine(job) else None
        return self._prepared[job.name]

    def _prepare(self, job: Job) -> _Prepared | None:
        try:
            with item_errors(job.input):
                check_one_look(job)
                check_pictures(job)
                check_flow(job.temporal.flow, self._pipeline.devices[0])
                flow = [job.temporal.flow] if isinstance(job.temporal.flow, Path) else []
                read = (*(path for path, _ in pictures_of(job)), *flow, *job.engine.files.values())
                return _Prepared(job, {path: self._journal.digest(path) for path in read})
        except ItemError as error:
            self._refuse(job, job.input, error)
            return None

    def _inspected_job(self, job: Job) -> _Inspected | list[Part] | None:
        """Inspect the inputs of a job. If that is done folder by folder, what it has to do is planned at once."""
        prepared = self._prepared_job(job)
        if prepared is None:
            return None
        job, pictures = prepared.job, prepared.pictures
        try:
            if (tree := self._trees.get(job.name)) is not None:
                if job.engine.learns:
                    job, pictures = _with_look(job, pictures, self._looks.looks())
                return self._planned_by_folder(job, tree, pictures)
            with item_errors(job.input):
                files = self._shared(job, find_inputs(job))
        except ItemError as error:
            self._refuse(job, job.input, error)
            return None
        inspect_ahead(job, _pictures_among(files), len(files), self._journal, partial(self._tell_inspected, job, len(files)))
        job, found = self._found(job, files)
        if job.engine.learns and found:
            try:
                check_one_look(job)  # now that `auto` has chosen
                with item_errors(job.input):
                    pipeline = self._pipeline
                    picks = picked(job, files, found, seed=pipeline.seed, work=pipeline.work, problem_of=self._problem_of)
                self._want_look(picks.jobs[0], {item.sha256: item.frame_count for item in found}, pictures)
            except ItemError as error:
                self._refuse(job, job.input, error)
                return None
        return _Inspected(job, files, found, pictures)

    def _found(self, job: Job, files: Sequence[InputFile]) -> tuple[Job, list[InputInfo]]:
        """Inspect the inputs of a job; return it with the engine that it has after all, and those that can be used."""
        if not isinstance(job.engine, AutoEngine):
            return job, self._inspected(job, files, 0, len(files))
        # Whether pictures are linked depends on the engine, and that on the number of all inputs.
        found = self._inspected(job.model_copy(update={"link": "none"}), files, 0, len(files))
        job = self._with_chosen_engine(job, sum(item.frame_count for item in found))
        with LinkMeasurements(job, self._journal) as measurements:
            for before, item in itertools.pairwise(found):
                self._watch.check_stop()
                measurements.begin(before, item)
                measurements.keep()
            return job, self._linked(job, found, measurements)

    def _with_chosen_engine(self, job: Job, frames: int) -> Job:
        job, notice = chosen_engine(job, frames)
        if notice is not None:
            self._engines.append(notice)
        return job

    def _look_at_material(self, job: Job, tree: InputTree) -> None:
        """Find out what a network would learn from, before the folders of its job are planned.

        What cannot be used is told when its folder is planned.
        """
        prepared = self._prepared_job(job)
        if prepared is None:
            return
        listing, done, frames, counts = FolderListing(job), 0, 0, dict[str, int]()
        try:
            by_name = (pair for folder in tree.folders for pair in listing.pictures_in(folder.path))
            inspect_ahead(job, by_name, tree.files, self._journal, partial(self._tell_inspected, job, tree.files))
            for folder in tree.folders:
                files = listing.inputs_in(folder.path)
                with self._journal.at_hand(picture_kind(), folder.path, job.output / folder.below):
                    for file in files:
                        done += 1
                        at = partial(self._watch, job.name, str(file.path), done, tree.files)
                        at(0.0)
                        with suppress(ItemError), item_errors(file.path):
                            if self._places.may_be_written(job, file):
                                item = inspect_with_retry(file, job, self._journal, self._waits, at)
                                frames += item.frame_count
                                counts[item.sha256] = item.frame_count
        except ItemError:
            return  # the inputs do not fit the job's output, and the job fails
        job = self._with_chosen_engine(job, frames)
        self._prepared[job.name] = _Prepared(job, prepared.pictures)
        if job.engine.learns and counts:
            self._want_look(job, counts, prepared.pictures)

    def _want_look(self, job: Job, counts: Mapping[str, int], pictures: Mapping[Path, str]) -> None:
        """Note that a job needs a network of its own.

        Args:
            job: The job, with its paintings.
            counts: The frames of each input, by its hash.
            pictures: The hashes of the files that its settings name, by path.
        """
        paintings = {image.path: self._journal.digest(image.path) for image in job.style.images}
        settings = settings_hash(
            job,
            {**pictures, **paintings},
            seed=self._pipeline.seed,
            weights_sha256=self._weights_sha256,
            precision=self._pipeline.precision,
        )
        self._looks.want(job, settings, counts)

    def _outputs_of(self, inspected: _Inspected) -> tuple[Output, ...]:
        job, found = inspected.job, list(inspected.found)
        while True:
            try:
                outputs = self._planned(inspected, found)
            except ItemError as error:
                self._refuse(job, job.input, error)
                return ()
            mine = [output for output in outputs if self._is_own(output.input.file)]
            refusals = {output.path: why for output in mine if (why := self._places.refusal_of(output)) is not None}
            if not refusals:
                return outputs
            for item in found:
                if item.file.output in refusals:
                    self._refuse(job, item.file.path, refusals[item.file.output])
            # A picture that follows a refused one starts from another, so its job is planned again.
            found = linked((item for item in found if item.file.output not in refusals), job, self._journal)

    def _shared(self, job: Job, files: Sequence[InputFile]) -> tuple[InputFile, ...]:
        """Return the inputs of a job that count for the plan: all of them, if the plan is not that of a shard."""
        if self._share is None:
            return tuple(files)
        counted, later = self._share.known(files)
        if later:
            inputs = f"{later} inputs have" if later > 1 else "1 input has"
            said = f"{inputs} come since the shards divided the work; the next run paints what is new, once no shard is at work"
            self._unshared.append(JobNotice(job.name, said))
        return counted

    def _is_own(self, file: InputFile) -> bool:
        """Return whether the plan is for an input. That of a shard reads others only because pictures are linked to them."""
        return self._share is None or self._share.is_own(file)

    def _tell_inspected(self, job: Job, inputs: int, done: int, path: Path) -> None:
        self._watch(job.name, str(path), done, inputs, 0.0)

    def _planned_by_folder(self, job: Job, tree: InputTree, pictures: Mapping[Path, str]) -> list[Part]:
        """Plan a job one folder after the other.

        Raises:
            ItemError: There are no inputs, or they do not fit the job's output.
        """
        fingerprinter = self._fingerprinter(job, pictures)
        known = KnownFolders(self._pipeline, job, fingerprinter, pictures, self._journal, self._places)

        def plan_files(files: Sequence[InputFile], before: int) -> list[Output]:
            found = self._inspected(job, files, before, tree.files) if files else []
            outputs = self._outputs_of(_Inspected(job, files, found, pictures, fingerprinter)) if found else ()
            return [self._with_omissions(output) for output in outputs]

        progress = partial(self._tell_inspected, job, tree.files)
        planner = FolderPlanner(job, tree, known, self._journal, self._places, plan_files, self._failures, progress)
        parts = planner.parts()
        self._ignored[job.name] = planner.ignored
        return parts

    def _fingerprinter(self, job: Job, pictures: Mapping[Path, str]) -> Fingerprinter:
        return Fingerprinter(job, pictures, self._weights_sha256, self._pipeline.seed, self._pipeline.precision)

    def _inspected(self, job: Job, files: Sequence[InputFile], before: int, inputs: int) -> list[InputInfo]:
        """Look into inputs of a job, and return those that can be used.

        Args:
            job: The job.
            files: The inputs.
            before: How many inputs of the job have been inspected before.
            inputs: How many inputs it has.
        """
        found: list[InputInfo] = []
        expect([file.path for file in files])
        with LinkMeasurements(job, self._journal) as measurements:
            for inputs_done, file in enumerate(files, start=before):
                at = partial(self._watch, job.name, str(file.path), inputs_done, inputs)
                at(0.0)
                try:
                    with item_errors(file.path):
                        if self._is_own(file):
                            self._places.check(job, file)
                        item = with_masks(inspect_with_retry(file, job, self._journal, self._waits, at), job, self._journal)
                        measurements.begin(found[-1] if found else None, item)
                        found.append(item)
                        measurements.keep()
                except (ItemError, OutputError) as error:
                    if self._is_own(file):
                        self._refuse(job, file.path, error)
            return self._linked(job, found, measurements)

    def _linked(self, job: Job, items: Sequence[InputInfo], measurements: LinkMeasurements) -> list[InputInfo]:
        found: list[InputInfo] = []
        for item in items:
            self._watch.check_stop()
            try:
                with item_errors(item.file.path):
                    found.append(measurements.with_neighbor(found[-1] if found else None, item))
            except ItemError as error:
                if self._is_own(item.file):
                    self._refuse(job, item.file.path, error)
        return found

    def _planned(self, inspected: _Inspected, found: Sequence[InputInfo]) -> tuple[Output, ...]:
        """Plan the outputs of those of a job's inputs that were found.

        Raises:
            ItemError: No painting can be picked.
        """
        pipeline, job = self._pipeline, inspected.job
        with item_errors(job.input):
            picks = picked(job, inspected.files, found, seed=pipeline.seed, work=pipeline.work, problem_of=self._problem_of)
        self._paintings += picks.notices
        outputs: list[Output] = []
        # Linked pictures have one painting, so no link leads from one group to another.
        for _, group in itertools.groupby(zip(picks.jobs, found, strict=False), key=lambda pair: pair[0].style.images):
            jobs, items = zip(*group, strict=True)
            fingerprinter = inspected.fingerprinter or self._fingerprinter_of(jobs[0], inspected.pictures)
            outputs += self._planned_alike(fingerprinter, items)
        return tuple(outputs)

    def _fingerprinter_of(self, job: Job, pictures: Mapping[Path, str]) -> Fingerprinter:
        """Return the fingerprinter of a job, whose painting may have been picked just now."""
        with item_errors(job.input):
            picked_now = job.style.images if job.style.collection is not None else ()
            paintings = {image.path: self._journal.digest(image.path) for image in picked_now}
        return self._fingerprinter(job, {**pictures, **paintings})

    def _planned_alike(self, fingerprinter: Fingerprinter, found: Sequence[InputInfo]) -> tuple[Output, ...]:
        """Plan the outputs of inputs that have the same painting."""
        records = ((item.file.output, self._journal.record_of(item.file.output)) for item in found)
        known = {path: record for path, record in records if record is not None}
        return plan_job(fingerprinter, found, known, frames_stored=lambda clip: frames_done(self._pipeline.work, clip))


def _pictures_among(files: Sequence[InputFile]) -> Iterator[tuple[Path, Path]]:
    """Yield the pictures among inputs, each with its output. Remote ones are not here yet."""
    return ((file.path, file.output) for file in files if not (file.is_video or file.problem or is_remote(file.path)))


def _with_look(job: Job, pictures: Mapping[Path, str], looks: Sequence[Look]) -> tuple[Job, Mapping[Path, str]]:
    """Return a job with the file of its network as weights, and its pictures with that file.

    The identity of the network stands for its hash, which it does not have yet.
    """
    look = next((look for look in looks if job.name in look.jobs), None)
    if look is None or not job.engine.learns:
        return job, pictures
    with_weights = job.model_copy(update={"engine": job.engine.model_copy(update={"weights": look.path})})
    return with_weights, {**pictures, look.path: look.identity}
