"""Uploads finished outputs while others are painted."""

from __future__ import annotations

from concurrent.futures import Future, wait
from functools import partial

from nstpipe.errors import ItemError, OutputError
from nstpipe.events import Noticed, OutputDone
from nstpipe.planning.outputs import Output, failed
from nstpipe.planning.plan import Plan
from nstpipe.running.recorder import Recorder
from nstpipe.storage.mirror import Mirror
from nstpipe.system.files import parts_of
from nstpipe.system.stop import Stop, Stopped, StopReason

POLL_SECONDS = 0.1
"""Seconds after which a stop is noticed while uploads are waited for."""


class Delivery:
    """Brings outputs to where they go. Those that stay on this machine are there already.

    Args:
        mirror: The remote files; None if there are none.
        recorder: Records what happens. It is called in the caller's thread only.
        stop: Asks the run to end.
        most_waiting: How many outputs may wait to be uploaded before the caller waits too.
    """

    def __init__(self, mirror: Mirror | None, recorder: Recorder, stop: Stop, most_waiting: int = 16) -> None:
        self._mirror = mirror
        self._recorder = recorder
        self._stop = stop
        self._most_waiting = most_waiting
        self._uploads: dict[Future[int], tuple[OutputDone, Output]] = {}

    def note_made(self, output: Output) -> None:
        """Note that the file of an output is new, before the journal knows it, so that nothing remote takes its place."""
        if self._mirror is not None and self._mirror.covers(output.path):
            self._mirror.note_made(output.path)

    def deliver(self, done: OutputDone, output: Output) -> None:
        """Tell that an output is done, as soon as it is where it goes."""
        if self._mirror is None or not self._mirror.covers(output.path):
            self._recorder.emit(done)
            return
        self._uploads[self._mirror.submit(partial(self._mirror.upload, output.path))] = done, output
        self.look()
        while len(self._uploads) > self._most_waiting and not self._stop.should_stop():
            wait(self._uploads, POLL_SECONDS, "FIRST_COMPLETED")
            self.look()

    def look(self) -> None:
        """Tell of the uploads that have ended."""
        for upload in [upload for upload in self._uploads if upload.done()]:
            done, output = self._uploads.pop(upload)
            problem = _problem_of(upload)
            if isinstance(upload.exception(), Stopped):
                self._recorder.withdraw(done)  # the next run continues with it
            elif problem is None:
                self._recorder.emit(done)
            else:
                self._recorder.undelivered(done, failed(output.job, output.input.file.path, problem, output))

    def finish(self) -> None:
        """Wait for the uploads that are left, unless the run is asked to end. The next run continues with those."""
        while self._uploads and not self._ends_now:
            wait(self._uploads, POLL_SECONDS, "FIRST_COMPLETED")
            self.look()
        for upload, (done, _) in self._uploads.items():
            upload.cancel()
            self._recorder.withdraw(done)
        self._uploads.clear()

    @property
    def _ends_now(self) -> bool:
        return self._stop.should_stop() and self._stop.reason is not StopReason.FAILURE

    def resume(self, plan: Plan) -> None:
        """Upload what an earlier run has made and not uploaded."""
        if self._mirror is None:
            return
        mirror = self._mirror
        # Outputs that were planned by folder are on this machine.
        outputs = {part: output for output in plan.outputs.single() if output.is_done for part in parts_of(output.path)}
        waiting = [path for path in mirror.waiting() if path in outputs]
        uploads = {mirror.submit(partial(mirror.upload, path)): (path, outputs[path]) for path in waiting}
        while uploads and not self._ends_now:
            ended, _ = wait(uploads, POLL_SECONDS, "FIRST_COMPLETED")
            for upload in ended:
                path, output = uploads.pop(upload)
                problem = _problem_of(upload)
                if isinstance(upload.exception(), Stopped):
                    continue
                if problem is None:
                    message = f"{path} is uploaded; an earlier run had made it"
                    self._recorder.emit(Noticed(job=output.job.name, message=message))
                else:
                    self._recorder.undelivered(None, failed(output.job, output.input.file.path, problem, output))


def _problem_of(upload: Future[int]) -> OutputError | ItemError | None:
    error = upload.exception()
    if error is None or isinstance(error, OutputError | ItemError):
        return error
    return OutputError(f"the upload failed: {type(error).__name__}.", "Run again; what is made is kept.")
