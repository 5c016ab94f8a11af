"""What waits on disk is whole, and exactly what was put there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nstpipe.errors import OutputError
from nstpipe.journal.frames import STATE_INTERVAL, DamagedFramesError, FrameStore, stored_bytes
from nstpipe.system.files import partial_path
from tests.media.making import films


def state_of(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((1, 4, 48, 64), np.float32)


def filled(folder: Path, count: int, first: int = 0) -> FrameStore:
    store = FrameStore(folder)
    for frame_index, pixels in enumerate(films(count), start=first):
        store.save(frame_index, pixels, state_of(frame_index))
    return store


def whole(store: FrameStore, end: int, first: int = 0) -> list[int]:
    """What is put in and comes back: sums of pixels, which differ from frame to frame."""
    return [int(pixels.sum()) for pixels in store.frames(first, end)]


def test_before_the_first_frame_all_is_missing(tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "clip")
    gap = store.gap(5, 9)
    assert gap is not None
    assert (gap.first_frame_index, gap.end_frame_index, gap.next_frame_index, gap.states) == (5, 9, 5, ())
    assert store.count(5, 9) == 0
    assert not (tmp_path / "clip").exists()


def test_frames_come_back_as_they_were(tmp_path: Path) -> None:
    store = filled(tmp_path / "clip", 4, first=7)
    for back, put_in in zip(store.frames(7, 11), films(4), strict=True):
        assert np.array_equal(back, put_in)
    (middle,) = store.frames(8, 9)
    assert np.array_equal(middle, films(4)[1])
    assert (store.count(0, 100), store.count(8, 10), store.gap(7, 11)) == (4, 2, None)


def test_the_state_is_the_same_to_the_bit(tmp_path: Path) -> None:
    state = state_of(0)
    state[0, 0, 0, :3] = np.nextafter(np.float32(0.5), np.float32(1)), np.float32(1e-40), np.float32(-0.0)
    FrameStore(tmp_path).save(3, films(1)[0], state)
    gap = FrameStore(tmp_path).gap(3, 5)
    assert gap is not None
    assert (gap.first_frame_index, gap.next_frame_index) == (4, 4)
    [kept] = gap.states
    assert kept.dtype == np.float32
    assert kept.tobytes() == state.tobytes()


def test_states_take_bounded_room(tmp_path: Path) -> None:
    count = 2 * STATE_INTERVAL + 5
    filled(tmp_path, count)
    kept = sorted(int(path.stem.removeprefix("state_")) for path in tmp_path.glob("state*"))
    assert kept == [STATE_INTERVAL - 1, 2 * STATE_INTERVAL - 1, count - 2, count - 1]
    assert len(list(tmp_path.glob("frame*"))) == count


def cut(path: Path, bytes_left: int) -> None:
    path.write_bytes(path.read_bytes()[:bytes_left])


def flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 0x10
    path.write_bytes(content)


DAMAGES = {
    "empty": lambda path: cut(path, 0),
    "cut in the head": lambda path: cut(path, 20),
    "cut at the end": lambda path: cut(path, -1),
    "flipped at the start": lambda path: flip(path, 0),
    "flipped in the middle": lambda path: flip(path, 0.5),
    "flipped at the end": lambda path: flip(path, 1),
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    store = filled(tmp_path, 3)
    DAMAGES[damage](tmp_path / "state_00000002.npy")
    gap = store.gap(0, 5)
    assert gap is not None
    # Frame 2 is there, but must be gone through again to have its state.
    assert (gap.first_frame_index, gap.end_frame_index, gap.next_frame_index) == (3, 5, 2)
    [kept] = gap.states
    assert np.array_equal(kept, state_of(1))


def test_without_any_state_a_clip_is_gone_through_from_its_beginning(tmp_path: Path) -> None:
    store = filled(tmp_path, 3, first=4)
    for path in tmp_path.glob("state*"):
        cut(path, 100)
    gap = store.gap(4, 9)
    assert gap is not None
    assert (gap.first_frame_index, gap.end_frame_index, gap.next_frame_index, gap.states) == (7, 9, 4, ())


@pytest.mark.parametrize(
    "content",
    [np.zeros(3, np.float64), np.zeros(3, np.uint8), np.array([{"a": 1}], dtype=object)],
    ids=["double", "8 bit", "pickle"],
)
def test_a_state_of_another_kind_counts_as_damaged(tmp_path: Path, content: NDArray[np.generic]) -> None:
    store = filled(tmp_path, 1)
    path = tmp_path / "state_00000000.npy"
    np.save(path, content, allow_pickle=True)
    path.write_bytes(path.read_bytes() + hashlib.sha256(path.read_bytes()).digest())
    gap = store.gap(0, 2)
    assert gap is not None
    assert gap.states == ()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_frame_is_found_and_only_it_is_missing_then(tmp_path: Path, damage: str) -> None:
    store = filled(tmp_path, 5)
    DAMAGES[damage](tmp_path / "frame_00000002.npy")
    with pytest.raises(DamagedFramesError, match=r"frame_00000002\.npy.*is missing or damaged"):
        whole(store, 5)
    gap = store.gap(0, 5)
    assert gap is not None
    assert (gap.first_frame_index, gap.end_frame_index) == (2, 3)


def test_a_gap_in_the_middle_begins_at_the_state_before_it(tmp_path: Path) -> None:
    count = 2 * STATE_INTERVAL
    store = filled(tmp_path, count)
    place = STATE_INTERVAL + 9
    (tmp_path / f"frame_{place:08d}.npy").unlink()
    gap = store.gap(0, count)
    assert gap is not None
    assert (gap.first_frame_index, gap.end_frame_index, gap.next_frame_index) == (place, place + 1, STATE_INTERVAL)
    store.save(place, films(count)[place], state_of(place))
    assert store.gap(0, count) is None
    assert len(whole(store, count)) == count


def test_partial_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    store = filled(tmp_path, 2)
    newer = tmp_path / "state_00000009.npy"
    partial_path(newer).write_bytes((tmp_path / "state_00000001.npy").read_bytes())
    partial_path(tmp_path / "frame_00000009.npy").write_bytes(b"half")
    (tmp_path / "state_copy.npy").write_bytes(b"what a person left")
    (tmp_path / "Thumbs.db").write_bytes(b"what a system left")
    gap = store.gap(0, 12)
    assert gap is not None
    assert (gap.first_frame_index, gap.end_frame_index, gap.next_frame_index) == (2, 12, 2)


def test_what_a_killed_run_left_is_written_over(tmp_path: Path) -> None:
    partial_path(tmp_path / "frame_00000000.npy").write_bytes(b"half")
    partial_path(tmp_path / "state_00000000.npy").write_bytes(b"half")
    filled(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frame_00000000.npy", "state_00000000.npy"]


def test_remove_takes_all_of_it(tmp_path: Path) -> None:
    store = filled(tmp_path / "clip", 2)
    store.remove()
    assert not (tmp_path / "clip").exists()
    store.remove()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        filled(tmp_path / "file" / "clip", 1)


def test_the_room_that_is_asked_for_suffices(tmp_path: Path) -> None:
    frames = STATE_INTERVAL + 8
    store = FrameStore(tmp_path)
    noise = np.random.default_rng(0)
    for frame_index in range(frames):
        # As in paint, neighboring pixels are alike, and the rest is grain.
        smooth = np.linspace(40, 200, 160)[None, :, None] + noise.normal(0, 12, (120, 160, 3))
        pixels = smooth.clip(0, 255).astype(np.uint8)
        store.save(frame_index, pixels, noise.random((1, 4, 120, 160), np.float32))
    used = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert 0.7 < used / stored_bytes(frames, (160, 120)) <= 1
    assert stored_bytes(0, (160, 120)) == 0
