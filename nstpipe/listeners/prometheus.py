"""A run's figures for Prometheus, in a file for node_exporter's textfile collector."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nstpipe.config import Pipeline
from nstpipe.errors import EXIT_BUG, EXIT_DONE, EXIT_INTERRUPTED, BusyError, NstpipeError, OutputError
from nstpipe.events import Event, FrameDone, ItemFailed, JobPlanned, OutputDone, RunFinished
from nstpipe.system.files import complete, ensure_folder
from nstpipe.version import __version__

INTERVAL_SECONDS = 15.0
"""Between two writes; Prometheus looks about as often."""


@dataclass
class _Job:
    frames: int = 0
    frames_done: int = 0
    outputs: int = 0
    outputs_done: int = 0
    failures: int = 0
    frame_seconds: float = 0.0
    evaluations: int = 0
    loss: float | None = None


_JOB_METRICS: dict[str, tuple[str, Callable[[_Job], float | None]]] = {
    "nstpipe_job_frames": ("Frames of the job.", lambda job: job.frames),
    "nstpipe_job_frames_done": ("Frames that are stylized, by this run or before.", lambda job: job.frames_done),
    "nstpipe_job_outputs": ("Results that the job makes.", lambda job: job.outputs),
    "nstpipe_job_outputs_done": ("Results that are made, by this run or before.", lambda job: job.outputs_done),
    "nstpipe_job_failures": ("Pictures and videos that could not be done.", lambda job: job.failures),
    "nstpipe_job_frame_seconds": ("Seconds spent on frames in this run, by all workers.", lambda job: job.frame_seconds),
    "nstpipe_job_evaluations": ("Iterations spent in this run.", lambda job: job.evaluations),
    "nstpipe_job_loss": ("Total loss of the latest frame.", lambda job: job.loss),
}
"""All gauges: a run is a batch, and counts from zero each time."""

_LAST_SUCCESS = "nstpipe_last_success_timestamp_seconds"


class Exporter:
    """Keeps a textfile true while a run goes on.

    Args:
        pipeline: with its key `prometheus`.
        notice: is told if the file cannot be written.
        interval_seconds: between two writes.
    """

    def __init__(
        self, pipeline: Pipeline, notice: Callable[[str], None], *, interval_seconds: float = INTERVAL_SECONDS
    ) -> None:
        assert pipeline.prometheus is not None
        self._path: Path = pipeline.prometheus
        self._work = str(pipeline.work.absolute())
        self._notice = notice
        self._interval_seconds = interval_seconds
        self._jobs: dict[str, _Job] = {}
        self._began = time.time()
        self._ended: float | None = None
        self._exit_code: int | None = None
        self._last_success = _last_success(self._path)
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._ticker: threading.Thread | None = None
        self._problem = ""
        self._complained = False

    def __call__(self, event: Event) -> None:
        """Take one event into account."""
        with self._lock:
            self._count(event)
        if isinstance(event, JobPlanned) and self._ticker is None:
            # A thread, since nothing happens while a long film is encoded.
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()
        if isinstance(event, RunFinished):
            self._exit_code = event.exit_code
        self._complain()

    def finish(self, error: BaseException | None) -> None:
        """Write the last figures; unless another run holds the work folder, and the file with it.

        Args:
            error: what ended the run; None if it came to its end.
        """
        self._end.set()
        if self._ticker is not None:
            self._ticker.join()
        if isinstance(error, BusyError):
            return
        if error is not None:
            own = error.exit_code if isinstance(error, NstpipeError) else None
            self._exit_code = own or (EXIT_BUG if isinstance(error, Exception) else EXIT_INTERRUPTED)
        self._ended = time.time()
        if self._exit_code == EXIT_DONE:
            self._last_success = self._ended
        self._write()
        self._complain()

    def _tick(self) -> None:
        self._write()
        while not self._end.wait(self._interval_seconds):
            self._write()

    def _count(self, event: Event) -> None:
        job = self._jobs.setdefault(event.job, _Job()) if isinstance(event, _COUNTED) else _Job()
        if isinstance(event, JobPlanned):
            job.frames, job.frames_done = event.frames, event.frames - event.frames_left
            job.outputs, job.outputs_done = event.outputs, event.outputs_done
        elif isinstance(event, FrameDone):
            job.frames_done = min(job.frames, job.frames_done + event.is_final)
            job.frame_seconds += event.seconds
            job.evaluations += event.evaluations
            job.loss = event.loss
        elif isinstance(event, OutputDone):
            job.outputs_done += 1
        elif isinstance(event, ItemFailed):
            job.failures += 1

    def _write(self) -> None:
        with self._lock:
            text = "".join(self._metrics())
        # Not `atomic_write`: its hidden name would end in .prom too, and node_exporter reads all that does.
        partial = self._path.with_name(f"{self._path.name}.partial")
        try:
            ensure_folder(self._path.parent)
            partial.write_bytes(text.encode("utf-8", "replace"))
            complete(partial, self._path)
        except (OSError, OutputError) as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            self._problem = error.problem if isinstance(error, OutputError) else f"{self._path}: {error.strerror}."

    def _complain(self) -> None:
        """Say once, and not from the thread that writes, what went wrong with the file."""
        if self._problem and not self._complained:
            self._complained = True
            self._notice(f"figures for Prometheus could not be written: {self._problem}")

    def _metrics(self) -> Iterator[str]:
        def metric(name: str, described: str, values: list[tuple[dict[str, str], float | None]]) -> Iterator[str]:
            known = [(labels, value) for labels, value in values if value is not None]
            if known:
                yield f"# HELP {name} {described}\n# TYPE {name} gauge\n"
                # The work folder tells pipelines apart that one machine runs.
                yield from (f"{name}{_labels(work=self._work, **labels)} {value!r}\n" for labels, value in known)

        yield from metric("nstpipe_info", "Version of nstpipe.", [({"version": __version__}, 1)])
        yield from metric("nstpipe_run_start_timestamp_seconds", "When the run began.", [({}, self._began)])
        yield from metric("nstpipe_run_running", "Whether the run goes on.", [({}, int(self._ended is None))])
        now = time.time() if self._ended is None else self._ended
        yield from metric("nstpipe_run_seconds", "How long the run has taken.", [({}, now - self._began)])
        exit_code = self._exit_code if self._ended is not None else None
        yield from metric("nstpipe_run_exit_code", "Exit code of the run that has ended.", [({}, exit_code)])
        yield from metric(_LAST_SUCCESS, "When a run last ended with exit code 0.", [({}, self._last_success)])
        for name, (described, value_of) in _JOB_METRICS.items():
            values = [({"job": job}, value_of(counted)) for job, counted in self._jobs.items()]
            yield from metric(name, described, values)


_COUNTED = (JobPlanned, FrameDone, OutputDone, ItemFailed)


def _labels(**labels: str) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items()) + "}"


def _last_success(path: Path) -> float | None:
    """What the file of the run before says."""
    try:
        found = re.search(rf"^{_LAST_SUCCESS}\{{.*\}} ([0-9.e+]+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        return float(found[1]) if found is not None else None
    except (OSError, ValueError):
        return None
