"""The optimizers, on a loss whose minimum is known."""

from __future__ import annotations

import math

import pytest
import torch

from nstpipe.errors import ItemError
from nstpipe.style import minimize as optimize
from nstpipe.style.engine import FIRST_STEP, FIRST_STEP_NEARBY
from nstpipe.style.minimize import (
    ADAM_LEARNING_RATE,
    LONGEST_WAVE_PIXELS,
    TOLERANCE_WINDOW,
    MinimizerIterate,
    minimize,
)
from nstpipe.style.objective import Losses

TARGET = torch.linspace(0.2, 0.8, 48).reshape(1, 3, 4, 4)
SCALES = torch.linspace(1, 30, 48).reshape(1, 3, 4, 4)


def bowl(image: torch.Tensor) -> Losses:
    """A long, narrow bowl around TARGET."""
    total = (SCALES * (image - TARGET).square()).sum()
    return Losses(total, total / 2, total / 2)


def last(name: str, max_iterations: int, tolerance: float = 0.0) -> MinimizerIterate:
    *_, iterate = minimize(
        bowl, torch.full_like(TARGET, 0.5), optimizer=name, max_iterations=max_iterations, tolerance=tolerance
    )
    return iterate


# Adam's steps have a constant size, so it ends within about one step of the minimum.
@pytest.mark.parametrize(("name", "max_iterations", "apart"), [("lbfgs", 60, 0.001), ("adam", 400, ADAM_LEARNING_RATE)])
def test_optimizers_find_the_minimum(name: str, max_iterations: int, apart: float) -> None:
    assert (last(name, max_iterations).image - TARGET).abs().max() < apart


@pytest.mark.parametrize(("name", "max_iterations"), [("lbfgs", 60), ("adam", 400)])
def test_what_would_be_brighter_than_white_or_darker_than_black_ends_there(name: str, max_iterations: int) -> None:
    wanted = torch.linspace(-0.5, 1.5, 48).reshape(1, 3, 4, 4)
    seen: list[torch.Tensor] = []

    def wide(image: torch.Tensor) -> Losses:
        seen.append(image.detach().clone())
        total = (SCALES * (image - wanted).square()).sum()
        return Losses(total, total / 2, total / 2)

    *_, iterate = minimize(wide, torch.full_like(wanted, 0.5), optimizer=name, max_iterations=max_iterations, tolerance=0.0)
    assert torch.stack(seen).min() >= 0
    assert torch.stack(seen).max() <= 1
    # Each value has its own minimum here; the nearest that can be shown to what is wanted is the best.
    assert (iterate.image - wanted.clamp(0, 1)).abs().max() < ADAM_LEARNING_RATE


def test_values_that_a_step_takes_beyond_white_come_back() -> None:
    almost_white = torch.full((1, 3, 4, 4), 0.995)
    seen: list[float] = []

    def loss(image: torch.Tensor) -> Losses:
        seen.append(float(image.detach().mean()))
        total = (image - almost_white).square().sum()
        return Losses(total, total / 2, total / 2)

    list(minimize(loss, torch.zeros_like(almost_white), optimizer="adam", max_iterations=400, tolerance=0.0))
    # Adam gathers speed and runs beyond white, where the gradient of what is shown leads back.
    assert max(seen) == 1
    assert seen[-1] == pytest.approx(0.995, abs=0.0001)


def test_lbfgs_needs_far_fewer_iterations_than_adam() -> None:
    assert last("lbfgs", 30).loss < last("adam", 30).loss / 10


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_each_iterate_costs_one_evaluation(name: str) -> None:
    calls = 0

    def counted(image: torch.Tensor) -> Losses:
        nonlocal calls
        calls += 1
        return bowl(image)

    found = list(minimize(counted, torch.full_like(TARGET, 0.5), optimizer=name, max_iterations=7, tolerance=0.0))
    assert [iterate.iterations for iterate in found] == [1, 2, 3, 4, 5, 6, 7]
    assert calls == 7


def test_start_is_left_as_it_was() -> None:
    start = torch.full_like(TARGET, 0.5)
    list(minimize(bowl, start, optimizer="lbfgs", max_iterations=5, tolerance=0.0))
    assert torch.equal(start, torch.full_like(TARGET, 0.5))


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    def never(image: torch.Tensor) -> Losses:
        raise AssertionError("evaluated too early")

    minimize(never, TARGET, optimizer="lbfgs", max_iterations=5, tolerance=0.0)


def test_tolerance_stops_when_the_loss_hardly_falls() -> None:
    def slope(image: torch.Tensor) -> Losses:
        total = 1 - 1e-4 * image.mean()
        return Losses(total, total, total)

    found = list(minimize(slope, TARGET, optimizer="adam", max_iterations=100, tolerance=0.001))
    assert len(found) == TOLERANCE_WINDOW + 1
    assert len(list(minimize(slope, TARGET, optimizer="adam", max_iterations=40, tolerance=0.0))) == 40


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_nothing_is_spent_where_nothing_can_change(name: str) -> None:
    def flat(image: torch.Tensor) -> Losses:
        total = 1 + 0 * image.sum()
        return Losses(total, total, total)

    assert len(list(minimize(flat, TARGET, optimizer=name, max_iterations=100, tolerance=0.0))) == 2


