"""The settings and versions of a run: what is needed to repeat it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from nstpipe.config import Pipeline
from nstpipe.config.dump import as_yaml
from nstpipe.errors import MachineError
from nstpipe.media.video import ffmpeg_program
from nstpipe.style import ALGORITHM_VERSION
from nstpipe.style.weights_files import weights_sha256
from nstpipe.system.devices import choose_device
from nstpipe.version import __version__


@dataclass(frozen=True)
class Provenance:
    """What a run was done with.

    Attributes:
        nstpipe: version.
        algorithm: version; the same settings give the same pictures as long as it stays.
        python: version.
        torch: version.
        ffmpeg: version.
        system: operating system and processor.
        device: where the engine computed.
        precision: of the network's numbers.
        weights_sha256: what identifies VGG19's weights.
        seed: of all that is random.
        pipeline: the whole pipeline.yaml, with defaults, environment and command line filled in.
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
        """Describe a run that begins here and now. This imports torch.

        Raises:
            MachineError: the device or the weights are missing.
        """
        import torch

        from nstpipe.style.precision import choose_precision

        device = choose_device(pipeline.device)
        return cls(
            nstpipe=__version__,
            algorithm=str(ALGORITHM_VERSION),
            python=platform.python_version(),
            torch=str(torch.__version__),
            ffmpeg=_ffmpeg_version(),
            system=f"{platform.system()} {platform.release()}, {platform.machine()}",
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
            precision=str(choose_precision(pipeline.precision, device)).removeprefix("torch."),
            weights_sha256=weights_sha256(pipeline.weights),
            seed=str(pipeline.seed),
            pipeline=as_yaml(pipeline),
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Provenance:
        """From what `as_json` gave, in this version of nstpipe or in another."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: str(text) for name, text in value.items() if name in known})

    def as_json(self) -> dict[str, str]:
        """With nothing but JSON's own types."""
        return asdict(self)


def _ffmpeg_version() -> str:
    try:
        return ffmpeg_program.version()
    except MachineError:
        return "none"  # pictures need none
