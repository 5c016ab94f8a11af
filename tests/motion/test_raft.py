"""RAFT from torchvision, with weights that are no use: what it takes, what it gives, and what is said when it cannot."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nstpipe.errors import MachineError
from nstpipe.media.frame import Pixels, resized
from nstpipe.motion.flow import raft
from nstpipe.motion.flow.methods import flow_method

models = pytest.importorskip("torchvision.models.optical_flow", reason="torchvision does not import beside this torch")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small RAFT that was never trained."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft_small.pth"
    torch.save(models.raft_small(weights=None).state_dict(), path)
    return path


@pytest.mark.parametrize("size", [(72, 54), (200, 130)])
def test_flow_has_the_pictures_size_whatever_raft_needs(weights: Path, street: Pixels, size: tuple[int, int]) -> None:
    width, height = size
    one, other = street[:height, :width], street[:height, 3 : width + 3]
    flow = flow_method(weights, "cpu")(one, other, (0, 0))
    assert flow.shape == (height, width, 2)
    assert flow.dtype == np.float32
    assert np.isfinite(flow).all()
    assert np.array_equal(flow, flow_method(weights, "cpu")(one, other, (0, 0)))


def test_a_picture_that_is_too_large_is_looked_at_smaller(
    weights: Path, street: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = flow_method(weights, "cpu")
    one, other = street[:256, :384], street[:256, 20:404]
    halves = [resized(picture, (192, 128)) for picture in (one, other)]
    small = flow(*halves, (0, 0))
    monkeypatch.setattr(raft, "LONGEST_SIDE", 192)
    # The same pictures for RAFT; half as many pixels are half as far.
    assert np.allclose(flow(one, other, (0, 0)), 2 * cv2.resize(small, (384, 256)), atol=1e-3)


def test_the_random_state_of_the_caller_is_left_alone(weights: Path) -> None:
    raft.raft_flow.cache_clear()
    before = torch.get_rng_state()
    flow_method(weights, "cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_file_that_holds_something_else_is_said(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(MachineError, match="does not hold the weights of torchvision's RAFT"):
        flow_method(tmp_path / "other.pth")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(MachineError, match="holds a list"):
        flow_method(tmp_path / "list.pth")


def test_torchvisions_own_weights_find_a_slide(street: Pixels) -> None:
    name = models.Raft_Large_Weights.DEFAULT.url.rpartition("/")[2]
    if not (Path(torch.hub.get_dir()) / "checkpoints" / name).exists():
        pytest.skip("its weights are not in torch's cache")
    flow = flow_method("raft", "cpu")(street[20:148, 20:220], street[17:145, 25:225], (200, 128))
    # What is at x in the first picture is 5 pixels further left and 3 further down in the second.
    assert np.median(flow[20:-20, 20:-20, 0]) == pytest.approx(-5, abs=0.3)
    assert np.median(flow[20:-20, 20:-20, 1]) == pytest.approx(3, abs=0.3)
