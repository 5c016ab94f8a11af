"""What the journal remembers, and what it says of files that changed behind its back."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from nstpipe.errors import OutputError
from nstpipe.events import FrameDone, ItemFailed, JobPlanned, OutputDone
from nstpipe.journal.journal import Journal
from nstpipe.journal.migrations import SCHEMA_VERSION
from nstpipe.journal.records import JobPace
from nstpipe.journal.runs import PACE_SETUPS
from nstpipe.journal.second_record import SECOND_RECORD
from nstpipe.system.files import sha256_of


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "work")
    yield opened
    opened.close()


def finished_file(journal: Journal, folder: Path) -> Path:
    path = folder / "out.jpg"
    path.write_bytes(b"painted")
    journal.record_done(done(path), {"settings": {"size": 48}})
    return path


def done(path: Path) -> OutputDone:
    return OutputDone(
        job="job",
        path="in.jpg",
        output=str(path),
        frames=1,
        encode_seconds=0.0,
        fingerprint="fingerprint",
        sha256=sha256_of(path),
    )


def test_an_output_that_was_never_finished_is_unknown(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "out.jpg").write_bytes(b"put there by someone else")
    assert journal.record_of(tmp_path / "out.jpg") is None


def test_a_finished_output_is_known_with_its_fingerprint(journal: Journal, tmp_path: Path) -> None:
    known = journal.record_of(finished_file(journal, tmp_path))
    assert known is not None
    assert (known.state, known.fingerprint, known.damage) == ("done", "fingerprint", "")
    assert known.fingerprint_inputs == {"settings": {"size": 48}}


@pytest.mark.parametrize(
    ("content", "damage"),
    [(b"painted", ""), (b"Painted", "changed"), (b"painted and more", "changed"), (None, "missing")],
)
def test_a_file_written_again_is_judged_by_its_content(
    journal: Journal, tmp_path: Path, content: bytes | None, damage: str
) -> None:
    path = finished_file(journal, tmp_path)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))
    known = journal.record_of(path)
    assert known is not None
    assert known.damage == damage


def test_what_was_recorded_outlives_the_process(journal: Journal, tmp_path: Path) -> None:
    path = finished_file(journal, tmp_path)
    journal.close()
    again = Journal(tmp_path / "work")
    assert again.record_of(path) is not None
    again.close()


def test_a_digest_is_computed_again_only_when_the_file_changed(journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"one")
    assert journal.digest(path) == sha256_of(path)
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(b"two")
    os.utime(path, ns=times)
    # The same size and time: the answer kept is given, which shows that the file was not read.
    assert journal.digest(path) != sha256_of(path)
    os.utime(path, ns=(times[0], times[1] + 1))
    assert journal.digest(path) == sha256_of(path)


def test_a_cached_value_is_computed_once_for_each_kind_and_key(journal: Journal) -> None:
    calls: list[str] = []

    def compute() -> str:
        calls.append("called")
        return f"value {len(calls)}"

    assert [journal.cached("a", "k", compute), journal.cached("a", "k", compute)] == ["value 1", "value 1"]
    assert journal.cached("b", "k", compute) == "value 2"


def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "journal.sqlite")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(OutputError, match=f"has version {SCHEMA_VERSION + 1}, this nstpipe knows versions up to"):
        Journal(tmp_path)


def plan(journal: Journal, output: Path, fingerprint: str = "f", frames: int = 3) -> None:
    journal.record_plan(output, "job", Path("in.mp4"), fingerprint, {"seed": 0}, [(0, frames)])


def frame(frame_index: int) -> FrameDone:
    return FrameDone(
        job="job",
        path="in.mp4",
        first_frame_index=0,
        frame_index=frame_index,
        seconds=2.0,
        optimising_seconds=1.5,
        evaluations=5,
        most_evaluations=10,
        pixels=100,
        loss=1.0,
        content_loss=0.5,
        style_loss=0.5,
    )


def test_an_output_goes_from_planned_to_started_to_failed_to_planned(journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    plan(journal, path)
    seen = [journal.record_of(path)]
    journal.record_start("run", path, 0, 0)
    seen.append(journal.record_of(path))
    failure = ItemFailed(job="job", path="in.mp4", reason="no sound", next_step="Copy it.", output=str(path), attempts=4)
    journal.record_failure(failure, "f", {"seed": 0}, "logs/run.jsonl:7")
    seen.append(journal.record_of(path))
    plan(journal, path)
    seen.append(journal.record_of(path))
    assert [record.state for record in seen if record is not None] == ["planned", "started", "failed", "planned"]
    failed, again = seen[2:]
    assert failed is not None
    assert again is not None
    assert (failed.reason, failed.next_step, failed.attempts, failed.log) == ("no sound", "Copy it.", 4, "logs/run.jsonl:7")
    assert again.attempts == 4, "a new try of the same goes on counting"
    plan(journal, path, fingerprint="other")
    other = journal.record_of(path)
    assert other is not None
    assert other.attempts == 0


def test_frames_are_counted_until_something_changes(journal: Journal, tmp_path: Path) -> None:
    plan(journal, tmp_path / "out.mp4")
    for frame_index in (0, 1, 1):
        journal.record_frame("run", frame(frame_index), 3)
    assert journal.frames_of("in.mp4", "job") == 2
    plan(journal, tmp_path / "out.mp4")
    assert journal.frames_of("in.mp4", "job") == 2
    plan(journal, tmp_path / "out.mp4", fingerprint="other")
    assert journal.frames_of("in.mp4", "job") == 0


def test_who_only_reads_sees_a_run_that_goes_on(journal: Journal, tmp_path: Path) -> None:
    planned = JobPlanned(job="job", outputs=1, outputs_done=0, frames=3, frames_left=3, work_left=3000)
    journal.begin_run("run", 2, [planned])
    journal.record_frame("run", frame(0), 3)
    journal.record_frame("an older run", frame(1), 3)
    reader = Journal(tmp_path / "work", read_only=True)
    latest = reader.latest_run()
    assert latest is not None
    assert (latest.workers, latest.finished_at, latest.exit_code) == (2, None, None)
    assert latest.jobs["job"] == JobPace(planned, frames=1, seconds=2.0, work=1000)
    journal.end_run("run", 75)
    latest = reader.latest_run()
    assert latest is not None
    assert latest.exit_code == 75
    with pytest.raises(OutputError, match="readonly"):
        reader.begin_run("other", 1, [])
    assert reader.cached("kind", "key", lambda: "found") == "found"
    reader.close()


def frame_rows(journal: Journal) -> list[sqlite3.Row]:
    """The rows of the table of frames, as other tools read them."""
    with closing(sqlite3.connect(journal.path)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute("SELECT * FROM frame ORDER BY frame_index").fetchall()


def test_the_history_of_a_clip_and_its_frames_is_told(journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    plan(journal, path)
    [planned] = journal.clips(str(path))
    assert (planned.state, planned.started_at, planned.attempts) == ("planned", None, 0)
    journal.record_start("run", path, 0, 0)
    journal.record_frame("run", frame(0), 3)
    journal.record_attempt(path, 0, "no memory", "logs/run.jsonl:3", given_up=False)
    journal.record_attempt(path, 0, "no memory again", "logs/run.jsonl:4", given_up=True)
    [clip] = journal.clips(str(path))
    assert (clip.state, clip.attempts, clip.reason, clip.log) == ("failed", 2, "no memory again", "logs/run.jsonl:4")
    first, second = frame_rows(journal)
    assert (first["state"], first["attempts"]) == ("done", 0)
    assert first["finished_at"] == pytest.approx(first["started_at"] + 2.0)
    assert (second["frame_index"], second["state"], second["attempts"], second["log"]) == (1, "failed", 2, "logs/run.jsonl:4")
    # Another run goes on at the second frame.
    plan(journal, path)
    journal.record_start("other", path, 0, 1)
    journal.record_frame("other", frame(1), 3)
    journal.record_frame("other", frame(2), 3)
    journal.record_clip(path, 0)
    [clip] = journal.clips(str(path))
    assert (clip.state, clip.attempts) == ("done", 0)
    assert [row["state"] for row in frame_rows(journal)] == ["done"] * 3


def test_a_journal_of_version_1_is_brought_over(tmp_path: Path) -> None:
    made = tmp_path / "out.jpg"
    made.write_bytes(b"painted")
    connection = sqlite3.connect(tmp_path / "journal.sqlite")
    connection.executescript(
        "CREATE TABLE output (path TEXT PRIMARY KEY, job TEXT, fingerprint TEXT, sha256 TEXT, size_bytes INTEGER,"
        " modified_ns INTEGER, frames INTEGER, finished_at REAL);"
        "CREATE TABLE lookup (kind TEXT, key TEXT, value TEXT, PRIMARY KEY (kind, key)); PRAGMA user_version = 1;"
        "INSERT INTO lookup VALUES ('shots/1', 'abc', '[0, 7]');"
    )
    row = (str(made), "job", "fingerprint", sha256_of(made), 7, made.stat().st_mtime_ns, 1, 1.7e9)
    connection.execute("INSERT INTO output VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.commit()
    connection.close()
    journal = Journal(tmp_path)
    known = journal.record_of(made)
    assert known is not None
    assert (known.state, known.fingerprint, known.damage) == ("done", "fingerprint", "")
    assert journal.cached("shots/1", "abc", lambda: pytest.fail("it was known")) == "[0, 7]"
    journal.close()
    Journal(tmp_path).close()


OF_VERSION_2 = """
CREATE TABLE output (path TEXT PRIMARY KEY, job TEXT NOT NULL, input TEXT NOT NULL, state TEXT NOT NULL,
    fingerprint TEXT NOT NULL, described TEXT NOT NULL, frames INTEGER NOT NULL, sha256 TEXT NOT NULL DEFAULT '',
    size_bytes INTEGER NOT NULL DEFAULT 0, modified_ns INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '', next_step TEXT NOT NULL DEFAULT '', log TEXT NOT NULL DEFAULT '',
    changed_at REAL NOT NULL, checksum TEXT NOT NULL);
