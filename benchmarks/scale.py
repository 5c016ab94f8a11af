"""What a very large folder takes: the first look, another plan, `status`, and a run that finds nothing to do.

A run of the whole folder is begun, too, and stopped after its first pictures; `plan` with its estimate comes before it.

The folder has 1,000 folders of small JPEGs. They are hard links to 1,000 different pictures, so they take names on the disk and
little else. Nothing else is painted: finished outputs are hard links to one painted picture, and are recorded as a run does it.
Each step is a process of its own, as a command is. Its memory is the largest that it held, less that of a process that only
loads the same modules. Its time is that of the processor, also less that of such a process: it depends little on other work.
The times of the clock are in the JSON. Beside the first look, the same files are only read, by one thread.

Run: python benchmarks/scale.py [--pictures 1000 10000 100000 1000000] [--folder FOLDER] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FOLDERS, ORIGINALS = 1000, 1000
SIDES = (64, 48)
ASK_SECONDS = 0.2

SETTLING_SECONDS = 4.0
"""A folder that has just changed is planned again; nobody asks so soon."""

TARGETS = {
    "first look, ms a picture beside reading": 0.6,
    "again, ms a picture": 0.06,
    "status, s": 2.0,
    "nothing to do, ms a picture": 0.09,
    "memory, MB": 500.0,
}
STEPS = (
    "modules", "reading", "first look", "again", "estimate", "begun run", "record", "again, all done", "status", "report",
    "nothing to do",
)  # fmt: skip
PAINTED = 3
"""How many pictures the begun run paints."""


def make(folder: Path, pictures: int) -> Path:
    """Make the folder of pictures and its pipeline.yaml."""
    import numpy as np
    from PIL import Image

    originals = folder / "originals"
    originals.mkdir(parents=True)
    for number in range(ORIGINALS):
        rough = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(rough).resize(SIDES, Image.Resampling.BICUBIC).save(originals / f"{number}.jpg")
    shutil.copy(originals / "0.jpg", folder / "style.jpg")
    shutil.copy(originals / "1.jpg", folder / "painted.jpg")
    for place in range(min(FOLDERS, pictures)):
        (folder / "in" / f"sequence_{place:04d}").mkdir(parents=True)
    for number in range(pictures):
        place = folder / "in" / f"sequence_{number % FOLDERS:04d}" / f"{number // FOLDERS:06d}.jpg"
        os.link(originals / f"{number % ORIGINALS}.jpg", place)
    iterations = "optimizer: {first: 1, next: 1}"  # for the run that is begun
    job = f"{{name: street, input: in, output: out, link: none, size: 48, style: style.jpg, {iterations}}}"
    path = folder / "pipeline.yaml"
    path.write_text(f"version: 1\ndevice: cpu\nworkers: 1\njobs: [{job}]\n", encoding="utf-8")
    time.sleep(SETTLING_SECONDS)
    return path


def step(name: str, pipeline: Path) -> dict[str, Any]:
    """Do one step in this process, and say what came of it."""
    import nstpipe.api
    import nstpipe.running.run
    import nstpipe.running.worker_processes

    if name == "modules":
        return {}
    if name == "reading":
        return {"bytes": sum(len(path.read_bytes()) for path in files_below(pipeline.parent / "in"))}
    if name == "estimate":
        frames = sum(job.frames for job in nstpipe.api.estimated(pipeline, calibrate=False).totals.jobs.values())
        return {"done": 0, "left": frames, "failed": 0}
    if name == "begun run":
        return begin(pipeline)
    if name == "record":
        return {"recorded": record(pipeline)}
    if name == "report":
        return {"bytes": nstpipe.api.report(pipeline).stat().st_size}
    if name == "status":
        [status] = nstpipe.api.status(pipeline).jobs
        return {"done": status.done, "left": status.left, "failed": status.failed}
    if name == "nothing to do":
        result = nstpipe.api.run(pipeline)
        return {"done": len(result.already_done), "left": len(result.outputs), "failed": len(result.failures)}
    plan = nstpipe.api.plan(pipeline)
    done = sum(output.is_done for output in plan.outputs)
    return {"done": done, "left": len(plan.outputs) - done, "failed": len(plan.failures)}


def begin(pipeline: Path) -> dict[str, Any]:
    """Begin a run of all, and stop it when some pictures are painted. A process beside this one paints."""
    import nstpipe.api
    from nstpipe.events import Event, OutputDone
    from nstpipe.system.stop import Stop, StopReason

    stop, made = Stop(), 0

    def watch(event: Event) -> None:
        nonlocal made
        made += isinstance(event, OutputDone)
        if made >= PAINTED:
            stop.ask(StopReason.TIME)

    result = nstpipe.api.run(pipeline, isolated=True, stop=stop, on_event=watch)
    failed = len(result.failures)
    for done in result.outputs:
        Path(done.output).unlink()  # the next step puts its own there
    return {"done": len(result.outputs), "left": int(result.stopped is not None), "failed": failed}


def files_below(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def record(pipeline: Path) -> int:
    """Make every output a finished one, with the journal's own functions."""
    import nstpipe.api
    from nstpipe.config import load_pipeline
    from nstpipe.events import JobPlanned, OutputDone
    from nstpipe.journal import journal as module
    from nstpipe.journal.journal import Journal
    from nstpipe.system.files import sha256_of

    settings, painted = load_pipeline(pipeline), pipeline.parent / "painted.jpg"
    sha256 = sha256_of(painted)
    plan = nstpipe.api.plan(pipeline)
    copies: list[Path] = []
    module.os.fsync = lambda _: None  # type: ignore[attr-defined]  # each output waits for the disk; here a million would
    with closing(Journal(settings.work, pipeline=settings.file)) as journal:
        journal._database.connection.execute("PRAGMA synchronous = OFF")
        run = f"{time.strftime('%Y%m%d-%H%M%S')}-000-1"
        journal.begin_run(run, 1, ())
        batch = ExitStack()
        for number, output in enumerate(plan.outputs):
            if number % 1000 == 0:  # a transaction for each would take most of the time
                batch.close()
                batch.enter_context(journal.at_once())
            if number % 50_000 == 0:  # no file has more than 65,000 names
                copies.append(pipeline.parent / f"painted_{number}.jpg")
                shutil.copy2(painted, copies[-1])
            output.path.parent.mkdir(parents=True, exist_ok=True)
            os.link(copies[-1], output.path)
            bounds = [(clip.first_frame_index, clip.end_frame_index) for clip in output.clips]
            source = output.input.file.path
            journal.record_plan(output.path, output.job.name, source, output.fingerprint, output.fingerprint_inputs, bounds)
            done = OutputDone(
                job=output.job.name, path=str(source), output=str(output.path), frames=1, encode_seconds=0.0,
                fingerprint=output.fingerprint, sha256=sha256,
            )  # fmt: skip
            journal.record_done(done, output.fingerprint_inputs)
        batch.close()
        job = JobPlanned(
            job="street", outputs=len(plan.outputs), outputs_done=0, frames=len(plan.outputs), frames_left=0, work_left=0
        )
        journal.plan_run(run, [job], 1)
        journal.end_run(run, 0)
    time.sleep(SETTLING_SECONDS)
    return len(plan.outputs)


