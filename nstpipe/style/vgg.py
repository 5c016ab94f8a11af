"""VGG19's convolutional part (Simonyan and Zisserman, 2015, configuration E), by the names of its layers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_input

from nstpipe.config.models import Padding, Pooling
from nstpipe.style.layers import LAYERS, pixels_a_position
from nstpipe.style.winograd import LEAST_CHANNELS, TransformedFilter, Workspace


class _MaxPool(torch.autograd.Function):
    """Maximum over 2 x 2 positions. The backward pass pools again instead of keeping 8 bytes for the place of each maximum.

    If nothing else needs the activation, its gradient is written to its memory. Fresh memory would be cleared twice, by the
    system and by torch, which took longer than the rest of the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, activation: Tensor, is_needed_elsewhere: bool) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(activation)
        ctx.is_needed_elsewhere = is_needed_elsewhere
        return functional.max_pool2d(activation, kernel_size=2)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (activation,) = ctx.saved_tensors
        _, places = functional.max_pool2d(activation, kernel_size=2, return_indices=True)
        gradient = torch.empty_like(activation) if ctx.is_needed_elsewhere else activation
        # torch's own gradient, written to existing memory. It uses only the shape of the activation.
        torch.ops.aten.max_pool2d_with_indices_backward.grad_input(
            upstream, activation, [2, 2], [2, 2], [0, 0], [1, 1], False, places, grad_input=gradient
        )
        return gradient, None


class _FrozenConvolution(torch.autograd.Function):
    """A 3 x 3 convolution on the CPU with frozen weights.

    Replicate padding is done as zero padding plus the terms that it misses along the edges. So no enlarged copy of the
    activation is made, or kept for the backward pass.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, activation: Tensor, kernel: Tensor, bias: Tensor, evaluated: TransformedFilter | None, repeats_edge: bool
    ) -> Tensor:
        ctx.evaluated, ctx.repeats_edge = evaluated, repeats_edge
        if evaluated is not None:
            ctx.save_for_backward(kernel)
            return evaluated.convolved(activation, bias, repeats_edge=repeats_edge)
        ctx.save_for_backward(kernel, activation)
        result = functional.conv2d(activation, kernel, bias, padding=1)
        if repeats_edge:
            for place, source, target in _missed(kernel, activation, result):
                target.addmm_(source, place.T)
        return result

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None, None]:  # type: ignore[override]
        kernel, *needed = ctx.saved_tensors
        if ctx.evaluated is not None:
            gradient = ctx.evaluated.input_grad(upstream)
        else:
            # torch's own kernel. `torch.nn.grad` ignores the memory layout, and copies everything.
            gradient, _, _ = torch.ops.aten.convolution_backward(
                upstream, *needed, kernel, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, False, False]
            )
        if ctx.repeats_edge:
            for place, source, target in _missed(kernel, gradient, upstream):
                source.addmm_(target, place)
        return gradient, None, None, None, None


def _missed(kernel: Tensor, before: Tensor, after: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the terms that zero padding misses and replicate padding has.

    Args:
        kernel: channels' x channels x 3 x 3.
        before: 1 x channels x height x width.
        after: 1 x channels' x height x width.

    Yields:
        One place of the kernel, channels' x channels; the positions that are repeated beyond the edge, n x channels; and the
        positions of the result that the repeated ones contribute to, n x channels'. All are views.
    """
    places = kernel.permute(2, 3, 0, 1)
    sources, targets = (positions.permute(1, 2, 0) for (positions,) in (before, after))
    along = ((slice(None, -1), slice(1, None)), (slice(None), slice(None)), (slice(1, None), slice(None, -1)))
    for edge in (0, -1):
        for place, (source, target) in enumerate(along):
            yield places[edge, place], sources[edge, source], targets[edge, target]
            yield places[place, edge], sources[source, edge], targets[target, edge]
        for end, corner in ((0, slice(None, 1)), (-1, slice(-1, None))):
            yield places[edge, end], sources[edge, corner], targets[edge, corner]


