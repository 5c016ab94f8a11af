"""Keys of files: the same for a project that was moved, and the files' own paths for all else."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from nstpipe.events import FrameDone, OutputDone
from nstpipe.journal.journal import Journal
from nstpipe.journal.path_keys import PathKeys
from nstpipe.journal.rows import FIELDS, checked_row, put_row
from nstpipe.system.files import sha256_of


@pytest.mark.parametrize(
    ("pipeline", "work", "path", "key"),
    [
        ("a/p.yaml", "a/.nstpipe", "a/out/x.png", "../out/x.png"),
        ("a/p.yaml", "a/.nstpipe", "b/x.png", "/b/x.png"),
        ("a/p.yaml", "a/.nstpipe", "ab/x.png", "/ab/x.png"),
        ("a/p.yaml", "a/build/work", "a/out/x.png", "../../out/x.png"),
        ("a/sub/p.yaml", "a/.nstpipe", "a/sub/out/x.png", "../sub/out/x.png"),
        ("a/sub/p.yaml", "a/.nstpipe", "a/out/x.png", "../out/x.png"),
        ("a/p.yaml", "w/a", "a/out/x.png", "../../a/out/x.png"),
        ("w/in/p.yaml", "w", "w/in/x.png", "./in/x.png"),
    ],
)
def test_keys_and_paths(tmp_path: Path, pipeline: str, work: str, path: str, key: str) -> None:
    (tmp_path / pipeline).parent.mkdir(parents=True)
    expected = f"{tmp_path}{key}" if key.startswith("/") else key
    if work == "w/a":  # beside the work folder is another place than below the pipeline's
        assert PathKeys(tmp_path / work).key(tmp_path / path) == str(tmp_path / path)
    keys = PathKeys(tmp_path / work, tmp_path / pipeline)
    assert keys.key(tmp_path / path) == expected
    assert keys.path(expected) == str(tmp_path / path)


def test_a_folder_has_one_key_whatever_its_spelling(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    direct, linked = (PathKeys(tmp_path / name / ".nstpipe", tmp_path / name / "p.yaml") for name in ("a", "link"))
    for keys in (direct, linked):
        for name in ("a", "link"):
            assert keys.key(tmp_path / name / "out/x.png") == "../out/x.png"
    assert linked.spelled(tmp_path / "a/out/x.png") == str(tmp_path / "link/out/x.png")
    assert linked.path("other.mp4") == "other.mp4"


def _made(folder: Path, work: Path, name: str = "x.png") -> None:
    output = folder / "out" / name
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(b"painted")
    (folder / "p.yaml").touch()
    source = folder / "in" / name
    with closing(Journal(work, pipeline=folder / "p.yaml")) as journal:
        journal.record_plan(output, "m", source, "f", {}, [(0, 1)])
        journal.record_start("run", output, 0, 0)
        journal.record_frame("run", _frame(source), 1)
        journal.record_done(
            OutputDone(
                job="m",
                path=str(source),
                output=str(output),
                frames=1,
                fingerprint="f",
                encode_seconds=0.0,
                sha256=sha256_of(output),
            ),
            {},
        )


def _frame(source: Path) -> FrameDone:
    return FrameDone(
        job="m",
        path=str(source),
        first_frame_index=0,
        frame_index=0,
        seconds=1.0,
        optimising_seconds=1.0,
        content_loss=1.0,
        style_loss=1.0,
        evaluations=1,
        most_evaluations=1,
        pixels=9,
        loss=1.0,
        is_final=True,
    )


def _check(folder: Path, work: Path, *, read_only: bool = False) -> None:
    output, source = folder / "out/x.png", folder / "in/x.png"
    with closing(Journal(work, pipeline=folder / "p.yaml", read_only=read_only)) as journal:
        record = journal.record_of(output)
        assert record is not None
        assert (record.state, record.damage, record.path, record.input) == ("done", "", str(output), str(source))
        assert [record.path for record in journal.records()] == [str(output)]
        assert journal.has_made(output)
        assert journal.frames_of(str(source), "m") == 1
        assert [frame.path for frame in journal.frames("m")] == [str(source)]


@pytest.mark.parametrize("work", [".nstpipe", "build/work"])
def test_a_project_is_known_by_a_link_by_a_new_name_and_as_a_copy(tmp_path: Path, work: str) -> None:
    _made(tmp_path / "a", tmp_path / "a" / work)
    (tmp_path / "link").symlink_to("a")
    _check(tmp_path / "link", tmp_path / "link" / work)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    _check(tmp_path / "copy", tmp_path / "copy" / work)
    (tmp_path / "a").rename(tmp_path / "b")
    _check(tmp_path / "b", tmp_path / "b" / work, read_only=True)
    # What a copy paints is nothing to the other one.
    (tmp_path / "copy/out/x.png").unlink()
    _check(tmp_path / "b", tmp_path / "b" / work)


def test_a_second_record_alone_knows_a_moved_project(tmp_path: Path) -> None:
    _made(tmp_path / "a", tmp_path / "a/.nstpipe")
    (tmp_path / "a").rename(tmp_path / "b")
    for path in (tmp_path / "b/.nstpipe").glob("journal.sqlite*"):
        path.unlink()
    with closing(Journal(tmp_path / "b/.nstpipe", pipeline=tmp_path / "b/p.yaml")) as journal:
        record = journal.record_of(tmp_path / "b/out/x.png")
        assert record is not None
        assert (record.state, record.damage) == ("done", "")


def test_a_project_that_leaves_its_work_folder_behind(tmp_path: Path) -> None:
    work = tmp_path / "scratch/work"
    _made(tmp_path / "a", work)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    with closing(Journal(work, pipeline=tmp_path / "copy/p.yaml")) as journal:
        assert journal.record_of(tmp_path / "copy/out/x.png") is None  # the original is still there
    shutil.rmtree(tmp_path / "copy")
    (tmp_path / "a").rename(tmp_path / "b")
    _check(tmp_path / "b", work)


@pytest.mark.parametrize("read_only", [True, False])
def test_whole_paths_of_version_5_are_taken_over(tmp_path: Path, *, read_only: bool) -> None:
    folder, work = tmp_path / "a", tmp_path / "a/.nstpipe"
    _made(folder, work)
    with closing(sqlite3.connect(work / "journal.sqlite")) as connection:
        row = checked_row(connection.execute(f"SELECT {', '.join(FIELDS)}, checksum FROM output").fetchone())
        assert row is not None
        connection.execute("DELETE FROM output")
        put_row(connection, {**row, "path": str(folder / "out/x.png"), "input": str(folder / "in/x.png")})
        connection.execute("UPDATE clip SET path = ?", (str(folder / "out/x.png"),))
        connection.execute("UPDATE frame SET path = ?", (str(folder / "in/x.png"),))
        connection.execute("PRAGMA user_version = 5")
        connection.commit()
    _check(folder, work, read_only=read_only)
    _check(folder, work)
    os.rename(folder, tmp_path / "b")  # noqa: PTH104
    _check(tmp_path / "b", tmp_path / "b/.nstpipe")
