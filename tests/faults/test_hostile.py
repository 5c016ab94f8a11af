"""Real small files, mutated: never a crash, a hang, or a file outside the output folder."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

import nstpipe
from nstpipe.config import load_pipeline
from nstpipe.errors import ConfigError, InputError
from tests.making import make_picture, make_video, write_pipeline

from .making import row

LONGEST_SECONDS = 30
LOOK_SECONDS = 0.2


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A file after one of the things that happen to files."""
    damaged = bytearray(content)
    kind = chance.randrange(5)
    if kind == 0:
        return bytes(damaged[: chance.randrange(len(damaged))])
    if kind == 1:
        for _ in range(chance.randrange(1, 20)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    elif kind == 2:
        start = chance.randrange(len(damaged))
        end = min(len(damaged), start + chance.randrange(1, 200))
        damaged[start:end] = bytes(end - start)
    elif kind == 3:
        start = chance.randrange(len(damaged))
        del damaged[start : start + chance.randrange(1, 100)]
    else:
        for place in chance.sample(range(min(64, len(damaged))), 2):
            damaged[place] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "count", [12, pytest.param(100, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])], ids=["short", "full"]
)
def test_pictures_and_videos(tmp_path: Path, chance: random.Random, count: int) -> None:
    picture_kinds = (".jpg", ".png", ".tif", ".webp")
    originals = {suffix: make_picture(tmp_path / f"original{suffix}").read_bytes() for suffix in picture_kinds}
    film_kinds = (".mp4", ".mkv", ".avi")
    films = {suffix: make_video(tmp_path / f"film{suffix}", frames=2).read_bytes() for suffix in film_kinds}
    for number in range(count):
        (tmp_path / "in").mkdir(exist_ok=True)
        suffix = chance.choice(picture_kinds)
        (tmp_path / "in" / f"picture_{number}{suffix}").write_bytes(mutated(originals[suffix], chance))
        (tmp_path / "in" / f"film_{number}{(kind := chance.choice(film_kinds))}").write_bytes(mutated(films[kind], chance))
    tiny = {"size": 32, "optimizer": {"first": 1, "next": 1}, "input": "in/*", "output": "out"}
    pipeline = write_pipeline(tmp_path, {"name": "hostile", **tiny}, work="work")
    given = sorted(str(path) for path in (tmp_path / "in").iterdir())
    before = files_of(tmp_path)
    latest = time.monotonic()
    longest = 0.0

    def watch(event: object) -> None:
        nonlocal latest, longest
        longest, latest = max(longest, time.monotonic() - latest), time.monotonic()

    try:
        result = nstpipe.run(pipeline, on_event=watch)
        # A damaged film is both: what decodes of it is made, and that something is missing is said.
        refused = [failure.path for failure in result.failures if failure.tried_now]
        assert sorted([done.path for done in result.outputs] + refused) == given
        assert all(failure.reason for failure in result.failures)
    except InputError:
        pass  # not one of them can be used
    # Before the first event all files are looked into, one after another.
    assert longest < LONGEST_SECONDS + LOOK_SECONDS * len(given)
    row("hostile pictures and videos").times = len(given)
    strange = {name for name in files_of(tmp_path) - before if not name.startswith(("out/", "work/"))}
    assert strange == set()


@pytest.mark.parametrize("count", [60, pytest.param(300, marks=pytest.mark.faults)], ids=["short", "full"])
def test_pipelines(tmp_path: Path, chance: random.Random, count: int) -> None:
    make_picture(tmp_path / "in" / "picture.png")
    whole = write_pipeline(tmp_path, {"name": "one", "input": "in", "output": "out"}).read_bytes()
    path = tmp_path / "mutated.yaml"
    for _ in range(count):
        path.write_bytes(mutated(whole, chance))
        began = time.monotonic()
        try:
            load_pipeline(path, environment={})
        except ConfigError as error:
            assert str(error)
        assert time.monotonic() - began < LONGEST_SECONDS
    row("hostile pipelines").times = count
