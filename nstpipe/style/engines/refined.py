"""An engine whose results the optimizer goes on with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from nstpipe.style.engine import FIRST_STEP_NEARBY, Engine, Iterate, MinimizeOptions, Stylizer
from nstpipe.style.engines.optimizer import OptimizerEngine
from nstpipe.style.objective import TemporalTarget


@dataclass(frozen=True, eq=False)
class RefinedEngine:
    """Paints by one engine, and refines the result by the optimizer. It is an `nstpipe.style.engine.Engine`.

    Attributes:
        first: the engine that paints.
        then: the optimizer, with the same settings and paintings.
    """

    first: Engine
    then: OptimizerEngine

    @property
    def needs_first_frame(self) -> bool:
        """Whether one of the two takes colors from the clip's first frame."""
        return self.first.needs_first_frame or self.then.needs_first_frame

    def stylizer(self, first_content: Tensor | None) -> RefinedStylizer:
        """See `nstpipe.style.engine.Engine.stylizer`."""
        return RefinedStylizer(self.first.stylizer(first_content), self.then.stylizer(first_content))

    def take_less_memory(self, height: int, width: int) -> int | None:
        """See `nstpipe.style.engine.Engine.take_less_memory`. Both take less; the smaller of the new sides is returned."""
        sides = (self.first.take_less_memory(height, width), self.then.take_less_memory(height, width))
        return min((side for side in sides if side is not None), default=None)


@dataclass(frozen=True, eq=False)
class RefinedStylizer:
    """Paints the frames of one clip, and refines them. It is an `nstpipe.style.engine.Stylizer`.

    Attributes:
        first: paints.
        then: refines. How frames and results are shown is the optimizer's matter, too.
    """

    first: Stylizer
    then: Stylizer

    def masked(self, masks: Tensor | None) -> RefinedStylizer:
        """See `nstpipe.style.engine.Stylizer.masked`."""
        return replace(self, first=self.first.masked(masks), then=self.then.masked(masks))

    def seen(self, content: Tensor) -> Tensor:
        """See `nstpipe.style.engine.Stylizer.seen`."""
        return self.then.seen(content)

    def first_start(self, content: Tensor, init: str, seed: int) -> Tensor:
        """See `nstpipe.style.engine.Stylizer.first_start`. The optimizer starts from the other engine's result instead."""
        return self.then.first_start(content, init, seed)

    def shown(self, image: Tensor, content: Tensor) -> Tensor:
        """See `nstpipe.style.engine.Stylizer.shown`."""
        return self.then.shown(image, content)

    def stylize(
        self,
        content: Tensor,
        start: Tensor,
        options: MinimizeOptions,
        *,
        temporal_target: TemporalTarget | None = None,
        wrapped: bool = False,
    ) -> Iterator[Iterate]:
        """Yield the iterates of the refinement; see `nstpipe.style.engine.Stylizer.stylize`.

        Raises:
            ItemError: the frame cannot be painted by one of the two.
        """
        *_, painted = self.first.stylize(content, start, options, temporal_target=temporal_target, wrapped=wrapped)
        nearby = replace(options, scales=1, first_step=FIRST_STEP_NEARBY)
        yield from self.then.stylize(content, painted.image.cpu(), nearby, temporal_target=temporal_target, wrapped=wrapped)