class _EnlargedConvolution(torch.autograd.Function):
    """A 3 x 3 convolution on a GPU with frozen weights. Replicate padding is done in an enlarged copy of the activation.

    The copy is freed at once. With frozen weights the backward pass needs only its shape, but autograd would keep it.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, activation: Tensor, kernel: Tensor, bias: Tensor, repeats_edge: bool
    ) -> Tensor:
        ctx.save_for_backward(kernel)
        seen = _with_edge_repeated(activation) if repeats_edge else activation
        ctx.seen_shape, ctx.repeats_edge = seen.shape, repeats_edge
        with _exactly():
            return functional.conv2d(seen, kernel, bias, padding=0 if repeats_edge else 1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        (kernel,) = ctx.saved_tensors
        with _exactly():
            gradient = conv2d_input(ctx.seen_shape, kernel, upstream, padding=0 if ctx.repeats_edge else 1)
        return _edge_gathered(gradient) if ctx.repeats_edge else gradient, None, None, None


def _exactly() -> AbstractContextManager[None]:
    """Make results deterministic and use full float32, of whose 23 bits torch would use ten by default."""
    context: AbstractContextManager[None] = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    return context


def _with_edge_repeated(activation: Tensor) -> Tensor:
    """Return an activation with replicate padding of one position.

    torch's own padding does not keep channels_last, the layout in which a GPU convolves fastest.

    Args:
        activation: 1 x channels x height x width.
    """
    _, channels, height, width = activation.shape
    enlarged = torch.empty(
        (1, channels, height + 2, width + 2),
        dtype=activation.dtype,
        device=activation.device,
        memory_format=torch.channels_last,
    )
    enlarged[..., 1:-1, 1:-1] = activation
    enlarged[..., 1:-1, 0], enlarged[..., 1:-1, -1] = activation[..., 0], activation[..., -1]
    enlarged[..., 0, :], enlarged[..., -1, :] = enlarged[..., 1, :], enlarged[..., -2, :]
    return enlarged


def _edge_gathered(gradient: Tensor) -> Tensor:
    """Return the gradient of `_with_edge_repeated`. torch's own adds in an order that changes from run to run."""
    inner = gradient[..., 1:-1, 1:-1].clone(memory_format=torch.channels_last)
    for inside, outside in ((0, 0), (-1, -1)):
        inner[..., inside] += gradient[..., 1:-1, outside]
        inner[..., inside, :] += gradient[..., outside, 1:-1]
        for corner in (0, -1):
            inner[..., inside, corner] += gradient[..., outside, corner]
    return inner


def _in_two_parts(image: Tensor, precision: torch.dtype) -> Tensor:
    """Return a picture as the sum of two: its values in a precision of 16 bits, and what rounding has taken from them.

    In bfloat16 the values of a picture have steps of up to one level of 255. The loss would not see the smaller steps of a
    picture that is nearly done, and L-BFGS would learn a wrong curvature. See docs/decisions/2026-11-29-two-parts.md.

    Args:
        image: 1 x channels x height x width, float32.
        precision: the type of the result.

    Returns:
        1 x 2 · channels x height x width. The gradient with respect to the picture is that of its second part.
    """
    rounded = image.detach().to(precision)
    return torch.cat([rounded, (image - rounded).to(precision)], dim=1)


