"""The pace of a machine and the likely iterations, by arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from nstpipe.config.models import Optimizer
from nstpipe.journal.records import FrameKind, FrameTime
from nstpipe.planning.iterations import PRIOR_ITERATIONS, likely_iterations, prior
from nstpipe.planning.outputs import FrameGroup
from nstpipe.planning.pace import FIXED_PIXELS, SETUP_PASSES, SURROUNDINGS, pace_of, tells


def frame(
    side: int, a_pass: float, *, iterations: int = 10, most: int = 10, kind: FrameKind = "picture", around: float = 0.0
) -> FrameTime:
    """A frame whose passes take so many seconds each; 0 iterations for an engine that does not iterate."""
    seconds = a_pass * (iterations + SETUP_PASSES if iterations else 1)
    return FrameTime(kind, side * side, iterations, most, seconds + around, seconds)


def test_two_sizes_tell_the_fixed_cost_of_a_pass_from_that_of_its_pixels() -> None:
    """0.02 s and 3 µs a pixel, on a machine on which others computed for a moment."""
    frames = [frame(side, slow * (0.02 + 3e-6 * side * side)) for side in (64, 256, 1920) for slow in (1.0, 1.0, 1.0, 5.0)]
    pace = pace_of(frames, is_busy=False)
    assert pace is not None
    assert pace.a_pass.fixed == pytest.approx(0.02, rel=0.02)
    assert pace.a_pass.per_pixel == pytest.approx(3e-6, rel=0.02)
    assert pace.slow > 1.2, "the upper end has seen the slow ones"
    # If others always compute, what they leave is the pace.
    some = [frame(64, 0.02), frame(64, 0.04), frame(64, 0.04)]
    beside, alone = pace_of(some, is_busy=True), pace_of(some, is_busy=False)
    assert beside is not None
    assert alone is not None
    assert beside.a_pass(64 * 64) == pytest.approx(0.04, rel=1e-3)
    assert alone.a_pass(64 * 64) == pytest.approx(0.03, rel=1e-3)


def test_one_size_tells_the_pace_of_sizes_near_it() -> None:
    frames = [frame(128, 0.05)]
    pace = pace_of(frames, is_busy=False)
    assert pace is not None
    assert pace.a_pass(128 * 128) == pytest.approx(0.05, rel=1e-3)
    ratio = (256 * 256 + FIXED_PIXELS) / (128 * 128 + FIXED_PIXELS)
    assert pace.a_pass(256 * 256) == pytest.approx(0.05 * ratio, rel=1e-3)
    assert [tells(frames, side * side) for side in (40, 64, 128, 300, 400, 1920)] == [False, True, True, True, False, False]
    both = [*frames, frame(300, 0.2)]
    assert [tells(both, side * side) for side in (40, 128, 1920)] == [True, True, True]
    assert not tells([], 1)
    assert pace_of([], is_busy=False) is None


def test_what_surrounds_the_passes_is_known_by_the_kind_of_frame() -> None:
    frames = [frame(side, 0.05, kind="later", around=0.04) for side in (64, 256)]
    pace = pace_of(frames, is_busy=False)
    assert pace is not None
    assert pace.around["later"](256 * 256) == pytest.approx(0.04, rel=0.02)
    assert pace.around["picture"] == SURROUNDINGS["picture"], "none was timed"
    expected = 20 * pace.a_pass(128 * 128) + pace.setup(128 * 128) + pace.around["later"](128 * 128)
    assert pace.seconds("later", 128 * 128, 20) == pytest.approx(expected)


def test_two_numbers_of_passes_tell_what_a_frame_costs_beside_them() -> None:
    """0.3 s and 1 µs a pixel, as where each shape is prepared, and 0.02 s and 3 µs a pixel for a pass."""
    frames = [
        FrameTime("picture", side * side, passes, passes, seconds, seconds)
        for side in (64, 256)
        for passes in (1, 5)
        if (seconds := 0.3 + 1e-6 * side * side + passes * (0.02 + 3e-6 * side * side))
    ]
    pace = pace_of(frames, is_busy=False)
    assert pace is not None
    assert pace.setup(64 * 64) == pytest.approx(0.3 + 1e-6 * 64 * 64, rel=0.03)
    assert pace.a_pass(512 * 512) == pytest.approx(0.02 + 3e-6 * 512 * 512, rel=0.05)


def test_an_engine_that_does_not_iterate_takes_one_pass() -> None:
    pace = pace_of([frame(side, 0.01 + 1e-6 * side * side, iterations=0, most=1) for side in (64, 256)], is_busy=False)
    assert pace is not None
    assert pace.a_pass(512 * 512) == pytest.approx(0.01 + 1e-6 * 512 * 512, rel=0.02)
    assert (pace.setup(512 * 512), pace.warm_up(512 * 512)) == (0, 0)
    assert likely_iterations(FrameGroup("later", 5, 1), Optimizer(), []) == 1


@pytest.mark.parametrize(
    ("known", "tolerance", "most", "expected"),
    [
        ([], 0.0, 200, 200.0),  # it never stops by itself
        ([], 0.001, 40, 40.0),
        ([], 0.001, 200, PRIOR_ITERATIONS["first"]),
        # Three frames stopped by themselves, and the prior counts as one.
        ([(30, 200)] * 3, 0.001, 200, (3 * 30 + PRIOR_ITERATIONS["first"]) / 4),
        ([(30, 200)] * 3, 0.001, 20, 20.0),
        # A frame that was cut off at 10 would have gone on.
        ([(10, 10)], 0.001, 200, PRIOR_ITERATIONS["first"]),
        # With another tolerance a frame takes as many more as the prior does.
        ([(30, 200)], 0.0001, 10_000, (30 / PRIOR_ITERATIONS["first"] + 1) * prior("first", 0.0001) / 2),
        # No end is known of frames that never stop by themselves.
        ([(30, 200)], 0.0, 200, 200.0),
    ],
)
def test_likely_iterations_are_learned_from_earlier_frames(
    known: Sequence[tuple[int, int]], tolerance: float, most: int, expected: float
) -> None:
    frames = [frame(64, 0.1, iterations=iterations, most=limit, kind="first") for iterations, limit in known]
    others = [frame(64, 0.1, iterations=5, most=30, kind="later")]
    found = likely_iterations(FrameGroup("first", 1, most), Optimizer(tolerance=tolerance), [*frames, *others])
    assert found == pytest.approx(expected, rel=0.02)
