"""The transformation network: it is trained to paint one look, and paints a frame in one pass (Johnson, Alahi, Li 2016).

It departs from the paper where two cores gain time: most of its work is done at an eighth of the frame's size and not at a
quarter; the activations of the way down are added on the way up; and the result is added to the frame in the colors of the
style, so that the network learns strokes only. Upsampling is bilinear: nearest upsampling and transposed convolutions weave.

It also sees a grain: a tile of noise that is repeated over each frame, and is a part of the network. Convolutions cannot tell
one place of a sky or a wall from another, so without the grain they could only paint it evenly. The network learns what to
paint where in the tile, so a new tile would need another training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (48, 96, 160)
"""Channels at a half, a quarter and an eighth of the frame's size."""

BLOCKS = (1, 3, 4)
"""Residual blocks at these sizes."""

LAST_WIDTH = 24
"""Channels at the frame's own size."""

GRID_PIXELS = 2 ** len(WIDTHS)
"""Frames are continued to multiples of this side, and the result is cut."""

GRAIN_WAVELENGTHS = (8, 16, 32)
"""Wavelengths of the grain's channels, in pixels: about those of strokes."""

GRAIN_OCTAVES = 0.4
"""Deviation of a channel's wavelengths, in octaves."""

GRAIN_SEED = 0

DEFAULT_TILE = (96, 128)
"""Height and width of a network's grain that will not be trained, in pixels."""

GAIN = 4.0
"""Factor of the frame's values, less their middle: about the inverse of their deviation."""

EPS = 1e-5
"""Added to each variance, so that a channel without variance can be divided by its deviation."""


def made_grain(height: int, width: int) -> Tensor:
    """Return noise of each of `GRAIN_WAVELENGTHS`, of deviation 1: 1 x channels x height x width, float32, on the CPU.

    Its left edge continues the right one, and the top continues the bottom.

    Args:
        height: in pixels.
        width: in pixels.
    """
    generator = torch.Generator().manual_seed(GRAIN_SEED)
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
    channels = []
    for wavelength in GRAIN_WAVELENGTHS:
        white = torch.randn(height, width, generator=generator)
        octaves = torch.log2(frequency * wavelength)  # minus infinity for the mean, which is taken away
        band = torch.exp(-0.5 * (octaves / GRAIN_OCTAVES).square())
        noise = torch.fft.irfft2(torch.fft.rfft2(white) * band, s=(height, width))
        channels.append(noise / noise.square().mean().sqrt().clamp(min=EPS))
    return torch.stack(channels)[None]


def places_in_tile(count: int, side: int, first: int, wrap: int) -> Tensor:
    """Return where in the grain's tile each row or column of a frame lies.

    Args:
        count: how many rows or columns the frame has.
        side: how many the tile has.
        first: the place of the frame's first one in a larger frame of which it is a part.
        wrap: how many are added on both sides of a panorama, and count among `count`. The tile is stretched or compressed
            then, so that a whole number of tiles goes around.
    """
    places = torch.arange(count)
    if not wrap:
        return (places + first) % side
    around = count - 2 * wrap
    tiles = max(1, round(around / side))
    return (places - wrap) % around * (tiles * side) // around % side