class _Weights(nn.Module):
    """The weights of a convolution. torch's own module would first draw random ones, or import a compiler not to."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)


class VGG19(nn.Module):
    """VGG19's frozen layers, up to the last one whose activation is wanted.

    Args:
        state: ``conv1_1.weight``, ``conv1_1.bias``, … in float32 (`nstpipe.style.weights`).
        layers: the names of the layers whose activations are wanted.
        pooling: ``max``, with which VGG19 was trained, or ``average``, with which the paper found slightly better pictures.
        padding: what the convolutions see beyond the edge. ``zeros``, as in training, leaves a visible frame around the result.
            ``replicate`` repeats the edge in all layers; if only the first ones did, a fringe of some four pixels would stay.
    """

    def __init__(
        self, state: Mapping[str, Tensor], layers: Iterable[str], *, pooling: Pooling = "max", padding: Padding = "replicate"
    ) -> None:
        super().__init__()
        self.wanted = frozenset(layers)
        last = max(layer.index for layer in LAYERS if layer.name in self.wanted)
        self.table = LAYERS[: last + 1]
        self.pooling, self.padding = pooling, padding
        # relu(maxpool(x)) = maxpool(relu(x)), with the same gradient, at a quarter of the values.
        self.rectified_later = frozenset(
            layer.name
            for layer, following in itertools.pairwise(self.table)
            if following.kind == "pool" and pooling == "max" and layer.name not in self.wanted
        )
        self._evaluated_kernels: dict[str, TransformedFilter] = {}
        self._workspace = Workspace()
        self.convolutions = nn.ModuleDict()
        for layer in self.table:
            if layer.kind == "conv":
                self.convolutions[layer.name] = _Weights(state[f"{layer.name}.weight"], state[f"{layer.name}.bias"])
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the activations by layer name.

        Args:
            image: 1 x 3 x height x width, already in the channel order and range that the weights expect; float32, or the
                type of the weights.

        Returns:
            For each wanted layer, 1 x channels x height' x width'. A pooling halves height and width, rounding down.
        """
        return dict(self.walk(image))

    def walk(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and activation of each wanted layer, in order; see `forward`.

        Compute a layer's loss before you ask for the next layer. Autograd goes back through operations in reverse order, so a
        loss that is computed at the end has its gradient early, and holds its memory until the layer is reached.
        """
        precision = next(self.parameters()).dtype
        x = image if image.dtype == precision else _in_two_parts(image, precision)
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self.table:
            if layer.kind == "conv":
                x = self._convolved(layer.name, x)
            elif layer.kind == "relu" and layer.name not in self.rectified_later:
                # In place saves a quarter of the memory. A wanted output of the convolution must be kept.
                x = functional.relu(x, inplace=layer.name.replace("relu", "conv") not in self.wanted)
            elif layer.kind == "pool" and self.pooling == "average":
                x = functional.avg_pool2d(x, kernel_size=2)
            elif layer.kind == "pool":
                convolution, rectifier = (before.name for before in self.table[layer.index - 2 : layer.index])
                is_later = rectifier in self.rectified_later
                x = _MaxPool.apply(x, not is_later or convolution in self.wanted)
                if is_later:
                    x = functional.relu(x, inplace=True)
            if layer.name in self.wanted:
                yield layer.name, x

    def _convolved(self, name: str, x: Tensor) -> Tensor:
        convolution = self.convolutions[name]
        kernel, bias = cast(Tensor, convolution.weight), cast(Tensor, convolution.bias)
        if x.shape[1] == 2 * kernel.shape[1]:
            # A picture in two parts: the convolution of their sum.
            kernel = torch.cat([kernel, kernel], dim=1).contiguous(memory_format=torch.channels_last)
        repeats_edge = self.padding == "replicate"
        if x.device.type == "cpu":
            evaluated = self._evaluated(name, x.dtype)
            return cast(Tensor, _FrozenConvolution.apply(x, kernel, bias, evaluated, repeats_edge))
        # On a GPU a copy takes less time than launching many small products.
        return cast(Tensor, _EnlargedConvolution.apply(x, kernel, bias, repeats_edge))

    def _evaluated(self, name: str, precision: torch.dtype) -> TransformedFilter | None:
        """Return a layer's kernel for the Winograd convolution, or None if that would not be faster."""
        kernel = cast(Tensor, self.convolutions[name].weight)
        if precision != torch.float32 or kernel.shape[0] * kernel.shape[1] < LEAST_CHANNELS:
            return None
        if name not in self._evaluated_kernels:
            self._evaluated_kernels[name] = TransformedFilter.of(kernel, self._workspace)
        return self._evaluated_kernels[name]

    @property
    def reach_pixels(self) -> int:
        """How far the receptive field of the last activation extends beyond its own pixels, in each direction.

        A convolution extends it by one position, which is as wide as pooling has made it; a pooling does not.
        """
        return sum(pixels_a_position(layer.name) for layer in self.table if layer.kind == "conv")

    @property
    def smallest_side(self) -> int:
        """The smallest height or width, in pixels, at which the last activation has a position."""
        return int(2 ** sum(layer.kind == "pool" for layer in self.table))
