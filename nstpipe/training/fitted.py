"""A decoder to start from that already rebuilds pictures: the encoder is inverted layer by layer, by least squares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nstpipe.style.networks.layers import Encoder

POSITIONS_A_PICTURE = 400
"""The most positions of a picture that are fitted to in a layer. Neighbors say nearly the same."""

RIDGE = 1e-3
"""Pulls the weights to 0, relative to the mean square of a layer's inputs, where the pictures do not decide them."""


@torch.no_grad()
def fit_decoder(decoder: nn.Sequential, encoder: Encoder, pictures: Sequence[Tensor], seed: int) -> None:
    """Give a decoder the weights by which each of its layers inverts the layer of the encoder that it mirrors.

    A convolution of the decoder is fitted to the input of the encoder's convolution that it mirrors, from what the fitted
    layers before it return. Each fit is a linear regression. The papers start from random weights; from here, a training saves
    the steps in which a decoder learns to rebuild pictures at all.

    Args:
        decoder: see `nstpipe.style.networks.layers.decoder_layers`.
        encoder: the encoder, to relu4_1 or further.
        pictures: each pictures x 3 x height x width, RGB, 0 to 1, with sides of whole positions of relu4_1.
        seed: decides which positions are fitted to.
    """
    activations = [_inputs_of_convolutions(encoder, picture) for picture in pictures]
    inputs = [inverted[CONVOLUTIONS].float() for inverted in activations]
    generator = torch.Generator().manual_seed(seed)
    mirrored = CONVOLUTIONS
    for layer in decoder:
        if isinstance(layer, nn.Conv2d):
            mirrored -= 1
            _fit(layer, inputs, [inverted[mirrored] for inverted in activations], generator)
        inputs = [layer(x) for x in inputs]


def _inputs_of_convolutions(encoder: Encoder, picture: Tensor) -> list[Tensor]:
    """Return the input of each 3 x 3 convolution of the encoder, and the output of the one at relu4_1 in the end.

    The first of them is the picture itself, not what the preprocessing makes of it.
    """
    found: list[Tensor] = []
    x = picture
    for layer in encoder.layers:
        if isinstance(layer, nn.ReflectionPad2d):
            # The rectifiers compute in place, so a copy is kept. Half the bytes are enough.
            found.append((x if found else picture).half())
        x = layer(x)
    return [*found, x.half()][: CONVOLUTIONS + 1]


CONVOLUTIONS = 9
"""The number of convolutions of the encoder up to relu4_1, and of the decoder."""


def _fit(convolution: nn.Conv2d, inputs: Sequence[Tensor], wanted: Sequence[Tensor], generator: torch.Generator) -> None:
    """Give a convolution the weights that return what is wanted with the least squared error.

    Args:
        convolution: 3 x 3, without padding.
        inputs: padded, each pictures x channels x (height + 2) x (width + 2).
        wanted: each pictures x channels x height x width.
        generator: chooses the positions.
    """
    count = convolution.in_channels * 9 + 1
    products = torch.zeros(count, count)
    right = torch.zeros(count, convolution.out_channels)
    for padded, target in zip(inputs, wanted, strict=True):
        patches = functional.unfold(padded, 3).transpose(1, 2)
        outputs = target.flatten(2).transpose(1, 2)
        places = torch.randperm(patches.shape[1], generator=generator)[:POSITIONS_A_PICTURE]
        rows = patches[:, places].flatten(0, 1).float().cpu()
        rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
        products += rows.T @ rows
        right += rows.T @ outputs[:, places].flatten(0, 1).float().cpu()
    products.diagonal()[:-1].add_(RIDGE * products.diagonal()[:-1].mean())
    solution = torch.cholesky_solve(right.double(), torch.linalg.cholesky(products.double())).float()
    kernel = solution[:-1].T.reshape(convolution.weight.shape)
    convolution.load_state_dict({"weight": kernel, "bias": solution[-1]})
