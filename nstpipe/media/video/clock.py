"""The one place where the times of a file become the times that are encoded.

A file can hold several recordings, each with a clock of its own: files that were joined, a camera that was switched off, a
counter that came to its end. Its clock can also start below zero, and frames can share a time. Encoders need times that rise.

Each recording is moved as a whole, its picture and its sound by the same time, so that it follows the one before and stays in
sync. Everything here is numbers; `frame_times` reads them from a file.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from statistics import median_low

JUMP_SECONDS = 10
"""A jump forward that ends a recording where clocks are known to be set anew, as in a transport stream. ffmpeg has the same."""

LONG_JUMP_SECONDS = 3600
"""A jump forward that ends a recording in any other file."""

DECODING_FALL_SECONDS = Fraction(1, 2)
"""A larger fall of decoding times ends a recording. Smaller ones are guesses of the demuxer."""

LARGEST_DISORDER_SECONDS = Fraction(1, 2)
LARGEST_DISORDER_PACKETS = 16
"""Times that fall for less than this, and then rise again to where they were, are in disorder. The clock is the same."""

SOUND_FALL_SECONDS = Fraction(1, 20)
SOUND_GAP_SECONDS = Fraction(1, 4)
"""Steps of sound that may belong to the end of a recording."""

PLACES_APART = 500
"""Packets between the first picture and the first sound of a recording, at most."""


@dataclass(frozen=True)
class Step:
    """A place in a stream where its clock does not go on as before.

    Attributes:
        packet: The number of the first packet behind it, counted in the stream.
        place: The number of this packet, counted in the file.
        before: When what comes before it ends, in seconds by the file's clock.
        after: When this packet begins, in seconds by the file's clock.
    """

    packet: int
    place: int
    before: Fraction
    after: Fraction

    @property
    def falls(self) -> bool:
        """Whether the clock goes back."""
        return self.after < self.before


@dataclass(frozen=True)
class PicturePackets:
    """The packets of a picture's stream, in the order of the file.

    Attributes:
        time_base: Seconds of a tick.
        shown: When each is presented, in ticks.
        decoded: When each is decoded, in ticks; None if the file does not say.
        keys: Whether each can be decoded by itself.
        places: The number of each, counted in the file.
        rate_step: Between two frames at the file's frame rate, in ticks; for files whose times do not tell.
        filled: How many of the times are not in the file, but follow from the frame rate.
    """

    time_base: Fraction
    shown: Sequence[int]
    decoded: Sequence[int | None]
    keys: Sequence[bool]
    places: Sequence[int]
    rate_step: int = 1
    filled: int = 0


DECODER_START_SECONDS = Fraction(1, 8)
"""The longest sound that decoders drop when they start: HE-AAC has up to 5186 samples at 44.1 kHz of it."""


@dataclass
class OtherPackets:
    """What is noted of a stream of sound or subtitles while it is read.

    Attributes:
        is_sound: Whether it plays without a pause.
        time_base: Seconds of a tick.
        steps: Where its clock does not go on; only of sound.
        places: The number of each packet, counted in the file; only of other streams, which have few.
        count: How many packets it has.
        first_place: The number of its first packet in the file.
        last_place: The number of its last packet in the file.
        broken: How many of its packets are damaged.
        first_byte: Where in the file the packet before its first one begins.
        hidden: How many packets at its beginning are not to be heard.
    """

    is_sound: bool
    time_base: Fraction
    steps: list[Step] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    count: int = 0
    first_place: int = 0
    last_place: int = 0
    broken: int = 0
    first_byte: int = 0
    hidden: int = 0
    _hidden_ticks: int = 0
    _lowest: int | None = None
    _last: int | None = None
    _end: int = 0

    def __post_init__(self) -> None:
        # In ticks: there are hundreds of thousands of packets, and fractions are slow.
        self._fall, self._gap = int(SOUND_FALL_SECONDS / self.time_base), int(SOUND_GAP_SECONDS / self.time_base)

    @property
    def start(self) -> Fraction | None:
        """The lowest time, in seconds; None if no packet has one."""
        return None if self._lowest is None else self._lowest * self.time_base

    @property
    def cut_away(self) -> int:
        """How many packets at its beginning were cut away, as by a phone's trimming: the hidden ones but the last.

        Those that only start the decoder are no more than a moment. The last one starts it in any case.
        """
        return self.hidden - 1 if self._hidden_ticks * self.time_base > DECODER_START_SECONDS else 0

    def add(self, place: int, time: int | None, duration: int, *, is_broken: bool = False, is_hidden: bool = False) -> None:
        """Note a packet.

        Args:
            place: Its number, counted in the file.
            time: Its time in ticks; None if it has none.
            duration: In ticks.
            is_broken: Whether it is damaged.
            is_hidden: Whether it is not to be heard.
        """
        if is_hidden and self.hidden == self.count:
            self.hidden += 1
            self._hidden_ticks += duration
        self.broken += is_broken
        self.first_place = place if self.count == 0 else self.first_place
        self.last_place = place
        if self.is_sound and time is not None:
            if self._last is not None and (time < self._last - self._fall or abs(time - self._end) > self._gap):
                self.steps.append(Step(self.count, place, self._end * self.time_base, time * self.time_base))
            self._last, self._end = time, time + duration
        if not self.is_sound:
            self.places.append(place)
        if time is not None and (self._lowest is None or time < self._lowest):
            self._lowest = time
        self.count += 1


@dataclass(frozen=True)
class Shift:
    """How far packets of a stream are moved.

    Attributes:
        first_packet: The first packet that it applies to, counted in the stream.
        seconds: What is added to the times.
    """

    first_packet: int
    seconds: Fraction


@dataclass(frozen=True)
class Mending:
    """How the times of a file are changed so that they can be encoded.

    Attributes:
        shifts: Of each stream other than the picture's, by its number in the file; the first begins at packet 0.
        start_shift: How far the first recording is moved, in seconds.
        joints: The frames with which a further recording begins.
        said: What was mended and how, one sentence each.
    """

    start_shift: Fraction = Fraction(0)
    shifts: Mapping[int, tuple[Shift, ...]] = field(default_factory=dict)
    joints: tuple[int, ...] = ()
    said: tuple[str, ...] = ()

    @property
    def moves_sound(self) -> bool:
        """Whether a stream other than the picture's is moved."""
        return any(shift.seconds for shifts in self.shifts.values() for shift in shifts)


