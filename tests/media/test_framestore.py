"""What waits on disk is whole, and exactly what was put there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nstpipe.errors import ItemError, OutputError
from nstpipe.files import partial_path
from nstpipe.media.framestore import FrameStore

from .making import films


def state_of(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((1, 3, 48, 64), np.float32)


def filled(folder: Path, count: int, first: int = 0) -> FrameStore:
    store = FrameStore(folder)
    for frame_index, pixels in enumerate(films(count), start=first):
        store.save(frame_index, pixels, state_of(frame_index))
    return store


def test_nothing_is_there_before_the_first_frame(tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "clip")
    assert store.last() is None
    assert not (tmp_path / "clip").exists()


def test_frames_come_back_as_they_were(tmp_path: Path) -> None:
    store = filled(tmp_path / "clip", 4, first=7)
    for back, put_in in zip(store.frames(7, 11), films(4), strict=True):
        assert np.array_equal(back, put_in)
    (middle,) = store.frames(8, 9)
    assert np.array_equal(middle, films(4)[1])


def test_the_state_is_the_same_to_the_bit(tmp_path: Path) -> None:
    state = state_of(0)
    state[0, 0, 0, :3] = np.nextafter(np.float32(0.5), np.float32(1)), np.float32(1e-40), np.float32(-0.0)
    store = FrameStore(tmp_path)
    store.save(3, films(1)[0], state)
    last = FrameStore(tmp_path).last()
    assert last is not None
    assert last[0] == 3
    assert last[1].dtype == np.float32
    assert last[1].tobytes() == state.tobytes()


def test_the_last_is_the_newest_and_the_only_state(tmp_path: Path) -> None:
    store = filled(tmp_path, 3)
    last = store.last()
    assert last is not None
    assert last[0] == 2
    assert np.array_equal(last[1], state_of(2))
    assert [path.name for path in tmp_path.glob("state*")] == ["state_00000002.npy"]
    assert len(list(tmp_path.glob("frame*"))) == 3


def cut(path: Path, bytes_left: int) -> None:
    path.write_bytes(path.read_bytes()[:bytes_left])


@pytest.mark.parametrize("bytes_left", [0, 3, 20, 100, 200, -1])
def test_a_cut_state_counts_as_not_there(tmp_path: Path, bytes_left: int) -> None:
    store = filled(tmp_path, 1)
    cut(tmp_path / "state_00000000.npy", bytes_left)
    assert store.last() is None


def test_a_cut_state_gives_way_to_an_older_whole_one(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    older = (tmp_path / "state_00000000.npy").read_bytes()
    store = filled(tmp_path, 2)
    (tmp_path / "state_00000000.npy").write_bytes(older)
    cut(tmp_path / "state_00000001.npy", 100)
    last = store.last()
    assert last is not None
    assert last[0] == 0


@pytest.mark.parametrize(
    "content",
    [np.zeros(3, np.float64), np.zeros(3, np.uint8), np.array([{"a": 1}], dtype=object)],
    ids=["double", "8 bit", "pickle"],
)
def test_a_state_of_another_kind_counts_as_not_there(tmp_path: Path, content: NDArray[np.generic]) -> None:
    store = filled(tmp_path, 1)
    np.save(tmp_path / "state_00000000.npy", content, allow_pickle=True)
    assert store.last() is None


def test_a_state_without_its_frame_counts_as_not_there(tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    (tmp_path / "frame_00000000.png").unlink()
    assert store.last() is None


def test_partial_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    store = filled(tmp_path, 2)
    newer = tmp_path / "state_00000009.npy"
    partial_path(newer).write_bytes((tmp_path / "state_00000001.npy").read_bytes())
    partial_path(tmp_path / "frame_00000009.png").write_bytes(b"half")
    (tmp_path / "state_copy.npy").write_bytes(b"what a person left")
    (tmp_path / "Thumbs.db").write_bytes(b"what a system left")
    last = store.last()
    assert last is not None
    assert last[0] == 1


def test_what_a_killed_run_left_is_written_over(tmp_path: Path) -> None:
    partial_path(tmp_path / "frame_00000000.png").write_bytes(b"half")
    partial_path(tmp_path / "state_00000000.npy").write_bytes(b"half")
    filled(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frame_00000000.png", "state_00000000.npy"]


def test_remove_takes_all_of_it(tmp_path: Path) -> None:
    store = filled(tmp_path / "clip", 2)
    store.remove()
    assert not (tmp_path / "clip").exists()
    store.remove()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        filled(tmp_path / "file" / "clip", 1)


def test_a_damaged_frame_is_named_and_the_clip_is_made_anew(tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "clip")
    pixels = np.zeros((4, 6, 3), np.uint8)
    for frame_index in range(3):
        store.save(frame_index, pixels, np.zeros((1, 3, 4, 6), np.float32))
    (tmp_path / "clip" / "frame_00000001.png").write_bytes(b"damaged")
    with pytest.raises(ItemError, match=r"frame_00000001\.png.*cannot be read"):
        list(store.frames(0, 3))
    assert store.last() is None
