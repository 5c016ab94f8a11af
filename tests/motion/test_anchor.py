"""What a frame holds on to, when several earlier ones can be seen."""

from __future__ import annotations

import torch

from nstpipe.motion.anchor import Moved, anchor_of, long_term_weights
from nstpipe.style.losses import temporal_distance


def test_a_farther_frame_counts_where_the_nearer_ones_do_not() -> None:
    near = torch.tensor([[1.0, 0.0, 0.25, 0.0]])
    far = torch.tensor([[1.0, 1.0, 0.75, 0.0]])
    farther = torch.tensor([[1.0, 1.0, 1.0, 0.5]])
    one, two, three = long_term_weights([near, far, farther])
    assert one.tolist() == [[1, 0, 0.25, 0]]
    assert two.tolist() == [[0, 1, 0.5, 0]]
    # 1 − (0.25 + 0.75) is nothing: the sum is over what the nearer ones see, not over what they count.
    assert three.tolist() == [[0, 0, 0, 0.5]]


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
    together = anchor_of(ones)
    (got,) = torch.autograd.grad(temporal_distance(image, together.image, together.reliability), image)
    assert torch.allclose(got, wanted, atol=1e-7)


def test_a_single_anchor_is_the_moved_result_itself() -> None:
    one = moved_ones()[0]
    anchor = anchor_of([one])
    assert anchor.image is one.image
    assert anchor.reliability is one.reliability


def test_where_nothing_is_reliable_the_nearest_picture_stays() -> None:
    ones = [Moved(one.image, torch.zeros(5, 7)) for one in moved_ones()]
    anchor = anchor_of(ones)
    assert torch.equal(anchor.image, ones[0].image)
    assert anchor.reliability.sum() == 0