@dataclass(frozen=True)
class Timeline:
    """The times of a picture's frames, in the order in which they are shown.

    Attributes:
        raw: By the file's clock, in ticks of the file.
        raw_time_base: Seconds of a tick of the file.
        ticks: Mended, in ticks of `time_base`; they rise strictly.
        time_base: Seconds of a mended tick: that of the file or a part of it.
        mending: How they differ; None if they do not.
    """

    raw: tuple[int, ...]
    raw_time_base: Fraction
    ticks: tuple[int, ...]
    time_base: Fraction
    mending: Mending | None


def timeline(picture: PicturePackets, others: Mapping[int, OtherPackets], *, clock_is_set_anew: bool) -> Timeline:
    """Find the recordings in a file, and put them one after the other.

    Args:
        picture: The packets of the picture that are shown.
        others: The other streams, by their numbers in the file.
        clock_is_set_anew: Whether jumps of the clock are usual in such a file.
    """
    step = _usual_step(picture.shown, picture.rate_step)
    steps = _picture_steps(picture, others, step, clock_is_set_anew)
    picture_shifts, shifts, alone = _shifts(steps, others, picture.time_base)
    starts = [one.packet for one in steps]
    bounds = list(pairwise((0, *starts, len(picture.shown))))
    raw: list[int] = []
    ticks: list[int] = []
    for (first, end), shift in zip(bounds, picture_shifts, strict=True):
        part = sorted(picture.shown[first:end])
        raw += part
        ticks += [tick + shift for tick in part]
    said = [*_said_of_steps(steps), *alone]
    if picture.filled:
        said.append(f"{counted_frames(picture.filled)} had no time in the file; the frame rate gives it")
    begin = min(ticks, default=0) * picture.time_base
    if begin < 0:
        said.append(f"its times begin at {float(begin):.3f} s; everything is moved so that they begin at 0")
    moved = begin < 0 or bool(steps) or bool(alone)
    # Only what is moved anyway: the sound of a file may rightly begin a little before its picture.
    up = _to_zero(begin, others, shifts) if moved else Fraction(0)
    # To a whole millisecond, because MP4 and MOV count the beginning of a stream in them.
    to_millisecond = math.ceil((begin + up) * 1000) / Fraction(1000) - begin if up else up
    up_ticks = math.ceil(to_millisecond / picture.time_base)
    shifts = {
        index: tuple(Shift(one.first_packet, one.seconds + up_ticks * picture.time_base) for one in of_stream)
        for index, of_stream in shifts.items()
    }
    risen, parts, repeated = strictly_rising([tick + up_ticks for tick in ticks], step)
    if repeated:
        said.append(f"{counted_frames(repeated)} had the time of another; they are spread over the time up to the next one")
    base = picture.time_base
    mending = Mending(up_ticks * base, shifts, tuple(starts), tuple(said)) if said else None
    return Timeline(tuple(raw), base, risen, base / parts, mending)


