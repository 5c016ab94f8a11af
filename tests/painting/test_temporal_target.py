"""What a frame holds on to, when several earlier ones can be seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nstpipe.media.frame import Frame, Pixels
from nstpipe.media.tensors import tensor_of
from nstpipe.motion.frames_with_flow import FrameWithFlow
from nstpipe.motion.motion import Motion
from nstpipe.painting.temporal_target import (
    NEWNESS_KEPT,
    RETURN_SHARE,
    Moved,
    Result,
    long_term_weights,
    moved,
    newness,
    temporal_target_of,
    warped_start,
)
from nstpipe.style.losses import temporal_distance
from nstpipe.style.objective import TemporalTarget


def test_a_farther_frame_counts_where_the_nearer_ones_do_not() -> None:
    near = torch.tensor([[1.0, 0.0, 0.25, 0.0]])
    far = torch.tensor([[1.0, 1.0, 0.75, 0.0]])
    farther = torch.tensor([[1.0, 1.0, 1.0, 0.5]])
    one, two, three = long_term_weights([near, far, farther])
    half = RETURN_SHARE / 2  # there are two that share it
    # What the nearest one gives up, the farther ones get.
    assert torch.allclose(one, torch.tensor([[1 - 2 * half, 0, 0.25 * (1 - 1.75 * half), 0]]))
    assert torch.allclose(two, torch.tensor([[half, 1, 0.5 + 0.25 * 0.75 * half, 0]]))
    # 1 − (0.25 + 0.75) is nothing: the sum is over what the nearer ones see, not over what they count.
    assert torch.allclose(three, torch.tensor([[half, 0, 0.25 * half, 0.5]]))
    assert torch.allclose(one + two + three, torch.tensor([[1, 1, 0.75, 0.5]]))


def test_a_lag_by_itself_counts_as_far_as_it_is_reliable() -> None:
    only = torch.tensor([[1.0, 0.25, 0.0]])
    assert torch.equal(*long_term_weights([only]), only)


def moved_ones() -> list[Moved]:
    generator = torch.Generator().manual_seed(0)
    return [Moved(torch.rand(1, 3, 5, 7, generator=generator), torch.rand(5, 7, generator=generator)) for _ in range(3)]


def test_one_anchor_pulls_like_several() -> None:
    ones = moved_ones()
    image = torch.rand(1, 3, 5, 7, requires_grad=True)
    weights = long_term_weights([one.reliability for one in ones])
    several = sum(temporal_distance(image, one.image, weight) for one, weight in zip(ones, weights, strict=True))
    assert isinstance(several, torch.Tensor)
    (wanted,) = torch.autograd.grad(several, image)
    together = temporal_target_of(ones)
    (got,) = torch.autograd.grad(temporal_distance(image, together.image, together.reliability), image)
    assert torch.allclose(got, wanted, atol=1e-7)


def test_a_single_anchor_is_the_moved_result_itself() -> None:
    one = moved_ones()[0]
    temporal_target = temporal_target_of([one])
    assert temporal_target.image is one.image
    assert temporal_target.reliability is one.reliability


def test_where_nothing_is_reliable_the_nearest_picture_stays() -> None:
    ones = [Moved(one.image, torch.zeros(5, 7)) for one in moved_ones()]
    temporal_target = temporal_target_of(ones)
    assert torch.equal(temporal_target.image, ones[0].image)
    assert temporal_target.reliability.sum() == 0


STEP_PIXELS = 3
"""How far the picture of these tests slides to the left."""

TRUSTED_ROWS = 8
"""At the top, where the colors of what is painted are taken from."""


def slid(street: Pixels, backward: int) -> tuple[torch.Tensor, torch.Tensor, TemporalTarget]:
    """The start of a frame that slid, with a flow that is hardly trusted anywhere; the paint is noise."""
    before, now = street[150:214, 200:296], street[150:214, 200 + STEP_PIXELS : 296 + STEP_PIXELS]
    reliability = np.zeros((64, 96), np.float32)
    reliability[:TRUSTED_ROWS] = 1
    motion = Motion(np.full((64, 96, 2), (backward, 0), np.float32), reliability)
    paint = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    temporal_target = temporal_target_of([moved(paint, motion)])
    start, unseen = warped_start(
        tensor_of(now), FrameWithFlow(Frame(now, 1), now, now, {1: motion}, before), paint, temporal_target
    )
    return start, unseen, temporal_target


def test_paint_goes_where_the_original_went_even_if_the_flow_is_not_trusted(street: Pixels) -> None:
    start, unseen, temporal_target = slid(street, STEP_PIXELS)
    # All but the strip that came into view, and what the softened comparison takes for it.
    seen = np.s_[..., TRUSTED_ROWS:, : 96 - 4 * STEP_PIXELS]
    assert torch.allclose(start[seen], temporal_target.image[seen], atol=1e-5)
    assert unseen.mean() < 0.15


def test_paint_does_not_go_where_the_original_did_not(street: Pixels) -> None:
    _, unseen, _ = slid(street, -4 * STEP_PIXELS)
    assert unseen.mean() > 0.3


def test_what_a_pan_brings_in_is_no_paint_of_the_edge_even_if_it_looks_the_same() -> None:
    sky = np.full((64, 96, 3), 200, np.uint8)
    reliability = np.ones((64, 96), np.float32)
    reliability[:, -STEP_PIXELS:] = 0
    motion = Motion(np.full((64, 96, 2), (STEP_PIXELS, 0), np.float32), reliability)
    paint = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    temporal_target = temporal_target_of([moved(paint, motion)])
    step = FrameWithFlow(Frame(sky, 1), sky, sky, {1: motion}, sky)
    start, unseen = warped_start(tensor_of(sky), step, paint, temporal_target)
    assert torch.equal(start[..., :-STEP_PIXELS], temporal_target.image[..., :-STEP_PIXELS])
    # One color, that of what is painted: as flat as the sky is.
    brought_in = start[0, :, :, -STEP_PIXELS:].flatten(1)
    assert torch.allclose(brought_in, temporal_target.image[0, :, :, :-STEP_PIXELS].mean(dim=(1, 2))[:, None], atol=1e-4)
    assert float(unseen.mean()) == pytest.approx(STEP_PIXELS / 96)


def test_paint_of_a_sky_stays_at_the_edge_of_a_camera_that_stands_still() -> None:
    sky = np.full((64, 96, 3), 200, np.uint8)
    motion = Motion(np.zeros((64, 96, 2), np.float32), np.zeros((64, 96), np.float32))
    paint = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    reliable = Motion(motion.backward, np.eye(64, 96, dtype=np.float32))  # somewhere, for the colors
    temporal_target = temporal_target_of([moved(paint, reliable)])
    start, unseen = warped_start(
        tensor_of(sky), FrameWithFlow(Frame(sky, 1), sky, sky, {1: motion}, sky), paint, temporal_target
    )
    assert torch.equal(start, paint)
    assert not unseen.any()


def test_what_came_into_view_goes_along_and_is_less_new_in_each_frame() -> None:
    slides = Motion(np.full((4, 6, 2), (1, 0), np.float32), np.ones((4, 6), np.float32))
    brought_in = torch.zeros(4, 6)
    brought_in[:, -1] = 1
    result = Result.of_image(torch.zeros(1, 3, 4, 6))
    for _ in range(3):
        result = Result(result.image, newness(result, slides, brought_in))
    wanted = torch.tensor([0, 0, 0, NEWNESS_KEPT**2, NEWNESS_KEPT, 1])
    assert torch.allclose(result.newness, wanted.expand(4, 6))


def test_a_result_comes_back_from_its_state_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    result = Result(torch.rand(1, 3, 5, 7, generator=generator), torch.rand(5, 7, generator=generator))
    again = Result.of_state(result.state)
    assert torch.equal(again.image, result.image)
    assert torch.equal(again.newness, result.newness)
