"""The order of a clip's frames, and work that goes on ahead of its use."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scenes import slide
from nstpipe.media.frame import Frame, Pixels
from nstpipe.motion.flow.dis import dis_flow
from nstpipe.motion.frames_with_flow import BACKWARD_CHUNK_FRAMES, FrameWithFlow, frames_with_flow, prefetch
from nstpipe.motion.motion import motion_between


class Film:
    """A source in memory."""

    path = Path("film")

    def __init__(self, frames: Sequence[Pixels]) -> None:
        self._frames = frames

    @property
    def frame_count(self) -> int:
        return len(self._frames)

    @property
    def size(self) -> tuple[int, int]:
        height, width, _ = self._frames[0].shape
        return width, height

    def read(self, first_frame_index: int, end_frame_index: int) -> Iterator[Frame]:
        for index in range(first_frame_index, end_frame_index):
            yield Frame(self._frames[index], index)


@pytest.fixture(scope="module")
def film(street: Pixels) -> Film:
    return Film(slide(street, (96, 64), BACKWARD_CHUNK_FRAMES + 4, (2, 0), (60, 60)).frames)


def taken(film: Film, order: range, position: int = 0, lags: tuple[int, ...] = (1,)) -> list[FrameWithFlow]:
    return list(frames_with_flow(film, order, position, (96, 64), lags, dis_flow))


def test_frames_come_in_order_forwards_and_backwards(film: Film) -> None:
    count = film.frame_count
    assert [step.frame.frame_index for step in taken(film, range(2, count), lags=())] == list(range(2, count))
    back = range(count - 1, 1, -1)
    assert [step.frame.frame_index for step in taken(film, back, lags=())] == list(back)


def test_motion_is_that_between_the_frame_and_the_one_painted_before(film: Film) -> None:
    forwards, backwards = taken(film, range(3)), taken(film, range(2, -1, -1))
    assert (forwards[0].motions, forwards[0].before) == ({}, None)
    for steps_taken, moves in ((forwards, 2), (backwards, -2)):
        middle = steps_taken[1].motions[1].backward[20:-20, 20:-20, 0]
        assert np.median(middle) == pytest.approx(moves, abs=0.3)
        assert steps_taken[1].before is not None
        assert np.array_equal(steps_taken[1].before, steps_taken[0].pixels)


def test_longer_lags_are_direct_and_end_at_the_beginning(film: Film) -> None:
    all_steps = taken(film, range(6), lags=(1, 3))
    assert [sorted(step.motions) for step in all_steps] == [[], [1], [1], [1, 3], [1, 3], [1, 3]]
    direct = motion_between(all_steps[1].pixels, all_steps[4].pixels)
    assert np.array_equal(all_steps[4].motions[3].backward, direct.backward)


@pytest.mark.parametrize("order", [range(1, 8), range(7, 0, -1)], ids=["forwards", "backwards"])
def test_beginning_in_the_middle_gives_the_same_steps(film: Film, order: range) -> None:
    whole, part = taken(film, order, lags=(1, 3)), taken(film, order, 4, (1, 3))
    assert len(part) == len(whole) - 4
    for one, other in zip(whole[4:], part, strict=True):
        assert one.frame.frame_index == other.frame.frame_index
        assert one.motions.keys() == other.motions.keys()
        assert all(np.array_equal(one.motions[lag].backward, other.motions[lag].backward) for lag in one.motions)


def test_ahead_changes_nothing_and_is_one_ahead() -> None:
    made: list[int] = []
    second = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            if number == 1:
                second.set()
            yield number

    coming = prefetch(numbers())
    assert next(coming) == 0
    # Nobody has asked for the second one yet.
    assert second.wait(10)
    assert list(coming) == [1, 2, 3, 4]
    assert made == [0, 1, 2, 3, 4]


def test_what_goes_wrong_ahead_is_raised_after_what_went_right() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    coming = prefetch(numbers())
    assert next(coming) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(coming)


def test_closing_ends_the_source_in_its_own_thread() -> None:
    ended_in: list[threading.Thread] = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            ended_in.append(threading.current_thread())

    coming = prefetch(endless())
    next(coming)
    coming.close()
    assert len(ended_in) == 1
    assert ended_in[0] is not threading.current_thread()
    assert not ended_in[0].is_alive()