CREATE TABLE clip (path TEXT NOT NULL, first_frame_index INTEGER NOT NULL, end_frame_index INTEGER NOT NULL,
    started_at REAL, PRIMARY KEY (path, first_frame_index));
CREATE TABLE frame (run TEXT NOT NULL, job TEXT NOT NULL, path TEXT NOT NULL, first_frame_index INTEGER NOT NULL,
    frame_index INTEGER NOT NULL, seconds REAL NOT NULL, evaluations INTEGER NOT NULL, most_evaluations INTEGER NOT NULL,
    pixels INTEGER NOT NULL, loss REAL NOT NULL, finished_at REAL NOT NULL, PRIMARY KEY (job, path, frame_index));
CREATE TABLE run (id TEXT PRIMARY KEY, workers INTEGER NOT NULL, started_at REAL NOT NULL,
    planned TEXT NOT NULL DEFAULT '[]', finished_at REAL, exit_code INTEGER);
CREATE TABLE lookup (kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, checksum TEXT NOT NULL,
    PRIMARY KEY (kind, key));
INSERT INTO frame VALUES ('run', 'job', 'in.mp4', 0, 0, 2.0, 8, 10, 100, 0.5, 1.7e9);
INSERT INTO run VALUES ('run', 2, 1.7e9, '[]', 1.7e9, 0);
PRAGMA user_version = 2;
"""


@pytest.mark.parametrize("read_only", [True, False])
def test_a_journal_of_version_2_is_brought_over(tmp_path: Path, read_only: bool) -> None:
    connection = sqlite3.connect(tmp_path / "journal.sqlite")
    connection.executescript(OF_VERSION_2)
    connection.close()
    journal = Journal(tmp_path, read_only=read_only)
    [known] = journal.frames("job")
    assert (known.loss, known.content_loss, known.warping_error) == (0.5, None, None)
    latest = journal.latest_run()
    assert latest is not None
    assert (latest.name, latest.about, latest.error) == ("run", {}, "")
    if not read_only:
        journal.record_frame("run", replace(frame(1), warping_error=0.25), 3)
        assert [known.warping_error for known in journal.frames("job")] == [None, 0.25]
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        [(version,)] = connection.execute("PRAGMA user_version").fetchall()
    assert version == (2 if read_only else SCHEMA_VERSION)


TO_VERSION_3 = """
ALTER TABLE frame ADD COLUMN content_loss REAL;
ALTER TABLE frame ADD COLUMN style_loss REAL;
ALTER TABLE frame ADD COLUMN warping_error REAL;
ALTER TABLE run ADD COLUMN about TEXT NOT NULL DEFAULT '{}';
ALTER TABLE run ADD COLUMN error TEXT NOT NULL DEFAULT '';
PRAGMA user_version = 3;
"""


@pytest.mark.parametrize("version", [2, 3])
def test_the_history_of_an_older_journal_is_brought_over(tmp_path: Path, version: int) -> None:
    connection = sqlite3.connect(tmp_path / "journal.sqlite")
    connection.executescript(OF_VERSION_2 + "INSERT INTO clip VALUES ('out.mp4', 0, 3, 1.7e9), ('out.mp4', 3, 9, NULL);")
    connection.executescript(TO_VERSION_3 if version == 3 else "")
    connection.close()
    journal = Journal(tmp_path)
    assert journal.notices == []
    assert [clip.state for clip in journal.clips("out.mp4")] == ["started", "planned"]
    [done_before] = frame_rows(journal)
    assert (done_before["state"], done_before["started_at"]) == ("done", 1.7e9 - 2)
    assert journal.frames_of("in.mp4", "job") == 1
    journal.close()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def overwritten(path: Path) -> None:
    path.write_bytes(b"no database, but long enough to be looked at as one" * 20)


@pytest.mark.parametrize("damage", [cut_short, overwritten])
def test_a_damaged_journal_is_moved_aside_and_finished_outputs_are_still_known(
    journal: Journal, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = finished_file(journal, tmp_path)
    journal.close()
    damage(tmp_path / "work" / "journal.sqlite")
    looking = Journal(tmp_path / "work", repair=False)
    assert looking.record_of(path) is not None
    looking.close()
    assert not list((tmp_path / "work").glob("journal.damaged*")), "only who holds the lock repairs"
    again = Journal(tmp_path / "work")
    known = again.record_of(path)
    assert known is not None
    assert (known.state, known.fingerprint, known.damage) == ("done", "fingerprint", "")
    [notice] = again.notices
    assert "the journal is damaged" in notice
    assert "1 finished output is known" in notice
    assert len(list((tmp_path / "work").glob("journal.damaged-*.sqlite"))) == 1
    again.close()
    sound = Journal(tmp_path / "work")
    assert sound.notices == []
    sound.close()


def test_a_journal_that_is_gone_is_made_anew(journal: Journal, tmp_path: Path) -> None:
    path = finished_file(journal, tmp_path)
    journal.close()
    (tmp_path / "work" / "journal.sqlite").unlink()
    again = Journal(tmp_path / "work")
    assert again.record_of(path) is not None
    assert again.notices == ["the journal was gone; 1 finished output is known from finished.jsonl"]
    again.close()


def test_a_journal_that_another_process_writes_to_is_no_damaged_one(journal: Journal, tmp_path: Path) -> None:
    journal.close()
    other = sqlite3.connect(tmp_path / "work" / "journal.sqlite", isolation_level=None)
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OutputError, match="locked"):
        Journal(tmp_path / "work")
    other.execute("COMMIT")
    other.close()
    assert not list((tmp_path / "work").glob("journal.damaged*"))


def test_the_second_record_stands_half_written_and_damaged_lines(journal: Journal, tmp_path: Path) -> None:
    path = finished_file(journal, tmp_path)
    other = tmp_path / "other.jpg"
    other.write_bytes(b"painted too")
    second_record = tmp_path / "work" / SECOND_RECORD
    second_record.write_bytes(second_record.read_bytes() + b'{"path": "half')
    journal.record_done(done(other), {})
    journal.close()
    second_record.write_bytes(b"\xff\x00\n[1]\n{}\n" + second_record.read_bytes())
    overwritten(tmp_path / "work" / "journal.sqlite")
    again = Journal(tmp_path / "work")
    assert [record.path for record in again.records()] == sorted([str(other), str(path)])
    again.close()


def test_a_value_that_was_flipped_on_the_disk_counts_as_not_there(journal: Journal, tmp_path: Path) -> None:
    path = finished_file(journal, tmp_path)
    journal.cached("shots/1", "abc", lambda: "[0, 7]")
    journal.close()
    connection = sqlite3.connect(tmp_path / "work" / "journal.sqlite")
    connection.execute("UPDATE output SET frames = 3")
    connection.execute("UPDATE lookup SET value = '[0, 5]'")
    connection.commit()
    connection.close()
    again = Journal(tmp_path / "work")
    assert again.record_of(path) is None
    assert again.cached("shots/1", "abc", lambda: "[0, 7]") == "[0, 7]"
    again.close()


def test_a_work_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/work cannot be made"):
        Journal(tmp_path / "file" / "work")


def test_an_output_stays_failed_while_its_other_shots_are_done(journal: Journal, tmp_path: Path) -> None:
    output = tmp_path / "film.mp4"
    plan(journal, output)
    journal.record_start("run", output, 0, 0)
    failure = ItemFailed(job="job", path="in.mp4", reason="killed", next_step="", output=str(output))
    journal.record_failure(failure, "f", {}, "log")
    journal.record_start("run", output, 3, 3)
    record = journal.record_of(output)
    assert record is not None
    assert (record.state, record.reason, record.frames) == ("failed", "killed", 3)
    plan(journal, output)  # with --retry-failed
    journal.record_start("run", output, 0, 0)
    record = journal.record_of(output)
    assert record is not None
    assert record.state == "started"


def test_what_is_looked_at_again_no_longer_counts_as_failed(journal: Journal, tmp_path: Path) -> None:
    for job in ("job", "other"):
        failure = ItemFailed(job=job, path=f"{job}.mp4", reason="no picture", next_step="")
        journal.record_failure(failure, "", {}, "log")
    tried = ItemFailed(job="job", path="in.mp4", reason="killed", next_step="", output=str(tmp_path / "film.mp4"))
    journal.record_failure(tried, "f", {}, "log")
    journal.forget_unplanned(["job"])
    # Another job's, and what failed while it was painted, stay.
    assert {record.path for record in journal.records()} == {"other.mp4", str(tmp_path / "film.mp4")}


@pytest.mark.parametrize("read_only", [False, True])
def test_the_times_of_frames_are_known_with_their_kind_and_what_their_run_depends_on(tmp_path: Path, read_only: bool) -> None:
    """A journal of version 6 has all but the time of the engine."""
    work, setup = tmp_path / "work", {"setup": "machine", "tolerance": 0.002, "optimizer": "adam"}
    with closing(Journal(work)) as journal:
        journal.begin_run("run", 1, (), {PACE_SETUPS: {"film": setup}})
        for job, frames in (("film", 2), ("picture", 1)):
            journal.record_plan(tmp_path / f"{job}.out", job, tmp_path / job, "fingerprint", {}, [(0, frames)])
            for index in range(frames):
                frame = replace(painted(job, tmp_path / job, index), at=1000.0 + index)
                journal.record_frame("run", frame, frames)
        journal.end_run("run", 0, load_share=0.25)
        known = journal.latest_times()
        assert [(time.job, time.kind, time.setup, time.tolerance, time.optimizer) for time in known] == [
            ("film", "later", "machine", 0.002, "adam"),
            ("film", "first", "machine", 0.002, "adam"),
            ("picture", "picture", "", 0.001, "lbfgs"),
        ]
        assert {(time.optimizing_seconds, time.load_share) for time in known} == {(1.5, 0.25)}
        assert len(journal.latest_times(most=1)) == 1
    with closing(sqlite3.connect(work / "journal.sqlite")) as connection:
        connection.executescript("ALTER TABLE frame DROP COLUMN optimizing_seconds; PRAGMA user_version = 6;")
    with closing(Journal(work, read_only=read_only)) as journal:
        assert journal.latest_times() == tuple(replace(time, optimizing_seconds=None) for time in known)


def painted(job: str, path: Path, frame_index: int) -> FrameDone:
    return FrameDone(
        job=job,
        path=str(path),
        first_frame_index=0,
        frame_index=frame_index,
        seconds=2.0,
        optimising_seconds=1.5,
        evaluations=3,
        most_evaluations=5,
        pixels=3072,
        loss=1.0,
        content_loss=0.5,
        style_loss=0.5,
    )
