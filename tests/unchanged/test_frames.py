"""Changes that are not meant to change a picture do not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unchanged.painting import REFERENCE, SHEET, digests, machine, painted, sheet

MEAN_LEVELS, SHARE_FAR_OFF = 2.0, 0.02
"""By how much other processors and libraries may differ, in levels of 255 on average, and which share of the values may differ
by more than 16 levels: rounding grows over a few steps of L-BFGS. Another algorithm differs by tens of levels."""


@pytest.mark.timeout(900)
def test_frames_are_those_of_before(tmp_path: Path) -> None:
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    pictures = painted(tmp_path)
    assert list(pictures) == list(reference["sha256"])
    if machine() == reference["machine"]:
        changed = [name for name, digest in digests(pictures).items() if digest != reference["sha256"][name]]
        assert not changed, "equal to the byte is wanted on the same machine"
    apart = np.abs(sheet(pictures).astype(int) - np.asarray(Image.open(SHEET).convert("RGB")).astype(int))
    assert apart.mean() <= MEAN_LEVELS
    assert (apart > 16).mean() <= SHARE_FAR_OFF
