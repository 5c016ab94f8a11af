"""What a process keeps from one job to the next."""

from __future__ import annotations

from pathlib import Path

import pytest

import nstpipe
from nstpipe.style import network
from nstpipe.style.vgg import VGG19
from tests.making import make_picture, write_pipeline


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[VGG19]:
    """The networks that are built from now on."""
    made: list[VGG19] = []

    class Counted(VGG19):
        def __init__(self, *arguments: object, **keys: object) -> None:
            super().__init__(*arguments, **keys)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr(network, "VGG19", Counted)
    network.built_network.cache_clear()
    return made


def run(folder: Path, *jobs: dict[str, object]) -> None:
    assert nstpipe.run(write_pipeline(folder, *jobs, workers=1)).exit_code == 0


def job(folder: Path, number: int, **keys: object) -> dict[str, object]:
    make_picture(folder / "in.png")
    make_picture(folder / f"style_{number}.png", seed=number)
    return {"name": f"job-{number}", "input": "in.png", "output": f"out-{number}.png", "style": f"style_{number}.png", **keys}


def test_jobs_with_different_paintings_share_one_network(tmp_path: Path, built: list[VGG19]) -> None:
    run(tmp_path, job(tmp_path, 1), job(tmp_path, 2, color="content"))
    assert len(built) == 1
    # A run reads its pictures anew, but they do not decide the network.
    run(tmp_path, job(tmp_path, 3))
    assert len(built) == 1
    assert len({(tmp_path / f"out-{number}.png").read_bytes() for number in (1, 2, 3)}) == 3


def test_what_decides_a_network_builds_another(tmp_path: Path, built: list[VGG19]) -> None:
    run(tmp_path, job(tmp_path, 1), job(tmp_path, 2, pooling="average"))
    assert [one.pooling for one in built] == ["max", "average"]
