"""Finds out whether a worker of a cluster can be used: its versions, and whether it sees the folders of the run."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nstpipe.running.cluster.members import ClusterWorker, name_of
from nstpipe.running.cluster.reads import Reads
from nstpipe.running.cluster.worker import Expected, WorkerReport, examine, versions_here

if TYPE_CHECKING:
    from distributed import Client

_PROBE = ".nstpipe-probe"


@dataclass(frozen=True)
class _Probes:
    """Files that stand where a worker must see them, or is to write one.

    Attributes:
        content: Of each of them. No other run has the same.
        shown: The worker reads it in the work folder.
        answer: The worker writes it in the work folder.
        outputs: Those in folders of results. Folders that cannot be written to have none: the run says so of each output.
    """

    content: str
    shown: Path
    answer: Path
    outputs: tuple[Path, ...]


@contextmanager
def _probes(folder: Path, outputs: Sequence[Path]) -> Iterator[_Probes]:
    content = secrets.token_hex(16)
    shown, answer = folder / f"probe-{content[:8]}", folder / f"answer-{content[:8]}"
    written: list[Path] = []
    try:
        shown.write_text(content, encoding="ascii")
        for output in outputs:
            place = output / f"{_PROBE}-{content[:8]}"
            with suppress(OSError):
                place.write_text(content, encoding="ascii")
                written.append(place)
        yield _Probes(content, shown, answer, tuple(written))
    finally:
        for path in (shown, answer, *written):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def examined(client: Client, address: str, info: Mapping[str, Any], folder: Path, reads: Reads) -> ClusterWorker | str:
    """Return a worker that can be used, or why it cannot.

    Args:
        client: Is connected to the scheduler.
        address: The address of the worker.
        info: What the scheduler knows of it.
        folder: The folder of the leases in the work folder.
        reads: What it must see, too.
    """
    slots, name = int(info["nthreads"]), name_of(address, info)
    with _probes(folder, reads.outputs) as probes:
        expected = Expected(
            probe=probes.shown,
            content=probes.content,
            answer=probes.answer,
            inputs=tuple((path, path.stat().st_size if path.is_file() else None) for path in reads.inputs),
            outputs=probes.outputs,
            weights=reads.weights,
            device=reads.device,
            slots=slots,
        )
        report = client.run(examine, expected, workers=[address], on_error="return").get(address)
        problem = _problem_of(name, report, reads, probes)
    if problem or not isinstance(report, WorkerReport):
        return problem
    counted = int(info["resources"].get("GPU", 0))
    gpus = min(counted or len(report.gpus), len(report.gpus))
    return ClusterWorker(address, name, report, min(gpus, slots) or slots, bool(counted and gpus))


def _problem_of(name: str, report: object, reads: Reads, probes: _Probes) -> str:
    """Return why a worker cannot be used; empty if it can be."""
    if isinstance(report, ModuleNotFoundError):
        return f"worker {name} lacks nstpipe ({report}); install the same version there"
    if not isinstance(report, WorkerReport):
        return f"worker {name} does not answer: {report}"
    for (what, here), (_, there) in zip(versions_here(reads.weights), report.versions, strict=False):
        if here != there:
            return f"worker {name} has another version of {what}: {there}; this machine has {here}"
    if report.problems:
        return f"worker {name} on {report.host} {report.problems[0]}"
    try:
        written = probes.answer.read_text(encoding="ascii")
    except OSError:
        written = ""
    if written != probes.content:
        return f"worker {name} on {report.host} writes to another work folder than {probes.answer.parent.parent.parent}"
    return ""
