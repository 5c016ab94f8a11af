"""Trains a network on a job's own frames until it paints their look in one pass (Johnson, Alahi, Li 2016).

Its loss is that which the optimizer minimizes for a frame, with the job's own layers, weights, paintings, regions and colors.
In some steps it includes the temporal loss: the result is compared with that of the frame before, painted from a noisy original
and warped along the optical flow (Ruder, Dosovitskiy, Brox 2018, section 4; Wang et al. 2020, "Consistent Video Style Transfer
via Compound Regularization").
"""

from __future__ import annotations

import io
import math
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nstpipe.errors import DiskFullError, MachineError
from nstpipe.events import Emit, Noticed, TrainingProgressed, TrainingSaved
from nstpipe.media.tensors import tensor_of, tensor_of_floats
from nstpipe.motion.reliability import came_from_inside
from nstpipe.motion.warp import warp
from nstpipe.style.engines.optimizer import OptimizerEngine, OptimizerStylizer
from nstpipe.style.engines.transformation import learned_regions, places_of
from nstpipe.style.networks.looks import ENGINE, saved_look
from nstpipe.style.networks.transformation import TransformationNetwork, made
from nstpipe.style.objective import Losses, Objective, TemporalTarget
from nstpipe.style.precision import choose_precision
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture
from nstpipe.style.tiles import TiledObjective
from nstpipe.system.devices import choose_device
from nstpipe.system.files import atomic_write
from nstpipe.system.stop import Stop
from nstpipe.training.material import TrainingFrame
from nstpipe.training.muon import Muon, matrices_of
from nstpipe.training.state import Progress, state_path
from nstpipe.version import __version__

LEARNING_RATE = 0.02
"""Of Muon, which trains the convolutions, between the warm-up and the cool-down."""

ADAM_LEARNING_RATE = 1.5e-3
"""Of Adam, at the same time. It trains means and deviations, and the last convolution, which gives colors."""

BETAS = (0.9, 0.99)
"""Of Adam."""

WARM_UP_STEPS = 20
"""Steps in which the learning rate rises."""

COOL_DOWN = 0.35
"""Share of the training in which the learning rate falls, at its end (Hu et al. 2024, "MiniCPM", section 4). No number of steps
must be known beforehand, so the training can end when the loss does not fall any more."""

CHECK_EVERY = 100
"""Steps between two measurements of the loss of held-out frames."""

LEAST_CHECKS = 5
"""Before so many measurements, the training does not end for its tolerance."""

LOOKED_BACK = 0.8
"""The loss is compared with that after this share of the steps."""

HELD_OUT_EVERY, MOST_HELD_OUT = 8, 6
"""Of so many frames one is held out, and at most so many in all."""

TRAINED_PIXELS = 360 * 284
"""The most pixels of a frame in a step. Of larger frames, parts are learned from."""

LARGEST_ZOOM = 1.3
"""The largest factor by which a part of a small frame is enlarged."""

VARIANTS = 16
"""How many variants of a frame are learned from. The last but one is mirrored, and the last has another scale. Others show the
frame as the network will see it. A network that serves one job gains little from more variety, and learns less from a step."""

MIRRORED, RESCALED = VARIANTS - 2, VARIANTS - 1

KEPT_BYTES = 1 << 29
"""The most bytes of frames and their content targets that are kept for further steps."""

TEMPORAL_EVERY = 4
"""One step of so many has the temporal loss."""

NOISE = 0.02
"""Deviation of the noise that is added to the frame before, where white is 1."""

LARGEST_GRADIENT = 3.0
"""A gradient longer than so many times the median of the recent ones is shortened to that. A frame with hardly any detail has
one that would drown all others in the momentum, such as a frame of a film that fades to black."""

RECENT_GRADIENTS = 200

OUTSIDE_WEIGHT = 10.0
"""Weight of the mean squared distance of values from the range of 0 to 1, in which losses are measured."""

SAVE_SECONDS = 60.0
"""Time between two saved states."""

GOOD_EVERY = 100
"""The number of steps after which the state is kept in memory, to go back to."""

MOST_RETURNS = 8
"""A training that went back so often does not get better by going back once more."""

