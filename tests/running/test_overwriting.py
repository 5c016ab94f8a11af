"""Nothing of the user's own is ever overwritten, and one bad place costs no other output."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import nstpipe
import nstpipe.api
from nstpipe.cli import exit_code
from nstpipe.cli.options import with_overwrite
from nstpipe.errors import OutputError
from nstpipe.events import ClipStarted, Event, FrameDone, ItemFailed
from nstpipe.journal import placing
from nstpipe.journal.journal import Journal
from nstpipe.system.files import complete
from tests.making import make_picture, make_video, write_pipeline

Jobs = tuple[dict[str, Any], ...]


def one(**keys: Any) -> dict[str, Any]:
    return {"name": "one", "input": "a.png", "output": "out/a.png", **keys}


def contents(folder: Path) -> dict[str, bytes]:
    work = folder / ".nstpipe"
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and work not in path.parents}


def reasons(pipeline: Path, command: Callable[..., Any] = nstpipe.run, **arguments: Any) -> list[str]:
    """What `run`, `plan` or `validate` says of the outputs that it refuses."""
    seen: list[Event] = []
    try:
        found = command(pipeline, on_event=seen.append, **arguments)
    except OutputError as error:
        return [event.reason for event in seen if isinstance(event, ItemFailed)] or [error.problem]
    return [failure.reason for failure in found.failures]


COMMANDS = (nstpipe.api.validate, nstpipe.api.plan, nstpipe.run)


def hard_link(folder: Path) -> None:
    os.link(folder / "style.png", folder / "linked.png")


def symbolic_link(folder: Path) -> None:
    (folder / "linked.png").symlink_to("style.png")


READ: dict[str, tuple[Jobs, Callable[[Path], object], str]] = {
    "the painting": ((one(output="style.png"),), lambda _: None, "is a painting of the job one"),
    "by a way around": ((one(output="out/../style.png"),), lambda folder: (folder / "out").mkdir(), "is a painting of the job"),
    "by a symbolic link": ((one(output="linked.png"),), symbolic_link, "is a painting of the job one"),
    "by a hard link": ((one(output="linked.png"),), hard_link, "is a painting of the job one"),
    "an input of a later job": (
        (one(output="b.png"), {"name": "two", "input": "b.png", "output": "out/b.png"}),
        lambda folder: [make_picture(folder / "b.png", seed=3)],
        "b.png is an input of the job two",
    ),
    "a picture of a later job's folder": (
        (one(output="in/b.png"), {"name": "two", "input": "in", "output": "out2"}),
        lambda folder: [make_picture(folder / "in" / "b.png", seed=3)],
        "b.png is an input of the job two",
    ),
    "the start": (
        (one(output="b.png", init="b.png"),),
        lambda folder: [make_picture(folder / "b.png")],
        "is the start",
    ),
    "a mask": (
        (one(output="mask.png", regions=[{"mask": "mask.png", "style": "keep"}]),),
        lambda folder: [make_picture(folder / "mask.png")],
        "is a mask of the job one",
    ),
    "a numbered picture": (
        ({"name": "film", "input": "film.mp4", "output": "f_%02d.png"}, one(output="out/a.png", style="f_01.png")),
        lambda folder: [make_video(folder / "film.mp4", frames=2), make_picture(folder / "f_01.png")],
        "f_01.png is a painting of the job one",
    ),
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("case", READ)
def test_what_the_pipeline_reads_is_never_replaced(tmp_path: Path, case: str, overwrite: bool) -> None:
    jobs, prepare, words = READ[case]
    make_picture(tmp_path / "a.png")
    pipeline = write_pipeline(tmp_path, *jobs, overwrite=overwrite)
    prepare(tmp_path)
    before = contents(tmp_path)
    for command in COMMANDS:
        assert any(words in reason for reason in reasons(pipeline, command)), command
    after = contents(tmp_path)
    assert {path: after[path] for path in before} == before


def test_only_the_job_that_is_chosen_runs_but_all_are_protected(tmp_path: Path) -> None:
    make_picture(tmp_path / "a.png")
    other = make_picture(tmp_path / "b.png", seed=3)
    jobs = (one(output="b.png"), {"name": "two", "input": "b.png", "output": "out/b.png"})
    before = other.read_bytes()
    [reason] = reasons(write_pipeline(tmp_path, *jobs), jobs=["one"])
    assert "is an input of the job two" in reason
    assert other.read_bytes() == before


def test_a_job_may_read_what_another_one_has_made(tmp_path: Path) -> None:
    make_picture(tmp_path / "a.png")
    second = {"name": "two", "input": "out/a.png", "output": "out/b.png"}
    pipeline = write_pipeline(tmp_path, one(), second)
    assert nstpipe.run(pipeline).exit_code == 2  # the input of the second does not exist yet
    assert nstpipe.run(pipeline).exit_code == 0
    made = (tmp_path / "out" / "a.png").read_bytes()
    assert nstpipe.run(pipeline, overrides=["jobs.one.style.strength=3"]).exit_code == 0
    assert (tmp_path / "out" / "a.png").read_bytes() != made


def test_a_file_that_no_run_has_made_is_kept_until_the_user_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png"):
        make_picture(tmp_path / "in" / name)
    pipeline = write_pipeline(tmp_path, one(input="in", output="out"))
    own = make_picture(tmp_path / "out" / "a.png", seed=5)
    own.chmod(0o444)  # which keeps nobody from replacing it
    before = own.read_bytes()
    for command in COMMANDS:
        [reason] = reasons(pipeline, command)
        assert reason == f"output: {own} exists already, and this pipeline did not make it."
    assert own.read_bytes() == before
    assert (tmp_path / "out" / "b.png").exists()
    assert exit_code(["validate", str(pipeline)]) == 2
    assert "`overwrite: true` (`--overwrite`) replaces it" in " ".join(capsys.readouterr().out.split())
    assert exit_code(["validate", str(pipeline), "--overwrite"]) == 0
    assert exit_code(["plan", str(pipeline), "--overwrite", "--no-calibrate"]) == 0
    assert nstpipe.run(pipeline, overrides=with_overwrite([], overwrite=True)).exit_code == 0
    assert own.read_bytes() != before
    assert reasons(pipeline) == []


def test_all_of_one_kind_end_with_the_exit_code_of_outputs(tmp_path: Path) -> None:
    make_picture(tmp_path / "a.png")
    make_picture(tmp_path / "out" / "a.png", seed=5)
    pipeline = write_pipeline(tmp_path, one())
    for arguments in (["validate"], ["plan", "--no-calibrate"], ["run", "--quiet"]):
        assert exit_code([*arguments, str(pipeline)]) == 73


def test_a_result_that_somebody_has_changed_is_kept_and_a_damaged_one_is_made_again(tmp_path: Path) -> None:
    make_picture(tmp_path / "a.png")
    make_video(tmp_path / "film.mp4", frames=3)
    pipeline = write_pipeline(tmp_path, one(), {"name": "film", "input": "film.mp4", "output": "out/film.mp4"})
    nstpipe.run(pipeline)
    picture, film = tmp_path / "out" / "a.png", tmp_path / "out" / "film.mp4"
    made = picture.read_bytes(), film.read_bytes()
    make_picture(picture, seed=6)
    shutil.copy(tmp_path / "film.mp4", film)
    edited = picture.read_bytes(), film.read_bytes()
    for command in COMMANDS:
        assert [reason.partition(" was ")[2] for reason in reasons(pipeline, command)] == [
            "changed by somebody after it was made."
        ] * 2
    assert (picture.read_bytes(), film.read_bytes()) == edited
    # Scaled up in place by an editor, it is larger than what nstpipe reads.
    Image.new("RGB", (1100, 1000)).save(picture)
    film.write_bytes(made[1])
    pipeline.write_text(f"max_megapixels: 1\n{pipeline.read_text()}")
    assert reasons(pipeline) == [f"output: {picture} was changed by somebody after it was made."]
    picture.write_text("a note of the user's own")
    assert reasons(pipeline) == [f"output: {picture} was changed by somebody after it was made."]
    picture.write_bytes(made[0][:-100])
    film.write_bytes(made[1][: len(made[1]) // 2])
    assert nstpipe.run(pipeline).exit_code == 0
    assert picture.read_bytes() == made[0]
    assert film.stat().st_size == len(made[1])


def test_what_was_made_stays_known_while_it_is_made_again(tmp_path: Path) -> None:
    make_video(tmp_path / "film.mp4", frames=2)
    pipeline = write_pipeline(tmp_path, {"name": "film", "input": "film.mp4", "output": "out/film.mp4"})
    nstpipe.run(pipeline)

    def end(event: Event) -> None:
        if isinstance(event, FrameDone):
            raise KeyboardInterrupt

    stronger = ["jobs.film.style.strength=2"]
    with pytest.raises(KeyboardInterrupt):
        nstpipe.run(pipeline, overrides=stronger, on_event=end)
    assert reasons(pipeline, overrides=stronger) == []
    (tmp_path / ".nstpipe" / "journal.sqlite").unlink()  # the second record knows as much
    assert reasons(pipeline, overrides=["jobs.film.style.strength=3"]) == []


def test_a_run_that_was_killed_between_naming_and_recording_a_file_left_no_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_picture(tmp_path / "a.png")
    make_video(tmp_path / "film.mp4", frames=2)
    jobs = (one(), {"name": "film", "input": "film.mp4", "output": "out/f_%02d.png"})
    pipeline = write_pipeline(tmp_path, *jobs)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "record_done", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        for job in ("one", "film"):
            with pytest.raises(KeyboardInterrupt):
                nstpipe.run(pipeline, jobs=[job])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "f_01.png", "f_02.png"]
    (tmp_path / "out" / "f_02.png").unlink()  # as if the kill had come between the two
    assert reasons(pipeline) == []
    assert not placing.noted(tmp_path / ".nstpipe", tmp_path / "out" / "a.png")


def test_each_of_numbered_pictures_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_video(tmp_path / "film.mp4", frames=3)
    film = {"name": "film", "input": "film.mp4", "output": "out/f_%02d.png"}
    nstpipe.run(write_pipeline(tmp_path, film))
    own = make_picture(tmp_path / "own.png", seed=7)
    os.utime(own, (1, 1))  # as old as a picture that was moved here
    second = tmp_path / "out" / "f_02.png"
    made = second.read_bytes()
    own.replace(second)
    stronger = write_pipeline(tmp_path, {**film, "style": {"images": ["style.png"], "strength": 3}})
    for command in COMMANDS:
        [reason] = reasons(stronger, command)
        assert "changed by somebody" in reason or "did not make it" in reason
    second.write_bytes(made)
    with monkeypatch.context() as patch:
        seen: list[Path] = []

        def killed_at_the_second(partial: Path, path: Path) -> None:
            seen.append(path)
            if len(seen) == 2:
                raise KeyboardInterrupt
            complete(partial, path)

        patch.setattr("nstpipe.media.video.sequence.complete", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            nstpipe.run(stronger)
    assert second.read_bytes() == made
    assert reasons(stronger) == []
    assert second.read_bytes() != made
    second.unlink()
    assert reasons(stronger) == []
    assert second.exists()


def test_two_pipelines_do_not_replace_each_others_results_in_turn(tmp_path: Path) -> None:
    make_picture(tmp_path / "a.png")
    first = write_pipeline(tmp_path, one()).rename(tmp_path / "first.yaml")
    nstpipe.run(first)
    made = (tmp_path / "out" / "a.png").read_bytes()
    second = write_pipeline(tmp_path, one(style={"images": ["style.png"], "strength": 3})).rename(tmp_path / "second.yaml")
    for command in COMMANDS:
        [reason] = reasons(second, command)
        assert reason == f"output: {tmp_path / 'out' / 'a.png'} was made by {first}, another pipeline."
    assert (tmp_path / "out" / "a.png").read_bytes() == made
    shutil.copy(first, tmp_path / "copy.yaml")
    assert nstpipe.run(tmp_path / "copy.yaml").already_done  # it has nothing to replace
    first.rename(tmp_path / "renamed.yaml")
    assert reasons(tmp_path / "renamed.yaml", overrides=["jobs.one.style.strength=2"]) == []


def test_a_file_that_appears_during_the_run_is_kept(tmp_path: Path) -> None:
    make_picture(tmp_path / "a.png")
    make_video(tmp_path / "film.mp4", frames=2)
    pipeline = write_pipeline(tmp_path, one(), {"name": "film", "input": "film.mp4", "output": "out/film.mp4"})
    own = tmp_path / "out" / "a.png", tmp_path / "out" / "film.mp4"
    seen: list[Event] = []

    def put(event: Event) -> None:
        seen.append(event)
        if isinstance(event, ClipStarted):
            make_picture(own[0], seed=8)
            shutil.copy(tmp_path / "film.mp4", own[1])

    with pytest.raises(OutputError, match="appeared while"):
        nstpipe.run(pipeline, on_event=put)
    said = [event.reason for event in seen if isinstance(event, ItemFailed)]
    assert said == [f"{path} appeared while its result was made, and is kept." for path in own]
    assert own[1].read_bytes() == (tmp_path / "film.mp4").read_bytes()
    for path in own:
        path.unlink()
    events: list[Event] = []
    assert nstpipe.run(pipeline, on_event=events.append).exit_code == 0  # unasked, and the film is only encoded
    assert sum(isinstance(event, FrameDone) for event in events) == 1


def test_one_place_that_cannot_be_written_costs_no_other_output(tmp_path: Path) -> None:
    make_picture(tmp_path / "a.png")
    make_video(tmp_path / "film.mp4", frames=2)
    (tmp_path / "file").touch()
    (tmp_path / "out" / "film.mp4").mkdir(parents=True)
    jobs = (
        {"name": "film", "input": "film.mp4", "output": "out/film.mp4"},
        one(name="two", output="file/a.png"),
        one(),
    )
    events: list[Event] = []
    result = nstpipe.run(write_pipeline(tmp_path, *jobs), on_event=events.append)
    assert (result.exit_code, [Path(done.output).name for done in result.outputs]) == (2, ["a.png"])
    folder, below_file = (failure.reason for failure in result.failures)
    assert folder == f"output: {tmp_path / 'out' / 'film.mp4'} is a folder."
    assert "file cannot be made" in below_file or "file is a file" in below_file
    assert [event.job for event in events if isinstance(event, FrameDone)] == ["one"]


def test_a_place_that_goes_bad_at_the_end_costs_neither_the_night_nor_the_frames(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        make_video(tmp_path / "in" / name, frames=2)
    pipeline = write_pipeline(tmp_path, {"name": "films", "input": "in/*.mp4", "output": "out"})

    def block(event: Event) -> None:
        if isinstance(event, FrameDone):
            (tmp_path / "out" / "a.mp4").mkdir(parents=True, exist_ok=True)

    result = nstpipe.run(pipeline, on_event=block)
    assert (result.exit_code, [Path(done.output).name for done in result.outputs]) == (2, ["b.mp4"])
    (tmp_path / "out" / "a.mp4").rmdir()
    events: list[Event] = []
    assert nstpipe.run(pipeline, on_event=events.append).exit_code == 0
    assert not [event for event in events if isinstance(event, FrameDone)]


def test_previews_reports_and_plots_replace_only_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_picture(tmp_path / "a.png")
    pipeline = write_pipeline(tmp_path, one())
    nstpipe.run(pipeline)
    own = make_picture(tmp_path / "own.png", seed=4)
    before = own.read_bytes()
    preview = ["preview", str(pipeline), "--iterations", "1", "-o"]
    assert exit_code([*preview, str(own)]) == 64
    assert exit_code(["report", str(pipeline), "-o", str(own)]) == 64
    assert "own.png exists already, and `nstpipe preview` did not write it." in " ".join(capsys.readouterr().err.split())
    assert own.read_bytes() == before
    for name in ("new.png", "new.jpg"):
        for _ in range(2):
            assert exit_code([*preview, str(tmp_path / name)]) == 0
    for _ in range(2):
        assert exit_code(["report", str(pipeline), "-o", str(tmp_path / "report.html")]) == 0
