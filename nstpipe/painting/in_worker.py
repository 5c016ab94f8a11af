"""What is called where clips are painted. Whoever sends it there imports no torch: that is imported when it is called."""

from __future__ import annotations

from nstpipe.config import Job
from nstpipe.events import Emit
from nstpipe.painting.task import ClipResult, ClipTask, LookResult, LookTask, RunSettings
from nstpipe.system.stop import Stop


def run_clip(task: ClipTask, emit: Emit, stop: Stop) -> ClipResult:
    """Paint a clip; see `nstpipe.painting.clip.run_clip`."""
    from nstpipe.painting import clip

    return clip.run_clip(task, emit, stop)


def train_look(task: LookTask, emit: Emit, stop: Stop) -> LookResult:
    """Train the network of jobs; see `nstpipe.painting.looks.train_look`."""
    from nstpipe.painting import looks

    return looks.train_look(task, emit, stop)


def prepare_engine(job: Job, run: RunSettings) -> None:
    """Load what the clips of a job need: torch, the network and the paintings; see `nstpipe.painting.clip.prepare_engine`."""
    from nstpipe.painting import clip

    clip.prepare_engine(job, run)
