"""The engine that optimizes each frame (Gatys, Ecker, Bethge 2016), ready for any number of frames."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nstpipe.style.color import color_statistics
from nstpipe.style.model import StyleModel
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture
from nstpipe.style.stylizer import Stylizer


class Engine(StyleModel):
    """A style model whose `stylizer` gives the style as one clip sees it; see `StyleModel` for the arguments."""

    def __init__(self, settings: EngineSettings, styles: Sequence[StylePicture], regions: Sequence[RegionPaint] = ()) -> None:
        super().__init__(settings, styles, regions)
        self._shared_stylizer: Stylizer | None = None

    def stylizer(self, first_content: Tensor | None) -> Stylizer:
        """The style for a clip.

        Args:
            first_content: of the clip's first frame, 1 x 3 x height x width, RGB, 0 to 1. The colors that the style is
                adapted to, where it is, are this frame's for the whole clip: they must not drift. With
                ``color: style`` it is not needed.
        """
        if self.settings.color != "style" and first_content is not None:
            return Stylizer(self, color_statistics(first_content))
        if self._shared_stylizer is None:
            self._shared_stylizer = Stylizer(self, None)
        return self._shared_stylizer
