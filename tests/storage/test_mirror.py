"""The mirror of remote files: hollow files that stand for them, and their contents while somebody needs them."""

from __future__ import annotations

import threading
from pathlib import Path
from urllib.parse import quote

import pytest

from nstpipe.errors import OutputError
from nstpipe.storage import mirror as module
from nstpipe.storage.contents import content_sha256, held, in_force, is_remote, remembered
from nstpipe.storage.failures import StorageError
from nstpipe.storage.mirror import Mirror
from nstpipe.storage.remotes import Remotes, mirrored
from nstpipe.storage.store import Policy
from nstpipe.system.files import sha256_of, stamp_of
from nstpipe.system.stop import Stop
from tests.storage.conftest import Cloud
from tests.storage.faulty import SLOW_DOWN, Fault

SIZE = 100_000


def content(seed: int) -> bytes:
    return bytes((seed + index * index) % 256 for index in range(1000)) * (SIZE // 1000)


def mirror_of(work: Path, max_bytes: int = 10**9, retries: int = 0) -> tuple[Mirror, Path, Path]:
    """A mirror of an input and an output folder, listed, and the paths that stand for them."""
    places = [mirrored(f"s3://street/{name}", work) for name in ("in", "out")]
    remotes = Remotes(dict(places), frozenset({places[1][0]}))
    mirror = Mirror(work, remotes, Policy(max_bytes, retries=retries, transfers=2), Stop())
    mirror.be_alone()
    mirror.refresh()
    return mirror, places[0][0], places[1][0]


def blocks(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_files_are_hollow_until_they_are_held_and_go_when_room_is_needed(cloud: Cloud, tmp_path: Path) -> None:
    for index in range(4):
        cloud.put(f"in/{index}.jpg", content(index))
    mirror, source, _ = mirror_of(tmp_path, max_bytes=2 * SIZE + 10)
    paths = [source / f"{index}.jpg" for index in range(4)]
    assert sorted(source.iterdir()) == paths
    stamps = [stamp_of(path) for path in paths]
    assert all(path.stat().st_size == SIZE and blocks(path) < SIZE // 2 for path in paths)
    assert [path.read_bytes()[:4096] for path in paths] == [content(index)[:4096] for index in range(4)]
    with in_force(mirror):
        for index, path in enumerate(paths):
            with held(path):
                assert path.read_bytes() == content(index)
                assert sum(blocks(one) > SIZE // 2 for one in paths) <= 2
            assert is_remote(path)
    assert [stamp_of(path) for path in paths] == stamps  # so that the journal knows them, whether they are here or not
    with in_force(mirror), held(paths[0], paths[1]):
        assert [blocks(path) > SIZE // 2 for path in paths] == [True, True, False, False]
        with pytest.raises(StorageError, match=r"allows 0.2 MB at a time"), held(*paths):
            pass
    mirror.empty()
    assert not any(blocks(path) > SIZE // 2 for path in paths)
    mirror.close()


def test_a_file_has_one_stamp_at_every_moment_while_it_is_fetched(cloud: Cloud, tmp_path: Path) -> None:
    names = [f"{index}.jpg" for index in range(8)]
    for index, name in enumerate(names):
        cloud.put(f"in/{name}", content(index))
    mirror, source, _ = mirror_of(tmp_path)
    paths = [source / name for name in names]
    seen = {path: {stamp_of(path)} for path in paths}
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            for path, stamps in seen.items():
                stamps.add(stamp_of(path))

    onlooker = threading.Thread(target=look)
    onlooker.start()
    for path in paths:
        mirror.hold(path)
    is_over.set()
    onlooker.join()
    assert all(blocks(path) >= SIZE for path in paths)
    assert {len(stamps) for stamps in seen.values()} == {1}
    mirror.close()


def test_a_changed_file_has_another_stamp_and_what_is_gone_goes(cloud: Cloud, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        cloud.put(f"in/{name}.jpg", content(0))
    mirror, source, _ = mirror_of(tmp_path)
    with in_force(mirror):
        before = {name: (stamp_of(source / f"{name}.jpg"), content_sha256(source / f"{name}.jpg")) for name in "abc"}
    mirror.close()
    cloud.put("in/b.jpg", content(1))  # of the same size, and within the same second
    cloud.client.delete_object(Bucket="street", Key="in/c.jpg")
    mirror, source, _ = mirror_of(tmp_path)
    assert sorted(path.name for path in source.iterdir()) == ["a.jpg", "b.jpg"]
    assert stamp_of(source / "a.jpg") == before["a"][0]
    assert stamp_of(source / "b.jpg") != before["b"][0]
    gets = cloud.proxy.count("GET", "/in/")
    with in_force(mirror):
        assert content_sha256(source / "a.jpg") == before["a"][1]
        assert cloud.proxy.count("GET", "/in/") == gets  # it is still here
        assert content_sha256(source / "b.jpg") != before["b"][1]
    mirror.close()


def test_facts_are_remembered_for_one_content(cloud: Cloud, tmp_path: Path) -> None:
    cloud.put("in/a.jpg", content(0))
    asked: list[bool] = []
    for index in range(3):
        if index == 2:
            cloud.put("in/a.jpg", content(1))
        mirror, source, _ = mirror_of(tmp_path)

        def compute(path: Path = source / "a.jpg") -> str:
            asked.append(blocks(path) > SIZE // 2)
            return sha256_of(path)

        with in_force(mirror):
            found = remembered(source / "a.jpg", "hash", compute)
        mirror.empty()
        mirror.close()
        assert len(asked) == (1, 1, 2)[index]
    assert all(asked)
    (tmp_path / "x").write_bytes(content(1))
    assert found == sha256_of(tmp_path / "x")


def test_what_is_made_here_survives_until_it_is_uploaded(cloud: Cloud, tmp_path: Path) -> None:
    cloud.put("in/a.jpg", content(0))
    cloud.put("out/a.jpg", content(1))
    mirror, _, out = mirror_of(tmp_path)
    (out / "a.jpg").unlink()
    (out / "a.jpg").write_bytes(content(2))
    stamp = stamp_of(out / "a.jpg")
    mirror.note_made(out / "a.jpg")
    cloud.proxy.faults.append(Fault("PUT", "", 503, SLOW_DOWN))
    with pytest.raises(OutputError, match="asks to slow down") as error:
        mirror.upload(out / "a.jpg")
    assert f"kept in {out / 'a.jpg'}" in error.value.next_step
    mirror.empty()
    mirror.close()
    cloud.proxy.faults.clear()
    mirror, _, _ = mirror_of(tmp_path)
    assert mirror.waiting() == [out / "a.jpg"]
    assert (out / "a.jpg").read_bytes() == content(2)
    assert mirror.upload(out / "a.jpg") == SIZE
    assert cloud.get("out/a.jpg") == content(2)
    assert mirror.waiting() == []
    mirror.empty()
    mirror.close()
    mirror, _, _ = mirror_of(tmp_path)
    assert stamp_of(out / "a.jpg") == stamp  # the journal knows it by this
    assert blocks(out / "a.jpg") < SIZE // 2
    mirror.close()


def test_hostile_names_are_left_out_and_reach_nothing(cloud: Cloud, tmp_path: Path) -> None:
    work = tmp_path / "deep" / "work"
    bad = ["in/../../../../escape.jpg", "in//root.jpg", "in/a\\..\\b.jpg", "in/line\nbreak.jpg", "in/" + "n" * 300 + ".jpg"]
    good = ["in/good.jpg", "in/Good.jpg", "in/..hidden.jpg"]
    cloud.put(good[0], content(0))
    objects = "".join(f"<Contents><Key>{quote(key, safe='')}</Key><Size>5</Size></Contents>" for key in (*bad, *good))
    listing = f"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{objects}</ListBucketResult>"
    cloud.proxy.faults.append(Fault("GET", "prefix=in%2F&delimiter=&", 200, listing.encode()))  # as from another's bucket
    mirror, source, _ = mirror_of(work)
    assert sorted(path.name for path in source.iterdir()) == ["..hidden.jpg", "Good.jpg", "good.jpg"]
    said = [why for _, why in mirror.unsafe_below(source)]
    assert len(said) == len(bad)
    assert all(one.startswith("s3://street/in/") and "its name" in one and "\n" not in one for one in said)
    assert [path for path in tmp_path.rglob("*") if not path.is_relative_to(work)] == [tmp_path / "deep"]
    mirror.close()


def test_no_room_is_said_before_anything_is_fetched(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.put("in/a.jpg", content(0))
    mirror, source, _ = mirror_of(tmp_path)
    monkeypatch.setattr(module, "SPARE_BYTES", 1 << 60)
    gets = cloud.proxy.count("GET", "a.jpg")
    with in_force(mirror), pytest.raises(StorageError, match=r"s3://street/in/a.jpg has 0.1 MB; the disk of .* free"):
        content_sha256(source / "a.jpg")
    assert cloud.proxy.count("GET", "a.jpg") == gets
    mirror.close()


def test_what_cannot_be_listed_shows_what_was_there(cloud: Cloud, tmp_path: Path) -> None:
    cloud.put("in/a.jpg", content(0))
    mirror, _, _ = mirror_of(tmp_path)
    mirror.close()
    cloud.proxy.faults.append(Fault("GET", "list-type", 503, SLOW_DOWN))
    mirror, source, out = mirror_of(tmp_path)
    assert [path.name for path in source.iterdir()] == ["a.jpg"]
    assert "slow down" in str(mirror.problem_of(source / "a.jpg"))
    assert mirror.problem_of(out) is not None
    assert mirror.problem_of(tmp_path) is None
    mirror.close()
