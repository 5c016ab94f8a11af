"""Describes the settings and versions of a run, which are needed to repeat it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from nstpipe.config import Pipeline
from nstpipe.config.dump import as_yaml
from nstpipe.errors import MachineError
from nstpipe.events import ClipStarted
from nstpipe.media.video import ffmpeg_program
from nstpipe.style import ALGORITHM_VERSION
from nstpipe.style.weights_files import weights_sha256
from nstpipe.version import __version__


@dataclass(frozen=True)
class Provenance:
    """The settings and versions of a run.

    Attributes:
        nstpipe: The version of nstpipe.
        algorithm: The version of the algorithm. While it stays, the same settings give the same pictures.
        python: The version of Python.
        torch: The version of torch.
        ffmpeg: The version of ffmpeg.
        system: The operating system and the processor.
        device: The device that the engine computed on.
        precision: The data type that the network computed in.
        weights_sha256: The hash of VGG19's weights.
        seed: The seed of all random numbers.
        pipeline: The whole pipeline.yaml, with defaults, environment and command line filled in.
    """

    nstpipe: str = ""
    algorithm: str = ""
    python: str = ""
    torch: str = ""
    ffmpeg: str = ""
    system: str = ""
    device: str = ""
    precision: str = ""
    weights_sha256: str = ""
    seed: str = ""
    pipeline: str = ""

    @classmethod
    def of(cls, pipeline: Pipeline) -> Provenance:
        """Describe a run that begins now on this machine, without what only a process that paints knows; see `with_engine`.

        Raises:
            MachineError: The weights are missing.
        """
        return cls(
            nstpipe=__version__,
            algorithm=str(ALGORITHM_VERSION),
            python=platform.python_version(),
            ffmpeg=_ffmpeg_version(),
            system=f"{platform.system()} {platform.release()}, {platform.machine()}",
            weights_sha256=weights_sha256(pipeline.weights),
            seed=str(pipeline.seed),
            pipeline=pipeline.remotes.shown(as_yaml(pipeline)),
        )

    def with_engine(self, clip: ClipStarted) -> Provenance:
        """Return the description with the engine of a clip: the process that paints tells the version, device and precision."""
        return replace(self, torch=clip.torch, device=clip.device, precision=clip.precision)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Provenance:
        """Read what `as_json` returned, in this version of nstpipe or in another."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: str(text) for name, text in value.items() if name in known})

    def as_json(self) -> dict[str, str]:
        """Return the fields as values that JSON can hold."""
        return asdict(self)


def _ffmpeg_version() -> str:
    try:
        return ffmpeg_program.version()
    except MachineError:
        return "none"  # pictures need none
