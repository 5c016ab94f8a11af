"""What commands do for a pipeline that names remote files: they find these here, and people are told of addresses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from nstpipe.config import Pipeline
from nstpipe.errors import NstpipeError
from nstpipe.events import Emit
from nstpipe.planning.inspect import pictures_of
from nstpipe.planning.plan import Plan
from nstpipe.storage.failures import StorageError
from nstpipe.system.stop import Stop

if TYPE_CHECKING:
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

    with opened(pipeline.work, pipeline.remotes, pipeline.storage.policy, stop, refresh=refresh) as mirror:
        yield mirror


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
    return replace(plan, failures=failures, notices=tuple(map(shown, plan.notices)), remotes=pipeline.remotes)


def pin_pictures(pipeline: Pipeline, mirror: Mirror) -> None:
    """Fetch the paintings and single masks of all jobs for the whole run. What cannot be fetched, the plan tells."""
    for path in dict.fromkeys(path for job in pipeline.jobs for path, _ in pictures_of(job)):
        if mirror.covers(path):
            with suppress(StorageError):
                mirror.pin(path)