class HelperTimes(threading.Thread):
    """Asks again and again what the helper processes of this one have computed: they may end before the step does."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._seconds: dict[int, float] = {}

    def run(self) -> None:
        while True:
            self.read()
            time.sleep(ASK_SECONDS)

    def read(self) -> float:
        """Return the seconds of the processor of all helpers so far."""
        import psutil

        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                self._seconds[process.pid] = sum(process.cpu_times()[:2])
        return sum(list(self._seconds.values()))  # the other thread may add one meanwhile


def measured(name: str, pipeline: Path) -> dict[str, Any]:
    """Do one step in a process of its own, and measure it."""
    program = (
        f"import json, resource, sys, time; sys.path.insert(0, {str(HERE)!r}); import scale; from pathlib import Path\n"
        "import nstpipe.api, nstpipe.running.run, nstpipe.running.worker_processes\n"
        "others = scale.HelperTimes(); others.start()\n"
        "began = time.perf_counter(); found = scale.step(sys.argv[1], Path(sys.argv[2]))\n"
        "seconds = time.perf_counter() - began\n"
        "usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        "cpu_seconds = usage.ru_utime + usage.ru_stime + others.read()\n"
        "found |= {'seconds': seconds, 'cpu_seconds': cpu_seconds, 'mb': usage.ru_maxrss / 1024}\n"
        "print(json.dumps(found))"
    )
    said = subprocess.run([sys.executable, "-c", program, name, str(pipeline)], capture_output=True, text=True, check=False)
    if said.returncode:
        raise SystemExit(said.stderr)
    found: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return found


def case(folder: Path, pictures: int) -> dict[str, Any]:
    """Measure all steps for one number of pictures."""
    pipeline = make(folder, pictures)
    found: dict[str, dict[str, Any]] = {}
    for name in STEPS:
        found[name] = measured(name, pipeline)
        print(f"{pictures:>9,} {name:<16} {found[name]}", flush=True)
    expected = {
        "again": (0, pictures),
        "estimate": (0, pictures),
        "begun run": (PAINTED, 1),
        "again, all done": (pictures, 0),
        "status": (pictures, 0),
        "nothing to do": (pictures, 0),
    }
    for name, (done, left) in expected.items():
        assert (found[name]["done"], found[name]["left"], found[name]["failed"]) == (done, left, 0), (name, found[name])
    each, base = 1000 / pictures, found["modules"]["mb"]
    cpu = {name: one["cpu_seconds"] - found["modules"]["cpu_seconds"] for name, one in found.items()}
    figures = {
        "first look, ms a picture beside reading": (cpu["first look"] - cpu["reading"]) * each,
        "again, ms a picture": cpu["again"] * each,
        "estimate, ms a picture": cpu["estimate"] * each,
        "begun run, ms a picture": cpu["begun run"] * each,
        "again, all done, ms a picture": cpu["again, all done"] * each,
        "status, s": cpu["status"],
        "report, s": cpu["report"],
        "nothing to do, ms a picture": cpu["nothing to do"] * each,
        "memory, MB": max(one["mb"] for name, one in found.items() if name != "record") - base,
    }
    return {"pictures": pictures, "figures": figures, "steps": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--folder", type=Path, help="where the pictures are made; default: a temporary folder")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cases = []
    for pictures in options.pictures:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            cases.append(case(Path(folder), pictures))
    print(f"{'':<44}" + "".join(f"{one['pictures']:>12,}" for one in cases) + "      target")
    for name in cases[0]["figures"]:
        row = "".join(f"{one['figures'][name]:>12.3f}" for one in cases)
        print(f"{name:<44}{row}{TARGETS.get(name, ''):>12}")
    if options.json is not None:
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
        measured_at = time.strftime("%Y-%m-%d")
        options.json.write_text(json.dumps({"measured": measured_at, **machine, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
