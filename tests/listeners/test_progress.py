"""What people see, on a terminal and in a log."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from nstpipe.events import (
    Event,
    FrameDone,
    FrameProgressed,
    InputsProgressed,
    ItemFailed,
    JobPlanned,
    Noticed,
    OutputDone,
    RunFinished,
    TriedAgain,
)
from nstpipe.listeners.bars import BarProgress
from nstpipe.listeners.lines import LineProgress, QuietProgress
from nstpipe.listeners.listener import Listener, finishing
from nstpipe.listeners.progress import display_for


def frame(index: int) -> FrameDone:
    return FrameDone(
        job="film",
        path="in.mp4",
        first_frame_index=0,
        frame_index=index,
        seconds=2.0,
        optimising_seconds=1.5,
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


UNDER_WAY = FrameProgressed(job="film", path="in.mp4", frame_index=0, evaluations=5, most_evaluations=10, loss=0.7)


def told(kind: type[Listener], *, terminal: bool) -> str:
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=120, color_system=None)
    with finishing(kind(console)) as reporter:  # type: ignore[call-arg]
        for event in STORY:
            reporter(event)
    return written.getvalue()


@pytest.mark.parametrize(("kind", "terminal"), [(BarProgress, True), (LineProgress, False)])
def test_both_displays_tell_the_whole_story(kind: type[Listener], terminal: bool) -> None:
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
    assert "film: 2 of 4 frames, 2.0 s a frame, 4 s left, loss 0.500, 8 iterations in all" in text


def test_a_night_of_lines_has_one_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of two jobs, an iteration every second, a frame every ten."""
    clock = 1000.0
    monkeypatch.setattr("nstpipe.listeners.lines.time.monotonic", lambda: clock)
    written = io.StringIO()
    console = Console(file=written, width=80)
    planned = [
        JobPlanned(job=name, outputs=1, outputs_done=0, frames=360, frames_left=left, work_left=left * 1000)
        for name, left in (("film", 360), ("other", 120))
    ]
    with finishing(LineProgress(console)) as reporter:
        for event in planned:
            reporter(event)
        head = len(written.getvalue().splitlines())
        for second in range(3600):
            clock += 1
            index, evaluations = divmod(second, 10)
            reporter(replace(UNDER_WAY, frame_index=index, evaluations=evaluations + 1))
            if evaluations == 9:
                reporter(replace(frame(index), seconds=10.0))
    lines = written.getvalue().splitlines()[head:]
    assert len(lines) == 60
    # 240 frames of the other job were done before. After 30 minutes 180 are done here, and 180 and 120 are left.
    half = next(line for line in lines if line.startswith("film: 180 of 360 frames"))
    assert "10.0 s a frame, 30 min 00 s left, loss" in half
    assert half.endswith("; all jobs: 420 of 720 frames, 50 min 00 s left")
    assert all(len(line) < 200 and line.isprintable() for line in lines)


def test_a_long_first_frame_is_told_of_before_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr("nstpipe.listeners.lines.time.monotonic", lambda: clock)
    written = io.StringIO()
    with finishing(LineProgress(Console(file=written, width=200))) as reporter:
        reporter(JobPlanned(job="film", outputs=1, outputs_done=0, frames=4, frames_left=4, work_left=4000))
        clock = 61.0
        begun = FrameProgressed(job="film", path="in.mp4", frame_index=0, evaluations=5, most_evaluations=200, loss=0.7)
        reporter(begun)
        clock = 122.0
        reporter(replace(begun, pixels=4, seconds=61))
    said = "film: 0 of 4 frames, iteration 5 of 200 of the next"
    # Of 4000 iterations times pixels 20 are done in 61 s; an older version does not say how large the frame is.
    assert written.getvalue().splitlines()[-2:] == [f"{said}, loss 0.700", f"{said}, 3 h 22 min left, loss 0.700"]


def test_several_jobs_have_a_bar_for_all() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, color_system=None)
    with finishing(BarProgress(console)) as reporter:
        for name, left in (("film", 3), ("other", 0)):
            reporter(JobPlanned(job=name, outputs=1, outputs_done=0, frames=4, frames_left=left, work_left=left * 1000))
        reporter(frame(1))
    last = written.getvalue()[-2000:]
    # Of eight frames five were done before this run; two seconds for each of the two that are left.
    assert re.search(r"all jobs .* 6/8 .*4 s left", last)
    assert re.search(r"film .* 2/4 .* loss 0.500 2.0 s/frame 4 s left", last)


