"""What a worker process receives and returns: a clip with the settings of its run, and its outcome. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from nstpipe.config import Pipeline
from nstpipe.errors import OutputError
from nstpipe.events import ItemFailed
from nstpipe.journal.placing import Placing
from nstpipe.planning.outputs import Clip, Output
from nstpipe.system.files import Stamp


@dataclass(frozen=True)
class LinkedPicture:
    """The neighboring picture of a folder whose result another picture starts from.

    Attributes:
        original: path of the neighbor.
        result: path of its result.
        outdated: stamp of a result that is out of date and will be made again; None if there is none.
    """

    original: Path
    result: Path
    outdated: Stamp | None = None


@dataclass(frozen=True)
class RunSettings:
    """The settings that all clips of a run share. The fields are those of `Pipeline`, but for `device`.

    Attributes:
        work: folder of unfinished work.
        device: auto, cpu, cuda or cuda:N.
        precision: auto, bfloat16 or float32.
        weights: VGG19's weights: bundled, torchvision or a path.
        seed: seed of everything random.
        max_megapixels: the largest picture that is read; larger ones are refused.
        overwrite: whether outputs may replace files that the pipeline did not make.
        ffmpeg: the ffmpeg program: bundled, system or a path; None if the pipeline names none.
    """

    work: Path
    device: str
    precision: str
    weights: str | Path
    seed: int
    max_megapixels: float
    overwrite: bool = False
    ffmpeg: str | Path | None = None

    @classmethod
    def of(cls, pipeline: Pipeline) -> RunSettings:
        """Return the settings of a pipeline's run."""
        shared = {field.name: getattr(pipeline, field.name) for field in fields(cls) if field.name != "device"}
        return cls(device=pipeline.device_of_process, **shared)


@dataclass(eq=False)
class Staged:
    """What became of fetching the remote files of a task, which is known before the task begins.

    Attributes:
        problem: Why one of them could not be fetched; empty if all are there, or none is remote.
        next_step: What the user can do about it.
    """

    problem: str = ""
    next_step: str = ""


@dataclass(frozen=True)
class ClipTask:
    """A clip with the settings of its run. It can be sent to another process.

    Attributes:
        output: the output that the clip belongs to.
        clip: the frames to paint.
        run: the settings that all clips of the run share.
        linked_picture: the picture whose result this one starts from; None if it starts on its own.
        replaces: the stamp of what stood at the output's place when the run was planned; None if it was free.
        staged: what became of fetching its remote files.
    """

    output: Output
    clip: Clip
    run: RunSettings
    linked_picture: LinkedPicture | None = None
    replaces: Stamp | None = None
    staged: Staged = field(default_factory=Staged)

    @property
    def placing(self) -> Placing:
        """What gives the finished output its place."""
        return Placing(self.run.work, self.output.path, self.replaces, overwrite=self.run.overwrite)


@dataclass(frozen=True)
class ClipResult:
    """The outcome of a clip.

    Attributes:
        task: the clip.
        failure: why the clip failed; None if it did not.
        error: an error that would stop every clip, such as a full disk; None if there is none.
        stopped: whether the work was stopped early on request.
        try_again_unasked: whether the failure is that of the output's place, so that the next run looks whether it is mended.
        unreachable: whether a remote file could not be fetched, which says nothing of its content.
    """

    task: ClipTask
    failure: ItemFailed | None = None
    error: OutputError | None = None
    stopped: bool = False
    try_again_unasked: bool = False
    unreachable: bool = False


@dataclass(frozen=True)
class LookTask:
    """A network to be trained, with what it learns from. It can be sent to another process.

    Attributes:
        outputs: the outputs whose originals it learns from; their jobs have the same look.
        run: the settings of the run.
        identity: the hash of everything that decides the training.
        path: the file of the network.
        minutes: the most that the training takes.
        tolerance: it ends sooner if held-out frames improve by less than this share.
        threads: the number of threads; None for as many as the process has.
        most_steps: how many steps it may take, in place of `minutes`; None for any.
    """

    outputs: tuple[Output, ...]
    run: RunSettings
    identity: str
    path: Path
    minutes: float
    tolerance: float
    threads: int | None = None
    most_steps: int | None = None


@dataclass(frozen=True)
class LookResult:
    """The outcome of a training.

    Attributes:
        task: the training.
        step: the number of steps that are done.
        seconds: what they took.
        loss: the loss of held-out frames; None if none was measured.
        is_done: whether the network is finished.
        failure: why it cannot be trained; empty if it can.
        next_step: what to do about it.
    """

    task: LookTask
    step: int = 0
    seconds: float = 0.0
    loss: float | None = None
    is_done: bool = False
    failure: str = ""
    next_step: str = ""
