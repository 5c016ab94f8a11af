"""The training itself: from its options to a file that `engine` takes as `weights`."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn

from nstpipe.errors import DiskFullError, MachineError, OutputError, UsageError
from nstpipe.events import Emit, Noticed, TrainingProgressed, TrainingSaved
from nstpipe.media.tensors import pixels_of
from nstpipe.motion.frames_with_flow import prefetch
from nstpipe.style.networks.encoders import encoder_shapes, folded
from nstpipe.style.networks.files import read_tensors, serialized
from nstpipe.style.networks.layers import Encoder, encoder_convolutions
from nstpipe.style.networks.load import LAST_LAYERS, MEANS, encoder_means
from nstpipe.style.weights import load_weights
from nstpipe.system.devices import choose_device
from nstpipe.system.files import atomic_write, ensure_folder, sha256_of
from nstpipe.system.stop import Stop
from nstpipe.training.fitted import fit_decoder
from nstpipe.training.options import TrainingOptions
from nstpipe.training.pictures import PictureFolder, crops_of
from nstpipe.training.recipes import RECIPES, Recipe, share_rates
from nstpipe.training.state import Progress, Snapshot, state_path
from nstpipe.version import __version__

MOST_RETURNS = 8
"""A training that went back so often does not get better by going back once more."""

GOOD_EVERY = 100
"""The number of steps after which the state is kept in memory, to go back to."""

PROGRESS_SECONDS = 0.5
"""Shortest time between two events of progress."""

CURVE_EVERY = 100
"""The number of steps for each point of the curve that the file of the result keeps."""

MEASURED_CROPS = 64
"""The number of photographs' crops on whose activations the encoder is normalized."""

FITTED_CROPS = 48
"""The number of crops of photographs, and of paintings, that a decoder is fitted to."""

FITTED_PIXELS = 128
"""Side of these crops. Together they have five times as many positions as the first layer of the decoder has inputs."""

SHEET_GAP_PIXELS = 4


@dataclass(frozen=True)
class Trained:
    """What a training has made.

    Attributes:
        output: the file of the network.
        sheet: the picture of held-out results; None if none could be made.
        step: the number of steps that are done.
        is_done: whether these are all.
        losses: the mean of each loss over the last steps.
    """

    output: Path
    sheet: Path | None
    step: int
    is_done: bool
    losses: Mapping[str, float]


def train(options: TrainingOptions, *, stop: Stop, emit: Emit, restart: bool = False) -> Trained:
    """Train a network, or continue its training.

    The state is saved beside the result. On the CPU of the same machine, a training that is continued gives the same network
    as one that was never interrupted, to the last bit, unless it goes back to an earlier state.

    Args:
        options: the settings.
        stop: asks it to end. What is done until then is saved.
        emit: takes the events.
        restart: whether to begin anew, though there is a state to continue.

    Raises:
        UsageError: the options cannot be used, or are not those of the training to continue.
        InputError: a folder has no pictures that can be read.
        MachineError: the weights or the device are missing, or the losses are no numbers however often it goes back.
        OutputError: the result cannot be written; a DiskFullError if there is no room.
    """
    options.check()
    ensure_folder(options.output.parent)
    training = _Training(options, stop, emit, restart=restart)
    with stop.graceful("the current step"):  # before the first step, nothing would be lost
        return training.run()


