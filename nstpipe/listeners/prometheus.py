"""Metrics of a run for Prometheus, in a file for node_exporter's textfile collector."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nstpipe.config import Pipeline
from nstpipe.errors import EXIT_BUG, EXIT_DONE, EXIT_INTERRUPTED, BusyError, NstpipeError, OutputError
from nstpipe.events import Event, JobPlanned, RunFinished
from nstpipe.listeners.tally import JobTally, Tally
from nstpipe.system.files import complete, ensure_folder
from nstpipe.version import __version__

INTERVAL_SECONDS = 15.0
"""Seconds between two writes. Prometheus reads about as often."""


_JOB_METRICS: dict[str, tuple[str, Callable[[JobTally], float | None]]] = {
    "nstpipe_job_frames": ("Frames of the job.", lambda job: job.frames),
    "nstpipe_job_frames_done": ("Frames that are stylized, by this run or before.", lambda job: job.frames_done),
    "nstpipe_job_outputs": ("Results that the job makes.", lambda job: job.outputs),
    "nstpipe_job_outputs_done": (
        "Results that are made, by this run or before.",
        lambda job: job.outputs_done_before + job.outputs_made,
    ),
    "nstpipe_job_failures": ("Pictures and videos that could not be done.", lambda job: job.failures),
    "nstpipe_job_frame_seconds": ("Seconds spent on frames in this run, by all workers.", lambda job: job.seconds),
    "nstpipe_job_evaluations": ("Iterations spent in this run.", lambda job: job.iterations),
    "nstpipe_job_seconds_left": ("Likely time until the job is done.", lambda job: job.forecast.seconds_left()),
    "nstpipe_job_loss": ("Total loss of the latest frame.", lambda job: job.loss),
}
"""Help text and value of each metric of a job. All are gauges: a run is a batch, and counts from zero each time."""

_LAST_SUCCESS = "nstpipe_last_success_timestamp_seconds"


class Exporter:
    """A listener that keeps a text file of metrics up to date while a run goes on.

    Args:
        pipeline: The settings, with the key `prometheus`.
        notice: Called with a sentence if the file cannot be written.
        interval_seconds: Seconds between two writes.
    """

    def __init__(
        self, pipeline: Pipeline, notice: Callable[[str], None], *, interval_seconds: float = INTERVAL_SECONDS
    ) -> None:
        assert pipeline.prometheus is not None
        self._path: Path = pipeline.prometheus
        self._work = str(pipeline.work.absolute()).encode("utf-8", "replace").decode()
        self._notice = notice
        self._interval_seconds = interval_seconds
        self._tally = Tally()
        self._began = time.time()
        self._ended: float | None = None
        self._exit_code: int | None = None
        self._last_success = _last_success(self._path)
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._ticker: threading.Thread | None = None
        self._problem = ""
        self._complained = False

    @classmethod
    def for_pipeline(cls, pipeline: Pipeline, run: str, notice: Callable[[str], None]) -> Exporter | None:
        """Return an exporter, if the pipeline has `prometheus`."""
        return cls(pipeline, notice) if pipeline.prometheus is not None else None

    def __call__(self, event: Event) -> None:
        """Count one event. The first job starts the thread that writes the file."""
        with self._lock:
            self._tally.add(event)
        if isinstance(event, JobPlanned) and self._ticker is None:
            # A thread writes, because no event comes while a long film is encoded.
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()
        if isinstance(event, RunFinished):
            self._exit_code = event.exit_code
        self._complain()

    def finish(self, error: BaseException | None) -> None:
        """Write the last metrics, unless another run holds the work folder and writes the file.

        Args:
            error: The exception that ended the run; None if there was none.
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

    def _write(self) -> None:
        with self._lock:
            text = self._text()
        # `atomic_write` would use a hidden name that ends in .prom, and node_exporter reads all such files.
        partial = self._path.with_name(f"{self._path.name}.partial")
        try:
            ensure_folder(self._path.parent)
            partial.write_bytes(text)
            complete(partial, self._path)
        except (OSError, OutputError) as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            self._problem = error.problem if isinstance(error, OutputError) else f"{self._path}: {error.strerror}."

    def _complain(self) -> None:
        """Tell once that the file cannot be written. Only the caller's thread may tell."""
        if self._problem and not self._complained:
            self._complained = True
            self._notice(f"figures for Prometheus could not be written: {self._problem}")

    def _text(self) -> bytes:
        from prometheus_client import CollectorRegistry, Gauge, generate_latest

        registry = CollectorRegistry()

        def gauge(name: str, described: str, *labels: str) -> Gauge:
            # The work folder distinguishes several pipelines on one machine.
            return Gauge(name, described, ("work", *labels), registry=registry)

        now = time.time() if self._ended is None else self._ended
        exit_code = self._exit_code if self._ended is not None else None
        gauge("nstpipe_info", "Version of nstpipe.", "version").labels(self._work, __version__).set(1)
        for name, described, value in (
            ("nstpipe_run_start_timestamp_seconds", "When the run began.", self._began),
            ("nstpipe_run_running", "Whether the run goes on.", int(self._ended is None)),
            ("nstpipe_run_seconds", "How long the run has taken.", now - self._began),
            ("nstpipe_run_exit_code", "Exit code of the run that has ended.", exit_code),
            (_LAST_SUCCESS, "When a run last ended with exit code 0.", self._last_success),
        ):
            if value is not None:
                gauge(name, described).labels(self._work).set(value)
        for name, (described, value_of) in _JOB_METRICS.items():
            known = {job: value for job, tally in self._tally.jobs.items() if (value := value_of(tally)) is not None}
            if known:
                metric = gauge(name, described, "job")
                for job, value in known.items():
                    metric.labels(self._work, job).set(value)
        return generate_latest(registry)


def _last_success(path: Path) -> float | None:
    """Return when a run last succeeded, as the file of the run before says; None if it does not."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    return next((sample.value for family in families for sample in family.samples if sample.name == _LAST_SUCCESS), None)
