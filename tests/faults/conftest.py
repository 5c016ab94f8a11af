"""The full form of each fault runs with ``pytest -m faults``; a table at the end says what was seen."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .making import Night, night_job


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Random moments, from a seed that is printed; FAULT_SEED gives the same ones again.

    The full form takes new ones each time. The short form, which runs with the ordinary tests, looks for what has broken
    since yesterday, not for what was always broken, and keeps its seed.
    """
    fresh = time.time_ns() % 1_000_000 if request.node.get_closest_marker("faults") else 0
    seed = int(os.environ.get("FAULT_SEED", fresh))
    print(f"FAULT_SEED={seed}")
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """The same night without a fault."""
    night = night_job(tmp_path_factory.mktemp("whole"))
    night.go_on()
    return night


@pytest.fixture(scope="session")
def whole_by_two(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """The same night without a fault, by two workers: other threads round otherwise."""
    night = night_job(tmp_path_factory.mktemp("whole_by_two"), workers=2)
    night.finish()
    return night


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    """A night to be disturbed; nothing of it outlives the test."""
    made = night_job(tmp_path)
    yield made
    made.end()
