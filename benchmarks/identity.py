"""An engine that returns each frame as it is, so that a run takes only what surrounds the engine.

Importing this module gives it a row in the tables of engines, in this process only. `run_identity_clip` does so in a worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from nstpipe.config.engines import ENGINE_TRAITS, EngineTraits
from nstpipe.events import Emit
from nstpipe.painting.clip import run_clip
from nstpipe.painting.task import ClipResult, ClipTask
from nstpipe.style.engine import Iterate, MinimizeOptions
from nstpipe.style.engines import ENGINES
from nstpipe.style.objective import TemporalTarget
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture
from nstpipe.system.stop import Stop

IDENTITY = "identity"


class IdentityEngine:
    """An `nstpipe.style.engine.Engine` that takes no time. It is also its own stylizer."""

    needs_first_frame = False

    def __init__(self, settings: EngineSettings, styles: Sequence[StylePicture], regions: Sequence[RegionPaint] = ()) -> None:
        pass

    def stylizer(self, first_content: Tensor | None) -> IdentityEngine:
        return self

    def take_less_memory(self, height: int, width: int) -> int | None:
        return None

    def masked(self, masks: Tensor | None) -> IdentityEngine:
        return self

    def seen(self, content: Tensor) -> Tensor:
        return content

    def first_start(self, content: Tensor, init: str, seed: int) -> Tensor:
        return content

    def stylize(
        self,
        content: Tensor,
        start: Tensor,
        options: MinimizeOptions,
        *,
        temporal_target: TemporalTarget | None = None,
        wrapped: bool = False,
    ) -> Iterator[Iterate]:
        yield Iterate(content)

    def shown(self, image: Tensor, content: Tensor) -> Tensor:
        return image


ENGINES[IDENTITY] = IdentityEngine
ENGINE_TRAITS[IDENTITY] = EngineTraits(iterates=False)


def run_identity_clip(task: ClipTask, emit: Emit, stop: Stop) -> ClipResult:
    """Run a clip in a worker, which finds this function, and with it the engine, by its name."""
    return run_clip(task, emit, stop)
