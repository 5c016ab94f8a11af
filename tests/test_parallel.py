"""A parallel run shares the machine: its cores, and what was made once."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest
import torch

from tests import WORKERS
from tests.made_once import FOLDER_VARIABLE, make_with_ffmpeg


@pytest.mark.skipif(WORKERS == 1, reason="one process runs all tests and takes all cores")
def test_each_process_takes_its_share_of_the_cores() -> None:
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])
    assert cv2.getNumThreads() == int(os.environ["OPENCV_FOR_THREADS_NUM"])


def test_what_ffmpeg_made_is_made_once_and_cannot_be_damaged(tmp_path: Path) -> None:
    tone = ("-f", "lavfi", "-i", "sine=duration=0.1")
    first = make_with_ffmpeg(*tone, result=tmp_path / "first.wav").read_bytes()
    (tmp_path / "first.wav").write_bytes(b"damaged")
    kept = {path: path.stat().st_mtime_ns for path in Path(os.environ[FOLDER_VARIABLE]).glob("*.wav")}
    assert make_with_ffmpeg(*tone, result=tmp_path / "second.wav").read_bytes() == first
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in kept}.items()


def test_an_input_that_has_changed_is_made_anew(tmp_path: Path) -> None:
    sound, result = tmp_path / "sound.wav", tmp_path / "result.flac"
    made = []
    for frequency in (440, 880):
        make_with_ffmpeg("-f", "lavfi", "-i", f"sine=frequency={frequency}:duration=0.1", result=sound)
        made.append(make_with_ffmpeg("-i", sound, result=result).read_bytes())
    assert made[0] != made[1]
