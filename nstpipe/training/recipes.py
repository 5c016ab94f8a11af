"""What a step of each network's training does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from nstpipe.style.networks.attention import ATTENDED_LAYERS, Transformer
from nstpipe.style.networks.layers import DECODED_LAYER, ENCODER_LAYERS, Encoder, decode, decoder_layers
from nstpipe.style.networks.statistics import statistics_of
from nstpipe.training.losses import Discriminator, Projection, contrastive_loss, normalized_content_loss, style_loss
from nstpipe.training.muon import Muon, matrices_of
from nstpipe.training.options import TrainingOptions

ADAIN_STYLE_LAYERS = ENCODER_LAYERS[:4]


class Recipe(Protocol):
    """A network in training, with its losses and optimizers."""

    @property
    def shipped(self) -> Mapping[str, nn.Module]:
        """The parts of the network that the file of the result holds, by the first part of their names."""

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """Everything that has trained weights."""

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """The optimizers by name."""

    def step(self, content: Tensor, styles: Tensor) -> dict[str, float]:
        """Take a step with photographs and paintings, each pictures x 3 x crop x crop, and return the weighted losses."""

    def results(self, content: Tensor, styles: Tensor) -> Tensor:
        """Return each photograph in the style of the painting beside it, pictures x 3 x height x width, not clamped."""


class _Layers:
    """The encoder and the decoder in the precision of a training.

    Args:
        encoder: the frozen encoder.
        decoder: the decoder in training.
        precision: float32 or bfloat16.
        device: where they compute.
    """

    def __init__(self, encoder: Encoder, decoder: nn.Sequential, precision: str, device: torch.device) -> None:
        self._encoder, self._decoder = encoder, decoder
        self._is_coarse, self._device = precision == "bfloat16", device

    def encoded(self, pictures: Tensor) -> dict[str, Tensor]:
        """Return the activations of pictures by layer, in float32."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_coarse):
            found: dict[str, Tensor] = self._encoder(pictures)
        return {layer: activation.float() for layer, activation in found.items()}

    def decoded(self, features: Tensor) -> Tensor:
        """Return the pictures of activations, in float32."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_coarse):
            return decode(self._decoder, features)


def made_without_side_effects(seed: int, make: Any) -> Any:
    """Return what a function makes with random numbers from a seed, and leave the caller's random numbers alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


FULL_RATE_SIZE = 0.03
"""The root mean square of weights that learn at the full rate. Random weights begin with about this."""


def share_rates(optimizer: torch.optim.Optimizer) -> None:
    """Let small weights learn slower: each has the share of the rate that its size is of `FULL_RATE_SIZE`.

    A step of Adam changes each weight by about the learning rate, whatever its size. The layers of a fitted decoder differ in
    size, and the rate that suits most of them would undo the last one within a few steps.
    """
    for group in optimizer.param_groups:
        [weights] = group["params"]
        if weights.dim() > 1:
            group["share"] = min(1.0, float(weights.detach().square().mean().sqrt()) / FULL_RATE_SIZE)


def _groups(weights: Iterable[nn.Parameter], options: TrainingOptions) -> list[dict[str, Any]]:
    """Return the groups of an optimizer: one for random weights, else one for each tensor; see `share_rates`."""
    kept = list(weights)
    return [{"params": kept}] if options.start == "random" else [{"params": [tensor]} for tensor in kept]


MUON_FACTOR = 50.0
"""Muon's learning rate, in those of Adam."""


def _optimizers_of(modules: Iterable[nn.Module], options: TrainingOptions) -> dict[str, torch.optim.Optimizer]:
    """Return what trains modules that paint: Adam, or Muon with Adam for what does not suit it."""
    modules = list(modules)
    if options.optimizer == "adam":
        weights = [weight for module in modules for weight in module.parameters()]
        return {"adam": torch.optim.Adam(_groups(weights, options), lr=options.learning_rate)}
    matrices, others = matrices_of(modules)
    precision = torch.bfloat16 if options.precision == "bfloat16" else torch.float32
    groups = [{**group, "factor": MUON_FACTOR} for group in _groups(matrices, options)]
    return {
        "muon": Muon(groups, MUON_FACTOR * options.learning_rate, precision),
        "adam": torch.optim.Adam(_groups(others, options), lr=options.learning_rate),
    }


