"""How well a cluster scales: the real scheduling of clips, with clips that only wait as long as painting them would take.

    python benchmarks/cluster.py                    # the simulation, for 1 to 256 workers
    python benchmarks/cluster.py --real 64          # real Dask workers on this machine, in scaled time
    python benchmarks/cluster.py --plot docs/images/scaling.png

The simulation runs the scheduler's own `Backlog` against a clock that jumps from one end of a clip to the next, so that it
takes seconds. The real run sends each clip through Dask to a process that sleeps, and adds what messages and processes cost.
Its time is scaled, so that overhead counts a hundred times as much as with clips of that length.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nstpipe.config.cluster import Cluster
from nstpipe.events import Emit, Event, Noticed
from nstpipe.running.cluster.backlog import Backlog
from nstpipe.running.cluster.executor import DaskCluster
from nstpipe.system.stop import Stop

CLIPS = 10_000
PICTURE_SHARE = 0.7
FIRST_SECONDS, LATER_SECONDS = 6.0, 1.0
"""Seconds of a first frame, or a picture, and of a later frame: about those of 512 pixels on one GPU."""

SHOT_FRAMES = (24, 480)
"""The shortest and longest shot, in frames; their logarithms are spread evenly, as lengths of shots about are."""

SCALE = 0.01
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def lengths(clips: int, seed: int = 0) -> list[float]:
    """Seconds of pictures and shots, in the order of a pipeline."""
    chance = np.random.default_rng(seed)
    frames = np.exp(chance.uniform(*np.log(SHOT_FRAMES), clips)).round()
    is_picture = chance.uniform(size=clips) < PICTURE_SHARE
    seconds = FIRST_SECONDS + np.where(is_picture, 0, LATER_SECONDS * (frames - 1))
    return [float(one) for one in seconds]


@dataclass(frozen=True)
class Outcome:
    """How long it took, and what was lost.

    Attributes:
        workers: The number of workers.
        seconds: From the first clip to the end of the last.
        efficiency: The share of the workers' time in which they painted.
        end_share: The share of their time that they waited for the last clips.
    """

    workers: int
    seconds: float
    efficiency: float
    end_share: float

    def __str__(self) -> str:
        return f"{self.workers:>8}{self.seconds:>12,.0f}{self.efficiency:>12.1%}{self.end_share:>14.2%}"


def outcome(workers: int, work: float, began: float, ends: Sequence[float]) -> Outcome:
    end = max(ends)
    span = end - began
    return Outcome(workers, span, work / (workers * span), sum(end - one for one in ends) / (workers * span))


def simulated(costs: Sequence[float], workers: int, in_order: bool = False) -> Outcome:
    """Run the backlog against a clock that jumps.

    Args:
        costs: Seconds of the clips.
        workers: The number of workers.
        in_order: Whether to ignore how long clips take, as a plain queue would.
    """
    order = itertools.count(len(costs), -1)
    backlog = Backlog(range(len(costs)), (lambda _: 1e-9 * next(order)) if in_order else costs.__getitem__, lambda _: True)
    free = [(0.0, number) for number in range(workers)]
    ends = [0.0] * workers
    heapq.heapify(free)
    while backlog:
        now, worker = heapq.heappop(free)
        chosen = backlog.take(workers, "", lambda _: True)
        ends[worker] = now + sum(costs[waiting.task] for waiting in chosen)
        heapq.heappush(free, (ends[worker], worker))
    return outcome(workers, sum(costs), 0.0, ends)


def paint(task: tuple[int, float], emit: Emit, stop: Stop) -> tuple[int, float, float]:
    """Wait as long as the clip takes, with a few events, in a process of its own."""
    number, seconds = task
    began = time.time()
    for step in range(3):
        emit(Noticed(job="clip", message=f"{number} {step}"))
        time.sleep(seconds / 3)
    return number, began, time.time()


def real(costs: Sequence[float], slots: int, scale: float) -> Outcome:
    """Send the clips through Dask to processes on this machine."""
    from distributed import LocalCluster

    # Few Dask workers with many processes each: what is tried is the scheduling, not the memory of this machine.
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(
            n_workers=max(1, slots // 16), threads_per_worker=min(16, slots), memory_limit=0, dashboard_address=None
        ) as cluster,
    ):
        executor = DaskCluster(Cluster(address=cluster.scheduler_address), Path(folder), cost=lambda task: task[1])
        tasks = [(number, cost * scale) for number, cost in enumerate(costs)]
        events: list[Event] = []
        everything = {"emit": events.append, "stop": Stop(), "on_killed": lambda *_: None, "is_ready": lambda _: True}
        warm = [(-1 - number, 1.0) for number in range(slots)]
        assert len(list(executor.execute(paint, warm, **everything))) == slots  # starts the processes, which a night does once
        events.clear()
        print("the processes are there", flush=True)
        spans = list(executor.execute(paint, tasks, **everything))
        executor.close()
    assert sorted(number for number, _, _ in spans) == list(range(len(costs))), "each clip once"
    assert len(events) == 3 * len(costs), "each event arrives"
    # Which process painted a clip is not told: the last ends are those of the processes.
    ends = sorted(end for _, _, end in spans)[-slots:]
    return outcome(slots, scale * sum(costs), min(begin for _, begin, _ in spans), ends)


def plot(path: Path, found: Sequence[Outcome], plain: Sequence[Outcome], measured: Sequence[Outcome]) -> None:
    """Draw the efficiency over the number of workers."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6))
    curves = (
        (found, "o-", "the longest clips first, simulated"),
        (plain, "s--", "in the order of the pipeline, simulated"),
        (measured, "D", "the longest first, through Dask"),
    )
    for outcomes, style, label in curves:
        if outcomes:
            axes.plot([one.workers for one in outcomes], [100 * one.efficiency for one in outcomes], style, label=label)
    axes.axhline(95, color="gray", linewidth=1, linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_xticks(WORKERS, [str(count) for count in WORKERS])
    axes.set_ylim(80, 101)
    axes.set_xlabel("workers")
    axes.set_ylabel("time spent painting, %")
    axes.set_title(f"{CLIPS:,} clips of mixed length")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--real", type=int, nargs="*", default=[], metavar="WORKERS")
    parser.add_argument("--scale", type=float, default=SCALE)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    costs = lengths(given.clips)
    print(f"{len(costs):,} clips, {sum(costs) / 3600:.0f} hours for one worker, the longest {max(costs):.0f} s\n")
    head = f"{'workers':>8}{'seconds':>12}{'efficiency':>12}{'lost at end':>14}"
    measured = [real(costs, workers, given.scale) for workers in given.real]
    if measured:
        print(f"real, time x {given.scale}\n{head}", *measured, sep="\n")
    found = [simulated(costs, workers) for workers in WORKERS]
    print(f"\nsimulated\n{head}", *found, sep="\n")
    plain = [simulated(costs, workers, in_order=True) for workers in WORKERS]
    print(f"\nin the order of the pipeline, without regard to length\n{head}", *plain, sep="\n")
    if given.plot:
        plot(given.plot, found, plain, measured)


if __name__ == "__main__":
    import cluster  # other processes find `paint` by its name

    cluster.main()
