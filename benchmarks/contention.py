"""What an evaluation of loss and gradient costs beside other work, and whether it gets its fair share of the cores.

One process of nstpipe is measured alone, beside one busy core, beside a second nstpipe, and beside a training in torch that
spins as torch does by default. It is measured as it is, and as it was before nstpipe decided how long threads spin: there,
`GOMP_SPINCOUNT` has the value that libgomp has by itself. Both are measured in turns, in rounds, because the speed of a shared
machine changes within minutes. A ratio is that of one round; the median and the quartiles of the rounds are told.

The fair share is half of the cores beside a program that could use all of them, and all but one beside one busy core, or half
if there are two. A ratio of 1 is the time that an evaluation takes alone, over that share.

With `--workers`, one worker of all threads is compared with as many workers of one thread as there are cores. The seconds are
then those of the whole machine for an evaluation, alone and beside a busy core.

Before they are timed, both must have painted the same picture to the byte.

Run: python benchmarks/contention.py [--sizes 256x256 320x180] [--loads LOAD …] [--workers] [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import joblib
import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from nstpipe.media.frame import resized
from nstpipe.media.tensors import tensor_of
from nstpipe.style.engine import MinimizeOptions
from nstpipe.style.engines.optimizer import OptimizerEngine
from nstpipe.style.settings import EngineSettings, StylePicture

SAMPLES = Path(__file__).parent.parent / "samples"

SETTINGS: Mapping[str, Mapping[str, str]] = {"before": {"GOMP_SPINCOUNT": "300000"}, "now": {}}
LOADS = ("alone", "busy core", "second nstpipe", "training")

LEAD_SECONDS = 1.0
"""Evaluations that are not timed, after a load begins or ends."""

TIMED_SECONDS = 2.0
FIRST_EVALUATIONS = 3

LONGEST_SECONDS = 60.0
"""A round is left out if the rounds of one size would take longer, because a measurement needs a quiet machine."""


@dataclass(frozen=True)
class Row:
    """One size, load and setting.

    Attributes:
        size: of the picture.
        load: what runs beside the evaluation.
        setting: before or now, or the number of workers and their threads.
        seconds: of an evaluation, by round.
        cpu_seconds: of all cores, by round.
        ratios: the time over that of the fair share, by round; alone, over that of the first setting.
    """

    size: str
    load: str
    setting: str
    seconds: list[float]
    cpu_seconds: list[float]
    ratios: list[float]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.size, self.load, self.setting

    def with_rounds_of(self, other: Row) -> Row:
        together = (other.seconds + self.seconds, other.cpu_seconds + self.cpu_seconds, other.ratios + self.ratios)
        return Row(*self.key, *together)

    def __str__(self) -> str:
        first, _, third = (
            statistics.quantiles(self.ratios, n=4, method="inclusive") if len(self.ratios) > 1 else self.ratios * 3
        )
        seconds, cpu_seconds, ratio = map(statistics.median, (self.seconds, self.cpu_seconds, self.ratios))
        figures = f"{seconds:.3f} | {cpu_seconds:.3f} | {ratio:.2f} | {first:.2f} to {third:.2f} | {len(self.ratios)}"
        return f"| {self.size} | {self.load} | {self.setting} | {figures} |"


def evaluate(size: str) -> None:
    """Be the measured process: for each line of the input, evaluate for so many seconds after the lead, and tell the mean."""
    width, height = map(int, size.split("x"))
    layers = tuple((f"relu{block}_1", 1.0) for block in range(1, 6))
    settings = EngineSettings(
        weights="bundled",
        device="cpu",
        precision="auto",
        pooling="max",
        padding="replicate",
        content_layers=(("relu4_2", 1.0),),
        style_layers=layers,
        strength=1.0,
        style_scale=1.0,
        total_variation=1.0,
        distance="gram",
    )
    engine = OptimizerEngine(settings, [StylePicture(_picture("styles/van_gogh_cafe_terrace.jpg", (256, 256)), 1.0)])
    content = tensor_of(_picture("streetview/street_03.jpg", (width, height)))
    stylizer = engine.stylizer(None)
    start = stylizer.first_start(content, "matched", 0)
    iterates = (iterate for _ in iter(int, 1) for iterate in stylizer.stylize(content, start, MinimizeOptions(10**9)))
    for _ in range(FIRST_EVALUATIONS):
        image = next(iterates).image
    print(hashlib.sha256(image.numpy().tobytes()).hexdigest(), flush=True)
    for line in sys.stdin:
        _evaluated(iterates, LEAD_SECONDS)
        seconds, cpu_seconds = _evaluated(iterates, float(line))
        print(json.dumps([seconds, cpu_seconds]), flush=True)


def _evaluated(iterates: Iterator[object], seconds: float) -> tuple[float, float]:
    began, cpu_began, count = time.perf_counter(), time.process_time(), 0
    while count == 0 or time.perf_counter() - began < seconds:
        next(iterates)
        count += 1
    return (time.perf_counter() - began) / count, (time.process_time() - cpu_began) / count


def _picture(name: str, size: tuple[int, int]) -> np.ndarray:
    with Image.open(SAMPLES / name) as image:
        return resized(np.asarray(image.convert("RGB")), size)


def train() -> None:
    """Train a small network on noise, as fast as the machine allows, until killed."""
    kinds = [torch.nn.Conv2d(3, 64, 3, padding=1), torch.nn.ReLU()]
    for _ in range(3):
        kinds += [torch.nn.Conv2d(64, 64, 3, padding=1), torch.nn.BatchNorm2d(64), torch.nn.ReLU()]
    network = torch.nn.Sequential(*kinds, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    pictures, classes = torch.randn(16, 3, 32, 32), torch.randint(0, 10, (16,))
    first = True
    while True:
        optimizer.zero_grad()
        functional.cross_entropy(network(pictures), classes).backward()
        optimizer.step()
        if first:
            print("ready", flush=True)
            first = False


class Process:
    """One of the benchmark's processes, in a session of its own as another user's program would be."""

    def __init__(self, *options: str, environment: Mapping[str, str] = {}) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *options],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ask(self, seconds: float) -> None:
        assert self._process.stdin is not None
        print(seconds, file=self._process.stdin, flush=True)

    def answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.pause()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def _end_with_parent() -> None:
    """End when the benchmark does. A load that is stopped just then is left stopped, and takes no time."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()


