"""What the journal remembers, and what it says of files that changed behind its back."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from nstpipe.errors import OutputError
from nstpipe.files import sha256_of
from nstpipe.journal import SCHEMA_VERSION, Journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "work")
    yield opened
    opened.close()


def finished_file(journal: Journal, folder: Path) -> Path:
    path = folder / "out.jpg"
    path.write_bytes(b"painted")
    journal.record(path, "job", "fingerprint", sha256_of(path), frames=1)
    return path


def test_an_output_that_was_never_finished_is_unknown(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "out.jpg").write_bytes(b"put there by someone else")
    assert journal.finished(tmp_path / "out.jpg") is None


def test_a_finished_output_is_known_with_its_fingerprint(journal: Journal, tmp_path: Path) -> None:
    known = journal.finished(finished_file(journal, tmp_path))
    assert known is not None
    assert (known.fingerprint, known.intact) == ("fingerprint", True)


@pytest.mark.parametrize(
    ("content", "intact"), [(b"painted", True), (b"Painted", False), (b"painted and more", False), (None, False)]
)
def test_a_file_written_again_is_judged_by_its_content(
    journal: Journal, tmp_path: Path, content: bytes | None, intact: bool
) -> None:
    path = finished_file(journal, tmp_path)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))
    known = journal.finished(path)
    assert known is not None
    assert known.intact == intact


def test_what_was_recorded_outlives_the_process(journal: Journal, tmp_path: Path) -> None:
    path = finished_file(journal, tmp_path)
    journal.close()
    again = Journal(tmp_path / "work")
    assert again.finished(path) is not None
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


def test_a_damaged_journal_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"no database, but long enough to be looked at as one" * 20)
    with pytest.raises(OutputError, match=r"cannot be used: .*\n.*Remove it"):
        Journal(tmp_path)


def test_a_work_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/work cannot be made"):
        Journal(tmp_path / "file" / "work")
