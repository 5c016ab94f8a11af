"""What people see, on a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from nstpipe.events import Event, FrameDone, FrameProgressed, ItemFailed, JobPlanned, Noticed, OutputDone, RunFinished
from nstpipe.report.progress import BarProgress, LineProgress, QuietProgress, Reporter, progress


def frame(index: int) -> FrameDone:
    return FrameDone(
        job="film",
        path="in.mp4",
        first_frame_index=0,
        frame_index=index,
        seconds=2.0,
        evaluations=8,
        most_evaluations=10,
        pixels=100,
        loss=0.5,
        content_loss=0.3,
        style_loss=0.2,
    )


STORY: list[Event] = [
    ItemFailed(job="film", path="bad[1].mp4", reason="bad[1].mp4 is no video.", next_step="Play it."),
    JobPlanned(job="film", outputs=2, outputs_done=1, frames=4, frames_left=3, work_left=3000),
    Noticed(job="film", message="in.mp4 has 2 shots"),
    FrameProgressed(job="film", path="in.mp4", frame_index=1, evaluations=5, most_evaluations=10, loss=0.7),
    frame(1),
    frame(2),
    frame(3),
    OutputDone(job="film", path="in.mp4", output="out.mp4", frames=4, encode_seconds=1, fingerprint="f", sha256="s"),
    RunFinished(exit_code=2, outputs_made=1, outputs_already_done=1, items_failed=1, seconds=75),
]


def told(kind: type[Reporter], *, terminal: bool) -> str:
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=120, color_system=None)
    with kind(console) as reporter:  # type: ignore[call-arg]
        for event in STORY:
            reporter(event)
    return written.getvalue()


@pytest.mark.parametrize(("kind", "terminal"), [(BarProgress, True), (LineProgress, False)])
def test_both_displays_tell_the_whole_story(kind: type[Reporter], terminal: bool) -> None:
    text = told(kind, terminal=terminal)
    for words in (
        "film: failed: bad[1].mp4 is no video. Play it.",
        "in.mp4 has 2 shots",
        "1 made, 1 done before, 1 failed, in 1 min 15 s. Exit code 2.",
    ):
        assert words in text
    table = next(line for line in text.splitlines() if line.startswith("│ film"))
    cells = [cell.strip() for cell in table.strip("│").split("│")]
    assert cells == ["film", "1", "1", "1", "3", "2.00", "8", "0.500"]


def test_lines_have_no_control_characters_and_say_how_far_it_is() -> None:
    text = told(LineProgress, terminal=False)
    assert "\x1b" not in text
    assert "\r" not in text
    assert "film: 3 of 4 frames to do, 1 of 2 outputs done" in text
    # One frame was done before this run; two seconds a frame for the two that are left.
    assert "film: 2 of 4 frames, 2.0 s a frame, 4 s left, loss 0.500" in text


def test_bars_show_frames_pace_and_loss() -> None:
    text = told(BarProgress, terminal=True)
    assert "4/4" in text
    assert "2.0 s/frame" in text
    assert "loss 0.500" in text


def test_quiet_says_failures_only() -> None:
    assert told(QuietProgress, terminal=False) == "film: failed: bad[1].mp4 is no video. Play it.\n"


def test_display_fits_the_place() -> None:
    assert isinstance(progress(Console(force_terminal=True), quiet=False), BarProgress)
    assert isinstance(progress(Console(file=io.StringIO()), quiet=False), LineProgress)
    assert isinstance(progress(Console(), quiet=True), QuietProgress)
