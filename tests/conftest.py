"""What all tests share: the machine's cores, what the makers made, and real media small enough for a tiny machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import psutil
import pytest
from PIL import Image

from nstpipe.media.frame import Pixels, resized
from tests.faults.making import ROWS
from tests.made_once import FOLDER_VARIABLE

REPOSITORY = Path(__file__).parent.parent

WORKER_BYTES = 2 << 30
"""Memory that a process of tests may need: torch, VGG19, and a picture being painted."""

SEEN_ELSEWHERE: list[str] = []
"""Rows of the table of faults that other processes of this run have handed over."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """As many processes as cores and memory allow; tests chosen by a marker have the machine to themselves."""
    if config.getoption("-m"):
        return 0
    wanted = os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS")
    return int(wanted) if wanted else max(1, min(joblib.cpu_count(), psutil.virtual_memory().available // WORKER_BYTES))


def pytest_configure(config: pytest.Config) -> None:
    """Give this run a folder for what is made once; processes that run tests inherit it."""
    if not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="nstpipe-tests-")
        os.environ[FOLDER_VARIABLE] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the full forms of faults unless they are asked for."""
    if "faults" in (config.getoption("-m") or ""):
        return
    long = [item for item in items if item.get_closest_marker("faults")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what was seen of faults to the process that prints the table."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["faults"] = [str(row) for row in ROWS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a process saw; one that crashed has nothing to hand over."""
    SEEN_ELSEWHERE.extend(getattr(node, "workeroutput", {}).get("faults", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [*map(str, ROWS), *SEEN_ELSEWHERE]
    if rows:
        terminalreporter.section("faults")
        terminalreporter.write_line(f"{'fault':<44}{'times':>6}{'frames lost':>13}{'bytes equal':>13}{'s until going':>15}")
        for row in rows:
            terminalreporter.write_line(row)


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