PROGRESS_SECONDS = 0.5
"""Shortest time between two events of progress."""

FORMAT = 2
"""Of saved states. It grows when they hold something else."""


@dataclass(frozen=True)
class LookOptions:
    """The settings of a training.

    Attributes:
        settings: those of the engine.
        identity: the hash of everything that decides the training.
        output: file of the trained network. The state is saved beside it.
        minutes: how long it may take, without interruptions.
        tolerance: it ends sooner if held-out frames improve by less than this share.
        seed: seed of all random numbers.
        job: the job that it is for, for messages.
        most_steps: how many steps it may take, in place of `minutes`; None for any.
    """

    settings: EngineSettings
    identity: str
    output: Path
    minutes: float
    tolerance: float
    seed: int = 0
    job: str = ""
    most_steps: int | None = None


@dataclass(frozen=True)
class LearnedLook:
    """What a training has come to.

    Attributes:
        step: the number of steps that are done.
        seconds: what they took.
        loss: the loss of held-out frames; None if none was measured.
        is_done: whether the network is finished.
    """

    step: int
    seconds: float
    loss: float | None
    is_done: bool


@dataclass
class LookProgress(Progress):
    """How far a training is.

    Attributes:
        seconds: what its steps took.
        cooling_from: how much was spent when the learning rate began to fall; None before.
        checks: steps, each with the loss of held-out frames after it.
        gradients: the norms of the recent gradients.
    """

    seconds: float = 0.0
    cooling_from: float | None = None
    checks: list[tuple[int, float]] = field(default_factory=list)
    gradients: list[float] = field(default_factory=list)

    def longest_gradient(self) -> float:
        """Return the norm to which a longer gradient is shortened; infinity at first."""
        return LARGEST_GRADIENT * median(self.gradients) if self.gradients else math.inf


@dataclass(frozen=True, eq=False)
class Example:
    """What a step learns from.

    Attributes:
        frame: as the engine sees it, 1 x 3 x height x width.
        base: the same in the colors of the style.
        places: where each region is, 1 x regions x height x width; None if there are none.
        corner: row and column of the part in its frame.
        stylizer: knows the colors of its shot.
        objective: the loss of its result.
    """

    frame: Tensor
    base: Tensor
    places: Tensor | None
    corner: tuple[int, int]
    stylizer: OptimizerStylizer
    objective: Objective | TiledObjective

    @property
    def size_bytes(self) -> int:
        """What it takes in memory beside what all have in common."""
        targets = self.objective.content_targets if isinstance(self.objective, Objective) else {}
        tensors = (self.frame, self.base, *targets.values())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@dataclass(frozen=True)
class Part:
    """The part of a frame that is learned from.

    Attributes:
        top, left: its corner, in pixels.
        height, width: its size, in pixels.
        mirrored: whether left and right are exchanged.
        size: width and height in which it is learned from.
    """

    top: int
    left: int
    height: int
    width: int
    mirrored: bool
    size: tuple[int, int]

    def of(self, picture: Tensor) -> Tensor:
        """Return the part of a picture, 1 x channels x height x width."""
        part = picture[..., self.top : self.top + self.height, self.left : self.left + self.width]
        if (self.width, self.height) != self.size:
            size = self.size[1], self.size[0]
            part = functional.interpolate(part, size=size, mode="bilinear", antialias=True, align_corners=False)
        return (part.flip(3) if self.mirrored else part).contiguous()


def trained_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height of what is learned from a frame of a size, in pixels."""
    width, height = size
    share = min(1.0, math.sqrt(TRAINED_PIXELS / (width * height)))
    return max(1, round(width * share)), max(1, round(height * share))


def tile_of(frames: Sequence[TrainingFrame]) -> tuple[int, int]:
    """Return the height and width of the grain's tile: whole frames have places of their own in it if they are not large."""
    sizes = [trained_size((frame.pixels.shape[1], frame.pixels.shape[0])) for frame in frames]
    return max(height for _, height in sizes), max(width for width, _ in sizes)