def counted_frames(count: int) -> str:
    """A number of frames, in words."""
    return f"{count} frame{'' if count == 1 else 's'}"


def _usual_step(shown: Sequence[int], otherwise: int) -> int:
    ordered = sorted(set(shown))
    return max(1, median_low([later - earlier for earlier, later in pairwise(ordered)] or [otherwise]))


def _picture_steps(
    picture: PicturePackets, others: Mapping[int, OtherPackets], usual: int, clock_is_set_anew: bool
) -> list[Step]:
    """Where further recordings begin in the picture's stream."""
    found: list[Step] = []
    shown, base = picture.shown, picture.time_base
    jump = max((JUMP_SECONDS if clock_is_set_anew else LONG_JUMP_SECONDS) / base, Fraction(10 * usual))
    top = last = None
    begin = 0
    for packet, (time, moment, is_key) in enumerate(zip(shown, picture.decoded, picture.keys, strict=True)):
        if top is not None:
            # A key frame is shown after all that comes before it in the file; other frames may be shown earlier.
            # The same time again is a fall where clocks are set anew, and otherwise two frames that share it.
            falls = (is_key and time < top + clock_is_set_anew and not _is_disorder(shown, packet, top, usual, base)) or (
                moment is not None and last is not None and moment < last - DECODING_FALL_SECONDS / base
            )
            ahead = (moment if moment is not None else time) - top
            place = picture.places[packet]
            if falls or (ahead > jump and _all_pause(others, place)):
                after = _first_shown(picture, packet)
                end = top + _usual_step(shown[begin:packet], usual)
                found.append(Step(packet, place, end * base, after * base))
                top, last, begin = None, None, packet
        top = time if top is None else max(top, time)
        last = moment if moment is not None else last
    return found


def _first_shown(picture: PicturePackets, packet: int) -> int:
    """When the first frame of a recording is shown: some behind a key frame come before it if it begins an open group."""
    first = picture.shown[packet]
    for index in range(packet + 1, min(packet + LARGEST_DISORDER_PACKETS, len(picture.shown))):
        if picture.keys[index]:
            break
        if (first - picture.shown[index]) * picture.time_base < LARGEST_DISORDER_SECONDS:
            first = min(first, picture.shown[index])
    return first


