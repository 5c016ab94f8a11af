"""What decides a training."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nstpipe.errors import UsageError

SMALLEST_CROP = 32
"""Side of the smallest crop, in pixels: the last layer of the encoder and of the discriminator have two positions then."""


@dataclass(frozen=True)
class TrainingOptions:
    """The settings of a training. The defaults of each network are those of its paper; see `paper_options`.

    Attributes:
        network: ``adain`` or ``iecontrast``.
        content: folder of photographs.
        styles: folder of paintings.
        output: file of the trained network.
        steps: number of steps.
        batch: number of photographs, and of paintings, in a step.
        resize: the shorter side to which pictures are resized, in pixels.
        crop: side of the square that is cut from them at random, in pixels.
        optimizer: ``adam`` as in the papers, or ``muon``, which learns more from a step; see `nstpipe.training.muon`.
        learning_rate: of Adam, in the first step. That of Muon is in proportion.
        decay: with the schedule ``decay``, the learning rate of a step is `learning_rate` / (1 + decay · step).
        schedule: ``decay`` as in the papers, or ``cosine``, which falls from `learning_rate` to 0 at the last step.
        warmup: number of steps in which the learning rate rises to its schedule.
        start: ``random`` weights as in the papers, ``fitted`` (see `nstpipe.training.fitted`), or the file of a trained
            network.
        content_weight: weight of the content loss.
        style_weight: weight of the style loss.
        identity_weight: weight of the first identity loss, of pixels; only iecontrast has it.
        identity_features_weight: weight of the second identity loss, of activations; only iecontrast has it.
        contrastive_weight: weight of each of the two contrastive losses; only iecontrast has them.
        adversarial_weight: weight of the discriminator's judgment; only iecontrast has one.
        encoder: the authors' vgg_normalised.pth; None makes the encoder of `vgg_weights`.
        vgg_weights: VGG19's weights: bundled, torchvision or a path.
        precision: float32, or bfloat16 for the convolutions of the encoder and the decoder; weights stay in float32.
        seed: seed of all random numbers.
        device: auto, cpu, cuda or cuda:N.
        held_out: number of photographs and of paintings that are kept for the sheet and are never trained on.
        save_every: number of steps between two checkpoints.
    """

    network: str
    content: Path
    styles: Path
    output: Path
    steps: int
    batch: int
    resize: int = 512
    crop: int = 256
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    decay: float = 5e-5
    schedule: str = "decay"
    warmup: int = 0
    start: str | Path = "random"
    content_weight: float = 1.0
    style_weight: float = 10.0
    identity_weight: float = 50.0
    identity_features_weight: float = 1.0
    contrastive_weight: float = 0.3
    adversarial_weight: float = 5.0
    encoder: Path | None = None
    vgg_weights: str | Path = "bundled"
    precision: str = "float32"
    seed: int = 0
    device: str = "auto"
    held_out: int = 4
    save_every: int = 500

    def check(self) -> None:
        """Check the options that depend on each other.

        Raises:
            UsageError: the options cannot be used together.
        """
        if self.crop > self.resize:
            raise UsageError(f"--crop: found {self.crop}; should be at most --resize, which is {self.resize}.")
        if self.crop < SMALLEST_CROP:
            raise UsageError(f"--crop: found {self.crop}; should be at least {SMALLEST_CROP}.")
        if self.network == "iecontrast" and self.batch < 2:
            raise UsageError(
                f"--batch: found {self.batch}; the contrastive losses compare pictures, so iecontrast needs at least 2."
            )
        if self.start == "fitted" and self.network != "adain":
            raise UsageError(
                "--start: found fitted; only adain's decoder can be fitted to the encoder.",
                "Give random, or a trained network.",
            )
        for folder, name in ((self.content, "--content"), (self.styles, "--styles")):
            if not folder.is_dir():
                raise UsageError(
                    f"{name}: {folder} is not a folder.", "Give a folder of pictures; its subfolders are read too."
                )

    def rate(self, step: int) -> float:
        """Return the learning rate of a step; the first step is 0."""
        risen = min(1.0, (step + 1) / (self.warmup + 1))
        if self.schedule == "cosine":
            return self.learning_rate * risen * (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.learning_rate * risen / (1 + self.decay * step)

    def deciding(self) -> dict[str, Any]:
        """Return the options that a training must not change when it continues, as JSON can hold them."""
        free = ("output", "steps", "device", "save_every", "content", "styles")
        found = {
            name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items() if name not in free
        }
        return found | ({"start": self.start.name} if isinstance(self.start, Path) else {})


def paper_options(network: str) -> dict[str, Any]:
    """Return the options in which a paper's recipe differs from the defaults of `TrainingOptions`.

    AdaIN: section 6.2 of Huang and Belongie 2017, batches of 8, style weight 10, with the learning rate's decay and the number
    of steps of the authors' code. IEContraAST: section 4.1 of Chen et al. 2021, 160,000 steps. Its batch of 12 results comes
    from 6 photographs and 6 paintings.
    """
    if network == "adain":
        return {"steps": 160_000, "batch": 8, "style_weight": 10.0}
    return {"steps": 160_000, "batch": 6, "style_weight": 1.0}