def fair_share(load: str, cores: int) -> float:
    """Return the cores that a program gets if the load gets as many as it can use, but no more than half."""
    return {"alone": cores, "busy core": max(cores - 1, cores / 2)}.get(load, cores / 2)


def measured(size: str, loads: list[str], rounds: int, cores: int) -> list[Row]:
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with ExitStack() as stack:

        def process(*options: str, environment: Mapping[str, str] = {}) -> Process:
            started = Process(*options, environment=environment)
            stack.callback(started.end)
            return started

        # One after the other: beside each other, the first evaluations would take long.
        pictures, evaluators, seconds, others = set(), {}, {}, {}
        for name, variables in SETTINGS.items():
            for group in (evaluators, seconds) if "second nstpipe" in loads else (evaluators,):
                group[name] = process("--evaluate", size, environment=variables)
                pictures.add(group[name].answer())
        assert len(pictures) == 1, "the pictures differ"
        for load, option in (("busy core", "--spin"), ("training", "--train")):
            if load in loads:
                others[load] = process(option)
                others[load].answer()
                others[load].pause()
        for number in _rounds(rounds):
            for load in loads:
                for name in sorted(evaluators, reverse=number % 2 == 1):
                    with others[load].running() if load in others else ExitStack():
                        if load == "second nstpipe":
                            seconds[name].ask(TIMED_SECONDS + 1)
                        evaluators[name].ask(TIMED_SECONDS)
                        found.setdefault((load, name), []).append(tuple(json.loads(evaluators[name].answer())))
                        if load == "second nstpipe":
                            seconds[name].answer()
    return _rows(size, found, "before", cores)


