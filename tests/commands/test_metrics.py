"""`nstpipe metrics`: two results that belong together, whoever made them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nstpipe.cli import main
from nstpipe.commands import metrics_tables as flicker
from nstpipe.commands.metrics import DISTANCE_FRAMES, measure
from nstpipe.errors import InputError, MachineError, UsageError
from tests.making import make_picture, make_video


def leave(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["metrics", *arguments])
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", frames=4, audio=False)


def test_a_video_against_itself(film: Path) -> None:
    found = measure(film, film, lags=(1, 2))
    assert (found.frames, found.width, found.height, found.notices) == (4, 64, 48, ())
    assert [(one.lag, one.pairs + one.pairs_left_out) for one in found.ranges] == [(1, 3), (2, 2)]
    assert all(one.ratio == 1 for one in found.ranges if one.pairs)
    assert found.distances.content == 0
    assert found.distances.style is None
    assert found.original_drift == found.stylized_drift


def test_drift_is_that_of_the_last_second_against_the_first(tmp_path: Path) -> None:
    # 100 levels in each picture of the first second, 103 in the second one, 110 in the third.
    for number in range(75):
        path = tmp_path / "in" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), (100,) * 3).save(path)
        (tmp_path / "out").mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), ((100, 103, 110)[number // 25],) * 3).save(tmp_path / "out" / f"{number}.png")
    found = measure(tmp_path / "in", tmp_path / "out", lags=(1,))
    assert found.stylized_drift.luminance == pytest.approx(10, abs=0.01)
    assert found.original_drift.luminance == pytest.approx(0, abs=0.01)
    assert found.stylized_drift.detail is None


def test_a_painting_has_no_distance_to_itself(tmp_path: Path) -> None:
    painting, other = make_picture(tmp_path / "a.png", seed=1), make_picture(tmp_path / "b.png", seed=2)
    same, different = measure(painting, painting, paintings=[painting]), measure(painting, other, paintings=[painting])
    assert same.distances.style == pytest.approx(0, abs=1e-9)
    assert different.distances.style is not None
    assert different.distances.style > 0.01
    assert different.distances.content > 0.1


def test_folders_are_paired_by_name(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        make_picture(tmp_path / "in" / f"view_{number}.png", seed=number)
        if number != 2:
            make_picture(tmp_path / "out" / f"view_{number}.jpg", seed=number)
    found = measure(tmp_path / "in", tmp_path / "out")
    assert found.frames == 2
    assert not found.notices
    # Were 10 paired with 2, they would differ entirely.
    assert found.distances.content < 0.1


def test_what_has_other_names_is_paired_in_order_and_a_rest_is_said(tmp_path: Path, film: Path) -> None:
    for number in range(3):
        make_picture(tmp_path / "out" / f"{number}.png", seed=number, size=(128, 96))
    found = measure(film, tmp_path / "out")
    assert found.frames == 3
    assert (found.width, found.height) == (128, 96)
    [notice] = found.notices
    assert "has 4 frames" in notice
    assert "has 3" in notice


def test_it_looks_at_some_frames_only(tmp_path: Path) -> None:
    film = make_video(tmp_path / "film.mp4", frames=DISTANCE_FRAMES + 5, audio=False)
    assert measure(film, film).distances.frames == DISTANCE_FRAMES


def test_what_does_not_belong_together_is_refused(tmp_path: Path, film: Path) -> None:
    with pytest.raises(InputError, match="should have its original's shape"):
        measure(film, make_picture(tmp_path / "wide.png", size=(160, 48)))
    with pytest.raises(InputError, match=r"nowhere\.mp4 does not exist"):
        measure(tmp_path / "nowhere.mp4", film)
    with pytest.raises(InputError, match="holds no picture"):
        (tmp_path / "empty").mkdir()
        measure(film, tmp_path / "empty")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.png"):
        measure(film, tmp_path / "broken.png")
    with pytest.raises(InputError, match="needs 16"):
        measure(film, film, size=16)
    for wrong in ((), (0,), (1, 1)):
        with pytest.raises(UsageError, match="--lags"):
            measure(film, film, lags=wrong)
    with pytest.raises(MachineError, match="does not exist; should be dis, farneback, raft, or"):
        measure(film, film, flow="slow")


def test_json_holds_every_figure(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(str(film), str(film), "--lags", "1,3", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["frames"] == 4
    assert [one["lag"] for one in found["ranges"]] == [1, 3]
    assert len(found["coherence"]["errors"]) == 3 + 1
    assert set(found["coherence"]["stylised"][0]) == {"frame_index", "luminance", "detail"}


def test_people_see_tables(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(str(film), str(film)) == 0
    said = capsys.readouterr().out
    for words in ("Warping error", "coverage", "ratio", "content distance", "4 frames at 64x48"):
        assert words in said


def test_wrong_usage_is_said_before_the_work(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(str(film), str(film), "--lags", "one") == 64
    assert leave(str(film), str(film), "--plot", str(tmp_path / "plot.txt")) == 64
    assert leave(str(film), str(tmp_path / "nowhere.mp4")) == 65
    assert leave(str(film), str(film), "--flow", str(tmp_path / "raft.pth")) == 69
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("suffix", flicker.PLOT_SUFFIXES)
def test_a_plot_is_drawn(film: Path, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib", reason="it is an extra")
    path = tmp_path / "plots" / f"flicker{suffix}"
    flicker.check(path)
    flicker.draw(measure(film, film), path)
    if suffix == ".png":
        with Image.open(path) as image:
            # More than white paper: lines, and letters.
            assert len(np.unique(np.asarray(image.convert("L")))) > 50
    else:
        assert path.stat().st_size > 5000


def test_globs_over_several_folders_are_paired_by_name_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    for folder in ("in", "out"):
        for place in ("a", "b"):
            make_picture(tmp_path / folder / place / "one.png", seed=ord(place), size=(96, 64))
            (tmp_path / folder / place / "._one.png").write_bytes(b"what macOS leaves on other disks")
    by_glob = measure(tmp_path / "in" / "*" / "*.png", tmp_path / "out" / "*" / "*.png", lags=(1,), size=64)
    by_folder = measure(tmp_path / "in", tmp_path / "out", lags=(1,), size=64)
    assert by_glob.as_json() == by_folder.as_json()