def part_of(size: tuple[int, int], variant: int, generator: np.random.Generator) -> Part:
    """Choose a part of a frame; all of it if it is not large.

    Args:
        size: width and height of the frame, in pixels.
        variant: 0 to `VARIANTS` - 1.
        generator: chooses the scale and the place.
    """
    width, height = size
    wanted = trained_size(size)
    inner = wanted
    if variant == RESCALED:
        smallest = 1 / LARGEST_ZOOM if wanted == size else wanted[0] / width
        share = math.exp(generator.uniform(math.log(smallest), 0))
        inner = round(width * share), round(height * share)
    down, right = generator.random(2)
    top, left = int(down * (height - inner[1] + 1)), int(right * (width - inner[0] + 1))
    return Part(top, left, inner[1], inner[0], variant == MIRRORED, wanted)


def learn_look(
    frames: Sequence[TrainingFrame],
    styles: Sequence[StylePicture],
    regions: Sequence[RegionPaint],
    options: LookOptions,
    *,
    stop: Stop,
    emit: Emit,
) -> LearnedLook:
    """Train a network, or continue its training. It is saved when it is done; its state every minute, and when it is stopped.

    Args:
        frames: what it learns from.
        styles: the paintings.
        regions: what each region is painted with.
        options: the settings.
        stop: asks it to end after the current step.
        emit: takes the events.

    Raises:
        ItemError: a frame is too small for the loss.
        MachineError: weights or device are missing, or the loss is no number however often it goes back.
        OutputError: the result cannot be written; a DiskFullError if there is no room.
    """
    return _Training(frames, styles, regions, options, stop, emit).run()


