"""Which colors the paintings, the frames and the results of a clip have."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nstpipe.config.models import Color
from nstpipe.style.color import (
    ColorStatistics,
    color_statistics,
    luminance,
    luminance_matched,
    match_color,
    with_colors_of,
)


@dataclass(frozen=True, eq=False)
class ColorTransfer:
    """Adapts colors as the setting ``color`` says.

    With ``style``, nothing is adapted. With ``content``, the style is transferred in luminance alone, and the result takes
    its colors from the frame. With ``matched``, the paintings take the clip's colors before their style is measured. These
    are sections 3 and 2 of Gatys, Bethge, Hertzmann, Shechtman 2016, "Preserving Color in Neural Artistic Style Transfer".

    Attributes:
        color: style, content or matched.
        reference: the colors of the clip's first frame; None leaves the paintings' colors as they are.
    """

    color: Color
    reference: ColorStatistics | None = None

    @property
    def is_in_luminance(self) -> bool:
        """Whether only luminance is transferred."""
        return self.reference is not None and self.color == "content"

    def adapted(self, painting: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return a painting in the colors whose style is to be measured.

        Args:
            painting: 1 x 3 x height x width.
            weight: height x width: how much each pixel counts in its colors; None if all count alike.
        """
        if self.reference is None:
            return painting
        if self.is_in_luminance:
            return luminance_matched(painting, self.reference, weight)
        return match_color(painting, self.reference, color_statistics(painting, weight))

    def seen(self, content: Tensor) -> Tensor:
        """Return a frame, 1 x 3 x height x width, as it is compared with the style: gray where only luminance counts."""
        return luminance(content).expand_as(content) if self.is_in_luminance else content

    def shown(self, image: Tensor, content: Tensor) -> Tensor:
        """Return a result with the colors of its frame where only luminance was transferred."""
        return with_colors_of(image, content) if self.is_in_luminance else image
