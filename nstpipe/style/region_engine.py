"""What the engines have in common whose stylizers paint regions in the colors of their paintings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from torch import Tensor

from nstpipe.style.color import color_statistics
from nstpipe.style.color_transfer import ColorTransfer
from nstpipe.style.region_stylizer import RegionStylizer
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture

StylizerKind = TypeVar("StylizerKind", bound=RegionStylizer[Any])


class RegionEngine(ABC, Generic[StylizerKind]):
    """An `nstpipe.style.engine.Engine` but for `take_less_memory`.

    Args:
        settings: everything that decides the result, except for the pictures.
        styles: the paintings of the whole picture, or of what belongs to no region.
        regions: what each region is painted with.
    """

    def __init__(self, settings: EngineSettings, styles: Sequence[StylePicture], regions: Sequence[RegionPaint]) -> None:
        self.settings = settings
        self.paints = (RegionPaint(tuple(styles), settings.strength, settings.style_scale), *regions)
        self._shared_stylizer: StylizerKind | None = None

    @property
    def needs_first_frame(self) -> bool:
        """Whether the result takes colors from the clip's first frame."""
        return self.settings.color != "style"

    def stylizer(self, first_content: Tensor | None) -> StylizerKind:
        """See `nstpipe.style.engine.Engine.stylizer`. All clips share one stylizer where colors are the paintings' own."""
        if self.needs_first_frame and first_content is not None:
            return self._stylizer(ColorTransfer(self.settings.color, color_statistics(first_content)))
        if self._shared_stylizer is None:
            self._shared_stylizer = self._stylizer(ColorTransfer(self.settings.color))
        return self._shared_stylizer

    @abstractmethod
    def _stylizer(self, colors: ColorTransfer) -> StylizerKind:
        """Return a stylizer that paints in these colors."""
