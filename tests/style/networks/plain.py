"""The two papers written down again, as plainly as possible, to compare nstpipe's networks with.

Huang and Belongie 2017, sections 5 and 6.1; Chen et al. 2021, sections 3.2 to 3.4; Park and Lee 2019, section 3.2. Nothing here
comes from nstpipe.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

EPS = 1e-5

ENCODER_STEPS = (
    "1", "conv 2", "relu1_1", "conv 5", "relu", "pool", "conv 9", "relu2_1", "conv 12", "relu", "pool",
    "conv 16", "relu3_1", "conv 19", "relu", "conv 22", "relu", "conv 25", "relu", "pool",
    "conv 29", "relu4_1", "conv 32", "relu", "conv 35", "relu", "conv 38", "relu", "pool", "conv 42", "relu5_1",
)  # fmt: skip


def convolved(state: Mapping[str, Tensor], place: int, x: Tensor) -> Tensor:
    around = functional.pad(x, (1, 1, 1, 1), mode="reflect")
    return functional.conv2d(around, state[f"{place}.weight"], state[f"{place}.bias"])


def encoded(state: Mapping[str, Tensor], image: Tensor) -> dict[str, Tensor]:
    found = {}
    x = image
    for step in ENCODER_STEPS:
        if step == "1":
            x = functional.conv2d(x, state["0.weight"], state["0.bias"])
        elif step.startswith("conv"):
            x = convolved(state, int(step.split()[1]), x)
        elif step == "pool":
            x = functional.max_pool2d(x, 2, 2, ceil_mode=True)
        else:
            x = x.clamp_min(0)
            if step != "relu":
                found[step] = x
    return found


def decoded(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    for place in (1, 5, 8, 11, 14, 18, 21, 25, 28):
        x = convolved(state, place, x)
        if place != 28:
            x = x.clamp_min(0)
        if place in (1, 14, 21):
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return x


def mean_and_deviation(x: Tensor) -> tuple[Tensor, Tensor]:
    pictures, channels = x.shape[:2]
    values = x.reshape(pictures, channels, -1)
    mean = values.sum(dim=2) / values.shape[2]
    variance = ((values - mean[..., None]) ** 2).sum(dim=2) / values.shape[2]
    return mean[..., None, None], (variance + EPS).sqrt()[..., None, None]


def adain(content: Tensor, style: Tensor) -> Tensor:
    """Equation 8."""
    (content_mean, content_deviation), (style_mean, style_deviation) = mean_and_deviation(content), mean_and_deviation(style)
    return style_deviation * (content - content_mean) / content_deviation + style_mean


def normalized(x: Tensor) -> Tensor:
    mean, deviation = mean_and_deviation(x)
    return (x - mean) / deviation


def sanet(state: Mapping[str, Tensor], name: str, content: Tensor, style: Tensor) -> Tensor:
    """One position after another, as the sum over all positions of the style that equation 3 of Park and Lee is."""
    query = functional.conv2d(normalized(content), state[f"{name}.f.weight"], state[f"{name}.f.bias"])
    key = functional.conv2d(normalized(style), state[f"{name}.g.weight"], state[f"{name}.g.bias"])
    value = functional.conv2d(style, state[f"{name}.h.weight"], state[f"{name}.h.bias"])
    result = torch.empty_like(content)
    for picture in range(len(content)):
        keys, values = key[picture].flatten(1), value[picture].flatten(1)
        for row in range(content.shape[2]):
            for column in range(content.shape[3]):
                scores = query[picture, :, row, column] @ keys
                shares = (scores - scores.max()).exp()
                result[picture, :, row, column] = values @ (shares / shares.sum())
    return functional.conv2d(result, state[f"{name}.out_conv.weight"], state[f"{name}.out_conv.bias"]) + content


def merged(state: Mapping[str, Tensor], near: Tensor, far: Tensor) -> Tensor:
    larger = functional.interpolate(far, size=near.shape[-2:], mode="nearest")
    around = functional.pad(near + larger, (1, 1, 1, 1), mode="reflect")
    return functional.conv2d(around, state["merge_conv.weight"], state["merge_conv.bias"])


def transformed(state: Mapping[str, Tensor], content: Mapping[str, Tensor], style: Mapping[str, Tensor]) -> Tensor:
    near = sanet(state, "sanet4_1", content["relu4_1"], style["relu4_1"])
    return merged(state, near, sanet(state, "sanet5_1", content["relu5_1"], style["relu5_1"]))
