"""How many workers a run has where the pipeline leaves it open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nstpipe.config import Pipeline, load_pipeline
from nstpipe.journal.journal import Journal
from nstpipe.planning import workers
from nstpipe.planning.plan import plan_pipeline
from nstpipe.planning.planned import PlannedOutputs
from nstpipe.planning.workers import Work, memory_needed, remember_workers, speed, with_workers
from nstpipe.system import threads
from nstpipe.system.memory import Memory
from nstpipe.system.stop import Stop
from tests.making import make_picture, make_video, write_pipeline

PLENTY = 1 << 40


@pytest.fixture(autouse=True)
def no_choice_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in threads.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def machine(monkeypatch: pytest.MonkeyPatch, cores: int, free_bytes: int = PLENTY) -> None:
    monkeypatch.setattr(workers, "core_count", lambda: cores)
    monkeypatch.setattr("nstpipe.planning.resources.core_count", lambda: cores)
    monkeypatch.setattr(workers, "memory", lambda: Memory(free_bytes, free_bytes))


def planned(folder: Path, **job: Any) -> tuple[Pipeline, PlannedOutputs, Journal]:
    pipeline = load_pipeline(write_pipeline(folder, {"name": "job", "size": 320, **job}))
    journal = Journal(pipeline.work)
    return pipeline, plan_pipeline(pipeline, journal, stop=Stop(), emit=lambda _: None).outputs, journal


def make_pictures(folder: Path, count: int) -> dict[str, Any]:
    """A job of so many pictures that do not start from each other, each with 100 iterations at 320x240 pixels."""
    (folder / "in").mkdir()
    for number in range(count):
        Image.new("RGB", (320, 240), (number, 0, 0)).save(folder / "in" / f"{number:02d}.png")
    optimizer = {"first": 100, "next": 100, "tolerance": 0.0}
    return {"input": "in", "output": "out", "link": "none", "optimizer": optimizer}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pipeline, PlannedOutputs, Journal]]:
    folder = tmp_path_factory.mktemp("pictures")
    pipeline, outputs, journal = planned(folder, **make_pictures(folder, 40))
    with closing(journal):
        yield pipeline, outputs, journal


PIXELS = 320 * 240

# The speed of t threads is t / (1 + 0.2 (t - 1)): 1.67 for 2, 2.5 for 4, 3.33 for 8. The time of n pictures on w workers is at
# most n / w + 1 - 1 / w, over the speed of each.
CHOICES = {
    "one picture has all threads": (2, 1, PLENTY, 1),
    "4 / 1.67 = 2.4 is less than 4 / 2 + 1 / 2": (2, 4, PLENTY, 1),
    "8 / 1.67 = 4.8 is more than 8 / 2 + 1 / 2": (2, 8, PLENTY, 2),
    "40 / 8 + 7 / 8 = 5.9 is the least": (8, 40, PLENTY, 8),
    "5 do not fit; (40 / 4 + 3 / 4) / 1.67 = 6.5": (8, 40, int(memory_needed(5, PIXELS)) - 1, 4),
    "fewer are chosen of those that are alike: (5 / 2 + 1 / 2) / 2.5 = (5 / 4 + 3 / 4) / 1.67": (8, 5, PLENTY, 2),
    "the usual number is chosen however little memory is free": (16, 40, 0, 2),
}


@pytest.mark.parametrize("case", CHOICES)
def test_many_clips_are_done_by_many_workers_as_far_as_the_memory_goes(
    case: str, pictures: tuple[Pipeline, PlannedOutputs, Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    cores, count, free, expected = CHOICES[case]
    pipeline, outputs, journal = pictures
    machine(monkeypatch, cores, free)
    todo = PlannedOutputs(outputs[:count])
    assert with_workers(pipeline, todo, journal).workers == expected
    assert with_workers(pipeline.model_copy(update={"workers": 3}), todo, journal).workers == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert with_workers(pipeline, todo, journal).workers == max(1, cores // 8)


def test_a_run_that_goes_on_has_the_workers_of_the_one_that_was_interrupted(
    pictures: tuple[Pipeline, PlannedOutputs, Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, outputs, journal = pictures
    machine(monkeypatch, 2)
    settled = with_workers(pipeline, outputs, journal)
    assert settled.workers == 2
    output = outputs[-1]
    last = PlannedOutputs([output])
    assert with_workers(pipeline, last, journal).workers == 1
    remember_workers(settled, outputs, journal)
    assert with_workers(pipeline, last, journal).workers == 1, "it was never planned by a run, so it is new"
    journal.record_plan(output.path, "job", output.input.file.path, output.fingerprint, output.fingerprint_inputs, [(0, 1)])
    assert with_workers(pipeline, last, journal).workers == 2
    machine(monkeypatch, 2, 0)
    assert with_workers(pipeline, last, journal).workers == 1, "memory does not suffice any more"
    machine(monkeypatch, 4)
    assert with_workers(pipeline, last, journal).workers == 1, "it is another machine"


def test_what_must_wait_for_something_else_has_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_video(tmp_path / "film.mp4", frames=6, size="320x240")
    pipeline, outputs, journal = planned(
        tmp_path, **{**make_pictures(tmp_path, 0), "input": "film.mp4", "output": "film_out.mp4", "shots": "none"}
    )
    with closing(journal):
        work = Work.of(outputs, pipeline.work)
        assert work == Work(600 * (PIXELS + 7000), 600 * (PIXELS + 7000), PIXELS)
        # Eight clips' work as one clip of 6 and two of 1 take (8 / 2 + 6 / 2) with two workers, and 8 / 1.67 with one.
        mixed = Work(800.0, 600.0, PIXELS)
        assert (mixed.time(2, 2) - workers.START_WORK, mixed.time(1, 2)) == (700.0, pytest.approx(800 / speed(2)))
        machine(monkeypatch, 2)
        assert with_workers(pipeline, outputs, journal).workers == 1


def test_pictures_that_start_from_each_other_are_one_chain(tmp_path: Path) -> None:
    for number in range(3):
        make_picture(tmp_path / "in" / f"{number}.png", size=(320, 240))  # all are alike, so each is linked to the one before
    optimizer = {"first": 100, "next": 30, "tolerance": 0.0}
    pipeline, outputs, journal = planned(tmp_path, input="in", output="out", optimizer=optimizer)
    with closing(journal):
        assert [output.linked_output for output in outputs] == [None, *(output.path for output in outputs[:2])]
        work = Work.of(outputs, pipeline.work)
        assert work.longest == work.total == (100 + 30 + 30) * (PIXELS + 7000)


def test_workers_beside_each_other_find_the_memory_that_a_frame_in_one_piece_asks_for() -> None:
    frame = 1000 * workers.WHOLE_BYTES_A_PIXEL
    for count in (1, 2, 7):
        # When the last worker begins its frame, all have started, and all others have taken theirs.
        free = memory_needed(count, 1000) - count * workers.WORKER_BYTES - (count - 1) * frame
        assert free * workers.USABLE_SHARE == pytest.approx(frame)
