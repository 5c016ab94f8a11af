"""What a run reads and writes, which each worker of a cluster must see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nstpipe.config import Pipeline


@dataclass(frozen=True)
class Reads:
    """What a run reads and writes, beside the work folder, and how.

    Attributes:
        inputs: Files and folders that it reads.
        outputs: Folders that it writes to, or those above them.
        weights: VGG19's weights, as in the pipeline.
        device: The device, as in the pipeline.
        job: The name of a job, for notices.
    """

    inputs: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()
    weights: str | Path = "bundled"
    device: str = "cpu"
    job: str = ""

    @classmethod
    def of(cls, pipeline: Pipeline) -> Reads:
        """Return what a pipeline reads and writes."""
        inputs: list[Path] = []
        for job in pipeline.jobs:
            flow = [job.temporal.flow] if isinstance(job.temporal.flow, Path) else []
            start = [job.init] if isinstance(job.init, Path) else []
            styles = [image.path for image in job.style.images]
            of_regions = [image.path for region in job.regions if region.style for image in region.style.images]
            masks = [region.mask for region in job.regions]
            inputs += (job.input, *styles, *of_regions, *masks, *flow, *start, *job.engine.files.values())
        if isinstance(pipeline.weights, Path):
            inputs.append(pipeline.weights)
        return cls(
            inputs=tuple(dict.fromkeys(_existing(path) for path in inputs)),
            outputs=tuple(dict.fromkeys(_existing(job.output.parent) for job in pipeline.jobs)),
            weights=pipeline.weights,
            device=pipeline.device_of_process,
            job=pipeline.jobs[0].name,
        )


def _existing(path: Path) -> Path:
    """Return a path, or the nearest folder above it that exists. An input may be a pattern."""
    return next(place for place in (path, *path.parents) if place.exists())
