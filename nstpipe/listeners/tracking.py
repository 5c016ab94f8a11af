"""Loss curves for TensorBoard and Weights & Biases."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import yaml

from nstpipe.config import Pipeline
from nstpipe.config.dump import as_yaml
from nstpipe.errors import MachineError
from nstpipe.events import (
    ClipStarted,
    Event,
    FrameDone,
    FrameProgressed,
    ItemFailed,
    JobPlanned,
    OutputDone,
    TrainingProgressed,
)

MOST_OPTIMIZATIONS = 50
"""Optimizations of a job that get curves of their own. They are those of clips' first frames; nobody reads thousands."""

WANDB_FINISH_SECONDS = 60
"""Seconds that the last upload may take at the end of a run."""


class Board(Protocol):
    """Draws curves."""

    def draw(self, series: str, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each of a series' curves."""

    def end(self, series: str) -> None:
        """Close a series, at least for now."""

    def close(self) -> None:
        """Close everything."""


class Tracker:
    """A listener that draws losses on a board: of each frame, and of each iteration of clips' first frames.

    The series of a job with pictures has the job's name, and its steps count pictures. Each video has a series of its own,
    ``job/file``, whose steps are frame indices. A run that continues an earlier one therefore continues its curves.

    Args:
        open_board: Opens the board when there is something to draw.
    """

    def __init__(self, open_board: Callable[[], Board]) -> None:
        self._open_board = open_board
        self._board: Board | None = None
        self._videos: set[tuple[str, str]] = set()
        self._first_frames: dict[tuple[str, str, int], str] = {}
        self._pictures_done: dict[str, int] = {}
        self._optimizations: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        """Draw the values of an event.

        Raises:
            MachineError: The board cannot be opened. This happens only at the beginning of a run.
        """
        if isinstance(event, JobPlanned) and event.frames_left and self._board is None:
            self._board = self._open_board()
        if self._board is None:
            return
        if isinstance(event, ClipStarted):
            self._started(event)
        elif isinstance(event, FrameProgressed):
            series = self._first_frames.get((event.job, event.path, event.frame_index))
            if series is not None and event.loss is not None:
                self._board.draw(series, event.evaluations, {"loss": event.loss})
        elif isinstance(event, FrameDone):
            self._frame(self._board, event)
        elif isinstance(event, (OutputDone, ItemFailed)):
            self._board.end(self._series(event.job, event.path))

    def finish(self, error: BaseException | None) -> None:
        """Close the board."""
        if self._board is not None:
            self._board.close()

    def _series(self, job: str, path: str) -> str:
        return f"{job}/{Path(path).name}" if (job, path) in self._videos else job

    def _started(self, event: ClipStarted) -> None:
        if event.end_frame_index > 1:
            self._videos.add((event.job, event.path))
        drawn = self._optimizations.get(event.job, 0)
        if event.next_frame_index == event.first_frame_index and drawn < MOST_OPTIMIZATIONS:
            self._optimizations[event.job] = drawn + 1
            number = f" frame {event.first_frame_index}" if (event.job, event.path) in self._videos else ""
            series = f"{event.job}/optimization/{Path(event.path).name}{number}"
            self._first_frames[event.job, event.path, event.first_frame_index] = series

    def _frame(self, board: Board, event: FrameDone) -> None:
        optimization = self._first_frames.pop((event.job, event.path, event.frame_index), None)
        if optimization is not None:
            if event.loss is not None:
                board.draw(optimization, event.evaluations, {"loss": event.loss})
            board.end(optimization)
        step = event.frame_index
        if (event.job, event.path) not in self._videos:
            step = self._pictures_done.get(event.job, 0)
            self._pictures_done[event.job] = step + 1
        values = {
            "loss": event.loss,
            "content_loss": event.content_loss,
            "style_loss": event.style_loss,
            "evaluations": float(event.evaluations),
            "seconds": event.seconds,
            "warping_error": event.warping_error,
        }
        known = {name: value for name, value in values.items() if value is not None}
        board.draw(self._series(event.job, event.path), step, known)


class TensorBoard:
    """A board of event files. Each run has a folder, with a folder for each series in it.

    Args:
        key: The key or option that names the folder, for messages.
        folder: The folder of the run.
        settings: The settings of the run, as YAML.

    Raises:
        MachineError: The folder cannot be written to.
    """

    package = "tensorboard"

    @staticmethod
    def for_pipeline(pipeline: Pipeline, run: str, _: Callable[[str], None]) -> Tracker | None:
        """Return a tracker that draws on a TensorBoard, if the pipeline has `track.tensorboard`.

        Raises:
            MachineError: The package is missing.
        """
        folder = pipeline.track.tensorboard
        if folder is None:
            return None
        check_board(TensorBoard, "track.tensorboard")
        return Tracker(lambda: TensorBoard("track.tensorboard", folder / run, as_yaml(pipeline)))

    def __init__(self, key: str, folder: Path, settings: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        self._open = SummaryWriter
        self._writers: dict[str, Any] = {}
        # Create the folder before the work, so that a failure does not come in the middle of it.
        try:
            with contextlib.closing(SummaryWriter(str(self._folder))) as writer:
                writer.add_text("pipeline", f"```yaml\n{settings}```")
        except OSError as error:
            raise MachineError(f"{key}: {self._folder} cannot be written: {error.strerror}.", "Give another folder.") from error

    def draw(self, series: str, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each of a series' curves."""
        writer = self._writers.get(series)
        if writer is None:
            writer = self._writers[series] = self._open(str(self._folder / series))
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    def end(self, series: str) -> None:
        """Close a series, which has a file and a thread."""
        writer = self._writers.pop(series, None)
        if writer is not None:
            writer.close()

    def close(self) -> None:
        """Close every series."""
        for series in list(self._writers):
            self.end(series)


class WeightsAndBiases:
    """A board that is a run in a project of Weights & Biases. If WANDB_MODE is offline, it is kept in a folder.

    Args:
        key: The key or option that names the project, for messages.
        project: The project.
        run: The name of the run.
        folder: The folder in which files of the run are kept.
        settings: The settings of the run, as YAML.

    Raises:
        MachineError: The run cannot be started, most likely because nobody is logged in.
    """

    package = "wandb"

    @staticmethod
    def for_pipeline(pipeline: Pipeline, run: str, _: Callable[[str], None]) -> Tracker | None:
        """Return a tracker that draws on Weights & Biases, if the pipeline has `track.wandb`.

        Raises:
            MachineError: The package is missing.
        """
        project = pipeline.track.wandb
        if project is None:
            return None
        check_board(WeightsAndBiases, "track.wandb")
        return Tracker(lambda: WeightsAndBiases("track.wandb", project, run, pipeline.work, as_yaml(pipeline)))

    def __init__(self, key: str, project: str, run: str, folder: Path, settings: str) -> None:
        import wandb

        of_wandb = wandb.Settings(silent=True, console="off", finish_timeout=WANDB_FINISH_SECONDS)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # standard output may hold nothing but events
                self._run = wandb.init(
                    project=project,
                    name=run,
                    dir=str(folder),
                    config=yaml.safe_load(settings),
                    settings=of_wandb,
                )
        except Exception as error:
            raise MachineError(
                f"{key}: no run could be begun: {str(error).rstrip('.')}.",
                "Log in with `wandb login`, or set WANDB_MODE=offline and send it later with `wandb sync`.",
            ) from error
        self._known: set[str] = set()

    def draw(self, series: str, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each of a series' curves."""
        series = series.replace(".", "_")  # a dot would turn the curve into a mapping in the run's summary
        for name in ("step", *values):
            if (metric := f"{series}/{name}") not in self._known:
                self._known.add(metric)
                self._run.define_metric(metric, **({"hidden": True} if name == "step" else {"step_metric": f"{series}/step"}))
        self._run.log({f"{series}/step": step, **{f"{series}/{name}": value for name, value in values.items()}})

    def end(self, series: str) -> None:
        """Do nothing: a series holds no resources."""

    def close(self) -> None:
        """Upload what is left, and end the run."""
        self._run.finish()


def check_board(board: type[TensorBoard] | type[WeightsAndBiases], key: str) -> None:
    """Check that the package of a board is installed.

    Args:
        board: The board.
        key: The key or option that asks for it.

    Raises:
        MachineError: It is not.
    """
    if importlib.util.find_spec(board.package) is None:
        raise MachineError(
            f"{key}: the package {board.package} is not installed.",
            f"Install it with `pip install 'nstpipe[{board.package}]'`, or leave out {key}.",
        )


class TrainingTracker:
    """A listener that draws the losses of a training on a board.

    Args:
        board: The board.
    """

    def __init__(self, board: Board) -> None:
        self._board = board

    def __call__(self, event: Event) -> None:
        """Draw the losses of an event."""
        if isinstance(event, TrainingProgressed):
            self._board.draw(event.network, event.step, event.losses)

    def finish(self, error: BaseException | None) -> None:
        """Close the board."""
        self._board.close()
