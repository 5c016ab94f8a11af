"""Pixels as tensors and back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nstpipe.media.frame import Pixels


def tensor_of(pixels: Pixels) -> Tensor:
    """From height x width x 3, 0 to 255 or 65535, to 1 x 3 x height x width, float32, 0 to 1."""
    return tensor_of_floats(pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max))


def tensor_of_floats(picture: NDArray[np.float32]) -> Tensor:
    """From height x width x 3, 0 to 1, to 1 x 3 x height x width, float32, 0 to 1."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()


def pixels_of(image: Tensor, bits: int = 8) -> Pixels:
    """From a tensor to height x width x 3, rounded: truncation would darken by half a level.

    Args:
        image: 1 x 3 x height x width, 0 to 1.
        bits: 8 for one byte per value; more for two bytes.
    """
    if bits > 8:
        wide = (image[0].clamp(0, 1) * 65535).round().to(torch.int32)
        return wide.permute(1, 2, 0).contiguous().cpu().numpy().astype(np.uint16)
    scaled = (image[0].clamp(0, 1) * 255).round().to(torch.uint8)
    return scaled.permute(1, 2, 0).contiguous().cpu().numpy()
