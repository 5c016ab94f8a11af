"""A training between two steps: saved, loaded, and returned to."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nstpipe.errors import UsageError
from nstpipe.system.files import atomic_write
from nstpipe.training.options import TrainingOptions
from nstpipe.training.recipes import Recipe

FORMAT = 1

_OTHER_NAMES = {"network": "NETWORK", "vgg_weights": "--weights"}
"""What the command calls those of the options that it does not call as `TrainingOptions` does."""

ADDED_LATER: dict[str, Any] = {"schedule": "decay", "warmup": 0, "start": "random", "optimizer": "adam"}
"""Options that the states of earlier versions do not name, with what they were."""

RECENT = 50
"""The number of steps over which losses are averaged for people, and by which an explosion is told."""

EXPLODED = 100.0
"""A loss above this factor of the recent mean has exploded."""


def state_path(output: Path) -> Path:
    """Return where a training keeps its state: beside the result, with ``.training`` added to its name."""
    return output.with_name(f"{output.name}.training")


@dataclass
class Progress:
    """How far a training is, beside its weights.

    Attributes:
        step: steps that are done.
        returns: how often it went back to an earlier state. Crops after a return are others, and the learning rate is halved.
        recent: the losses of the last `RECENT` steps, by name.
        curve: mean losses by name every few steps: the step, and each loss.
    """

    step: int = 0
    returns: int = 0
    recent: list[dict[str, float]] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)

    def takes(self, losses: dict[str, float]) -> bool:
        """Take the losses of a step, and say whether they are sound: finite numbers, and no explosion of the total."""
        if not all(map(math.isfinite, losses.values())):
            return False
        if self.recent and losses["total"] > EXPLODED * self.mean_losses()["total"]:
            return False
        self.recent = [*self.recent, losses][-RECENT:]
        return True

    def mean_losses(self) -> dict[str, float]:
        """Return the mean of each loss over the recent steps; nothing if there is none."""
        names = self.recent[-1] if self.recent else {}
        return {name: sum(losses[name] for losses in self.recent) / len(self.recent) for name in names}


@dataclass(frozen=True)
class Snapshot:
    """Everything that a training needs to go on from a step.

    Attributes:
        content: values and tensors, by name, as `torch.save` writes them.
    """

    content: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        progress: Progress,
        means: Mapping[str, Tensor],
        encoder_sha256: str,
        options: TrainingOptions,
    ) -> Snapshot:
        """Copy the state of a training.

        Args:
            recipe: the network in training.
            progress: how far it is.
            means: the mean activations by which the encoder is normalized.
            encoder_sha256: of the file of the encoder's weights.
            options: the settings.
        """
        return cls(
            copy.deepcopy(
                {
                    "format": FORMAT,
                    "options": options.deciding(),
                    "progress": vars(progress),
                    "means": dict(means),
                    "encoder_sha256": encoder_sha256,
                    "weights": {name: _on_cpu(part.state_dict()) for name, part in recipe.trained.items()},
                    "optimizers": {name: _on_cpu(one.state_dict()) for name, one in recipe.optimizers.items()},
                }
            )
        )

    def restore(self, recipe: Recipe) -> Progress:
        """Give a network in training this state, and return how far it is then."""
        for name, part in recipe.trained.items():
            part.load_state_dict(self.content["weights"][name])
        for name, one in recipe.optimizers.items():
            one.load_state_dict(copy.deepcopy(self.content["optimizers"][name]))
        return Progress(**copy.deepcopy(self.content["progress"]))

    @property
    def means(self) -> dict[str, Tensor]:
        """The mean activations by which the encoder is normalized; empty for an encoder from a file."""
        return dict(self.content["means"])

    def check_encoder(self, sha256: str, file: str | Path, option: str) -> None:
        """Check that the file of the encoder's weights is the one with which the training began.

        Args:
            sha256: its hash now.
            file: the file, or its name.
            option: the option of the command that names it.

        Raises:
            UsageError: it is another one.
        """
        known = self.content.get("encoder_sha256")  # earlier versions did not keep it
        if known not in (None, sha256):
            raise UsageError(
                f"{option}: {file} has changed since the training began: it has the sha256 {sha256[:8]}, and had {known[:8]}.",
                "Bring the former file back, or give --restart to begin anew.",
            )

    def save(self, path: Path) -> None:
        """Write it to a file.

        Raises:
            OutputError: it cannot be written. The file that was there is still there.
        """
        raw = io.BytesIO()
        torch.save(dict(self.content), raw)
        with atomic_write(path) as partial:
            partial.write_bytes(raw.getbuffer())

    @classmethod
    def load(cls, path: Path, options: TrainingOptions) -> Snapshot | None:
        """Read a file that `save` wrote; None if there is none.

        Raises:
            UsageError: it is no state of a training, or of one with other options.
        """
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}.", "Give another --output.") from error
        afresh = "Give --restart to begin anew, or another --output."
        try:
            content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
            known = ADDED_LATER | content["options"] if content["format"] == FORMAT else {}
        except Exception as error:  # torch takes the bytes of a foreign file for a pickle, and fails in any way
            raise UsageError(f"{path} is no state of a training.", afresh) from error
        for name, value in options.deciding().items():
            if known.get(name) != value:
                option = _OTHER_NAMES.get(name, f"--{name.replace('_', '-')}")
                kept = known.get(name)
                again = f"Give {option} {kept} to continue it." if kept is not None else f"Leave out {option} to continue it."
                raise UsageError(
                    f"{option}: found {'none' if value is None else value}; the training whose state is {path} has "
                    f"{'none' if kept is None else kept}.",
                    f"{again} {afresh}",
                )
        return cls(content)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {name: _on_cpu(child) for name, child in value.items()}
    return [_on_cpu(child) for child in value] if isinstance(value, list) else value
