"""What all tests share: real media, small enough for a tiny machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nstpipe.media.frame import Pixels, resized

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def samples() -> Path:
    """The media that the project ships."""
    return REPOSITORY / "samples"


@pytest.fixture(scope="session")
def street(samples: Path) -> Pixels:
    """A street with texture nearly everywhere, 480 x 270."""
    with Image.open(samples / "streetview" / "street_03.jpg") as image:
        return resized(np.asarray(image.convert("RGB")), (480, 270))


@pytest.fixture(scope="session")
def station(samples: Path) -> Pixels:
    """A station forecourt, 320 x 240."""
    with Image.open(samples / "streetview" / "street_06.jpg") as image:
        return resized(np.asarray(image.convert("RGB")), (320, 240))
