"""The optimizers' steps, against torch's own and against what theory says of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nstpipe.style.optimizers import Adam, Lbfgs, Optimizer

VALUES, STEPS, HISTORY, RATE = 60, 50, 5, 0.02

TOLERANCE = 1e-9
"""Roundings of 1e-16, grown by a million."""


def bowl(values: Tensor) -> Tensor:
    """A long, narrow one: curvatures from 1 to 100."""
    return (torch.logspace(0, 2, VALUES, dtype=torch.float64) * values.square()).sum() / 2


def valley(values: Tensor) -> Tensor:
    """Rosenbrock's, which bends upwards in places only; tamed, since there is no line search."""
    one, other = values[::2], values[1::2]
    return torch.log1p((1 - one).square() + 10 * (other - one.square()).square()).sum()


def start() -> Tensor:
    """In double precision: what two ways to round differ by grows on a path of many steps."""
    return torch.rand(VALUES, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1


def gradient_of(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    values = values.detach().requires_grad_(True)
    [gradient] = torch.autograd.grad(function(values), values)
    return gradient


def walked(descent: Optimizer, function: Callable[[Tensor], Tensor], steps: int = STEPS) -> list[Tensor]:
    values, places = start(), []
    for _ in range(steps):
        values = values + descent.step(gradient_of(function, values))
        places.append(values)
    return places


# In the valley pairs without curvature take places of a history; nothing may be forgotten for that.
@pytest.mark.parametrize(("function", "history"), [(bowl, HISTORY), (valley, STEPS)])
@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_steps_are_those_of_torch(name: str, function: Callable[[Tensor], Tensor], history: int) -> None:
    values = start().requires_grad_(True)
    optimizer: torch.optim.Optimizer
    if name == "lbfgs":
        settings = {"max_iter": 1, "history_size": history, "tolerance_grad": 0, "tolerance_change": 0}
        optimizer, descent = torch.optim.LBFGS([values], **settings), Lbfgs(start(), history)
    else:
        optimizer, descent = torch.optim.Adam([values], lr=RATE), Adam(start(), RATE)

    def closure() -> float:
        optimizer.zero_grad()
        loss = function(values)
        loss.backward()
        return loss

    places = walked(descent, function)
    for place in places:
        optimizer.step(closure)
        torch.testing.assert_close(place, values.detach(), rtol=TOLERANCE, atol=TOLERANCE)
    assert function(places[-1]) < function(start())


def test_one_pair_of_gradients_is_all_that_a_parabola_needs() -> None:
    values = torch.tensor([3.0])
    descent = Lbfgs(values, HISTORY)
    for _ in range(2):
        values = values + descent.step(7 * (values - 0.5))
    torch.testing.assert_close(values, torch.tensor([0.5]))


def test_the_first_step_is_one_long_in_sum() -> None:
    gradient = torch.tensor([30.0, -50.0, 20.0])
    torch.testing.assert_close(Lbfgs(gradient, HISTORY).step(gradient), -gradient / 100)


def test_a_gradient_shorter_than_that_is_the_step() -> None:
    gradient = torch.tensor([0.3, -0.1])
    torch.testing.assert_close(Lbfgs(gradient, HISTORY).step(gradient), -gradient)


@pytest.mark.parametrize("make", [lambda: Lbfgs(start(), HISTORY), lambda: Adam(start(), RATE)], ids=["lbfgs", "adam"])
def test_no_gradient_no_step(make: Callable[[], Optimizer]) -> None:
    assert not make().step(torch.zeros_like(start())).any()


@pytest.mark.parametrize("make", [lambda: Lbfgs(start(), HISTORY), lambda: Adam(start(), RATE)], ids=["lbfgs", "adam"])
def test_what_is_forgotten_has_no_part_in_what_follows(make: Callable[[], Optimizer]) -> None:
    descent = make()
    walked(descent, valley)
    descent.reset()
    for place, fresh in zip(walked(descent, bowl), walked(make(), bowl), strict=True):
        assert torch.equal(place, fresh)


def test_a_pair_that_shows_no_curvature_counts_nothing() -> None:
    gradient = torch.tensor([0.3, -0.1, 0.2])
    descent = Lbfgs(gradient, HISTORY)
    steps = [descent.step(gradient).clone() for _ in range(HISTORY + 3)]
    # The gradient never changes: what is known of the curvature is nothing, and each step is as the first.
    assert all(torch.equal(step, -gradient) for step in steps)


def test_no_step_leads_up_where_rounding_hides_the_curvature() -> None:
    random = torch.Generator().manual_seed(1)
    stood_still = 0
    for _ in range(200):
        gradient = torch.randn(VALUES, generator=random)
        descent = Lbfgs(gradient, HISTORY)
        for _ in range(4):
            step = descent.step(gradient).clone()
            assert gradient.dot(step) <= 0
            if not step.any():
                stood_still += 1
                break
            change = torch.randn(VALUES, generator=random) * gradient.norm() / 8
            # Next to nothing of it is along the step: one over the curvature is large, and so is what is rounded off.
            gradient = gradient + change - step * (change.dot(step) / step.dot(step))
    assert stood_still > 0, "rounding hid nothing, so that this test would not see what comes of it"


def test_a_step_has_the_gradients_shape() -> None:
    gradient = torch.rand(1, 3, 4, 5)
    assert Lbfgs(gradient, HISTORY).step(gradient).shape == gradient.shape


def test_painting_does_not_wait_for_the_compiler_of_torch() -> None:
    code = """
import sys, torch
from nstpipe.style.objective import Losses
from nstpipe.style.minimize import minimize
def bowl(image):
    total = image.square().sum()
    return Losses(total, total, total)
for name in ("lbfgs", "adam"):
    list(iterates(bowl, torch.ones(1, 3, 4, 4), name=name, max_iterations=3, tolerance=0.0))
print(*sys.modules)
"""
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "nstpipe.style.optimizers" in modules
    assert not {"torch._dynamo", "sympy"} & set(modules)
