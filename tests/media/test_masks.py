"""Masks: found for each frame, and read as shares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nstpipe.errors import ItemError
from nstpipe.media.pictures.masks import Mask, forget_masks, mask_of, read_masks


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def gray(level: int, width: int = 8, height: int = 6) -> np.ndarray:
    return np.full((height, width), level, np.uint8)


def test_a_picture_is_the_mask_of_all_frames(tmp_path: Path) -> None:
    path = save(tmp_path / "sky.png", gray(255))
    mask = mask_of(path, "regions[0]", Path("film.mp4"), 9, is_video=True)
    assert [mask.file_of(frame_index) for frame_index in (0, 8)] == [path, path]


def test_a_folder_has_a_mask_for_each_frame_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        save(tmp_path / "masks" / f"m{number}.png", gray(number))
    mask = mask_of(tmp_path / "masks", "regions[0]", Path("film.mp4"), 3, is_video=True)
    assert [mask.file_of(frame_index).name for frame_index in range(3)] == ["m1.png", "m9.png", "m10.png"]


def test_too_few_masks_are_counted(tmp_path: Path) -> None:
    save(tmp_path / "masks" / "m1.png", gray(0))
    with pytest.raises(ItemError, match=r"regions\[1\]\.mask: .* holds 1 pictures, and film\.mp4 has 3 frames"):
        mask_of(tmp_path / "masks", "regions[1]", Path("film.mp4"), 3, is_video=True)


def test_pictures_have_masks_of_the_same_name(tmp_path: Path) -> None:
    save(tmp_path / "masks" / "north" / "a.png", gray(0))
    found = mask_of(tmp_path / "masks", "regions[0]", Path("north/a.jpg"), 1, is_video=False)
    assert found == Mask((tmp_path / "masks" / "north" / "a.png",))
    with pytest.raises(ItemError, match=r"holds no mask for north/b\.jpg"):
        mask_of(tmp_path / "masks", "regions[0]", Path("north/b.jpg"), 1, is_video=False)


def test_a_mask_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ItemError, match=r"regions\[0\]\.mask: .*sky\.png does not exist"):
        mask_of(tmp_path / "sky.png", "regions[0]", Path("a.jpg"), 1, is_video=False)


def test_white_is_one_black_is_zero_and_gray_between(tmp_path: Path) -> None:
    pixels = gray(0)
    pixels[:, 4:] = 255
    pixels[0, 0] = 51
    half = save(tmp_path / "half.png", pixels)
    found = read_masks([Mask((half,)), Mask((save(tmp_path / "all.png", gray(255)),))], 0, (8, 6))
    assert found is not None
    assert found.shape == (2, 6, 8)
    assert found[0, 0, 0] == pytest.approx(0.2)
    assert (found[0, :, 4:] == 1).all()
    assert (found[0, 1:, :4] == 0).all()
    assert (found[1] == 1).all()


def test_masks_follow_the_frames_size_and_keep_their_area(tmp_path: Path) -> None:
    pixels = gray(0, 64, 48)
    pixels[:, 16:] = 255
    found = read_masks([Mask((save(tmp_path / "m.png", pixels),))], 0, (20, 15))
    assert found is not None
    assert found.shape == (1, 15, 20)
    assert found.mean() == pytest.approx(0.75, abs=1e-6)


def test_no_regions_need_no_masks() -> None:
    assert read_masks([], 0, (8, 6)) is None


def test_a_mask_that_was_changed_between_two_runs_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    for level in (255, 0):
        Image.new("L", (8, 8), level).save(path)
        forget_masks()
        masks = read_masks([Mask((path,))], 0, (8, 8))
        assert masks is not None
        assert masks.mean() == level / 255
