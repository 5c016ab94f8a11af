"""What a style collection of WikiArt's size costs: its index, the picks, and how few of them a newcomer changes.

The collection is made of hard links to one small JPEG: 42,129 names, as artist/title.jpg with 1,119 artists and as
genre/artist_title.jpg with 27 genres. Some names are not ASCII, and some are very long. Measured for each:
    first: the first look, with nothing remembered. The system's own cache of folders is warm.
    again: the same, with what the work folder remembers.
    added: after a painting was added, which must be found.
    pick: picking for all inputs without opening a painting, in each way, per input.
    plan: `nstpipe plan` of the inputs with `pick: random`, the first time and again; beside it the same with one painting.
    changed: how many inputs change when a painting joins, over several seeds, and the least that is possible on average.

Each listing is checked against the names that were made before it is timed.

Run: python benchmarks/style_collections.py [--paintings 42129] [--inputs 500] [--json results.json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from nstpipe import api
from nstpipe.config import load_pipeline
from nstpipe.planning.collection import SETTLED_SECONDS, collection_of
from nstpipe.planning.picker import Picker

ARTISTS, GENRES = 1119, 27
SEEDS = 10


def names_of(layout: str, count: int) -> list[str]:
    """Return the names of the paintings, in one of the two layouts."""
    made = []
    for number in range(count):
        artist, genre = f"artist-{number % ARTISTS}", f"Genre_{number % GENRES}"
        artist = "édouard-manet" if number % ARTISTS == 0 else artist
        title = f"title-{number}" if number % 1000 else f"title-{number}-".ljust(200, "x")
        made.append(f"{artist}/{title}.jpg" if layout == "artist/title" else f"{genre}/{artist}_{title}.jpg")
    return made


def make_collection(folder: Path, names: list[str], picture: Path) -> None:
    """Make the collection of hard links. A file has only so many, so a new copy is made now and then."""
    for number, name in enumerate(names):
        if number % 20_000 == 0:
            source = picture.with_name(f"{number}.jpg")
            source.write_bytes(picture.read_bytes())
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, place)


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(folder: Path, layout: str, count: int, inputs: int) -> dict[str, object]:
    """Measure one layout."""
    rng = np.random.default_rng(0)
    picture = folder / "small.jpg"
    Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(picture)
    names = names_of(layout, count)
    make_collection(folder / "wikiart", names, picture)
    for number in range(inputs):
        place = folder / "in" / f"{number:05}.jpg"
        place.parent.mkdir(exist_ok=True)
        os.link(picture, place)
    pipeline = folder / "pipeline.yaml"

    def write(style: object) -> None:
        job = {"name": "street", "input": "in", "output": "out", "link": "none", "size": 64, "style": style}
        pipeline.write_text(yaml.safe_dump({"version": 1, "jobs": [job]}))

    write({"collection": "wikiart", "pick": "random"})
    style, work = load_pipeline(pipeline).jobs[0].style, folder / ".nstpipe"
    time.sleep(SETTLED_SECONDS + 0.5)
    work.mkdir()
    found: list[object] = []

    def look() -> None:
        found[:] = collection_of(style, work).names

    seconds = {"first": seconds_of(look)}
    assert found == sorted(names)
    seconds["again"] = min(seconds_of(look) for _ in range(3))
    assert found == sorted(names)
    newcomer = f"{names[0].partition('/')[0]}/zz-new.jpg"
    os.link(picture, folder / "wikiart" / newcomer)
    seconds["added"] = seconds_of(look)
    assert found == sorted([*names, newcomer])
    (folder / "wikiart" / newcomer).unlink()
    plans = {"random first": seconds_of(lambda: api.plan(pipeline)), "random again": seconds_of(lambda: api.plan(pipeline))}
    planned = api.plan(pipeline)
    assert len(planned.outputs) == inputs
    assert all(output.painting in set(names) for output in planned.outputs)
    write("small.jpg")
    plans |= {"one painting": seconds_of(lambda: api.plan(pipeline))}
    units = [f"{number:05}.jpg" for number in range(inputs)]
    picks = {}
    for pick in ("random", "cycle"):
        picker = Picker(sorted(names), 0, lambda _: "")
        seconds_used = seconds_of(lambda way=pick, of=picker: pick_all(of, way, units))  # type: ignore[misc]
        picks[pick] = seconds_used / inputs
    return {"seconds": seconds, "plan_seconds": plans, "pick_seconds_an_input": picks}


def pick_all(picker: Picker, pick: str, units: list[str]) -> list[int | None]:
    """Pick for all inputs."""
    return list(picker.in_turn(units)) if pick == "cycle" else [picker.best(unit) for unit in units]


def changes(paintings: int, inputs: int) -> dict[str, float]:
    """Return how many inputs get another painting when one joins: the mean over several seeds."""
    names = [f"artist-{number % 30}/title-{number}.jpg" for number in range(paintings)]
    units = [f"{number:05}.jpg" for number in range(inputs)]
    found: dict[str, float] = {"least": inputs / (paintings + 1)}
    for pick in ("random", "cycle"):
        counts = []
        for seed in range(SEEDS):
            before = pick_all(Picker(names, seed, lambda _: ""), pick, units)
            after = pick_all(Picker([*names, "new/new.jpg"], seed, lambda _: ""), pick, units)
            counts.append(sum(one != other for one, other in zip(before, after, strict=True)))
        found[pick] = statistics.mean(counts)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paintings", type=int, default=42_129)
    parser.add_argument("--inputs", type=int, default=500)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    results: dict[str, object] = {"paintings": given.paintings, "inputs": given.inputs}
    for layout in ("artist/title", "genre/artist_title"):
        with tempfile.TemporaryDirectory() as folder:
            results[layout] = measure(Path(folder), layout, given.paintings, given.inputs)
        print(layout, json.dumps(results[layout], indent=2))
    pairs = [(1000, 100), (1000, 1000), (1000, 3000), (10, 1000)]
    results["changed"] = [{"paintings": few, "inputs": many, **changes(few, many)} for few, many in pairs]
    print(json.dumps(results["changed"], indent=2))
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
