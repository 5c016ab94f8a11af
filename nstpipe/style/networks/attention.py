"""The attention of IEContraAST: two SANets and the convolution that merges them (Park and Lee 2019; Chen et al. 2021).

The names of the weights are those of github.com/HalbertCH/IEContraAST: ``sanet4_1.f.weight``, ``merge_conv.weight`` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nstpipe.style.networks.statistics import Statistics, statistics_of

CHANNELS = 512

ATTENDED_LAYERS = ("relu4_1", "relu5_1")
"""The layers with an attention module each."""

SCORES_AT_ONCE = 1 << 25
"""The most scores, positions of the content times positions of the style, that are computed at once. torch's attention needs no
memory for them on most devices, but does on some. 128 MB hold so many. The result does not depend on it."""


@dataclass(frozen=True, eq=False)
class Keys:
    """What an attention module keeps of a style.

    Attributes:
        keys: pictures x positions x channels, float32.
        values: of the same shape.
    """

    keys: Tensor
    values: Tensor


class SANet(nn.Module):
    """A style-attentional network (Park and Lee 2019, "Arbitrary Style Transfer with Style-Attentional Networks", section 3.2).

    Each position of the content takes the style's activations, in shares that depend on how alike the normalized activations
    are: O = softmax(f(norm(F_c))ᵀ g(norm(F_s))) h(F_s). A 1 x 1 convolution follows, and the content is added.
    """

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.g = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.h = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.out_conv = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def keys(self, style: Tensor, weight: Tensor | None = None) -> Keys:
        """Return what is kept of a style's activations.

        Args:
            style: pictures x 512 x height x width, float32.
            weight: 1 x 1 x height x width: how much paint there is at each position; None if it is everywhere. Positions that
                are mostly without paint are not attended to.
        """
        keys = _by_position(self.g(statistics_of(style, weight).normalized(style)))
        values = _by_position(self.h(style))
        if weight is not None and bool((painted := weight.flatten() >= weight.max() / 2).any()):
            keys, values = keys[:, painted], values[:, painted]
        return Keys(keys, values)

    def queries(self, content: Tensor, statistics: Statistics) -> Tensor:
        """Return the queries of a content's activations, pictures x positions x channels.

        Args:
            content: pictures x 512 x height x width, float32.
            statistics: those with which it is normalized.
        """
        return _by_position(self.f(statistics.normalized(content)))

    def attended(self, queries: Tensor, styles: Sequence[tuple[float, Keys]]) -> Tensor:
        """Return what the queries find in styles, each with its share, pictures x positions x channels."""
        found = torch.zeros_like(queries)
        for share, style in styles:
            at_once = max(1, SCORES_AT_ONCE // style.keys.shape[1])
            parts = [_attention(part, style) for part in queries.split(at_once, dim=1)]
            found = found + share * torch.cat(parts, dim=1)
        return functional.linear(found, self.out_conv.weight[:, :, 0, 0], self.out_conv.bias)


def _by_position(activation: Tensor) -> Tensor:
    return activation.flatten(2).transpose(1, 2).contiguous()


def _attention(queries: Tensor, style: Keys) -> Tensor:
    # The paper does not scale the products.
    return functional.scaled_dot_product_attention(
        queries[:, None], style.keys[:, None], style.values[:, None], scale=1.0
    ).squeeze(1)


class Transformer(nn.Module):
    """Two SANets, on relu4_1 and relu5_1, whose results are added and merged by a 3 x 3 convolution with reflection padding."""

    def __init__(self) -> None:
        super().__init__()
        self.sanet4_1 = SANet()
        self.sanet5_1 = SANet()
        self.merge_conv = nn.Conv2d(CHANNELS, CHANNELS, 3)

    @property
    def modules_by_layer(self) -> Mapping[str, SANet]:
        """The attention modules by the layer that they work on."""
        return dict(zip(ATTENDED_LAYERS, (self.sanet4_1, self.sanet5_1), strict=True))

    def keys(self, style: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None = None) -> dict[str, Keys]:
        """Return what is kept of a style, by layer.

        Args:
            style: the activations of `ATTENDED_LAYERS`.
            weights: how much paint there is at the positions of each layer; None if it is everywhere.
        """
        return {
            layer: sanet.keys(style[layer].float(), weights[layer] if weights is not None else None)
            for layer, sanet in self.modules_by_layer.items()
        }

    def merged(self, attended: Mapping[str, Tensor]) -> Tensor:
        """Return the merged activations of relu4_1 for those of `ATTENDED_LAYERS`, pictures x 512 x height x width."""
        near, far = (attended[layer] for layer in ATTENDED_LAYERS)
        together = near + upsampled(far, near)
        return cast(Tensor, self.merge_conv(functional.pad(together, (1, 1, 1, 1), mode="reflect")))

    def forward(self, content: Mapping[str, Tensor], style: Mapping[str, Tensor]) -> Tensor:
        """Return the stylized activations of relu4_1, for whole pictures with a style each.

        Args:
            content: the activations of `ATTENDED_LAYERS`.
            style: those of as many styles.
        """
        kept = self.keys(style)
        attended = {}
        for layer, sanet in self.modules_by_layer.items():
            activation = content[layer].float()
            found = sanet.attended(sanet.queries(activation, statistics_of(activation)), [(1.0, kept[layer])])
            attended[layer] = found.transpose(1, 2).reshape(activation.shape) + activation
        return self.merged(attended)


def upsampled(far: Tensor, near: Tensor) -> Tensor:
    """Return the activations of relu5_1 at the size of relu4_1: each position stands for 2 x 2.

    This is what nearest upsampling to a given size does, also where relu4_1 has an odd side.
    """
    height, width = near.shape[-2:]
    return far.repeat_interleave(2, dim=2)[:, :, :height].repeat_interleave(2, dim=3)[..., :width]
