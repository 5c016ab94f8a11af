"""What AdaIN and IEContraAST do with the activations of a frame: the part of a network between its encoder and its decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from nstpipe.style.networks.attention import ATTENDED_LAYERS, Keys, Transformer
from nstpipe.style.networks.layers import DECODED_LAYER
from nstpipe.style.networks.statistics import Statistics, mixed, statistics_of

Kept = TypeVar("Kept")
"""What a transfer keeps of a style."""


@dataclass(frozen=True, eq=False)
class StyledPart(Generic[Kept]):
    """A style, and where in the frame it is wanted.

    Attributes:
        styles: what is kept of each painting, with its share; the shares add up to 1.
        weights: the weight of each position by layer, 1 x 1 x height x width; None if the style is wanted everywhere.
    """

    styles: Sequence[tuple[float, Kept]]
    weights: Mapping[str, Tensor] | None = None

    def weight(self, layer: str) -> Tensor | None:
        """Return the weight of each position of a layer, or None if all count alike."""
        return self.weights[layer] if self.weights is not None else None


class Transfer(Protocol[Kept]):
    """Gives the activations of a frame the style of paintings."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose activations are needed."""

    def kept(self, style: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None) -> Kept:
        """Return what is needed of a painting.

        Args:
            style: its activations by layer, 1 x channels x height x width.
            weights: how much paint there is at each position, by layer; None if it is everywhere.
        """

    def stylized(
        self, content: Mapping[str, Tensor], parts: Sequence[StyledPart[Kept]], alpha: float, columns: Mapping[str, slice]
    ) -> Tensor:
        """Return the activations that the decoder turns into the result, 1 x 512 x height x width, float32.

        Args:
            content: the frame's activations by layer.
            parts: the styles; at each position their weights add up to 1.
            alpha: how far the style is applied, 0 to 1.
            columns: the columns of each layer that count in statistics: those of a panorama without the strips beside it.
        """


class AdainTransfer:
    """Adaptive instance normalization: each channel gets the style's mean and deviation (Huang and Belongie 2017, equation 8).

    In a frame with regions, the statistics of each region's content are its own, as in section 7.2 of the paper.
    """

    layers = (DECODED_LAYER,)

    def kept(self, style: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None) -> Statistics:
        """Return the statistics of a painting."""
        return statistics_of(style[DECODED_LAYER], weights[DECODED_LAYER] if weights is not None else None)

    def stylized(
        self, content: Mapping[str, Tensor], parts: Sequence[StyledPart[Statistics]], alpha: float, columns: Mapping[str, slice]
    ) -> Tensor:
        """See `Transfer.stylized`. With `alpha`, the result is a mixture with the content's own activations (equation 14)."""
        activation = content[DECODED_LAYER].float()
        counted = columns[DECODED_LAYER]
        result = torch.zeros_like(activation)
        for part in parts:
            weight = part.weight(DECODED_LAYER)
            own = statistics_of(activation[..., counted], weight[..., counted] if weight is not None else None)
            found = mixed(list(part.styles)).applied(own.normalized(activation))
            result += found if weight is None else weight * found
        return torch.lerp(activation, result, alpha) if alpha < 1 else result


@dataclass(frozen=True, eq=False)
class AttentionTransfer:
    """The attention modules of IEContraAST.

    In a departure from the paper, `alpha` below 1 lets each position also attend to the content itself, with the share
    1 - alpha. The network is trained to give a picture back that is its own style (the identity losses).

    Attributes:
        transformer: the trained modules.
    """

    transformer: Transformer
    layers: tuple[str, ...] = ATTENDED_LAYERS

    def kept(self, style: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None) -> dict[str, Keys]:
        """Return the keys and values of a painting."""
        return self.transformer.keys(style, weights)

    def stylized(
        self,
        content: Mapping[str, Tensor],
        parts: Sequence[StyledPart[dict[str, Keys]]],
        alpha: float,
        columns: Mapping[str, slice],
    ) -> Tensor:
        """See `Transfer.stylized`. In a frame with regions, the attended activations are mixed before they are merged."""
        attended = {}
        for layer, sanet in self.transformer.modules_by_layer.items():
            activation = content[layer].float()
            counted = columns[layer]
            found = torch.zeros_like(activation).flatten(2)
            for part in parts:
                weight = part.weight(layer)
                own = statistics_of(activation[..., counted], weight[..., counted] if weight is not None else None)
                styles = [(alpha * share, keys[layer]) for share, keys in part.styles if alpha > 0]
                if alpha < 1:
                    styles.append((1 - alpha, sanet.keys(activation[..., counted])))
                queries = sanet.queries(activation, own)
                if weight is None:
                    found = sanet.attended(queries, styles).transpose(1, 2)
                    continue
                # Only where the style is wanted.
                wanted = weight.flatten() > 0
                values = sanet.attended(queries[:, wanted], styles).transpose(1, 2)
                found[..., wanted] += weight.flatten()[wanted] * values
            attended[layer] = found.reshape(activation.shape) + activation
        return self.transformer.merged(attended)
