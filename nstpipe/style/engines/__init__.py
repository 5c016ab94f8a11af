"""The engines, by the names that settings call them. A new engine is a file in this folder and a row in this table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nstpipe.style.engine import Engine
from nstpipe.style.engines.networks import OnePassEngine
from nstpipe.style.engines.optimizer import OptimizerEngine
from nstpipe.style.engines.refined import RefinedEngine
from nstpipe.style.engines.transformation import TransformationEngine
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture

EngineFactory = Callable[[EngineSettings, Sequence[StylePicture], Sequence[RegionPaint]], Engine]
"""Makes an engine from a job's settings, the paintings of the whole picture, and what each region is painted with."""

ENGINES: dict[str, EngineFactory] = {
    "optimizer": OptimizerEngine,
    "adain": OnePassEngine,
    "iecontrast": OnePassEngine,
    "network": TransformationEngine,
}


def make_engine(settings: EngineSettings, styles: Sequence[StylePicture], regions: Sequence[RegionPaint] = ()) -> Engine:
    """Make the engine that the settings name.

    Args:
        settings: everything that decides the result, except for the pictures.
        styles: the paintings of the whole picture, or of what belongs to no region.
        regions: what each region is painted with.

    Raises:
        MachineError: the engine lacks something on this machine, such as its weights or the device.
    """
    engine = ENGINES[settings.engine.name](settings, styles, regions)
    if settings.engine.refinement:
        return RefinedEngine(engine, OptimizerEngine(settings, styles, regions))
    return engine
