"""The log of a run, read again."""

from __future__ import annotations

from pathlib import Path

from nstpipe.events import Event, FrameProgressed, ItemFailed, JobPlanned, Noticed
from nstpipe.journal.log import RunLog, log_path, logged_events
from nstpipe.listeners.listener import finishing


def test_what_is_written_is_read_again_without_what_is_damaged_or_unknown(tmp_path: Path) -> None:
    told: list[Event] = [
        JobPlanned(job="film", outputs=1, outputs_done=0, frames=4, frames_left=4, work_left=10),
        ItemFailed(job="film", path="a.png", reason="it is no picture"),
        Noticed(job="film", message="ü"),
    ]
    with finishing(RunLog(tmp_path, "run")) as log:
        for event in told:
            log(event)
        log(FrameProgressed(job="film", path="a.png", frame_index=0, evaluations=1, most_evaluations=2, loss=1.0))
    path = log_path(tmp_path, "run")
    whole = path.read_bytes()
    lines = (b'{"event": "OfTomorrow", "at": 1}', b'{"event": "Any", "at": 1}', b"[1]", b"\xff", b'{"event": "Noticed"}')
    path.write_bytes(b"\n".join(lines) + b"\n" + whole + whole[:40])
    assert list(logged_events(path)) == told
    assert list(logged_events(tmp_path / "none.jsonl")) == []
