"""The times that are encoded follow from the times of the file, whatever these are."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest

from nstpipe.media.video.clock import OtherPackets, PicturePackets, Shift, Timeline, aligned, strictly_rising, timeline

MILLISECOND = Fraction(1, 1000)
HOUR = 3600_000


def line_of(
    shown: Sequence[int],
    *,
    keys: Sequence[bool] | None = None,
    decoded: Sequence[int] | None = None,
    places: Sequence[int] | None = None,
    others: dict[int, OtherPackets] | None = None,
    is_set_anew: bool = False,
) -> Timeline:
    """The timeline of packets in milliseconds, at 25 frames a second."""
    count = len(shown)
    picture = PicturePackets(
        MILLISECOND, shown, decoded or [None] * count, keys or [True] * count, places or range(count), rate_step=40
    )
    return timeline(picture, others or {}, clock_is_set_anew=is_set_anew)


PLAIN = {
    "even": ([0, 40, 80], [0, 40, 80]),
    "a late start": ([1400, 1440, 1480], [1400, 1440, 1480]),
    "variable": ([0, 10, 400, 410], [0, 10, 400, 410]),
    "in disorder by one place": ([0, 40, 20, 60], [0, 20, 40, 60]),
    "in disorder by two places": ([0, 40, 80, 20, 30, 120], [0, 20, 30, 40, 80, 120]),
    "one picture an hour": ([0, HOUR, 2 * HOUR, 3 * HOUR + 9], [0, HOUR, 2 * HOUR, 3 * HOUR + 9]),
    "a long still": ([0, 40, 80, 600_000], [0, 40, 80, 600_000]),
    "nothing": ([], []),
}


@pytest.mark.parametrize("name", PLAIN)
def test_times_that_can_be_encoded_stay(name: str) -> None:
    shown, expected = PLAIN[name]
    line = line_of(shown)
    assert (list(line.ticks), line.time_base, line.mending) == (expected, MILLISECOND, None)


MENDED = {
    "joined": ([0, 40, 80, 0, 40, 80], [0, 40, 80, 120, 160, 200], (3,), "begins anew once (at frame 3)"),
    "joined, the second longer": ([0, 40, 0, 40, 80], [0, 40, 80, 120, 160], (2,), "begins anew once"),
    "three joined": ([80, 120, 40, 80, 0, 40], [80, 120, 160, 200, 240, 280], (2, 4), "begins anew twice"),
    "joined at other rates": ([0, 40, 80, 1, 21, 41], [0, 40, 80, 120, 140, 160], (3,), "begins anew"),
    "below zero": ([-80, -40, 0], [0, 40, 80], (), "begin at -0.080 s"),
    "hours later": ([0, 40, 80, 7200_000, 7200_040], [0, 40, 80, 120, 160], (3,), "jumps once (at frame 3), by up to 7200 s"),
    "equal pairs": ([0, 0, 80, 80, 160], [0, 40, 80, 120, 160], (), "2 frames had the time of another"),
    "all equal": ([7, 7, 7], [7, 47, 87], (), "2 frames had the time of another"),
}  # fmt: skip


@pytest.mark.parametrize("name", MENDED)
def test_times_that_cannot_be_encoded_are_mended_and_it_is_said(name: str) -> None:
    shown, expected, joints, said = MENDED[name]
    line = line_of(shown)
    assert (list(line.ticks), line.time_base) == (expected, MILLISECOND)
    assert line.mending is not None
    assert line.mending.joints == joints
    assert said in " ".join(line.mending.said)


def test_frames_without_room_between_them_get_a_finer_time_base() -> None:
    line = line_of([0, 0, 0, 1, 2])
    assert line.time_base == MILLISECOND / 4
    assert line.ticks == (0, 1, 2, 4, 8)
    assert strictly_rising([5, 4, 9], 4) == ((5, 7, 9), 1, 1)


def test_frames_behind_a_key_frame_that_are_shown_before_it_begin_no_recording() -> None:
    """I P B B in decoding order, twice, with an open second group: its B-frames come before its key frame on the screen."""
    shown = [0, 120, 40, 80, 240, 160, 200, 280]
    line = line_of(shown, keys=[True, False, False, False, True, False, False, False], decoded=[-80 + 40 * n for n in range(8)])
    assert (line.ticks, line.mending) == (tuple(range(0, 320, 40)), None)


def test_a_recording_that_begins_without_a_key_frame_is_noticed_by_its_decoding_times() -> None:
    shown = [*range(10_000, 10_400, 40), *range(5000, 5400, 40)]
    line = line_of(shown, keys=[True] + [False] * 19, decoded=shown)
    assert line.ticks == tuple(range(10_000, 10_800, 40))


def sound(*packets: tuple[int, int], milliseconds: int = 20) -> OtherPackets:
    """A stream of sound: the place of each packet in the file, and its time."""
    found = OtherPackets(True, MILLISECOND)
    for place, time in packets:
        found.add(place, time, milliseconds)
    return found


def seconds(*shifts: tuple[int, int]) -> tuple[Shift, ...]:
    return tuple(Shift(packet, shift * MILLISECOND) for packet, shift in shifts)


def test_sound_is_moved_by_the_same_time_as_its_picture() -> None:
    # The first recording's sound lasts 30 ms longer than its picture, and so the second begins when both have ended.
    first = [(place, 40 * number) for number, place in enumerate((1, 3, 5))]
    others = {1: sound(*first, (6, 130), (9, 0), (11, 20))}
    line = line_of([0, 40, 80, 0, 40], places=[0, 2, 4, 8, 10], others=others)
    assert line.ticks == (0, 40, 80, 150, 190)
    assert line.mending is not None
    assert line.mending.shifts[1] == seconds((0, 0), (4, 150))


def test_sound_of_a_clock_of_its_own_is_not_moved() -> None:
    others = {1: sound(*((2 * number + 1, 40 * number) for number in range(6)), milliseconds=40)}
    line = line_of([0, 40, 80, 0, 40, 80], places=range(0, 12, 2), others=others)
    assert line.ticks == (0, 40, 80, 120, 160, 200)
    assert line.mending is not None
    assert not line.mending.moves_sound


def test_sound_alone_can_begin_anew() -> None:
    others = {1: sound((1, 0), (3, 40), (5, 80), (7, 0), (9, 40), milliseconds=40)}
    line = line_of([0, 40, 80, 120, 160], places=range(0, 10, 2), others=others)
    assert line.ticks == (0, 40, 80, 120, 160)
    assert line.mending is not None
    assert line.mending.shifts[1] == seconds((0, 0), (3, 120))
    assert "audio stream 1" in line.mending.said[0]


def test_sound_that_begins_or_ends_in_one_recording_only_goes_with_it() -> None:
    later, earlier = sound((8, 0), (9, 20)), sound((1, 0), (3, 20))
    line = line_of([0, 40, 0, 40], places=[0, 2, 6, 7], others={1: later, 2: earlier})
    assert line.mending is not None
    assert line.mending.shifts[1] == seconds((0, 0), (0, 80))
    assert line.mending.shifts[2] == seconds((0, 0))


def test_subtitles_go_with_the_recording_that_they_stand_in() -> None:
    lines = OtherPackets(False, MILLISECOND)
    for place, time in ((1, 10), (7, 10)):
        lines.add(place, time, 0)
    line = line_of([0, 40, 0, 40], places=[0, 2, 6, 8], others={3: lines})
    assert line.mending is not None
    assert line.mending.shifts[3] == seconds((0, 0), (1, 80))


def test_a_jump_while_sound_plays_stays() -> None:
    """A lecture: one slide for an hour and more, and somebody speaks."""
    others = {1: sound(*((place, 2000 * place) for place in range(1, 3000)), milliseconds=2000)}
    shown = [0, 40, 80, 5_000_000, 5_000_040]
    line = line_of(shown, places=[0, 3, 5, 2600, 2601], others=others)
    assert (list(line.ticks), line.mending) == (shown, None)


def test_where_clocks_are_set_anew_shorter_jumps_end_a_recording() -> None:
    shown = [0, 40, 80, 20_000, 20_040]
    assert line_of(shown).mending is None
    line = line_of(shown, is_set_anew=True)
    assert line.ticks == (0, 40, 80, 120, 160)


def test_all_is_moved_up_if_the_sound_begins_lowest() -> None:
    line = line_of([-40, 0, 40], others={1: sound((0, -100), (2, -80))})
    assert line.ticks == (60, 100, 140)
    assert line.mending is not None
    assert line.mending.start_shift == Fraction(1, 10)
    assert line.mending.shifts[1] == seconds((0, 100))


def test_sound_that_begins_a_little_below_zero_alone_changes_nothing() -> None:
    assert line_of([0, 40], others={1: sound((0, -21), (2, 0))}).mending is None


@pytest.mark.parametrize(
    ("decoded", "expected"),
    [
        ([0, 40, 80, 0, 40, 80], [0, 40, 80, 120, 160, 200]),
        ([0, 40, 0, 40, 80], [0, 40, 120, 160, 200]),
        ([0, 40, 80, 80], [0, 40, 80, 200]),
        ([0, 80, 40, 0], [0, 40, 80, 120]),
        ([0, 40, 80, 81, 40, 80], [0, 40, 80, 120, 160, 200]),
    ],
)
def test_frames_that_decode_keep_their_mended_times(decoded: list[int], expected: list[int]) -> None:
    """Frames of the first or of the second recording are missing, are in disorder, or have a time that nobody expected."""
    assert list(aligned(line_of([0, 40, 80, 0, 40, 80]), decoded)) == expected
