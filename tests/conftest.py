"""What all tests share: real media, small enough for a tiny machine."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def samples() -> Path:
    """The media that the project ships."""
    return REPOSITORY / "samples"
