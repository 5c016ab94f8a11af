"""Which addresses are taken, how they are shown, and which names a folder may hold."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nstpipe.config.load import load_right_part
from nstpipe.storage.address import AddressError, UnsafeNameError, parse_address, safe_parts
from nstpipe.storage.remotes import Remotes, mirrored
from tests.making import write_pipeline

SIGNED = "https://data.example.org/street/a.jpg?X-Amz-Credential=AKIA&X-Amz-Signature=5ecr37"


@pytest.mark.parametrize(
    ("text", "parts", "shown"),
    [
        ("s3://bucket/a/b.jpg", ("s3", "bucket", "a", "b.jpg"), "s3://bucket/a/b.jpg"),
        ("s3://bucket/why?.jpg", ("s3", "bucket", "why?.jpg"), "s3://bucket/why?.jpg"),
        ("gs://bucket/", ("gs", "bucket"), "gs://bucket/"),
        ("az://box/in/*.jpg", ("az", "box", "in", "*.jpg"), "az://box/in/*.jpg"),
        ("sftp://anna:s3cret@host:2222/data/a.mp4", ("sftp", "host~2222", "data", "a.mp4"), "sftp://host:2222/data/a.mp4"),
        (SIGNED, ("https", "data.example.org", "street", "a.jpg"), "https://data.example.org/street/a.jpg?…"),
        ("https://u:p4ss@h.org/a.jpg", ("https", "h.org", "a.jpg"), "https://h.org/a.jpg"),
    ],
)
def test_addresses_are_read_and_shown_without_secrets(text: str, parts: tuple[str, ...], shown: str) -> None:
    address = parse_address(text)
    assert address.local_parts == parts
    assert str(address) == shown
    for secret in ("s3cret", "5ecr37", "p4ss", "AKIA", "anna"):
        assert secret not in f"{address} {address!r} {address.local_parts}"


def test_another_signature_is_the_same_file_and_another_question_is_not() -> None:
    again = parse_address(SIGNED.replace("5ecr37", "0ther"))
    assert again.local_parts == parse_address(SIGNED).local_parts
    one, other = (parse_address(f"https://h.org/get?file={name}&token=abc").local_parts for name in "ab")
    assert one != other


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gcs://bucket/a", "Did you mean gs://?"),
        ("ftp://host/a", "ftp:// is not known"),
        ("file:///data", "plain path"),
        ("http://example.org/a.jpg", "should begin with https://"),
        ("s3://", "should name a bucket"),
        ("s3://KEY:5ecr37@bucket/a", "credentials come from AWS_ACCESS_KEY_ID"),
        ("s3://bucket/../other/a", "'..' between two slashes"),
        ("s3://../a", "letters, digits"),
        ("s3://bucket/a//b", "two in a row"),
        ("s3://bucket/a\\b", "backslash"),
        ("https://host:port/a", "a port that is a number"),
    ],
)
def test_addresses_that_cannot_be_used_are_told_without_their_secrets(text: str, said: str) -> None:
    with pytest.raises(AddressError) as error:
        parse_address(text)
    assert said in str(error.value)
    assert "5ecr37" not in str(error.value)


@pytest.mark.parametrize(
    "key",
    [
        *("../a", "a/../../b", "/etc/passwd", "a//b", "a/", ".", "a/./b", "a\\..\\b", "a\0b", "a\nb", "\x7f", "\udcff.jpg"),
        *("n" * 256, "é" * 128, "/".join(["abcdefgh"] * 300)),
    ],
)
def test_names_from_elsewhere_cannot_leave_a_folder(key: str) -> None:
    with pytest.raises(UnsafeNameError, match=r"^its name "):
        safe_parts(key)


@pytest.mark.parametrize("key", ["a.jpg", "ä/ö b/c..d/..e", "-rf", "~/x", "a:b*?.jpg", "n" * 255, "%2e%2e/a"])
def test_other_names_stay_as_they_are_below_it(key: str, tmp_path: Path) -> None:
    place = tmp_path.joinpath(*safe_parts(key))
    assert place.resolve().is_relative_to(tmp_path)
    assert place.relative_to(tmp_path).as_posix() == key


def test_texts_for_people_name_the_address_of_a_path(tmp_path: Path) -> None:
    path, address = mirrored("sftp://anna:s3cret@host/data/clips", tmp_path)
    remotes = Remotes({path: address})
    assert remotes.shown(f"{path}/a.mp4 is short; the password s3cret fits") == (
        "sftp://host/data/clips/a.mp4 is short; the password … fits"
    )
    assert str(remotes.address_of(path / "x" / "a.mp4")) == "sftp://host/data/clips/x/a.mp4"
    assert remotes.address_of(tmp_path / "other") is None


@pytest.mark.parametrize(
    ("job", "top", "said"),
    [
        ({"output": "https://h.org/out"}, {}, "or begin with one of s3://, gs://, az://, sftp://"),
        ({"input": "s3x://bucket/in"}, {}, "s3x:// is not known"),
        ({"input": "https://u:s3cret@h.org/../a"}, {}, "between two slashes"),
        ({}, {"weights": "s3://bucket/vgg.pth"}, "should be a path on this machine; s3:// is for input"),
    ],
)
def test_keys_say_which_addresses_they_take(tmp_path: Path, job: dict[str, str], top: dict[str, str], said: str) -> None:
    path = write_pipeline(tmp_path, {"name": "one", "input": "in", "output": "out", **job}, **top)
    [problem] = load_right_part(path).problems
    assert said in problem.message
    assert "s3cret" not in problem.message


def test_addresses_become_paths_in_the_work_folder_and_settings_hold_no_secret(tmp_path: Path) -> None:
    job = {"name": "one", "input": "sftp://anna:s3cret@host/in", "output": "s3://bucket/out"}
    pipeline = load_right_part(write_pipeline(tmp_path, job, work="w")).pipeline
    assert pipeline is not None
    assert pipeline.jobs[0].input == tmp_path / "w" / "remote" / "sftp" / "host" / "in"
    assert pipeline.remotes.outputs == {pipeline.jobs[0].output}
    assert "s3cret" not in f"{pipeline!r} {pipeline.model_dump_json()} {pipeline.remotes!r}"


def test_a_remote_work_folder_lives_in_the_cache_and_the_settings_hold_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", str(tmp_path / "cache"))
    job = {"name": "one", "input": "s3://bucket/in", "output": "out"}

    def work_of(address: str, **storage: str) -> Path:
        pipeline = load_right_part(write_pipeline(tmp_path, job, work=address, storage=storage)).pipeline
        assert pipeline is not None
        assert pipeline.jobs[0].input == pipeline.work / "remote" / "s3" / "bucket" / "in"
        assert "s3cret" not in f"{pipeline!r} {pipeline.model_dump_json()} {pipeline.remotes!r}"
        return pipeline.work

    places = [work_of(f"sftp://anna:{word}@host/{name}") for word, name in (("s3cret", "a"), ("other", "a"), ("s3cret", "b"))]
    assert places[0] == places[1] != places[2]
    assert places[0].is_relative_to(tmp_path / "cache" / "nstpipe" / "work")
    assert work_of("s3://bucket/w", live="here") == tmp_path / "here" / "work"
    [problem] = load_right_part(write_pipeline(tmp_path, job, work="https://h.org/w")).problems
    assert problem.key == "work"
    assert "begin with one of s3://, gs://, az://, sftp://" in problem.message