def measured_workers(size: str, loads: list[str], rounds: int, cores: int) -> list[Row]:
    """Compare one worker of all threads with workers of one thread each; seconds are of the machine for an evaluation."""
    settings = {f"1 x {cores}": (1, {}), f"{cores} x 1": (cores, {"OMP_NUM_THREADS": "1"})}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with ExitStack() as stack:
        workers: dict[str, list[Process]] = {}
        for name, (count, variables) in settings.items():
            workers[name] = [Process("--evaluate", size, environment=variables) for _ in range(count)]
        spinner = Process("--spin")
        for process in (*(process for group in workers.values() for process in group), spinner):
            stack.callback(process.end)
            process.answer()
        spinner.pause()
        for number in _rounds(rounds):
            for load in loads:
                for name in sorted(workers, reverse=number % 2 == 1):
                    with spinner.running() if load != "alone" else ExitStack():
                        for process in workers[name]:
                            process.ask(TIMED_SECONDS)
                        answers = [json.loads(process.answer()) for process in workers[name]]
                    rate = sum(1 / seconds for seconds, _ in answers)
                    cpu_seconds = statistics.mean(cpu for _, cpu in answers)
                    found.setdefault((load, name), []).append((1 / rate, cpu_seconds))
    return _rows(size, found, f"1 x {cores}", cores)


def _rounds(most: int) -> Iterator[int]:
    """Yield the numbers of the rounds, as long as another one should end within `LONGEST_SECONDS`."""
    began = time.monotonic()
    for number in range(most):
        if number and (time.monotonic() - began) * (number + 1) / number > LONGEST_SECONDS:
            return
        yield number


def _rows(size: str, found: Mapping[tuple[str, str], list[tuple[float, float]]], first: str, cores: int) -> list[Row]:
    alone = [seconds for seconds, _ in found["alone", first]]
    rows = []
    for (load, name), times in found.items():
        share = fair_share(load, cores) / cores
        ratios = [round(seconds * share / reference, 3) for (seconds, _), reference in zip(times, alone, strict=True)]
        seconds, cpu_seconds = ([round(value, 4) for value in values] for values in zip(*times, strict=True))
        rows.append(Row(size, load, name, seconds, cpu_seconds, ratios))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["256x256", "320x180"])
    parser.add_argument("--loads", nargs="+", default=list(LOADS), choices=LOADS, help="alone is always among them")
    parser.add_argument("--workers", action="store_true", help="compare numbers of workers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="adds to the rounds that are in the file")
    parser.add_argument("--evaluate", metavar="SIZE", help="be the measured process")
    parser.add_argument("--train", action="store_true", help="be the training")
    parser.add_argument("--spin", action="store_true", help="be the busy core")
    options = parser.parse_args()
    if options.evaluate:
        evaluate(options.evaluate)
    elif options.train:
        _end_with_parent()
        train()
    elif options.spin:
        _end_with_parent()
        print("ready", flush=True)
        while True:
            pass
    else:
        loads = [load for load in LOADS if load == "alone" or load in options.loads]
        compare(options.sizes, loads, options.rounds, options.json, by_workers=options.workers)


def compare(sizes: list[str], loads: list[str], rounds: int, path: Path | None, *, by_workers: bool) -> None:
    cores = int(joblib.cpu_count())
    measure = measured_workers if by_workers else measured
    loads = [load for load in loads if load in ("alone", "busy core")] if by_workers else loads
    print("| size | beside | setting | seconds | CPU seconds | over the fair share's time | quartiles | rounds |")
    print("| --- | --- | --- | ---: | ---: | ---: | --- | ---: |")
    rows = []
    for size in sizes:
        for row in measure(size, loads, rounds, cores):
            rows.append(row)
            print(row, flush=True)
    if path is not None:
        kept = {row.key: row for row in (Row(**row) for row in (json.loads(path.read_text())["rows"] if path.exists() else []))}
        kept |= {row.key: row.with_rounds_of(kept[row.key]) if row.key in kept else row for row in rows}
        machine = {"cores": cores, "torch": torch.__version__}
        path.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in kept.values()]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
