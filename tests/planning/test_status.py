"""How far a pipeline is, as its journal tells."""

from __future__ import annotations

from pathlib import Path

import pytest

import nstpipe
import nstpipe.api
from nstpipe.events import Event, OutputDone
from nstpipe.journal import database
from nstpipe.planning import status
from tests.making import make_picture, write_pipeline


class Killed(Exception):  # noqa: N818
    """Stands for whatever ends a process in the middle of its work."""


def test_a_very_large_job_is_counted_from_the_journal_as_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a run that was killed with one output made, one begun, one left and one that failed; and after it went on."""
    for number in range(3):
        make_picture(tmp_path / "in" / f"{number}.png", seed=number)
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    pipeline = write_pipeline(tmp_path, {"name": "street", "input": "in", "output": "out", "link": "none"})

    def die(event: Event) -> None:
        if type(event).__name__ == "ClipStarted" and list((tmp_path / "out").glob("*.png")):
            raise Killed

    with pytest.raises(Killed):
        nstpipe.run(pipeline, on_event=die)
    for expected in ((1, 1, 1, 1), (3, 0, 1, 0)):
        listed = nstpipe.api.status(pipeline)
        with monkeypatch.context() as large:
            large.setattr(status, "MANY_OUTPUTS", 3)
            large.setattr(status, "find_inputs", None)  # none is listed
            large.setattr(database, "LARGE_BYTES", 0)
            counted = nstpipe.api.status(pipeline)
        [job] = counted.jobs
        assert (job.done, job.running, job.failed, job.left) == expected
        # The listing also counts the frame of the picture that cannot be read, which no plan has.
        assert (listed.jobs[0].done, listed.jobs[0].running, listed.jobs[0].failed, listed.jobs[0].left) == expected
        assert job.frames_done == listed.jobs[0].frames_done
        assert (counted.failures, counted.clips, counted.exit_code) == (listed.failures, listed.clips, listed.exit_code)
        assert job.frames == 3
        assert nstpipe.run(pipeline, on_event=lambda event: isinstance(event, OutputDone)).exit_code == 2
