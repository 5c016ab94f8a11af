"""Which clips may begin, and what a run holds of very many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from nstpipe.config import load_pipeline
from nstpipe.journal.journal import Journal
from nstpipe.painting.task import ClipTask, RunSettings
from nstpipe.planning.outputs import Clip, Output
from nstpipe.planning.plan import plan_pipeline
from nstpipe.running.schedule import Schedule, tasks_of
from nstpipe.system.stop import Stop
from tests.making import make_picture, make_video, write_pipeline


def tasks_by_output(folder: Path, *jobs: dict[str, Any]) -> Iterator[list[ClipTask]]:
    pipeline = load_pipeline(write_pipeline(folder, *({"size": 32, **job} for job in jobs)))
    with closing(Journal(pipeline.work)) as journal:
        outputs = plan_pipeline(pipeline, journal, stop=Stop(), emit=lambda _: None).outputs
    settings = RunSettings.of(pipeline)
    return (tasks_of(output, settings, {}) for output in outputs)


def test_a_linked_picture_waits_for_the_one_before_it_and_what_has_ended_is_let_go(tmp_path: Path) -> None:
    for number in range(4):
        make_picture(tmp_path / "in" / f"{number}.png")  # all are alike, so each is linked to the one before
    begun: list[Output] = []
    schedule = Schedule(tasks_by_output(tmp_path, {"name": "street", "input": "in", "output": "out"}), begun.append)
    tasks = schedule.tasks()
    first, second = next(tasks), next(tasks)
    assert [output.path.name for output in begun] == ["0.png", "1.png"], "no more than were asked for"
    assert (schedule.is_ready(first), schedule.is_ready(second)) == (True, False)
    schedule.end(first)
    assert schedule.completes_output(first)
    assert (schedule.is_ended(first.output.path), schedule.is_complete(first.output.path)) == (True, True)
    assert schedule.is_ready(second)
    schedule.end(second)  # in vain
    assert (schedule.is_ended(second.output.path), schedule.is_complete(second.output.path)) == (True, False)
    third, fourth = tasks
    assert (schedule.is_ready(third), schedule.is_ready(fourth)) == (True, False)


def test_a_video_is_complete_after_its_last_clip_and_shared_frames_are_painted_once(tmp_path: Path) -> None:
    make_video(tmp_path / "film.mp4", frames=6, size="64x48")
    jobs = [
        {"name": name, "input": "film.mp4", "output": f"{name}.mp4", "encode": {"crf": crf}}
        for name, crf in (("one", 18), ("two", 30))
    ]
    clips = (Clip(0, 4, "a"), Clip(4, 6, "b"))
    of_outputs = tasks_by_output(tmp_path, *jobs)
    schedule = Schedule([replace(task, clip=clip) for clip in clips] for [task] in of_outputs)
    one_a, one_b, two_a, two_b = schedule.tasks()
    assert [schedule.is_ready(task) for task in (one_a, one_b, two_a, two_b)] == [True, True, False, False]
    schedule.end(one_b)
    assert not schedule.completes_output(one_b)
    assert (schedule.is_ended(one_a.output.path), schedule.is_ready(two_b), schedule.is_ready(two_a)) == (False, True, False)
    schedule.end(one_a)
    assert schedule.completes_output(one_a)
    assert schedule.is_ready(two_a)