def _is_disorder(shown: Sequence[int], packet: int, top: int, usual: int, base: Fraction) -> bool:
    """Whether times fall for a moment only, and then rise to where they would have been."""
    fall = top - shown[packet]
    if fall * base > LARGEST_DISORDER_SECONDS:
        return False
    for index in range(packet + 1, min(packet + 1 + LARGEST_DISORDER_PACKETS, len(shown))):
        if shown[index] > top:
            return 2 * (shown[index] - shown[index - 1] - fall) >= usual
    return False


def _all_pause(others: Mapping[int, OtherPackets], place: int) -> bool:
    """Whether no sound goes on at a place of the file."""
    for other in others.values():
        goes_on = other.is_sound and other.first_place < place < other.last_place
        if goes_on and not any(not step.falls and abs(step.place - place) <= PLACES_APART for step in other.steps):
            return False
    return True


def _shifts(
    steps: Sequence[Step], others: Mapping[int, OtherPackets], base: Fraction
) -> tuple[list[int], dict[int, tuple[Shift, ...]], list[str]]:
    """How far each recording is moved.

    Returns:
        For each recording the shift of the picture in ticks; the shifts of the other streams; and what is to be said of
        sound that begins anew without the picture.
    """
    picture = [0]
    shifts = {index: [Shift(0, Fraction(0))] for index in others}
    used: dict[int, set[int]] = {index: set() for index in others}
    partners: list[dict[int, Step]] = []
    for number, step in enumerate(steps):
        low = (steps[number - 1].place + step.place) // 2 if number else -1
        high = (steps[number + 1].place + step.place) // 2 if number + 1 < len(steps) else math.inf
        partners.append({})
        for index, other in others.items():
            near = [one for one in other.steps if low < one.place <= high and abs(one.place - step.place) <= PLACES_APART]
            if near:
                partner = min(near, key=lambda one: (not one.falls, abs(one.place - step.place)))
                partners[-1][index] = partner
                used[index].add(partner.packet)
    events: list[tuple[int, int, Step]] = [(step.place, -1, step) for step in steps]
    for index, other in others.items():
        events += [(one.place, index, one) for one in other.steps if one.falls and one.packet not in used[index]]
    said = []
    number = 0
    for _, index, step in sorted(events, key=lambda event: event[:2]):
        if index >= 0:
            shifts[index].append(Shift(step.packet, step.before + shifts[index][-1].seconds - step.after))
            said.append(
                f"the clock of audio stream {index} begins anew at {float(step.before):.3f} s; its parts follow one another"
            )
            continue
        behind = [(picture[-1] * base + step.before) - step.after]
        behind += [shifts[one][-1].seconds + partner.before - partner.after for one, partner in partners[number].items()]
        # The next recording begins when picture and sound of the one before have both ended.
        ticks = math.ceil(max(behind) / base)
        picture.append(ticks)
        for one, other in others.items():
            first = _first_packet_behind(step, other, partners[number].get(one))
            if first is not None:
                shifts[one].append(Shift(first, ticks * base))
        number += 1
    return picture, {index: tuple(of_stream) for index, of_stream in shifts.items()}, said


def _first_packet_behind(step: Step, other: OtherPackets, partner: Step | None) -> int | None:
    """The first packet of a stream that belongs to the recording behind a step; None if its clock goes on."""
    if partner is not None:
        return partner.packet
    if other.places:
        return sum(place < step.place for place in other.places)
    if not other.count or other.first_place >= step.place:
        return 0
    return None


def _to_zero(begin: Fraction, others: Mapping[int, OtherPackets], shifts: Mapping[int, tuple[Shift, ...]]) -> Fraction:
    """How far everything must be moved so that nothing begins before zero."""
    starts = [other.start + shifts[index][0].seconds for index, other in others.items() if other.start is not None]
    return -min(Fraction(0), begin, *starts)


