"""A kept plan of a folder gives what planning it anew would give, and holds only as long as nothing has changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from nstpipe import api
from nstpipe.config import load_pipeline
from nstpipe.events import ItemFailed, OutputDone
from nstpipe.journal.database import JOURNAL
from nstpipe.journal.folders import FolderPlan
from nstpipe.journal.journal import Journal
from nstpipe.planning.plan import Plan
from nstpipe.planning.planned import PictureFolder, PlannedOutputs
from nstpipe.system import folder_state
from nstpipe.system.files import sha256_of
from tests.making import make_picture, make_video, write_pipeline


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take each folder for one that has not changed lately."""
    monkeypatch.setattr(folder_state, "SETTLED_SECONDS", -3600.0)


STREET = {"name": "street", "input": "in", "output": "out"}


def project(folder: Path, *jobs: dict[str, object]) -> Path:
    """Two folders of linked pictures and one of a picture of another shape."""
    for number, place in enumerate(("a/1", "a/2", "a/10", "b/1", "b/2")):
        make_picture(folder / "in" / f"{place}.png", seed=number // 4)
    make_picture(folder / "in" / "b" / "3.png", size=(48, 60))
    return write_pipeline(folder, *(jobs or (STREET,)))


def finish(pipeline: Path) -> None:
    """Record every output as finished, with a picture at its place, as a run does. Then plan, so that the plan is kept."""
    settings = load_pipeline(pipeline)
    plan = api.plan(pipeline)
    with closing(Journal(settings.work, pipeline=settings.file)) as journal:
        for output in plan.outputs:
            make_picture(output.path)
            place, described = str(output.path), output.fingerprint_inputs
            done = OutputDone(
                job=output.job.name, path=str(output.input.file.path), output=place, frames=1, encode_seconds=0.0,
                fingerprint=output.fingerprint, sha256=sha256_of(output.path),
            )  # fmt: skip
            journal.record_done(done, described)
    api.plan(pipeline)


def recalled(plan: Plan) -> int:
    """Return the number of outputs that belong to a folder, kept or not."""
    return sum(len(part) for part in plan.outputs._parts if isinstance(part, PictureFolder))


def forget(work: Path) -> None:
    with closing(sqlite3.connect(work / JOURNAL)) as journal:
        journal.execute("DELETE FROM folder")
        journal.commit()


def told(plan: Plan) -> object:
    return tuple(plan.outputs), [replace(failure, at=0.0) for failure in plan.failures], plan.notices, plan.outputs.counts()


def test_an_unchanged_folder_is_planned_without_a_look_at_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = project(tmp_path)
    for expected_done in (0, 6):
        first = api.plan(pipeline)
        with monkeypatch.context() as closed:
            closed.setattr(
                "nstpipe.planning.plan.inspect_with_retry", lambda file, *_: pytest.fail(f"{file.path} is looked at")
            )
            again = api.plan(pipeline)
        assert told(again) == told(first)
        assert (again.outputs.done, len(again.outputs), recalled(again)) == (expected_done, 6, 6)
        assert [output.input.file.path.stem for output in again.outputs] == ["1", "2", "10", "1", "2", "3"]
        assert list(again.outputs.done_paths()) == [output.path for output in again.outputs if output.is_done]
        finish(pipeline)


def test_what_is_left_of_a_folder_stays_packed_unless_a_part_of_it_is_left_out(tmp_path: Path) -> None:
    pipeline = project(tmp_path)
    finish(pipeline)
    for name in ("2.png", "10.png"):
        (tmp_path / "out" / "a" / name).unlink()
    shutil.rmtree(tmp_path / "out" / "b")
    plan = api.plan(pipeline)
    names = ["a/2.png", "a/10.png", "b/1.png", "b/2.png", "b/3.png"]

    def found(outputs: PlannedOutputs) -> tuple[list[str], int, int, int]:
        relative = [str(output.path.relative_to(tmp_path / "out")) for output in outputs]
        assert (len(outputs), outputs.done, outputs.counts()["street"].outputs) == (len(relative), 0, len(relative))
        assert all(output in plan.outputs for output in outputs)
        parts = outputs._parts
        return relative, len(parts), sum(isinstance(part, PictureFolder) for part in parts), len(list(outputs.single()))

    left = plan.outputs.left()
    assert found(left) == (names, 2, 2, 0)
    assert found(left.left()) == (names, 2, 2, 0)
    assert (list(left.done_paths()), list(left.jobs_done())) == ([], [])
    one_less = left.left({str(tmp_path / "out" / "b" / "2.png")})
    assert found(one_less) == ([*names[:3], names[4]], 3, 1, 2)
    assert found(left.left({str(tmp_path / "out" / "a" / "10.png")})) == ([names[0], *names[2:]], 2, 1, 1)
    assert len(left.left({str(output.path) for output in left})) == 0
    assert (list(left.of_jobs({"street"})), len(left.of_jobs({"other"}))) == (list(left), 0)
    assert set(left.folders()) == {tmp_path / "out" / "a", tmp_path / "out" / "b"}
    assert left.tried_again() == left


@pytest.mark.parametrize("engine", ["network", "auto"])
def test_a_network_of_folders_learns_from_what_it_would_learn_from_in_one_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setattr("nstpipe.planning.looks.AUTO_FRAMES", 7)  # three of one job, and seven of the other
    jobs = [{**STREET, "name": name, "input": f"in/{name}", "output": f"out/{name}", "engine": engine} for name in ("a", "b")]
    pipeline = project(tmp_path, *jobs)
    for number in range(4, 8):
        make_picture(tmp_path / "in" / "b" / f"{number}.png", seed=number)
    (tmp_path / "in" / "b" / "9.png").write_bytes(b"no picture")
    plans = [api.plan(pipeline), api.plan(pipeline)]
    with monkeypatch.context() as whole:
        whole.setattr("nstpipe.planning.plan.is_planned_by_folder", lambda _: False)
        at_once = api.plan(pipeline)
    assert [recalled(plan) for plan in (*plans, at_once)] == [10, 10, 0]
    for plan in plans:
        assert told(plan) == told(at_once)
        assert plan.looks == at_once.looks
        assert plan.engines == at_once.engines
    [look] = plans[0].looks
    assert look.jobs == (("a", "b") if engine == "network" else ("b",))
    # The pictures of `a` are alike, and one of `b` is like them.
    assert (look.frames, len(look.material)) == ((8, 7) if engine == "network" else (7, 7))
    # Further pictures are another training, so that all of the folder is planned again.
    make_picture(tmp_path / "in" / "b" / "10.png", seed=10)
    [grown] = api.plan(pipeline).looks
    assert grown.path != look.path
    # A video in the same pipeline may share the network, which is known only when all inputs are.
    make_video(tmp_path / "film.mp4", frames=2)
    film = {"name": "film", "input": "film.mp4", "output": "film_out.mp4", "engine": engine}
    mixed = api.plan(write_pipeline(tmp_path, *jobs, film))
    assert (recalled(mixed), len(mixed.outputs)) == (0, 12)


def test_a_network_of_folders_learns_only_from_what_can_be_painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = project(tmp_path, {**STREET, "engine": "network"})
    for name in ("a/1", "b/1", "b/2"):
        make_picture(tmp_path / "out" / f"{name}.png", seed=9)  # of the user's own
    make_picture(tmp_path / "in" / "b" / "4.png", seed=4)
    (tmp_path / "out" / "b" / "4.png").mkdir()
    by_folder = api.plan(pipeline)
    with monkeypatch.context() as whole:
        whole.setattr("nstpipe.planning.plan.is_planned_by_folder", lambda _: False)
        at_once = api.plan(pipeline)
    assert (len(by_folder.failures), told(by_folder)) == (4, told(at_once))
    assert by_folder.looks == at_once.looks
    [look] = by_folder.looks
    assert (look.frames, len(look.material)) == (2, 2)  # two alike, and one


@pytest.mark.parametrize("output", ["out/a", "."])
def test_a_network_of_folders_whose_places_another_job_may_take_is_planned_in_one_list(tmp_path: Path, output: str) -> None:
    (tmp_path / "other").mkdir()
    shutil.copytree(project(tmp_path).parent / "in" / "a", tmp_path / "other" / "a")
    other = {"name": "other", "input": "other/a", "output": output}
    plan = api.plan(write_pipeline(tmp_path, other, {**STREET, "engine": "network"}))
    # The job that comes first has the places.
    of_network = [output for output in plan.outputs if output.job.name == "street"]
    assert [failure.job for failure in plan.failures] == ["street"] * (3 if output == "out/a" else 0)
    assert (plan.looks[0].frames, len(of_network)) == (3, 3 if output == "out/a" else 6)  # those of `a` are like one of `b`
    assert recalled(plan) == 3


def touch_back(path: Path) -> None:
    """Change a byte of a file, and set its time back, as if nothing had happened."""
    state, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def damage_input(path: Path) -> None:
    path.write_bytes(b"no picture")


def link_elsewhere(path: Path) -> None:
    moved = path.rename(path.with_suffix(".moved"))
    path.symlink_to(moved)  # which is a picture by its content


CHANGES: dict[str, tuple[str, Callable[[Path], object], int | None]] = {
    "output deleted": ("out/a/2.png", Path.unlink, 5),
    "all outputs deleted": ("out", shutil.rmtree, 0),
    "output altered": ("out/b/1.png", damage_input, None),
    "output replaced by a folder": ("out/a/1.png", lambda path: (path.unlink(), path.mkdir()), None),
    "input altered": ("in/b/3.png", lambda path: make_picture(path, seed=7, size=(48, 60)), 5),
    "input added": ("in/b/4.png", make_picture, 6),
    "input deleted": ("in/b/3.png", Path.unlink, 5),
    "input damaged": ("in/b/3.png", damage_input, 5),
    "input is a link now": ("in/b/3.png", link_elsewhere, None),
    "world file beside": ("in/b/3.pgw", damage_input, 6),
    "folder in a folder": ("in/b/2b/1.png", make_picture, 6),
    "folder of the same place in the order": ("in/B/1.png", make_picture, None),
    "painting altered": ("style.png", lambda path: make_picture(path, seed=3), 0),
}
"""What happens to a finished project, and how many outputs are done after it; None where links decide that."""


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_seen_as_without_a_kept_plan(tmp_path: Path, change: str) -> None:
    pipeline = project(tmp_path)
    finish(pipeline)
    place, happens, done = CHANGES[change]
    before = told(api.plan(pipeline))
    happens(tmp_path / place)
    with_kept = api.plan(pipeline)
    forget(tmp_path / ".nstpipe")
    anew = api.plan(pipeline)
    assert told(with_kept) == told(anew) != before
    assert done is None or anew.outputs.done == done


def test_an_output_whose_size_and_time_were_set_back_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Size and time say that it is done, and always did. But the folder has changed, so the kept plan does not say so."""
    pipeline = project(tmp_path)
    finish(pipeline)
    touch_back(tmp_path / "out" / "a" / "1.png")
    looked_at = set()
    looks = api.plan.__globals__["plan_pipeline"].__globals__["inspect_with_retry"]

    def look(file: object, *rest: object) -> object:
        looked_at.add(file.path.parent.name)  # type: ignore[attr-defined]
        return looks(file, *rest)

    monkeypatch.setattr("nstpipe.planning.plan.inspect_with_retry", look)
    assert api.plan(pipeline).outputs.done == 6
    assert looked_at == {"a"}


@pytest.mark.parametrize("settings", [{"link": "none"}, {"metadata": "strip"}, {"size": 64}, {"exclude": ["a/1.png"]}])
def test_other_settings_are_another_plan(tmp_path: Path, settings: dict[str, object]) -> None:
    finish(project(tmp_path))
    pipeline = write_pipeline(tmp_path, {**STREET, **settings})
    with_kept = api.plan(pipeline)
    forget(tmp_path / ".nstpipe")
    assert told(with_kept) == told(api.plan(pipeline))
    assert with_kept.outputs.done < 6


def test_a_record_that_changes_ends_the_plan_of_its_folder_and_of_no_other(tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = FolderPlan("state", 1, 0, b"packed")
    with closing(Journal(tmp_path / "work")) as journal:
        for name in ("a", "b", "a/c"):
            journal.keep_folder(out / name, plan, journal.changes_elsewhere())
        journal.save()
        kept = [journal.planned_folder(out / name) for name in ("a", "b", "a/c")]
        assert kept == [plan] * 3
        failure = ItemFailed(job="street", path="in/a/1.png", output=str(out / "a" / "1.png"), reason="why")
        journal.record_failure(failure, "", {}, "")
        assert [journal.planned_folder(out / name) for name in ("a", "b", "a/c")] == [None, plan, plan]
        journal.keep_folder(out / "a", plan, journal.changes_elsewhere())
        journal.save()
        journal.forget_unplanned(["street"])
        assert journal.planned_folder(out / "a") is None


def test_a_plan_is_not_kept_if_another_process_has_written_meanwhile(tmp_path: Path) -> None:
    plan = FolderPlan("state", 1, 0, b"packed")
    with closing(Journal(tmp_path / "work")) as journal, closing(Journal(tmp_path / "work")) as other:
        since = journal.changes_elsewhere()
        other.begin_run("run", 1, ())
        journal.keep_folder(tmp_path / "out", plan, since)
        journal.save()
        assert journal.planned_folder(tmp_path / "out") is None
        journal.keep_folder(tmp_path / "out", plan, journal.changes_elsewhere())
        journal.save()
        assert journal.planned_folder(tmp_path / "out") == plan


def test_a_damaged_plan_counts_as_none(tmp_path: Path) -> None:
    pipeline = project(tmp_path)
    finish(pipeline)
    before = told(api.plan(pipeline))
    with closing(sqlite3.connect(tmp_path / ".nstpipe" / JOURNAL)) as journal:
        assert journal.execute("UPDATE folder SET left = left + 1").rowcount == 2
        journal.commit()
    assert told(api.plan(pipeline)) == before


def test_the_order_and_the_links_are_those_of_the_whole_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures beside folders, folders in folders, those that share a place in the order, hidden, broken and empty ones."""
    names = (
        "z",
        "2",
        "10",
        "a/1",
        "a/3",
        "a/2/1",
        "A/2",
        "01/1",
        "1/2",
        ".hidden/1",
        "b/.hidden",
        "lost+found/1",
        "c/d/1",
        "c/e/1",
    )
    for name in names:
        make_picture(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "c" / "d" / "1.png").write_bytes(b"no picture")
    make_picture(tmp_path / "in" / "c" / "1.png")
    make_picture(tmp_path / "in" / "c" / "f.png")
    (tmp_path / "in" / "empty").mkdir()
    pipeline = write_pipeline(tmp_path, STREET)
    by_folder = api.plan(pipeline)
    again = api.plan(pipeline)
    with monkeypatch.context() as whole:
        whole.setattr("nstpipe.planning.plan.is_planned_by_folder", lambda _: False)
        at_once = api.plan(pipeline)
    assert recalled(by_folder) == recalled(again) > 0 == recalled(at_once)
    assert told(by_folder) == told(at_once) == told(again)
    assert any(output.linked_output for output in by_folder.outputs)


def test_two_jobs_do_not_share_a_place(tmp_path: Path) -> None:
    other = {"name": "other", "input": "in/a", "output": "out/a", "size": 64}
    finish(project(tmp_path))
    pipeline = write_pipeline(tmp_path, STREET, other)
    for _ in range(2):
        plan = api.plan(pipeline)
        assert [(output.job.name, output.is_done) for output in plan.outputs] == [("street", True)] * 6
        assert len(plan.failures) == 3
        assert all("would both be written" in failure.reason for failure in plan.failures)


@pytest.mark.parametrize("read_by", ["same", "other"])
def test_an_output_that_is_an_input_too_is_seen(tmp_path: Path, read_by: str) -> None:
    """A hard link gives a finished output a second name among the inputs."""
    finish(project(tmp_path))
    if read_by == "same":
        os.link(tmp_path / "out" / "a" / "1.png", tmp_path / "in" / "b" / "9.png")
        pipeline = write_pipeline(tmp_path, STREET)
    else:
        pipeline = write_pipeline(tmp_path, STREET, {"name": "next", "input": "out", "output": "next"})
    plan = api.plan(pipeline)
    forget(tmp_path / ".nstpipe")
    assert told(plan) == told(api.plan(pipeline))
    refused = [failure.reason for failure in plan.failures if "which would be lost" in failure.reason]
    assert len(refused) == (read_by == "same")


def test_a_picture_may_hold_what_its_result_does_not(tmp_path: Path) -> None:
    """The notice of it is told for those that are left, from the kept plan as well."""
    from PIL import Image

    (tmp_path / "in").mkdir()
    Image.new("RGBA", (72, 54), (200, 100, 50, 128)).save(tmp_path / "in" / "glass.tif")
    make_picture(tmp_path / "in" / "plain.tif")
    pipeline = write_pipeline(tmp_path, {**STREET, "link": "none"})
    first, again = api.plan(pipeline), api.plan(pipeline)
    assert told(again) == told(first)
    assert [output.input.omissions for output in again.outputs] == [output.input.omissions for output in first.outputs]


def test_the_place_of_a_picture_that_failed_stays_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_picture(tmp_path / "in" / "a" / "1.png")
    damage_input(make_picture(tmp_path / "in" / "a" / "2.png"))
    make_picture(tmp_path / "other" / "2.png")
    pipeline = write_pipeline(tmp_path, STREET, {"name": "other", "input": "other", "output": "out/a"})
    by_folder = api.plan(pipeline)
    monkeypatch.setattr("nstpipe.planning.plan.is_planned_by_folder", lambda _: False)
    assert told(by_folder) == told(api.plan(pipeline))
    assert [failure.job for failure in by_folder.failures] == ["street", "other"]


def test_a_folder_that_has_just_changed_is_planned_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may change twice in one tick of the disk's clock, so its times tell too little."""
    pipeline = project(tmp_path)
    monkeypatch.setattr(folder_state, "SETTLED_SECONDS", 3600.0)
    api.plan(pipeline)
    with closing(sqlite3.connect(tmp_path / ".nstpipe" / JOURNAL)) as journal:
        assert journal.execute("SELECT * FROM folder").fetchall() == []
