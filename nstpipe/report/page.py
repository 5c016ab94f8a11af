"""Writes the report of a run: one HTML file that needs no other files."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from contextlib import suppress
from functools import partial
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nstpipe.config import Pipeline
from nstpipe.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_SOME_FAILED, EXIT_STOPPED, EXIT_TERMINATED
from nstpipe.journal.journal import Journal
from nstpipe.planning.eta import as_duration
from nstpipe.report.data import MOST_FAILURES, PICTURE_SECONDS, ReportData, gather
from nstpipe.storage.remotes import Remotes
from nstpipe.system.files import MOST_NAMED, atomic_write, is_numbered

REPORT_NAME = "report.html"
"""The name of the latest run's report in the work folder."""

REPORTS = "reports"
"""The folder in the work folder that keeps the report of each run that did something, by the run's name."""

REPORTS_KEPT = 100
"""Number of reports that are kept, like logs. Older ones are deleted when a report is written."""

MOST_EARLIER = 30
"""The most earlier reports that a report names. The folder has all of them."""

MARK = "nstpipe report"
"""Stands in the title of each report, so that a later one may replace it."""


def write_report(pipeline: Pipeline, journal: Journal, path: Path, *, picture_seconds: float = PICTURE_SECONDS) -> None:
    """Write the report of a pipeline's latest run.

    Args:
        pipeline: The pipeline with the jobs to report.
        journal: The journal of its work folder.
        path: The path of the file.
        picture_seconds: The seconds after which no more thumbnails are begun.

    Raises:
        OutputError: The file cannot be written.
    """
    _write(gather(pipeline, journal, picture_seconds=picture_seconds), path, pipeline.remotes)


def leave_report(pipeline: Pipeline, journal: Journal, run: str, shard: Path | None = None) -> Path:
    """Write the report of a run that has ended under the run's name, and as the newest one.

    A run that found nothing to do leaves the newest report as it is.

    Args:
        pipeline: The pipeline with the jobs of the run.
        journal: The journal of its work folder.
        run: The name of the run.
        shard: The folder of the shard whose run it is; None for a run without shards. The report of a shard is in its folder.

    Returns:
        The path of the newest report.

    Raises:
        OutputError: The file cannot be written.
    """
    if shard is not None:
        _write(gather(pipeline, journal), shard / REPORT_NAME, pipeline.remotes)
        return shard / REPORT_NAME
    newest = pipeline.work / REPORT_NAME
    latest = journal.latest_run_with_work()
    if newest.is_file() and latest is not None and latest.name != run:
        return newest
    facts = gather(pipeline, journal)
    kept = pipeline.work / REPORTS
    _write(facts, kept / f"{run}.html", pipeline.remotes)
    _write(facts, newest, pipeline.remotes)
    for old in _reports_in(kept)[REPORTS_KEPT:]:
        with suppress(OSError):
            old.unlink()
    return newest


def _write(facts: ReportData, path: Path, remotes: Remotes) -> None:
    html = as_html(facts, path, remotes)
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(html.encode("utf-8", "replace"))  # a path may hold bytes that are not UTF-8


def _reports_in(folder: Path) -> list[Path]:
    """Return the reports of earlier runs, the newest first. Their names begin with the time of their runs."""
    return sorted(folder.glob("*.html"), key=lambda path: path.name, reverse=True)


def _earlier(facts: ReportData, path: Path) -> list[tuple[str, str]]:
    """Return the links and names of the reports of other runs than the one that is reported, the newest first."""
    others = [other for other in _reports_in(Path(facts.work) / REPORTS) if other.stem != facts.run and other != path]
    return [(link_to(other, path), _time_in(other.stem)) for other in others[:MOST_EARLIER]]