class _Norm(nn.Module):
    """Instance normalization (Ulyanov, Vedaldi, Lempitsky 2016), in float32. It is batch normalization of a single picture.

    torch's batch normalization takes a tenth of the time of its functions for mean and variance.

    Args:
        channels: of the activation.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, columns: slice) -> Tensor:
        """Return an activation with the learned mean and deviation.

        Args:
            x: 1 x channels x height x width.
            columns: those that count in its own mean and deviation.
        """
        counted = x[..., columns]
        if counted.shape == x.shape:
            return functional.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=EPS)
        # With weights in float32 it gives means and deviations in float32, too, whatever the precision of the activation.
        _, mean, inverse_deviation = torch.native_batch_norm(counted, self.weight, self.bias, None, None, True, 0.0, EPS)
        variance = inverse_deviation.square().reciprocal() - EPS
        return functional.batch_norm(x, mean, variance, self.weight, self.bias, eps=EPS)


class _Convolution(nn.Module):
    """A convolution that repeats the edge, followed by instance normalization.

    Args:
        in_channels: of its input.
        out_channels: of its output.
        side: of its kernel.
        step: how many positions of the input one of the output stands for.
    """

    def __init__(self, in_channels: int, out_channels: int, side: int, step: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, side, step, bias=False)
        self.norm = _Norm(out_channels)

    def forward(self, x: Tensor, columns: slice, rows: int | None = None) -> Tensor:
        """Return the normalized result.

        Args:
            x: 1 x channels x height x width.
            columns: those of the result that count in its mean and deviation.
            rows: how many rows of the result are computed at once, to save memory; None for all.
        """
        return cast(Tensor, self.norm(in_bands(self.convolution, x, rows), columns))


def in_bands(convolution: nn.Conv2d, x: Tensor, rows: int | None) -> Tensor:
    """Return the result of a convolution that repeats the edge of its input.

    Args:
        convolution: without padding of its own.
        x: 1 x channels x height x width. Height and width are multiples of the convolution's step.
        rows: how many rows of the result are computed at once; None for all. The result is the same, except for rounding.
    """
    side, step = convolution.kernel_size[0], convolution.stride[0]
    before, after = (side - step) // 2, side - step - (side - step) // 2
    height, width = x.shape[-2:]

    def band(first: int, end: int) -> Any:
        top, bottom = first * step - before, end * step + after
        part = x[..., max(0, top) : min(height, bottom), :]
        padding = (before, after, max(0, -top), max(0, bottom - height))
        return convolution(functional.pad(part, padding, mode="replicate"))

    if rows is None or rows >= height // step:
        return cast(Tensor, band(0, height // step))
    whole = x.new_empty(x.shape[0], convolution.out_channels, height // step, width // step)
    for first in range(0, height // step, rows):
        end = min(first + rows, height // step)
        whole[..., first:end, :] = band(first, end)
    return whole


class _Block(nn.Module):
    """Two convolutions whose result is added to their input (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _Convolution(channels, channels, 3)
        self.second = _Convolution(channels, channels, 3)

    def forward(self, x: Tensor, columns: slice, rows: int | None = None) -> Tensor:
        """Return the sum; see `_Convolution.forward`."""
        change: Tensor = self.second(functional.relu_(self.first(x, columns, rows)), columns, rows)
        return x + change


class TransformationNetwork(nn.Module):
    """Paints a frame in one pass.

    Args:
        regions: the number of regions with a style of their own. The network sees where they are.
        tile: height and width of the grain's tile, in pixels: those of the frames, or parts of frames, that it learns from.
    """

    grain: Tensor

    def __init__(self, regions: int = 0, tile: tuple[int, int] = DEFAULT_TILE) -> None:
        super().__init__()
        self.register_buffer("grain", made_grain(*tile))
        half, quarter, eighth = WIDTHS
        self.regions = regions
        inputs = 3 + regions + len(GRAIN_WAVELENGTHS)
        down = ((inputs, half, 6), (half, quarter, 4), (quarter, eighth, 4))
        self.down = nn.ModuleList(_Convolution(before, after, side, 2) for before, after, side in down)
        self.blocks = nn.ModuleList(
            nn.ModuleList(_Block(channels) for _ in range(count)) for channels, count in zip(WIDTHS, BLOCKS, strict=True)
        )
        up = ((half, LAST_WIDTH), (quarter, half), (eighth, quarter))
        self.up = nn.ModuleList(_Convolution(before, after, 3) for before, after in up)
        self.last = nn.Conv2d(LAST_WIDTH + 3, 3, 5)
        # At first it changes nothing.
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(cast(Tensor, self.last.bias))

    @property
    def precision(self) -> torch.dtype:
        """The precision of the convolutions."""
        return cast(_Convolution, self.down[0]).convolution.weight.dtype

    def forward(
        self,
        frame: Tensor,
        base: Tensor,
        regions: Tensor | None = None,
        *,
        wrap: int = 0,
        rows: int | None = None,
        corner: tuple[int, int] = (0, 0),
    ) -> Tensor:
        """Return the painted frame, 1 x 3 x height x width, float32, not clamped.

        Args:
            frame: 1 x 3 x height x width, RGB, 0 to 1, float32.
            base: the frame in the colors of the style, of the same shape. The strokes are added to it.
            regions: where each region is, 1 x regions x height x width, 0 to 1; None if there are none.
            wrap: width in pixels of the strips at the left and right edges that repeat the opposite edge, a multiple of
                `GRID_PIXELS`. They do not count in means and deviations.
            rows: how many rows, at the frame's own size, are computed at once, to save memory, a multiple of `GRID_PIXELS`;
                None for all. Training needs None.
            corner: row and column of the frame in a larger one of which it is a part. The grain begins in the larger one.
        """
        height, width = frame.shape[-2:]
        x, base = continued_to_grid(self._seen(frame, regions, wrap, corner)), continued_to_grid(base)
        x = x.to(self.precision).contiguous(memory_format=torch.channels_last)

        def counted(level: int) -> slice:
            step = 2**level
            return slice(wrap // step, -(-(width - wrap) // step)) if wrap else slice(None)

        def rows_at(level: int) -> int | None:
            return rows // 2**level if rows is not None else None

        levels = range(1, len(WIDTHS) + 1)
        kept = []
        for level, down in zip(levels, self.down, strict=True):
            x = functional.relu_(down(x, counted(level), rows_at(level)))
            kept.append(x)
        x = kept.pop()
        for level in reversed(levels):
            for block in cast(nn.ModuleList, self.blocks[level - 1]):
                x = block(x, counted(level), rows_at(level))
            x = _doubled(cast(_Convolution, self.up[level - 1]), x, counted(level - 1), rows_at(level - 1))
            if kept:
                x = x + kept.pop()
        image: Tensor = base + _in_float32(self.last, x, base, rows)
        return image[..., :height, :width]

    def _seen(self, frame: Tensor, regions: Tensor | None, wrap: int, corner: tuple[int, int]) -> Tensor:
        """Return all that the network sees of a frame, 1 x channels x height x width; see `forward`."""
        height, width = frame.shape[-2:]
        given = [(frame - 0.5) * GAIN, self._grain_of(height, width, wrap, corner)]
        if self.regions:
            given.append(regions if regions is not None else frame.new_zeros(1, self.regions, height, width))
        return torch.cat(given, 1)

    def _grain_of(self, height: int, width: int, wrap: int, corner: tuple[int, int]) -> Tensor:
        (top, left), (tile_height, tile_width) = corner, self.grain.shape[-2:]
        rows = places_in_tile(height, tile_height, top, 0).to(self.grain.device)
        columns = places_in_tile(width, tile_width, left, wrap).to(self.grain.device)
        return self.grain[..., rows[:, None], columns[None]]


def _doubled(convolution: _Convolution, x: Tensor, columns: slice, rows: int | None) -> Tensor:
    """Return an activation at twice its size, convolved, normalized and rectified.

    Args:
        convolution: with a kernel of 3.
        x: 1 x channels x height x width.
        columns: those of the result that count in its mean and deviation.
        rows: how many rows of the result are computed at once; None for all.
    """

    def upsampled(part: Tensor) -> Tensor:
        return functional.interpolate(part, scale_factor=2, mode="bilinear", align_corners=False)

    height = 2 * x.shape[-2]
    if rows is None or rows >= height:
        return functional.relu_(cast(Tensor, convolution(upsampled(x), columns)))
    whole = x.new_empty(x.shape[0], convolution.convolution.out_channels, height, 2 * x.shape[-1])
    for first in range(0, height, rows):
        end = min(first + rows, height)
        # Two rows of the small activation are enough for a bilinear row and the kernel's reach beyond it.
        top, bottom = max(0, first // 2 - 2), min(x.shape[-2], -(-end // 2) + 2)
        large = in_bands(convolution.convolution, upsampled(x[..., top:bottom, :]), None)
        whole[..., first:end, :] = large[..., first - 2 * top : end - 2 * top, :]
    return functional.relu_(cast(Tensor, convolution.norm(whole, columns)))


def _in_float32(convolution: nn.Conv2d, x: Tensor, base: Tensor, rows: int | None) -> Tensor:
    """Return the strokes, in float32: the 8 bits of precision of bfloat16 would show as bands in smooth areas."""
    with torch.autocast(x.device.type, enabled=False):
        if rows is None or rows >= x.shape[-2]:
            return in_bands(convolution, torch.cat([x.float(), base], dim=1), None)
        height, reach = x.shape[-2], convolution.kernel_size[0] // 2
        strokes = torch.empty_like(base)
        for first in range(0, height, rows):
            end = min(first + rows, height)
            top, bottom = max(0, first - reach), min(height, end + reach)
            both = torch.cat([x[..., top:bottom, :].float(), base[..., top:bottom, :]], dim=1)
            strokes[..., first:end, :] = in_bands(convolution, both, None)[..., first - top : end - top, :]
        return strokes


def continued_to_grid(picture: Tensor) -> Tensor:
    """Repeat the last row and column of a picture until its sides are multiples of `GRID_PIXELS`."""
    height, width = picture.shape[-2:]
    padding = (0, -width % GRID_PIXELS, 0, -height % GRID_PIXELS)
    return functional.pad(picture, padding, mode="replicate") if any(padding) else picture


def made(seed: int, regions: int = 0, tile: tuple[int, int] = DEFAULT_TILE) -> TransformationNetwork:
    """Return a network with random weights, and leave the caller's random numbers alone; see `TransformationNetwork`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TransformationNetwork(regions, tile)


def shapes_of(make: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight by its name."""
    with torch.device("meta"):  # takes no memory and no random numbers
        return {name: tuple(tensor.shape) for name, tensor in make().state_dict().items()}