def _said_of_steps(steps: Sequence[Step]) -> list[str]:
    said = []
    falls = [step for step in steps if step.falls]
    jumps = [step for step in steps if not step.falls]
    if falls:
        said.append(
            f"its clock begins anew {_times(len(falls))} (at frame {_some(falls)}), as in recordings that were joined; "
            "they follow one another, each with its sound"
        )
    if jumps:
        longest = float(max(step.after - step.before for step in jumps))
        said.append(
            f"its clock jumps {_times(len(jumps))} (at frame {_some(jumps)}), by up to {longest:.0f} s in which nothing plays; "
            "the gap is closed"
        )
    return said


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


NAMED_STEPS = 5
"""The most places that a sentence names."""


def _some(steps: Sequence[Step]) -> str:
    named = ", ".join(str(step.packet) for step in steps[:NAMED_STEPS])
    return named if len(steps) <= NAMED_STEPS else f"{named}, …"


def strictly_rising(ticks: Sequence[int], usual_step: int) -> tuple[tuple[int, ...], int, int]:
    """Spread frames with the same time over the time up to the next frame.

    Args:
        ticks: The times, in the order in which the frames are shown. One that falls counts as the one before it.
        usual_step: Between two frames, for the last ones.

    Returns:
        The times; into how many parts a tick is divided, so that there is room for them; and how many were moved.
    """
    groups: list[list[int]] = []  # of each time: its value and how many frames have it
    for tick in ticks:
        if groups and tick <= groups[-1][0]:
            groups[-1][1] += 1
        else:
            groups.append([tick, 1])
    moved = sum(count - 1 for _, count in groups)
    if not moved:
        return tuple(ticks), 1, 0
    ends = [following[0] for following in groups[1:]]
    last, count = groups[-1]
    ends.append(last + usual_step * count)
    parts = 1
    while any(count > (end - tick) * parts for (tick, count), end in zip(groups, ends, strict=True)):
        parts *= 2
    risen = [
        tick * parts + index * (end - tick) * parts // count
        for (tick, count), end in zip(groups, ends, strict=True)
        for index in range(count)
    ]
    return tuple(risen), parts, moved


def aligned(line: Timeline, decoded: Sequence[int]) -> tuple[int, ...]:
    """The mended times of the frames that a decoder gives.

    Args:
        line: The frames that were expected.
        decoded: Their times by the file's clock, in ticks of the file, in the order in which the decoder gives them.
    """
    if len(decoded) == len(line.raw):
        return line.ticks  # one for each, in their order, whatever the decoder thinks of their times
    free: dict[int, deque[int]] = {}
    for index, tick in enumerate(line.raw):
        free.setdefault(tick, deque()).append(index)
    starts = (0, *(line.mending.joints if line.mending is not None else ()))
    found: list[int] = []
    reached = 0
    for tick in decoded:
        places = free.get(tick, deque())
        begin = starts[bisect_right(starts, reached) - 1]
        while places and places[0] < reached - LARGEST_DISORDER_PACKETS:
            places.popleft()
        # Rather a place in the recording that is being read than the last ones of the recording before.
        if places:
            index = next((place for place in places if place >= begin), places[0])
            places.remove(index)
        else:
            # The decoder has another opinion of its time: it takes the place behind the one before.
            index = min(reached + 1 if found else 0, len(line.raw) - 1)
        found.append(index)
        reached = max(reached, index)
    ordered = sorted(line.ticks[index] for index in found)
    risen, parts, _ = strictly_rising(ordered, 1)
    return risen if parts == 1 else pushed_apart(ordered)


UNKNOWN_TICK = -(1 << 62)
"""Stands for the time of a frame to which the decoder gives none."""


def pushed_apart(ticks: Sequence[int]) -> tuple[int, ...]:
    """Times of which each is at least one tick behind the one before."""
    risen: list[int] = []
    for tick in ticks:
        risen.append(max(tick, risen[-1] + 1) if risen else tick)
    return tuple(risen)
