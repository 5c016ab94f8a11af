"""States that frames of several lags need, as they are kept on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nstpipe.journal.frames import FILE_BYTES, STATE_INTERVAL, FrameStore, stored_bytes

PIXELS = np.zeros((4, 6, 3), np.uint8)


def state_of(index: int) -> NDArray[np.float32]:
    return np.full((1, 3, 4, 6), index, np.float32)


def filled(folder: Path, count: int, history: int) -> FrameStore:
    store = FrameStore(folder, history)
    for index in range(count):
        store.save(index, PIXELS, state_of(index))
    return store


def states(store: FrameStore, end: int) -> tuple[int, list[int]]:
    """Where a run would go on, and from which states."""
    gap = store.gap(0, end)
    assert gap is not None
    return gap.next_frame_index, [int(state.flat[0]) for state in gap.states]


def kept(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("state_")) for path in folder.glob("state_*.npy"))


def test_as_many_states_come_back_as_a_frame_needs(tmp_path: Path) -> None:
    assert states(filled(tmp_path / "one", 10, 1), 20) == (10, [9])
    assert states(filled(tmp_path / "three", 10, 3), 20) == (10, [7, 8, 9])
    # At the beginning there are fewer.
    assert states(filled(tmp_path / "few", 2, 3), 20) == (2, [0, 1])


def test_a_damaged_state_costs_the_frames_since_the_window_before_it(tmp_path: Path) -> None:
    store = filled(tmp_path, 10, 3)
    assert kept(tmp_path) == [6, 7, 8, 9]
    (tmp_path / "state_00000009.npy").write_bytes(b"")
    assert states(store, 20) == (9, [6, 7, 8])
    (tmp_path / "state_00000007.npy").write_bytes(b"")
    assert states(store, 20) == (0, [])


def test_windows_of_states_stay(tmp_path: Path) -> None:
    filled(tmp_path, 2 * STATE_INTERVAL + 5, 3)
    ends = (STATE_INTERVAL, 2 * STATE_INTERVAL)
    windows = [index for end in ends for index in range(end - 3, end)]
    assert kept(tmp_path) == [*windows, *range(2 * STATE_INTERVAL + 1, 2 * STATE_INTERVAL + 5)]


def test_what_a_clip_will_take_on_disk_counts_the_windows(tmp_path: Path) -> None:
    # A window of 20 states every 80 frames, and 21 + 1 more at the end: 16 bytes a pixel each, and the file's own.
    more = (40 + 22) - (5 + 3)
    assert stored_bytes(160, (10, 10), history=20) - stored_bytes(160, (10, 10)) == more * (100 * 16 + FILE_BYTES)
