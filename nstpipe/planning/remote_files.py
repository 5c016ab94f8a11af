"""What commands do for a pipeline that names remote files, or whose work folder is remote: they find these here.

People are told of addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from nstpipe.config import Pipeline
from nstpipe.errors import NstpipeError, OutputError
from nstpipe.events import ClipStarted, Emit, Event, FrameDone, Noticed, OutputDone
from nstpipe.planning.inspect import pictures_of
from nstpipe.planning.partition import partition_path
from nstpipe.planning.plan import Plan
from nstpipe.storage.failures import StorageError
from nstpipe.system.lock import Holder
from nstpipe.system.stop import Stop

if TYPE_CHECKING:
    from nstpipe.storage.live_folder import AtWork
    from nstpipe.storage.mirror import Mirror


@contextmanager
def remote_files(pipeline: Pipeline, stop: Stop, *, refresh: bool = True) -> Iterator[Mirror | None]:
    """Yield the remote files of a pipeline, which whoever reads them finds within the block; None if it names none.

    Args:
        pipeline: The pipeline.
        stop: Ends what takes long.
        refresh: Whether to look what there is now, rather than what was there when somebody last looked.
    """
    if not pipeline.remotes.addresses:
        yield None
        return
    from nstpipe.storage.mirror import opened

    with opened(pipeline.work, pipeline.remotes, pipeline.storage_policy, stop, refresh=refresh) as mirror:
        yield mirror


def work_to_read(pipeline: Pipeline, stop: Stop) -> str:
    """Bring the work folder up to date on this machine for somebody who only reads, if it is remote.

    Args:
        pipeline: The pipeline.
        stop: Ends what takes long.

    Returns:
        What the user should know; empty if nothing.

    Raises:
        OutputError: It cannot be read.
    """
    place = pipeline.remotes.work
    if place is None:
        return ""
    from nstpipe.storage.live_folder import LiveFolder

    live = LiveFolder(place, pipeline.storage_policy)
    notice = live.refresh(stop)
    if place.shard:
        with suppress(OutputError):  # the work is divided here then, as the first shard would
            live.settled.take(partition_path(place.work))
    return notice


def work_holder(pipeline: Pipeline) -> Holder | None:
    """Return the run that works with a remote work folder, on whichever machine; None if none does, or nobody can tell."""
    place = pipeline.remotes.work
    if place is None:
        return None
    from nstpipe.storage.remote_lock import holder_now

    try:
        return holder_now(place.address, pipeline.storage_policy)
    except StorageError:
        return None


def work_holders_of_shards(pipeline: Pipeline) -> dict[str, Holder]:
    """Return the shards that work with a remote work folder, on whichever machines, by their names, such as ``3/40``."""
    place = pipeline.remotes.work
    if place is None:
        return {}
    from nstpipe.storage.checkpoint import RemoteCopy
    from nstpipe.storage.remote_lock import holder_now

    policy, found = pipeline.storage_policy, dict[str, Holder]()
    whole = RemoteCopy(place.address, policy)
    with suppress(StorageError):
        for name in whole.shards():
            if (holder := holder_now(whole.shard(name).address, policy)) is not None:
                found[name.replace("-of-", "/")] = holder
    return found


@contextmanager
def work_at_hand(pipeline: Pipeline, stop: Stop, *, with_contents: bool = True) -> Iterator[AtWork | None]:
    """Hold a remote work folder on this machine, and copy it to its place meanwhile; yield None if it is not remote.

    Args:
        pipeline: The pipeline.
        stop: Asked to stop if another machine takes the folder over.
        with_contents: Whether the frames that wait there are needed, rather than their names alone.

    Raises:
        BusyError: Another run works with it, or has taken it over meanwhile.
        OutputError: It cannot be read, or not be written at the end.
        Stopped: The run is to end.
    """
    place = pipeline.remotes.work
    if place is None:
        yield None
        return
    from nstpipe.storage.live_folder import LiveFolder

    with LiveFolder(place, pipeline.storage_policy).at_work(stop, with_contents=with_contents) as at_work:
        yield at_work


def copying(on_event: Emit, at_work: AtWork | None, job: str) -> Emit:
    """Return an `on_event` that has a remote work folder copied when a clip or an output is done, and tells of its problems.

    Args:
        on_event: Takes the events.
        at_work: The remote work folder; None if it is not remote.
        job: The job under whose name problems are told.
    """
    if at_work is None:
        return on_event
    ends: dict[tuple[str, str, int], int] = {}

    def emit(event: Event) -> None:
        for message in at_work.take_notices():
            on_event(Noticed(job=job, message=message))
        on_event(event)
        if isinstance(event, ClipStarted):
            ends[event.job, event.path, event.first_frame_index] = event.end_frame_index
        elif isinstance(event, FrameDone) and event.is_final:
            clip = (event.job, event.path, event.first_frame_index)
            if event.frame_index + 1 == ends.get(clip):
                del ends[clip]
                at_work.ask()
        elif isinstance(event, OutputDone):
            at_work.ask()

    return emit


def telling_addresses(on_event: Emit, pipeline: Pipeline) -> Emit:
    """Return an `on_event` that is told of addresses in place of the paths that stand for them."""
    if not pipeline.remotes.addresses:
        return on_event
    return lambda event: on_event(event.with_texts(pipeline.remotes.shown))


@contextmanager
def addresses_shown(pipeline: Pipeline) -> Iterator[None]:
    """Let the errors of the block name addresses in place of the paths that stand for them."""
    try:
        yield
    except NstpipeError as error:
        if pipeline.remotes.addresses:
            error.problem, error.next_step = map(pipeline.remotes.shown, (error.problem, error.next_step))
            error.args = (error.problem, error.next_step)
        raise


def plan_with_addresses(plan: Plan, pipeline: Pipeline) -> Plan:
    """Return a plan whose sentences name addresses in place of the paths that stand for them."""
    if not pipeline.remotes.addresses:
        return plan
    shown = pipeline.remotes.shown
    failures = tuple(failure.with_texts(shown) for failure in plan.failures)
    error = plan.unwritable
    unwritable = OutputError(shown(error.problem), shown(error.next_step)) if error is not None else None
    notices = tuple(map(shown, plan.notices))
    return replace(plan, failures=failures, notices=notices, unwritable=unwritable, remotes=pipeline.remotes)


def pin_pictures(pipeline: Pipeline, mirror: Mirror) -> None:
    """Fetch the paintings and single masks of all jobs for the whole run. What cannot be fetched, the plan tells."""
    for path in dict.fromkeys(path for job in pipeline.jobs for path, _ in pictures_of(job)):
        if mirror.covers(path):
            with suppress(StorageError):
                mirror.pin(path)