class _Training:
    def __init__(self, options: TrainingOptions, stop: Stop, emit: Emit, *, restart: bool) -> None:
        self._options, self._stop, self._emit = options, stop, emit
        self._device = choose_device(options.device)
        saved = None if restart else Snapshot.load(state_path(options.output), options)
        _check_output(options.output, saved, restart=restart)
        self._content = PictureFolder.of(options.content, options.resize, options.held_out, self._tell)
        self._styles = PictureFolder.of(options.styles, options.resize, options.held_out, self._tell)
        encoder_state, self._encoder_sha256, self._means = self._encoder(saved)
        encoder = Encoder(encoder_state, LAST_LAYERS[options.network]).to(self._device)
        encoder.to(memory_format=torch.channels_last)  # fastest for convolutions
        self._recipe: Recipe = RECIPES[options.network](encoder, options, self._device)
        if saved is None:
            self._begin(encoder)
        else:
            is_given = options.encoder is not None
            saved.check_encoder(
                self._encoder_sha256,
                options.encoder or options.vgg_weights,
                "--encoder" if is_given else "--weights",
            )
        self._progress = saved.restore(self._recipe) if saved is not None else Progress()
        self._good = self._snapshot()

    def _tell(self, message: str) -> None:
        self._emit(Noticed(job=self._options.network, message=message))

    def _encoder(self, saved: Snapshot | None) -> tuple[dict[str, Tensor], str, dict[str, Tensor]]:
        """Return the encoder's weights, their hash, and the means that normalize them; there are none for those of a file."""
        options = self._options
        if options.encoder is not None:
            tensors = read_tensors("--encoder", options.encoder)
            state = tensors.taken("--encoder", encoder_shapes(LAST_LAYERS[options.network]))
            return state, sha256_of(options.encoder), {}
        vgg = load_weights(options.vgg_weights)
        if saved is not None:
            means = saved.means
        elif isinstance(options.start, Path):
            means = encoder_means("--start", read_tensors("--start", options.start), options.network)
        else:
            means = self._measured(folded(vgg))
        return folded(vgg, means), vgg.sha256, means

    def _begin(self, encoder: Encoder) -> None:
        """Give the network the weights that the training starts from, if they are not random."""
        options = self._options
        if isinstance(options.start, Path):
            weights = read_tensors("--start", options.start)
            if weights.metadata.get("encoder_sha256") != self._encoder_sha256:
                raise UsageError(
                    f"--start: {options.start} was trained with another encoder.",
                    "Give the --encoder or --weights of its training, or --start random.",
                )
            for name, part in self._recipe.shipped.items():
                shapes = {key: tuple(tensor.shape) for key, tensor in part.state_dict().items()}
                part.load_state_dict(weights.taken("--start", shapes, f"{name}."))
        elif options.start == "fitted":
            pictures = [
                crops_of(folder, (options.seed, 3, index), 1, min(options.resize, FITTED_PIXELS)).to(self._device)
                for index in range(FITTED_CROPS)
                for folder in (self._content, self._styles)
            ]
            decoder = self._recipe.shipped["decoder"]
            fit_decoder(cast(nn.Sequential, decoder), encoder, pictures, options.seed)
        if options.start != "random":
            for optimizer in self._recipe.optimizers.values():
                share_rates(optimizer)

    @torch.no_grad()
    def _measured(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean activation of each channel on crops of the photographs."""
        options, last = self._options, LAST_LAYERS[self._options.network]
        encoder = Encoder(dict(state), last).to(self._device)
        names = {place + 1: name for name, place in encoder_convolutions(last)}
        sums: dict[str, Tensor] = {}
        count = min(MEASURED_CROPS, 4 * len(self._content.paths))
        for index in range(count):
            x = crops_of(self._content, (options.seed, 2, index), 1, options.crop).to(self._device)
            for place, layer in enumerate(encoder.layers):
                x = layer(x)
                if place in names:
                    mean = x.mean(dim=(0, 2, 3)) / count
                    sums[names[place]] = sums[names[place]] + mean if names[place] in sums else mean
        return {name: mean.cpu() for name, mean in sums.items()}

    def run(self) -> Trained:
        """Train until all steps are done, or a stop is requested."""
        began, first = time.monotonic(), self._progress.step
        shown = began
        while self._progress.step < self._options.steps and not self._stop.should_stop():
            # A thread reads the crops of the next step.
            with closing(prefetch(self._batches())) as batches:
                for content, styles in batches:
                    if not self._stepped(content, styles):
                        break
                    progress, now = self._progress, time.monotonic()
                    is_last = progress.step == self._options.steps
                    if now - shown > PROGRESS_SECONDS or is_last:
                        shown = now
                        self._show(began, first)
                    if is_last or self._stop.should_stop():
                        break
                    if progress.step % self._options.save_every == 0:
                        self._save_if_possible()
        return self._save()

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        options, returns = self._options, self._progress.returns
        for step in range(self._progress.step, options.steps):
            folders = (self._content, self._styles)
            content, styles = (
                crops_of(folder, (options.seed, number, step, returns), options.batch, options.crop)
                for number, folder in enumerate(folders)
            )
            yield content.to(self._device), styles.to(self._device)

    def _stepped(self, content: Tensor, styles: Tensor) -> bool:
        """Take a step; return whether it was a good one. After a bad one, the training is at the last good state."""
        options, progress = self._options, self._progress
        rate = options.rate(progress.step) / 2**progress.returns
        for optimizer in self._recipe.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("factor", 1.0) * group.get("share", 1.0)
        losses = self._recipe.step(content, styles)
        if not progress.takes(losses):
            self._go_back(losses["total"])
            return False
        progress.step += 1
        if progress.step % CURVE_EVERY == 0:
            progress.curve.append({"step": progress.step, **progress.mean_losses()})
        if progress.step % GOOD_EVERY == 0:
            self._good = self._snapshot()
        return True

    def _go_back(self, loss: float) -> None:
        failed, returns = self._progress.step + 1, self._progress.returns + 1
        if returns > MOST_RETURNS:
            raise MachineError(
                f"the loss was {loss:.6g} in step {failed}, and the training has gone back {MOST_RETURNS} times already.",
                "Give a smaller --learning-rate. The last checkpoint is kept.",
            )
        self._progress = self._good.restore(self._recipe)
        self._progress.returns = returns
        self._tell(
            f"the loss was {loss:.6g} in step {failed}; going back to step {self._progress.step}, with half the learning rate "
            "and other crops"
        )
        self._good = self._snapshot()

    def _snapshot(self) -> Snapshot:
        return Snapshot.of(self._recipe, self._progress, self._means, self._encoder_sha256, self._options)

    def _show(self, began: float, first: int) -> None:
        done, steps = self._progress.step, self._options.steps
        pace = (time.monotonic() - began) / max(1, done - first)
        self._emit(
            TrainingProgressed(
                network=self._options.network,
                step=done,
                steps=steps,
                losses=self._progress.mean_losses(),
                seconds_a_step=pace,
                seconds_left=pace * (steps - done),
            )
        )

    def _save_if_possible(self) -> None:
        try:
            self._save()
        except DiskFullError as error:
            again = f"the next try is in {self._options.save_every} steps"
            self._tell(f"not saved: {error.problem} The last checkpoint is kept; {again}")

    def _save(self) -> Trained:
        """Save the state, the network and the sheet of held-out results."""
        options, progress = self._options, self._progress
        self._snapshot().save(state_path(options.output))
        with atomic_write(options.output) as partial_file:
            partial_file.write_bytes(self._file())
        sheet = self._sheet()
        saved = Trained(options.output, sheet, progress.step, progress.step >= options.steps, self._progress.mean_losses())
        self._emit(
            TrainingSaved(
                network=options.network,
                step=progress.step,
                output=str(options.output),
                sheet="" if sheet is None else str(sheet),
            )
        )
        return saved

    def _file(self) -> bytes:
        """Return the content of the result: half the bytes of a float32 are enough, and the card of the model."""
        options, progress = self._options, self._progress
        tensors = {
            f"{part}.{name}": tensor.half()
            for part, module in self._recipe.shipped.items()
            for name, tensor in module.state_dict().items()
        }
        tensors |= {f"{MEANS}{name}": mean for name, mean in self._means.items()}
        card: dict[str, Any] = {
            "engine": options.network,
            "encoder_sha256": self._encoder_sha256,
            "step": progress.step,
            "options": options.deciding(),
            "photographs": len(self._content.paths),
            "paintings": len(self._styles.paths),
            "returns": progress.returns,
            "curve": progress.curve,
            "nstpipe": __version__,
            "torch": torch.__version__,
        }
        return serialized(tensors, json.loads(json.dumps(card)))

    def _sheet(self) -> Path | None:
        """Write a picture of held-out photographs, above and to the left of which stand what they are made of."""
        side = self._options.crop
        content = self._content.whole(self._content.held_out, side)
        styles = self._styles.whole(self._styles.held_out, side)
        if not len(content) or not len(styles):
            return None
        step = side + SHEET_GAP_PIXELS
        size = (3, (len(content) + 1) * step - SHEET_GAP_PIXELS, (len(styles) + 1) * step - SHEET_GAP_PIXELS)
        sheet = torch.ones(1, *size)

        def put(picture: Tensor, row: int, column: int) -> None:
            sheet[0, :, row * step : row * step + side, column * step : column * step + side] = picture

        for column, painting in enumerate(styles, start=1):
            put(painting, 0, column)
        for row, photograph in enumerate(content, start=1):
            put(photograph, row, 0)
        pairs = itertools.product(enumerate(content, start=1), enumerate(styles, start=1))
        for (row, photograph), (column, painting) in pairs:
            found = self._recipe.results(photograph[None].to(self._device), painting[None].to(self._device))
            put(found[0].cpu().clamp(0, 1), row, column)
        path = self._options.output.with_name(f"{self._options.output.stem}.sheet.png")
        with atomic_write(path) as partial_file:
            Image.fromarray(pixels_of(sheet)).save(partial_file)
        return path


def _check_output(output: Path, saved: Snapshot | None, *, restart: bool) -> None:
    """Check that no file is replaced but one that a training made, and that one only if it is continued or begun anew.

    Raises:
        UsageError: there is another file.
        OutputError: it is a folder.
    """
    if output.is_dir():
        raise OutputError(f"{output} is a folder.", "Give the path of a file, such as my.safetensors.")
    if not output.exists() or saved is not None:
        return
    with suppress(MachineError):
        if read_tensors("--output", output).metadata:
            if restart:
                return
            raise UsageError(
                f"--output: {output} is there already, and no training beside it to continue.",
                "Give another path, or --restart to replace it.",
            )
    raise UsageError(f"--output: {output} is there already, and no training has made it.", "Give another path.")