def test_an_optimizer_that_stands_still_too_early_begins_again() -> None:
    calls = 0

    def spiked(image: torch.Tensor) -> Losses:
        """The bowl, but its first gradient is so large that by L-BFGS' history every later step is too small for float32."""
        nonlocal calls
        calls += 1
        total = bowl(image).total
        if calls == 1:
            total = total.detach() + 1e12 * (total - total.detach())
        return Losses(total, total / 2, total / 2)

    losses = [
        iterate.loss
        for iterate in minimize(spiked, torch.full_like(TARGET, 0.5), optimizer="lbfgs", max_iterations=60, tolerance=0.0)
    ]
    assert losses[2] == losses[1]
    assert losses[-1] < losses[1] / 100


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_a_loss_that_is_no_number_names_the_optimizer(name: str) -> None:
    def broken(image: torch.Tensor) -> Losses:
        total = image.sum() * math.nan
        return Losses(total, total, total)

    with pytest.raises(ItemError, match=f"the loss became nan after 1 iterations of {name}"):
        list(minimize(broken, TARGET, optimizer=name, max_iterations=5, tolerance=0.0))


def test_an_optimizer_gone_wrong_goes_on_from_the_best_picture() -> None:
    seen: list[float] = []

    def cliff(image: torch.Tensor) -> Losses:
        """The bowl, but one evaluation lies: its gradient throws L-BFGS far away."""
        total = bowl(image).total * (1000 if len(seen) == 5 else 1)
        seen.append(float(total.detach()))
        return Losses(total, total / 2, total / 2)

    *_, last_one = minimize(cliff, torch.full_like(TARGET, 0.5), optimizer="lbfgs", max_iterations=60, tolerance=0.001)
    assert seen[5] > 2 * seen[4]
    # It begins again where it was best, and still arrives, also where it may stop early.
    assert seen[6] == pytest.approx(min(seen[:5]))
    assert last_one.loss < seen[4] / 100


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_each_iterate_is_the_best_picture_so_far_with_its_own_loss(name: str) -> None:
    seen: list[float] = []

    def watched(image: torch.Tensor) -> Losses:
        losses = bowl(image)
        seen.append(float(losses.total.detach()))
        return losses

    start = TARGET + 0.3 * torch.rand(TARGET.shape, generator=torch.Generator().manual_seed(0))
    losses = []
    for iterate in minimize(watched, start, optimizer=name, max_iterations=12, tolerance=0.0):
        assert iterate.loss == min(seen)
        assert float(bowl(iterate.image).total) == iterate.loss
        losses.append(iterate.loss)
    assert losses[0] > losses[-1]


def test_a_loss_that_bends_as_the_root_of_frequency_is_found_at_once() -> None:
    height, width = 48, 80
    target = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    waves = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
    bend = (waves * LONGEST_WAVE_PIXELS).clamp_min(1)

    def sharp(image: torch.Tensor) -> Losses:
        off = image - target
        total = (off * torch.fft.irfft2(torch.fft.rfft2(off) * bend, s=(height, width))).sum()
        return Losses(total, total / 2, total / 2)

    start = torch.full_like(target, 0.5)
    found = list(minimize(sharp, start, optimizer="lbfgs", max_iterations=4, tolerance=0.0))
    # After its first step L-BFGS knows how a bowl that is round in its variable bends; the second step, whose picture is
    # the third one evaluated, ends in it.
    assert (found[2].image - target).abs().max() < 1e-3
    assert found[-1].loss < 1e-5 * found[0].loss


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_a_picture_that_is_at_its_best_stays_exactly(name: str) -> None:
    *_, iterate = minimize(bowl, TARGET, optimizer=name, max_iterations=5, tolerance=0.0)
    assert torch.equal(iterate.image, TARGET)


@pytest.mark.parametrize("first_step", [FIRST_STEP, FIRST_STEP_NEARBY])
@pytest.mark.parametrize("side", [8, 200])
def test_the_first_step_is_as_long_as_asked_for(side: int, first_step: float) -> None:
    pictures: list[torch.Tensor] = []

    def darker(image: torch.Tensor) -> Losses:
        pictures.append(image.detach().clone())
        total = 10 * image.mean()
        return Losses(total, total, total)

    gray = torch.full((1, 3, side, side), 0.5)
    list(minimize(darker, gray, optimizer="lbfgs", max_iterations=2, tolerance=0.0, first_step=first_step))
    # Every pixel has the same slope, so that all of them change by the mean.
    assert torch.allclose(pictures[0] - pictures[1], torch.tensor(first_step), atol=1e-6)


@pytest.mark.parametrize(
    ("megapixels", "gigabytes", "pairs"),
    # A pair of a megapixel takes 24 MB. 20 are enough, 3 are needed; for more, 2 GB or a quarter of all are not exceeded.
    [(1, 64, 20), (6, 64, 13), (24, 64, 3), (6, 4, 6), (1, 1, 10), (24, 4, 3)],
)
def test_large_pictures_and_small_machines_remember_fewer_steps(
    monkeypatch: pytest.MonkeyPatch, megapixels: int, gigabytes: int, pairs: int
) -> None:
    monkeypatch.setattr(optimize, "total_bytes", lambda device: gigabytes * 10**9)
    cpu, values = torch.device("cpu"), 3 * megapixels * 10**6
    assert optimize.pairs_kept(values, cpu) == pairs
    # With the pair in the making, the direction, and six copies of the picture.
    assert optimize.bytes_held(values, cpu) == 4 * values * (6 + 2 * (pairs + 1) + 1)
