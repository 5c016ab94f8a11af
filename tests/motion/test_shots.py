"""Cuts of real videos and of made ones."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nstpipe.media.frame import Pixels, resized
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.probe import probe
from nstpipe.motion.shots import shot_starts

RATE = Fraction(25)


@pytest.fixture(scope="module")
def places(samples: Path) -> list[Pixels]:
    """Three pictures of different places."""
    found = []
    for name in ("street_01.jpg", "street_06.jpg", "street_08_360.jpg"):
        with Image.open(samples / "streetview" / name) as image:
            found.append(resized(np.asarray(image.convert("RGB")), (640, 360)))
    return found


def pan(picture: Pixels, frames: int, step: int) -> Iterator[Pixels]:
    """A view that slides over a picture."""
    for index in range(frames):
        yield np.ascontiguousarray(picture[60:240, index * step : index * step + 240])


def test_the_sample_video_has_its_one_cut(samples: Path) -> None:
    info = probe(samples / "video" / "city_night.mp4")
    frames = (frame.pixels for frame in VideoSource(info).read(0, len(info.ticks)))
    # 0.92 s at 25 frames a second, as the sample's credits say.
    assert shot_starts(frames, info.average_rate) == (0, 23)


def test_hard_cuts_between_moving_shots_are_found(places: list[Pixels]) -> None:
    frames = [frame for place in places for frame in pan(place, 20, 3)]
    assert shot_starts(frames, RATE) == (0, 20, 40)


def test_a_still_picture_and_a_fast_pan_have_no_cut(places: list[Pixels]) -> None:
    assert shot_starts([places[0]] * 20, RATE) == (0,)
    assert shot_starts(pan(places[1], 20, 20), RATE) == (0,)


def test_a_flash_is_no_cut(places: list[Pixels]) -> None:
    frames = list(pan(places[0], 30, 2))
    frames[15] = np.full_like(frames[15], 255)
    assert shot_starts(frames, RATE) == (0,)


def test_a_single_frame_is_one_shot(places: list[Pixels]) -> None:
    assert shot_starts([places[0]], RATE) == (0,)
