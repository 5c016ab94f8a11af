"""What settings and plans know of the engines, without loading torch. The engines themselves are in `nstpipe.style.engines`."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_ENGINE = "optimizer"


@dataclass(frozen=True)
class EngineTraits:
    """What must be known of an engine before it paints.

    Attributes:
        iterates: whether it optimizes each frame in iterations. An engine that does not, such as a network, paints a frame in
            one pass, which counts as one unit of work.
    """

    iterates: bool


ENGINE_TRAITS: dict[str, EngineTraits] = {
    DEFAULT_ENGINE: EngineTraits(iterates=True),
}
"""By the name that `engine` has in a pipeline.yaml. The names are those of `nstpipe.style.engines.ENGINES`."""
