"""How quickly the pages of `nstpipe ui` answer, for a small pipeline and for large ones, side by side.

A window is opened by its command on a folder with one job and one picture, on one with 1,000 jobs, and on one with a job of
100,000 pictures, of which a journal knows 60,000 as done and 500 as failed. Each page is asked for several times over HTTP, in
turn; its least time counts, and the ratio is that to the small pipeline. Beside it stands the CPU time of the server, which
depends less on what else the machine does. An answer that does not say what it should stops the benchmark.

Run: python benchmarks/window.py [--repeats 3] [--folder FOLDER] [--json results.json]
With --folder, the pipelines are made there, and used again by the next time.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import psutil
import yaml
from PIL import Image

JOBS, PICTURES, DONE, FAILED = 1_000, 100_000, 60_000, 500


@dataclass
class Opened:
    """An open window."""

    folder: Path
    port: int
    cookie: str
    seconds: float
    server: psutil.Process

    def cpu_seconds(self) -> float:
        """Return the CPU time of the server so far."""
        spent = self.server.cpu_times()
        return spent.user + spent.system

    def ask(self, path: str, form: Mapping[str, str] | None = None) -> tuple[float, float, str]:
        """Return how long an answer took, the server's CPU time for it, and the answer."""
        body = urlencode(form) if form is not None else None
        origin = f"127.0.0.1:{self.port}"
        headers = {"Cookie": self.cookie, "Origin": f"http://{origin}", "Content-Type": "application/x-www-form-urlencoded"}
        began, cpu = time.monotonic(), self.cpu_seconds()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request("POST" if body is not None else "GET", path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        seconds = time.monotonic() - began
        assert answer.status == 200, (path, answer.status, text[:500])
        return seconds, self.cpu_seconds() - cpu, text


@contextmanager
def opened(folder: Path) -> Iterator[Opened]:
    """Open a window by its command."""
    began = time.monotonic()
    command = [sys.executable, "-m", "nstpipe", "ui", str(folder), "--no-browser", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        [(port, path)] = re.findall(r"http://[\w.]+:(\d+)(/\S+)", process.stdout.readline())
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
        connection.request("GET", path)
        cookie = str(connection.getresponse().getheader("set-cookie")).partition(";")[0]
        yield Opened(folder, int(port), cookie, time.monotonic() - began, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait()


def prepared(folder: Path, jobs: int, pictures: int) -> Path:
    """Make a folder with a pipeline of so many jobs, each with so many pictures."""
    if folder.exists():
        return folder
    folder.mkdir()
    Image.new("RGB", (64, 48), (90, 120, 150)).save(folder / "style.png")
    content = (folder / "style.png").read_bytes()
    entries = []
    for number in range(jobs):
        name = f"job-{number:04d}"
        (folder / "in" / name).mkdir(parents=True)
        for index in range(pictures):
            (folder / "in" / name / f"{index:06d}.png").write_bytes(content)
        entries.append({"name": name, "input": f"in/{name}", "output": f"out/{name}", "style": "style.png"})
    (folder / "pipeline.yaml").write_text(yaml.safe_dump({"version": 1, "jobs": entries}, sort_keys=False))
    return folder


def with_journal(folder: Path) -> Path:
    """Give the folder's one job a journal that knows its pictures."""
    from nstpipe.journal.journal import Journal
    from nstpipe.journal.rows import put_row

    if (folder / ".nstpipe").exists():
        return folder
    file = folder / "pipeline.yaml"
    first = folder / "in" / "job-0000" / "000000.png"
    with closing(Journal(folder / ".nstpipe", pipeline=file)) as journal:
        journal.begin_run("20260101-000000-1", 1, [])
        journal.record_plan(folder / "out" / "job-0000" / first.name, "job-0000", first, "0" * 64, {}, [(0, 1)])
        journal.end_run("20260101-000000-1", 2)
    with closing(sqlite3.connect(folder / ".nstpipe" / "journal.sqlite")) as database:
        database.row_factory = sqlite3.Row
        row = dict(database.execute("SELECT * FROM output").fetchone())
        for index in range(PICTURES):
            state = "done" if index < DONE else "failed" if index < DONE + FAILED else "planned"
            name = f"{index:06d}.png"
            paths = {key: row[key].replace("000000.png", name) for key in ("path", "input")}
            reason = f"{paths['input']}: broken" if state == "failed" else ""
            put_row(database, {**row, **paths, "state": state, "reason": reason})
        database.commit()
    return folder


def pages_of(window: Opened) -> Mapping[str, tuple[str, Mapping[str, str] | None, str]]:
    """Return what is asked for: the path, the form and what the answer must hold, by name."""
    text = (window.folder / "pipeline.yaml").read_text()
    edit = {"text": text, "job": "0", "stamp": "", "key": "size", "value:size": "64"}
    return {
        "first page": ("/", None, "studio"),
        "jobs": ("/jobs", None, "job-0000"),
        "a field is changed": ("/jobs/edit", edit, "size: 64"),
        "run": ("/night", None, "run-state"),
        "results": ("/results", None, "gallery" if "100000" in window.folder.name else "</main>"),
        "a folder is opened": (f"/browse?path={window.folder}/in/job-0000", None, "000000.png"),
    }


def counted(window: Opened) -> dict[str, float]:
    """Return how long the page of the run takes to know how many files are done."""
    began, cpu = time.monotonic(), window.cpu_seconds()
    while "60000" not in window.ask("/night/progress")[2]:
        time.sleep(1)
        assert time.monotonic() - began < 600, "the files are never counted"
    return {"seconds": time.monotonic() - began, "cpu": window.cpu_seconds() - cpu}


def main() -> None:
    """Time the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = options.folder or temporary
        folders = {
            "1 job": prepared(Path(place) / "1", 1, 1),
            f"{JOBS} jobs": prepared(Path(place) / "1000", JOBS, 1),
            f"{PICTURES} pictures": with_journal(prepared(Path(place) / "100000", 1, PICTURES)),
        }
        found: dict[str, dict[str, dict[str, float]]] = {}
        for case, folder in folders.items():
            with opened(folder) as window:
                found[case] = {"from the command to the first answer": {"seconds": window.seconds, "cpu": window.cpu_seconds()}}
                for name, (path, form, held) in pages_of(window).items():
                    answers = [window.ask(path, form) for _ in range(options.repeats)]
                    assert all(held in text for _, _, text in answers), (case, name)
                    least = {"seconds": min(one[0] for one in answers), "cpu": min(one[1] for one in answers)}
                    found[case] |= {name: least, f"{name}, the first time": {"seconds": answers[0][0], "cpu": answers[0][1]}}
            if case.endswith("pictures"):
                with opened(folder) as window:
                    found[case]["its files are counted"] = counted(window)
    small = found["1 job"]
    for case, times in found.items():
        for name, taken in times.items():
            ratio = f"{taken['seconds'] / small[name]['seconds']:6.1f} x" if name in small else ""
            print(f"{case:16} {name:40} {taken['seconds']:7.3f} s {taken['cpu']:7.3f} s of CPU {ratio}")
    load = psutil.getloadavg()
    print(f"The machine has {psutil.cpu_count()} cores; its load was {load[1]:.1f} in the last five minutes.")
    if options.json:
        conditions = {"cores": psutil.cpu_count(), "load": [round(one, 2) for one in load], "repeats": options.repeats}
        options.json.write_text(json.dumps({"conditions": conditions, "found": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
