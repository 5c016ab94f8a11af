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
    # By NumPy, here and below: threads cost more than they save where other programs decode and encode at the same time.
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]


def pixels_of(image: Tensor, bits: int = 8) -> Pixels:
    """From a tensor to height x width x 3, rounded: truncation would darken by half a level.

    Args:
        image: 1 x 3 x height x width, 0 to 1.
        bits: 8 for one byte per value; more for two bytes.
    """
    levels = 65535 if bits > 8 else 255
    values = np.clip(image[0].detach().cpu().numpy(), 0, 1)
    np.rint(np.multiply(values, np.float32(levels), out=values), out=values)
    return np.ascontiguousarray(values.astype(np.uint16 if bits > 8 else np.uint8).transpose(1, 2, 0))