def _time_in(run: str) -> str:
    """Return the time in the name of a run, for people; the name itself if there is none."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.strptime(run[:15], "%Y%m%d-%H%M%S"))
    except ValueError:
        return run


def link_to(target: str | Path, page: Path) -> str:
    """Return the address of a file as a link of a page on the same disk. Both may be moved together.

    Of numbered pictures, the link leads to their folder.
    """
    target = Path(target).parent if is_numbered(Path(target)) else Path(target)
    try:
        relative = os.path.relpath(target.absolute(), page.absolute().parent)
    except ValueError:  # on another drive of Windows
        return target.absolute().as_uri()
    return quote(os.fsencode(Path(relative).as_posix()))


def as_html(facts: ReportData, path: Path | None = None, remotes: Remotes | None = None) -> str:
    """Return the page. Everything that comes from outside is escaped.

    Args:
        facts: What the page says.
        path: Where the page will stand, for its links; None for the place of the newest report.
        remotes: The addresses that paths stand for; None if they stand for none.
    """
    remotes = remotes if remotes is not None else Remotes({})
    path = path if path is not None else Path(facts.work) / REPORT_NAME
    environment = Environment(
        loader=PackageLoader("nstpipe.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    link = partial(_link_to_any, page=path, remotes=remotes)
    environment.filters |= {"link": link, "duration": as_duration, "moment": _moment, "iso": _iso}
    script = _template("report.js")
    page = environment.get_template("report.html").render(
        facts=facts,
        headline=headline(facts),
        state=_state(facts),
        tiles=_tiles(facts),
        setup=_setup(facts),
        most_failures=MOST_FAILURES,
        most_named=MOST_NAMED,
        earlier=_earlier(facts, path),
        style=Markup(_template("report.css")),
        script=Markup(script),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return remotes.shown(page)


def _link_to_any(target: str | Path, page: Path, remotes: Remotes) -> str:
    """Return the address of a file as a link; see `link_to`. That of a remote file is the file's own."""
    address = remotes.address_of(Path(target))
    return str(address) if address is not None else link_to(target, page)


def _template(name: str) -> str:
    return resources.files("nstpipe.report").joinpath("templates", name).read_text(encoding="utf-8")


def headline(facts: ReportData) -> str:
    """Say in a few words how the run ended."""
    failed = len(facts.failures)
    left = sum(job.left for job in facts.jobs)
    said = {
        EXIT_DONE: "All done",
        EXIT_SOME_FAILED: f"Finished, but {failed} could not be done" if not left else f"{failed} failed, {left} left",
        EXIT_STOPPED: f"Stopped in time, with {left} left",
        EXIT_INTERRUPTED: f"Interrupted, with {left} left",
        EXIT_TERMINATED: f"Terminated, with {left} left",
    }
    if facts.started_at is None:
        return "No run yet"
    if facts.exit_code is None:
        return "Not finished: still running, or killed"
    return said.get(facts.exit_code, f"Ended early, with exit code {facts.exit_code}")


def _state(facts: ReportData) -> str:
    if facts.exit_code == EXIT_DONE:
        return "good"
    return "some" if facts.exit_code in (EXIT_SOME_FAILED, EXIT_STOPPED, None) else "bad"


def _tiles(facts: ReportData) -> list[tuple[str, str, str]]:
    jobs = facts.jobs
    left, failed = sum(job.left for job in jobs), len(facts.failures)
    seconds = sum(job.seconds for job in jobs)
    return [
        (f"{sum(job.made for job in jobs):,}", "made now", ""),
        (f"{sum(job.before for job in jobs):,}", "made before", ""),
        (f"{failed:,}", "failed", "bad" if failed else ""),
        (f"{left:,}", "left", "some" if left else ""),
        (f"{sum(job.frames_done for job in jobs):,}", "frames painted", ""),
        (as_duration(seconds), "of painting", ""),
    ]


def _setup(facts: ReportData) -> list[tuple[str, str]]:
    setup = facts.setup
    known = [
        ("nstpipe", f"{setup.nstpipe} (algorithm {setup.algorithm})" if setup.nstpipe else ""),
        ("Python", setup.python),
        ("torch", setup.torch),
        ("ffmpeg", setup.ffmpeg),
        ("system", setup.system),
        ("device", f"{setup.device}, {setup.precision}" if setup.device else ""),
        ("processes", str(facts.workers) if facts.workers else ""),
        ("seed", setup.seed),
        ("VGG19's weights, sha256", setup.weights_sha256),
        ("work folder", facts.work),
        ("log", facts.log),
    ]
    return [(label, value) for label, value in known if value]


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))