def _take_step(optimizers: Mapping[str, torch.optim.Optimizer], total: Tensor) -> None:
    """Move all weights against the gradient of a loss."""
    for optimizer in optimizers.values():
        optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    for optimizer in optimizers.values():
        optimizer.step()


class AdainRecipe:
    """The decoder's training (Huang and Belongie 2017, section 5): L = L_c + λ L_s, equations 11 to 13.

    Args:
        encoder: the frozen encoder, to relu4_1.
        options: the settings.
        device: where it is trained.
    """

    def __init__(self, encoder: Encoder, options: TrainingOptions, device: torch.device) -> None:
        self._options = options
        self._decoder: nn.Sequential = made_without_side_effects(options.seed, decoder_layers).to(device)
        self._decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._layers = _Layers(encoder, self._decoder, options.precision, device)
        self._optimizers = _optimizers_of([self._decoder], options)

    @property
    def shipped(self) -> Mapping[str, nn.Module]:
        """The decoder."""
        return {"decoder": self._decoder}

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """The decoder."""
        return self.shipped

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """What trains the decoder."""
        return self._optimizers

    def step(self, content: Tensor, styles: Tensor) -> dict[str, float]:
        """See `Recipe.step`."""
        losses = self._losses(content, styles)
        total = torch.stack(list(losses.values())).sum()
        _take_step(self._optimizers, total)
        return {"total": float(total.detach()), **{name: float(loss.detach()) for name, loss in losses.items()}}

    def results(self, content: Tensor, styles: Tensor) -> Tensor:
        """See `Recipe.results`."""
        with torch.no_grad():
            wanted, _ = self._wanted(content, styles)
            return self._layers.decoded(wanted)

    def _wanted(self, content: Tensor, styles: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            style = self._layers.encoded(styles)
            own = self._layers.encoded(content)[DECODED_LAYER]
            return statistics_of(style[DECODED_LAYER]).applied(statistics_of(own).normalized(own)), style

    def _losses(self, content: Tensor, styles: Tensor) -> dict[str, Tensor]:
        wanted, style = self._wanted(content, styles)
        found = self._layers.encoded(self._layers.decoded(wanted))
        return {
            # The target is the output of AdaIN, not the content's own activations (equation 12).
            "content": self._options.content_weight * functional.mse_loss(found[DECODED_LAYER], wanted),
            "style": self._options.style_weight * style_loss(found, style, ADAIN_STYLE_LAYERS),
        }


class IEContrastRecipe:
    """The training of attention and decoder against a discriminator (Chen et al. 2021, section 3).

    Args:
        encoder: the frozen encoder, to relu5_1.
        options: the settings.
        device: where it is trained.
    """

    def __init__(self, encoder: Encoder, options: TrainingOptions, device: torch.device) -> None:
        self._options = options

        def make() -> tuple[nn.Module, ...]:
            projections = Projection(256, 128), Projection(512, 256)
            return Transformer(), decoder_layers(), *projections, Discriminator(options.crop)

        parts = [part.to(device) for part in made_without_side_effects(options.seed, make)]
        self._transformer, self._decoder, self._of_style, self._of_content, self._discriminator = parts
        self._layers = _Layers(encoder, self._decoder, options.precision, device)
        self._painting = _optimizers_of(parts[:4], options)
        judging = _groups(self._discriminator.parameters(), options)
        self._judging = torch.optim.Adam(judging, lr=options.learning_rate, betas=(0.5, 0.999))

    @property
    def shipped(self) -> Mapping[str, nn.Module]:
        """The attention modules and the decoder."""
        return {"transformer": self._transformer, "decoder": self._decoder}

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """All that has weights, also what only the losses need."""
        losses = {"of_style": self._of_style, "of_content": self._of_content, "discriminator": self._discriminator}
        return {**self.shipped, **losses}

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """What trains the parts that paint, and Adam for the discriminator."""
        return {**self._painting, "judging": self._judging}

    def step(self, content: Tensor, styles: Tensor) -> dict[str, float]:
        """See `Recipe.step`. Each painting is used for two photographs: its own and the next, as in the authors' code."""
        first = torch.arange(len(content), device=content.device)
        pairs = _Pairs(torch.cat([first, first.roll(-1)]), torch.cat([first, first]))
        with torch.no_grad():
            own, style = self._layers.encoded(content), self._layers.encoded(styles)
        results = self._painted(_chosen(own, pairs.contents), _chosen(style, pairs.styles))
        # Every painting is in two pairs, so the mean over paintings is that over pairs.
        judging = self._discriminator.loss(styles, 1.0) + self._discriminator.loss(results.detach(), 0.0)
        self._judging.zero_grad(set_to_none=True)
        judging.backward()
        self._judging.step()
        losses = {**self._losses_of_results(results, own, style, pairs), **self._identity_losses(content, own, styles, style)}
        total = torch.stack(list(losses.values())).sum()
        _take_step(self._painting, total)
        found = {name: float(loss.detach()) for name, loss in losses.items()}
        return {"total": float(total.detach()), **found, "discriminator": float(judging.detach())}

    def results(self, content: Tensor, styles: Tensor) -> Tensor:
        """See `Recipe.results`."""
        with torch.no_grad():
            return self._painted(self._layers.encoded(content), self._layers.encoded(styles))

    def _painted(self, content: Mapping[str, Tensor], style: Mapping[str, Tensor]) -> Tensor:
        return self._layers.decoded(self._transformer(content, style))

    def _losses_of_results(
        self, results: Tensor, content: Mapping[str, Tensor], style: Mapping[str, Tensor], pairs: _Pairs
    ) -> dict[str, Tensor]:
        options, found = self._options, self._layers.encoded(results)
        contents, styles = _chosen(content, pairs.contents), _chosen(style, pairs.styles)
        of_style = contrastive_loss(self._of_style(found["relu3_1"]), pairs.styles, pairs.contents)
        of_content = contrastive_loss(self._of_content(found["relu4_1"]), pairs.contents, pairs.styles)
        return {
            "content": options.content_weight * normalized_content_loss(found, contents, ATTENDED_LAYERS),
            "style": options.style_weight * style_loss(found, styles, ENCODER_LAYERS),
            "style_contrastive": options.contrastive_weight * of_style,
            "content_contrastive": options.contrastive_weight * of_content,
            "adversarial": options.adversarial_weight * self._discriminator.loss(results, 1.0),
        }

    def _identity_losses(
        self, content: Tensor, own: Mapping[str, Tensor], styles: Tensor, style: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the losses by which a picture in its own style is the picture itself (equation 7)."""
        pixels, features = content.new_zeros(()), content.new_zeros(())
        for pictures, activations in ((content, own), (styles, style)):
            image = self._painted(activations, activations)
            pixels = pixels + functional.mse_loss(image, pictures)
            again = self._layers.encoded(image)
            for layer in ENCODER_LAYERS:
                features = features + functional.mse_loss(again[layer], activations[layer])
        options = self._options
        return {"identity": options.identity_weight * pixels, "identity_features": options.identity_features_weight * features}


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Which photograph and which painting each result is made of, by their numbers in the batch."""

    contents: Tensor
    styles: Tensor


def _chosen(activations: Mapping[str, Tensor], numbers: Tensor) -> dict[str, Tensor]:
    return {layer: activation[numbers] for layer, activation in activations.items()}


RECIPES: dict[str, type[AdainRecipe] | type[IEContrastRecipe]] = {"adain": AdainRecipe, "iecontrast": IEContrastRecipe}
"""The recipes by the names of their engines."""