class _Training:
    def __init__(
        self,
        frames: Sequence[TrainingFrame],
        styles: Sequence[StylePicture],
        regions: Sequence[RegionPaint],
        options: LookOptions,
        stop: Stop,
        emit: Emit,
    ) -> None:
        self._options, self._stop, self._emit = options, stop, emit
        self._styles, self._regions = styles, regions
        self._held_out, self._frames = _held_out(frames)
        self._device = choose_device(options.settings.device)
        self._precision = choose_precision(options.settings.precision, self._device)
        tile = tile_of(frames)
        self._network = (
            made(options.seed, learned_regions(regions), tile).to(self._device).to(memory_format=torch.channels_last)
        )  # type: ignore[call-overload]
        self._optimizers = _optimizers_of(self._network, self._precision)
        self._stylizers: dict[tuple[float, int], OptimizerStylizer] = {}
        self._engines: dict[float, OptimizerEngine] = {}
        self._kept: OrderedDict[tuple[int, int, int], Example] = OrderedDict()
        self._progress = LookProgress()
        self._restore(load_state(state_path(options.output), options.identity))
        self._good = self._state()

    def run(self) -> LearnedLook:
        """Take steps until the training is done or asked to stop."""
        shown = saved = time.monotonic()
        while not self._is_done and not self._stop.should_stop():
            began = time.monotonic()
            is_good = self._step()
            progress = self._progress
            if is_good and progress.step % CHECK_EVERY == 0:
                self._check()
            now = time.monotonic()
            progress.seconds += now - began
            if now - shown > PROGRESS_SECONDS:
                shown = now
                self._show()
            if now - saved > SAVE_SECONDS:
                saved = now
                self._save_if_possible()
        progress = self._progress
        if not self._is_done:
            self._save_state()
            return LearnedLook(progress.step, progress.seconds, self._loss, is_done=False)
        if not progress.checks or progress.checks[-1][0] != progress.step:
            progress.checks.append((progress.step, self.held_out_loss()))
        self._show()
        with atomic_write(self._options.output) as partial:
            partial.write_bytes(saved_look(self._network, self._card()))
        state_path(self._options.output).unlink(missing_ok=True)
        self._emit(TrainingSaved(network=ENGINE, step=progress.step, output=str(self._options.output), sheet=""))
        return LearnedLook(progress.step, progress.seconds, self._loss, is_done=True)

    @property
    def _loss(self) -> float | None:
        return self._progress.checks[-1][1] if self._progress.checks else None

    # What is spent of the time, or of the steps.

    @property
    def _limit(self) -> float:
        return self._options.most_steps if self._options.most_steps is not None else 60 * self._options.minutes

    @property
    def _spent(self) -> float:
        return self._progress.step if self._options.most_steps is not None else self._progress.seconds

    @property
    def _cooling(self) -> tuple[float, float]:
        """From when until when the learning rate falls, in what is spent."""
        begin = self._progress.cooling_from
        if begin is None:
            return (1 - COOL_DOWN) * self._limit, self._limit
        return begin, min(self._limit, begin / (1 - COOL_DOWN))

    @property
    def _is_done(self) -> bool:
        return self._progress.step > 0 and self._spent >= self._cooling[1]

    @property
    def _rate(self) -> float:
        """The learning rate of this moment, as a share of its largest one."""
        begin, end = self._cooling
        warm = min(1.0, (self._progress.step + 1) / WARM_UP_STEPS)
        cool = min(1.0, max(0.0, (end - self._spent) / max(end - begin, 1e-9)))
        return warm * (0.01 + 0.99 * cool) * math.pow(0.5, self._progress.returns)

    # A step.

    def _step(self) -> bool:
        """Take a step; return whether it was a good one. After a bad one, the training is at the last good state."""
        progress = self._progress
        generator = np.random.default_rng((self._options.seed, progress.step, progress.returns))
        order = np.random.default_rng((self._options.seed, progress.step // len(self._frames))).permutation(len(self._frames))
        index = int(order[progress.step % len(self._frames)])
        is_temporal = (
            self._options.settings.temporal > 0
            and self._frames[index].motion is not None
            and generator.random() < 1 / TEMPORAL_EVERY
        )
        variant = 0 if is_temporal else self._variant(index, int(generator.integers(VARIANTS)))
        example = self._example(0, index, variant)
        objective = example.objective
        if is_temporal and isinstance(objective, Objective):
            objective = replace(objective, temporal_target=self._temporal_target(index, generator))
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._rate * optimizer.defaults["lr"]
            optimizer.zero_grad()
        losses, total = self._losses(example, objective)
        total.backward()  # type: ignore[no-untyped-call]
        found = {name: float(getattr(losses, name).detach()) for name in ("total", "content", "style")}
        if not progress.takes(found):
            self._go_back(found["total"])
            return False
        longest = progress.longest_gradient()
        norm = float(nn.utils.clip_grad_norm_(self._network.parameters(), longest))
        if math.isfinite(norm):  # a frame of one color has none: its deviations are zero
            progress.gradients = [*progress.gradients, norm][-RECENT_GRADIENTS:]
            for optimizer in self._optimizers:
                optimizer.step()
        progress.step += 1
        if progress.step % GOOD_EVERY == 0:
            self._good = self._state()
        return True

    def _losses(self, example: Example, objective: Objective | TiledObjective) -> tuple[Losses, Tensor]:
        """Return the losses of an example's result, and what is minimized."""
        image = self._painted(example.frame, example.base, example.places, example.corner)
        inside = image.clamp(0, 1)
        losses = objective(example.stylizer.seen(inside))
        return losses, losses.total + OUTSIDE_WEIGHT * (image - inside).square().mean()

    def _painted(self, frame: Tensor, base: Tensor, places: Tensor | None, corner: tuple[int, int]) -> Tensor:
        is_coarse = self._precision == torch.bfloat16
        with torch.autocast(self._device.type, torch.bfloat16, enabled=is_coarse):
            found: Tensor = self._network(frame, base, places, corner=corner)
        return found

    def _temporal_target(self, index: int, generator: np.random.Generator) -> TemporalTarget:
        """Return the result of the frame before, warped. It gets no gradient."""
        frame = self._frames[index]
        assert frame.before is not None and frame.motion is not None
        part = self._part(frame, 0, index, 0)
        stylizer = self._stylizer_of(frame)
        before = part.of(tensor_of(frame.before))
        noise = torch.from_numpy(generator.standard_normal(before.shape, np.float32))
        seen = stylizer.seen((before + NOISE * noise).clamp(0, 1))
        rows, columns = slice(part.top, part.top + part.height), slice(part.left, part.left + part.width)
        backward = np.ascontiguousarray(frame.motion.backward[rows, columns])
        reliability = frame.motion.reliability[rows, columns] * came_from_inside(backward)
        with torch.no_grad():
            base = stylizer.first_start(seen, "matched", 0)
            example = self._example(0, index, 0)
            image = self._painted(seen.to(self._device), base.to(self._device), example.places, example.corner).clamp(0, 1)
        warped = warp(np.ascontiguousarray(image[0].float().cpu().permute(1, 2, 0).numpy()), backward)
        target = TemporalTarget(tensor_of_floats(warped), torch.from_numpy(np.ascontiguousarray(reliability)))
        return target.to(self._device)

    # What is learned from.

    def _part(self, frame: TrainingFrame, held_out: int, index: int, variant: int) -> Part:
        size = frame.pixels.shape[1], frame.pixels.shape[0]
        return part_of(size, variant, np.random.default_rng((self._options.seed, held_out, index, variant)))

    def _variant(self, index: int, variant: int) -> int:
        """Return the first of the variants that are equal to one. Of a frame that is learned from as a whole, most are."""
        height, width = self._frames[index].pixels.shape[:2]
        return variant if variant in (MIRRORED, RESCALED) or trained_size((width, height)) != (width, height) else 0

    def _example(self, held_out: int, index: int, variant: int) -> Example:
        """Return a variant of a frame with its loss.

        Args:
            held_out: 1 for a frame that is held out, else 0.
            index: its index among these frames.
            variant: see `part_of`.
        """
        key = held_out, index, variant
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        frame = (self._held_out if held_out else self._frames)[index]
        part = self._part(frame, held_out, index, variant)
        stylizer = self._stylizer_of(frame)
        if frame.masks is not None:
            stylizer = stylizer.masked(part.of(torch.from_numpy(frame.masks)[None])[0])
        seen = stylizer.seen(part.of(tensor_of(frame.pixels)))
        base = stylizer.first_start(seen, "matched", 0)
        places = places_of(stylizer.regions)
        on_device = seen.to(self._device)
        example = Example(
            on_device,
            base.to(self._device),
            places[None].to(self._device) if places is not None else None,
            (part.top, part.left),
            stylizer,
            stylizer.objective(on_device),
        )
        self._kept[key] = example
        while len(self._kept) > 1 and sum(one.size_bytes for one in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return example

    def _stylizer_of(self, frame: TrainingFrame) -> OptimizerStylizer:
        """Return what measures the loss of a frame's parts, with strokes that are as large as those of the whole frame."""
        size = frame.pixels.shape[1], frame.pixels.shape[0]
        larger = max(size) / max(trained_size(size))
        key = larger, id(frame.first) if frame.first is not None else 0
        if key not in self._stylizers:
            if larger not in self._engines:
                settings = self._options.settings
                settings = replace(settings, style_scale=settings.style_scale * larger)
                regions = [replace(region, style_scale=region.style_scale * larger) for region in self._regions]
                self._engines[larger] = OptimizerEngine(settings, self._styles, regions)
            first = tensor_of(frame.first) if frame.first is not None else None
            self._stylizers[key] = self._engines[larger].stylizer(first)
        return self._stylizers[key]

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Return the mean loss of the held-out frames."""
        found = []
        for index in range(len(self._held_out)):
            example = self._example(1, index, 0)
            losses, _ = self._losses(example, example.objective)
            found.append(float(losses.total))
        return sum(found) / len(found)

    def _check(self) -> None:
        progress = self._progress
        progress.checks.append((progress.step, self.held_out_loss()))
        if progress.cooling_from is not None or len(progress.checks) < LEAST_CHECKS or not self._options.tolerance:
            return
        before = [loss for step, loss in progress.checks if step <= LOOKED_BACK * progress.step]
        if progress.checks[-1][1] > before[-1] * (1 - self._options.tolerance) and self._spent < self._cooling[0]:
            progress.cooling_from = self._spent

    # States.

    def _state(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "identity": self._options.identity,
            "progress": asdict(self._progress),
            "network": {name: tensor.detach().cpu().clone() for name, tensor in self._network.state_dict().items()},
            "optimizers": [_copied(optimizer.state_dict()) for optimizer in self._optimizers],
        }

    def _restore(self, state: Mapping[str, Any] | None) -> None:
        if state is None:
            return
        self._network.load_state_dict(state["network"])
        for optimizer, kept in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(_copied(kept))
        progress = dict(state["progress"])
        self._progress = LookProgress(**{**progress, "checks": [tuple(check) for check in progress["checks"]]})

    def _go_back(self, loss: float) -> None:
        failed, returns, seconds = self._progress.step + 1, self._progress.returns + 1, self._progress.seconds
        if returns > MOST_RETURNS:
            raise MachineError(
                f"the loss was {loss:.6g} in step {failed} of the training, which has gone back {MOST_RETURNS} times already.",
                "Give a smaller style.strength, or another engine.",
            )
        self._restore(self._good)
        self._progress.returns, self._progress.seconds = returns, seconds
        step = self._progress.step
        self._tell(f"the loss was {loss:.6g} in step {failed}; going back to step {step}, with half the learning rate")
        self._good = self._state()

    def _save_state(self) -> None:
        raw = io.BytesIO()
        torch.save(self._state(), raw)
        with atomic_write(state_path(self._options.output)) as partial:
            partial.write_bytes(raw.getbuffer())

    def _save_if_possible(self) -> None:
        try:
            self._save_state()
        except DiskFullError as error:
            self._tell(f"not saved: {error.problem} The last state is kept.")

    def _card(self) -> dict[str, object]:
        progress = self._progress
        return {
            "identity": self._options.identity,
            "step": progress.step,
            "seconds": round(progress.seconds, 1),
            "frames": len(self._frames),
            "held_out": len(self._held_out),
            "curve": progress.checks,
            "returns": progress.returns,
            "nstpipe": __version__,
            "torch": torch.__version__,
        }

    def _tell(self, message: str) -> None:
        self._emit(Noticed(job=self._options.job, message=message))

    def _show(self) -> None:
        progress = self._progress
        pace = progress.seconds / max(1, progress.step)
        left = max(0.0, self._cooling[1] - self._spent)
        seconds_left = left * pace if self._options.most_steps is not None else left
        losses = dict(progress.mean_losses())
        if self._loss is not None:
            losses["held_out"] = self._loss
        self._emit(
            TrainingProgressed(
                network=ENGINE,
                job=self._options.job,
                step=progress.step,
                steps=progress.step + math.ceil(seconds_left / pace) if pace else progress.step,
                losses=losses,
                seconds_a_step=pace,
                seconds_left=seconds_left,
            )
        )


def _optimizers_of(network: TransformationNetwork, precision: torch.dtype) -> tuple[torch.optim.Optimizer, ...]:
    """Return what trains a network."""
    matrices, others = matrices_of([network])
    return Muon(matrices, LEARNING_RATE, precision), torch.optim.Adam(others, ADAM_LEARNING_RATE, BETAS, fused=True)


def load_state(path: Path, identity: str) -> Mapping[str, Any] | None:
    """Read the state of a training; None if there is none of the same identity that can be read, so that it begins anew."""
    try:
        state = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
        return state if state["format"] == FORMAT and state["identity"] == identity else None
    except Exception:  # damaged by a power cut, say: torch fails in any way
        return None


def _held_out(frames: Sequence[TrainingFrame]) -> tuple[list[TrainingFrame], list[TrainingFrame]]:
    """Return the frames that are held out, and those that are learned from. A few frames are all learned from."""
    places = range(HELD_OUT_EVERY // 2, len(frames), HELD_OUT_EVERY)
    if not places:
        return list(frames[:MOST_HELD_OUT]), list(frames)
    count = min(MOST_HELD_OUT, len(places))
    chosen = {places[number * len(places) // count] for number in range(count)}
    return [frames[index] for index in sorted(chosen)], [frame for index, frame in enumerate(frames) if index not in chosen]


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        return {name: _copied(child) for name, child in value.items()}
    return [_copied(child) for child in value] if isinstance(value, list) else value
