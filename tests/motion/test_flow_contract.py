"""The contract of every optical flow: what comes out, in which unit and with which sign."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nstpipe.config.models import SMALLEST_SIZE, Temporal
from nstpipe.media.frame import Pixels
from nstpipe.motion.flow.method import FlowMethod
from nstpipe.motion.flow.methods import FLOW_METHODS, flow_method
from tests.making_examples import example

ACCURACY_PIXELS = 0.3
RIGHT, DOWN = 5, -3
"""How far the picture slides, in pixels."""

UNTRAINED = "raft with random weights"
EXAMPLE = "phase correlation"


def raft_is_here(*, trained: bool) -> bool:
    try:
        from torchvision.models.optical_flow import Raft_Large_Weights
    except (ImportError, RuntimeError):
        return False
    name = Raft_Large_Weights.DEFAULT.url.rpartition("/")[2]
    return not trained or (Path(torch.hub.get_dir()) / "checkpoints" / name).exists()


@pytest.fixture(params=[*FLOW_METHODS, UNTRAINED, EXAMPLE])
def name(request: pytest.FixtureRequest) -> str:
    if "raft" in request.param and not raft_is_here(trained=request.param != UNTRAINED):
        pytest.skip("torchvision does not import beside this torch, or its weights are not in torch's cache")
    return str(request.param)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft_small.pth"
    torch.save(raft_small(weights=None).state_dict(), path)
    return path


@pytest.fixture
def method(name: str, request: pytest.FixtureRequest) -> FlowMethod:
    if name == EXAMPLE:
        found: FlowMethod = example("flow-method.md", "phase_flow")
        return found
    return flow_method(request.getfixturevalue("weights") if name == UNTRAINED else name, "cpu")


def needs_trained(name: str) -> None:
    if name == UNTRAINED:
        pytest.skip("random weights find no motion")


@pytest.mark.parametrize("size", [(200, 130), (97, 61), (17, 9), (8, 8), (3, 5), (1, 1)], ids=str)
def test_the_flow_has_the_pictures_size_and_is_finite(method: FlowMethod, street: Pixels, size: tuple[int, int]) -> None:
    width, height = size
    picture, other = (np.ascontiguousarray(street[:height, left : left + width]) for left in (0, 2))
    before = picture.copy(), other.copy()
    at_least = max(width, SMALLEST_SIZE), max(height, SMALLEST_SIZE)
    flow = method(picture, other, at_least)
    assert flow.shape == (height, width, 2)
    assert flow.dtype == np.float32
    assert np.isfinite(flow).all()
    assert np.array_equal(flow, method(picture, other, at_least)), "the same again"
    assert np.array_equal(picture, before[0])
    assert np.array_equal(other, before[1])


@pytest.mark.parametrize("at_least", [(200, 128), (400, 256)], ids=["its own size", "twice its size"])
def test_right_and_down_are_positive(name: str, method: FlowMethod, street: Pixels, at_least: tuple[int, int]) -> None:
    needs_trained(name)
    top, left = 60, 60
    picture = np.ascontiguousarray(street[top : top + 128, left : left + 200])
    # The window moves the other way, so that what it shows moves right and down.
    other = np.ascontiguousarray(street[top - DOWN : top - DOWN + 128, left - RIGHT : left - RIGHT + 200])
    middle = method(picture, other, at_least)[20:-20, 20:-20]
    assert np.median(middle[..., 0]) == pytest.approx(RIGHT, abs=ACCURACY_PIXELS)
    assert np.median(middle[..., 1]) == pytest.approx(DOWN, abs=ACCURACY_PIXELS)


def test_equal_pictures_have_no_flow(name: str, method: FlowMethod, street: Pixels) -> None:
    needs_trained(name)
    picture = np.ascontiguousarray(street[60:188, 60:260])
    moved = np.hypot(*np.moveaxis(method(picture, picture.copy(), (200, 128)), 2, 0))
    # Farnebäck's flow is wrong near the edge even then.
    assert np.percentile(moved, 99) < 0.1


@pytest.mark.parametrize("flow", FLOW_METHODS)
def test_the_configuration_takes_its_name_for_a_name_and_no_path(flow: str) -> None:
    assert Temporal.model_validate({"flow": flow}).flow == flow
    assert Temporal.model_validate({"flow": f"{flow}.pth"}).flow == Path(f"{flow}.pth")