def test_bars_fit_into_eighty_columns() -> None:
    written = io.StringIO()
    with finishing(BarProgress(Console(file=written, force_terminal=True, width=80, color_system=None))) as reporter:
        for name in ("city-night", "street"):
            reporter(JobPlanned(job=name, outputs=1, outputs_done=0, frames=750, frames_left=750, work_left=750_000))
        reporter(replace(frame(0), job="street"))
        reporter(replace(UNDER_WAY, job="street", evaluations=100, most_evaluations=200))
    assert re.search(r"street .* 1/750 +iteration 100/200 loss 0.700 24 min 58 s left", written.getvalue())
    assert "…" not in written.getvalue()


def test_a_frame_that_begins_again_is_not_counted_twice() -> None:
    written = io.StringIO()
    with finishing(BarProgress(Console(file=written, force_terminal=True, width=100, color_system=None))) as reporter:
        reporter(JobPlanned(job="film", outputs=1, outputs_done=0, frames=2, frames_left=2, work_left=2000, workers=2))
        for index in (0, 1):
            reporter(
                FrameProgressed(job="film", path="in.mp4", frame_index=index, evaluations=9, most_evaluations=10, loss=0.7)
            )
        assert reporter._progress.tasks[0].completed == pytest.approx(1.8)
        reporter(TriedAgain(job="film", path="in.mp4", reason="killed", attempt=1, wait_seconds=0))
        reporter(frame(0))
        assert reporter._progress.tasks[0].completed == 1
        reporter(frame(1))
        assert reporter._progress.tasks[0].completed == 2


def test_bars_show_frames_pace_and_loss() -> None:
    text = told(BarProgress, terminal=True)
    assert "4/4" in text
    assert "2.0 s/frame" in text
    assert "loss 0.500" in text


def test_a_notice_after_the_end_draws_no_bar_again() -> None:
    written = io.StringIO()
    with finishing(BarProgress(Console(file=written, force_terminal=True, width=120, color_system=None))) as reporter:
        for event in STORY:
            reporter(event)
        written.seek(0)
        written.truncate()
        reporter(Noticed(job="film", message="the webhook could not be notified"))
    assert written.getvalue() == "film: the webhook could not be notified\n"


def test_quiet_says_failures_only() -> None:
    assert told(QuietProgress, terminal=False) == "film: failed: bad[1].mp4 is no video. Play it.\n"


def test_display_fits_the_place() -> None:
    assert isinstance(display_for(Console(force_terminal=True), quiet=False), BarProgress)
    assert isinstance(display_for(Console(file=io.StringIO()), quiet=False), LineProgress)
    assert isinstance(display_for(Console(), quiet=True), QuietProgress)


def look(at: float, done: int, share: float = 0.0) -> InputsProgressed:
    return InputsProgressed(at=at, job="street", path="7.jpg", inputs_done=done, inputs=100, share=share)


def test_a_long_look_at_the_inputs_is_told_of_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr("nstpipe.listeners.lines.time.monotonic", lambda: clock)
    written = io.StringIO()
    with finishing(LineProgress(Console(file=written, width=200))) as reporter:
        for second in range(121):
            clock = float(second)
            # One in two seconds, from the tenth on.
            reporter(look(1000 + second, 10 + second // 2, second % 2 / 2))
    assert written.getvalue().splitlines() == [
        "street: looking at the inputs, 40 of 100 done, 2 min 00 s left",
        "street: looking at the inputs, 70 of 100 done, 1 min 00 s left",
    ]


def test_a_bar_of_the_look_makes_room_for_those_of_the_jobs() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=120, color_system=None)
    with finishing(BarProgress(console)) as reporter:
        reporter(look(1000, 0))
        reporter(look(1010, 25))
        reporter._progress.refresh()
        assert re.search(r"street: looking at the inputs .* 25/100 +30 s left", written.getvalue())
        reporter(STORY[1])
        written.truncate(0)
        reporter._progress.refresh()
        assert "looking" not in written.getvalue()
        assert "film" in written.getvalue()
