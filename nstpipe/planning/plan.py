"""All inputs of a pipeline, opened and looked at: what there is to do, and what cannot be done."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nstpipe.config import Pipeline
from nstpipe.errors import ItemError
from nstpipe.events import Emit, ItemFailed
from nstpipe.journal.journal import Journal
from nstpipe.planning.input_info import InputInfo
from nstpipe.planning.inputs import InputFile, find_inputs, ignored_settings
from nstpipe.planning.inspect import (
    InspectionProgress,
    check_output_is_unique,
    check_pictures,
    inspect_with_retry,
    pictures_of,
    with_masks,
)
from nstpipe.planning.links import with_neighbor
from nstpipe.planning.outputs import Output, failed, plan_job
from nstpipe.planning.requirements import check_flow
from nstpipe.planning.resources import bytes_needed, frames_done
from nstpipe.style.weights_files import weights_sha256
from nstpipe.system.files import free_bytes
from nstpipe.system.item_errors import item_errors
from nstpipe.system.retry import RETRY_WAITS_SECONDS
from nstpipe.system.stop import Stop


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        outputs: done and not done, in the order of the pipeline.
        failures: inputs that cannot be used.
        bytes_needed: on the disk of the work folder, for frames that wait to be encoded.
        bytes_free: there.
        notices: of the inputs and the journal.
    """

    outputs: tuple[Output, ...]
    failures: tuple[ItemFailed, ...]
    bytes_needed: int = 0
    bytes_free: int = 0
    notices: tuple[str, ...] = ()


def plan_pipeline(pipeline: Pipeline, journal: Journal, *, stop: Stop, emit: Emit) -> Plan:
    """Open all inputs, and decide what must be done and why.

    Args:
        pipeline: with the jobs to plan.
        journal: what earlier runs did; what is measured of the inputs is kept there.
        stop: looked at before each input, and while one is decoded.
        emit: told how far it is.

    Raises:
        Stopped: the time is up; what was measured by then is kept.
    """
    watch = InspectionProgress(stop, emit)
    weights = weights_sha256(pipeline.weights)
    outputs: list[Output] = []
    notices = [str(ignored) for ignored in ignored_settings(pipeline.jobs)]
    failures: list[ItemFailed] = []
    taken: dict[Path, InputFile] = {}
    waits = list(RETRY_WAITS_SECONDS)
    for job in pipeline.jobs:
        try:
            with item_errors(job.input):
                check_pictures(job)
                check_flow(job.temporal.flow, pipeline.device)
                flow = [job.temporal.flow] if isinstance(job.temporal.flow, Path) else []
                pictures = {path: journal.digest(path) for path in (*(path for path, _ in pictures_of(job)), *flow)}
                files = find_inputs(job)
        except ItemError as error:
            failures.append(failed(job, job.input, error))
            continue
        found: list[InputInfo] = []
        for inputs_done, file in enumerate(files):
            at = partial(watch, job.name, str(file.path), inputs_done, len(files))
            at(0.0)
            try:
                with item_errors(file.path):
                    check_output_is_unique(file, taken)
                    item = with_masks(inspect_with_retry(file, job, journal, waits, at), job, journal)
                    found.append(with_neighbor(found[-1] if found else None, item, job, journal))
            except ItemError as error:
                failures.append(failed(job, file.path, error))
        known = {item.file.output: record for item in found if (record := journal.record_of(item.file.output)) is not None}
        outputs += plan_job(
            job,
            found,
            known,
            seed=pipeline.seed,
            weights_sha256=weights,
            picture_sha256=pictures,
            frames_stored=lambda clip: frames_done(pipeline.work, clip),
            precision=pipeline.precision,
        )
        notices += [f"{job.name}: {said}" for item in found for said in item.mended]
    needed = bytes_needed([output for output in outputs if not output.is_done], pipeline)
    free = free_bytes(pipeline.work)
    return Plan(tuple(outputs), tuple(failures), needed, free, tuple(notices))
