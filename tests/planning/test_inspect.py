"""The look at the inputs before anything is painted: how far it is, and that it ends in time."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

import nstpipe
from nstpipe import api
from nstpipe.events import Event, InputsProgressed, JobPlanned, OutputDone, RunFinished
from nstpipe.journal.journal import Journal
from nstpipe.planning import inspect
from nstpipe.planning.input_info import picture_kind
from nstpipe.system.stop import Stop, StopReason
from tests.making import ALL_LAYERS, make_picture, make_video, write_pipeline


@pytest.fixture(autouse=True)
def _tell_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "PROGRESS_SECONDS", 0.0)


def pictures(folder: Path, count: int) -> Path:
    for number in range(count):
        make_picture(folder / "in" / f"{number}.jpg", seed=number)
    return write_pipeline(folder, {"name": "street", "input": "in", "output": "out"})


def looks(events: list[Event]) -> list[InputsProgressed]:
    return [event for event in events if isinstance(event, InputsProgressed)]


def test_each_picture_counts_once(tmp_path: Path) -> None:
    events: list[Event] = []
    api.plan(pictures(tmp_path, 3), on_event=events.append)
    assert [(event.job, Path(event.path).name, event.inputs_done, event.inputs, event.share) for event in looks(events)] == [
        ("street", "0.jpg", 0, 3, 0.0),
        ("street", "1.jpg", 1, 3, 0.0),
        ("street", "2.jpg", 2, 3, 0.0),
    ]


def test_validate_counts_them_too_and_sees_that_results_can_be_written(tmp_path: Path) -> None:
    events: list[Event] = []
    pipeline = pictures(tmp_path, 2)
    make_picture(tmp_path / "wide.png", size=(16_500, 40))  # WebP's sides end at 16,383 pixels
    pipeline = write_pipeline(
        tmp_path,
        {"name": "street", "input": "in", "output": "out"},
        {"name": "wide", "input": "wide.png", "output": "out/wide.webp", "size": "native"},
    )
    found = api.validate(pipeline, on_event=events.append)
    assert [(event.job, event.inputs_done, event.inputs) for event in looks(events)] == [
        ("street", 0, 2), ("street", 1, 2), ("wide", 0, 1),
    ]  # fmt: skip
    assert found.usable == 2
    [failure] = found.failures
    assert "wide.webp would have 16500x40 pixels; WEBP holds no more than 16383 a side" in failure.reason


def test_a_frame_too_small_for_its_layers_is_found_before_the_work(tmp_path: Path) -> None:
    make_picture(tmp_path / "strip.png", size=(400, 60))
    job = {"name": "strip", "input": "strip.png", "output": "out/strip.png", "size": 80, **ALL_LAYERS}
    pipeline = write_pipeline(tmp_path, job)  # 80x12; a position of relu5_1 is 16 pixels wide
    for found in (api.plan(pipeline).failures, api.validate(pipeline).failures):
        [failure] = found
        said = "the frame is 80x12 pixels when stylized; the layers asked for need 16 on the shorter side."
        assert failure.reason == f"{tmp_path / 'strip.png'}: {said}"
    early = {"style": {"images": ["style.png"], "layers": {"relu1_1": 1, "relu3_1": 1}}, "content": {"layers": {"relu4_2": 1}}}
    # Here 8 are enough.
    assert not api.plan(write_pipeline(tmp_path, {**job, **early})).failures


def test_a_film_is_decoded_twice_and_then_never_again(tmp_path: Path) -> None:
    make_video(tmp_path / "in.mp4", frames=4)
    pipeline = write_pipeline(tmp_path, {"name": "film", "input": "in.mp4", "output": "out/film.mp4"})
    events: list[Event] = []
    api.plan(pipeline, on_event=events.append)
    # To see what there is after each of four frames, at its one key frame, and to find cuts before each of the four.
    eighths = [0, 1, 2, 3, 4, 4, 4, 5, 6, 7]
    assert [event.share for event in looks(events)] == [eighth / 8 for eighth in eighths]
    events.clear()
    api.plan(pipeline, on_event=events.append)
    assert [event.share for event in looks(events)] == [0.0]


def test_a_run_whose_time_is_up_paints_nothing_and_the_next_one_goes_on(tmp_path: Path) -> None:
    pipeline, stop = pictures(tmp_path, 3), Stop()
    events: list[Event] = []

    def watch(event: Event) -> None:
        events.append(event)
        if isinstance(event, InputsProgressed) and event.inputs_done == 1:
            stop.ask(StopReason.TIME)

    result = nstpipe.run(pipeline, stop=stop, on_event=watch)
    assert (result.exit_code, result.stopped, result.outputs, result.failures) == (75, StopReason.TIME, (), ())
    assert [event.inputs_done for event in looks(events)] == [0, 1]
    assert not [event for event in events if isinstance(event, (JobPlanned, OutputDone))]
    [finished] = [event for event in events if isinstance(event, RunFinished)]
    assert (finished.stopped, finished.exit_code) == ("the time is up", 75)
    assert not list((tmp_path / "out").glob("*"))
    assert len(nstpipe.run(pipeline).outputs) == 3


def test_a_film_is_not_decoded_to_its_end_when_the_time_is_up(tmp_path: Path) -> None:
    make_video(tmp_path / "in.mp4", frames=8)
    pipeline, stop = write_pipeline(tmp_path, {"name": "film", "input": "in.mp4", "output": "out/film.mp4"}), Stop()
    seen: list[float] = []

    def watch(event: Event) -> None:
        if isinstance(event, InputsProgressed):
            seen.append(event.share)
            if event.share > 0.6:
                stop.ask(StopReason.TIME)

    assert nstpipe.run(pipeline, stop=stop, on_event=watch).exit_code == 75
    assert max(seen) == 0.625  # of sixteenths, the first one beyond
    assert len(nstpipe.run(pipeline).outputs) == 1


def test_a_short_look_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "PROGRESS_SECONDS", 3600.0)
    events: list[Event] = []
    api.plan(pictures(tmp_path, 2), on_event=events.append)
    assert events == []


def test_many_pictures_are_inspected_by_several_processes_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        make_picture(tmp_path / "in" / f"{number}.png", seed=number)
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    keys = {"name": "street", "input": "in", "output": "out", "link": "none"}
    plans = []
    for work in ("alone", "ahead"):
        pipeline = write_pipeline(tmp_path, keys, work=work)
        with monkeypatch.context() as ahead:
            if work == "ahead":
                ahead.setattr("nstpipe.planning.ahead.LEAST_PICTURES", 1)
                ahead.setattr("nstpipe.planning.ahead.PICTURES_A_BATCH", 2)
            plans.append(api.plan(pipeline))
        with closing(Journal(tmp_path / work, pipeline=pipeline)) as journal:
            assert journal.count(picture_kind()) == 6
        # Everything is known now: no picture is opened.
        with monkeypatch.context() as closed:
            closed.setattr("nstpipe.planning.inspect.picture_size", lambda path: pytest.fail(f"{path} is opened"))
            (tmp_path / "in" / "broken.png").rename(tmp_path / "broken.png")
            assert len(api.plan(pipeline).outputs) == 6
            (tmp_path / "broken.png").rename(tmp_path / "in" / "broken.png")
    alone, ahead_plan = plans
    assert [output.fingerprint for output in ahead_plan.outputs] == [output.fingerprint for output in alone.outputs]
    assert [failure.reason for failure in ahead_plan.failures] == [failure.reason for failure in alone.failures]
