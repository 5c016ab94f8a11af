"""A finished result against its original, whoever made it: flicker, drift, and how far it is from content and style."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nstpipe.errors import InputError, ItemError, UsageError
from nstpipe.media.detect import is_hidden, is_moving, natural_key
from nstpipe.media.frame import Pixels, Source, in_eight_bits, resized, working_size
from nstpipe.media.pictures.files import PictureSource, read_picture
from nstpipe.media.pictures.formats import PICTURE_SUFFIXES
from nstpipe.media.tensors import tensor_of
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.probe import probe
from nstpipe.motion.flow.method import for_flow
from nstpipe.motion.flow.methods import flow_method
from nstpipe.motion.metrics import Coherence, Range, Tone, coherence
from nstpipe.motion.motion import motion_between
from nstpipe.style.losses import Moments, content_distance, gram_distance
from nstpipe.style.network import Network, network_of
from nstpipe.style.paintings import PaintingMoments
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture
from nstpipe.style.tile_budget import TileBudget
from nstpipe.style.tiles import Measured
from nstpipe.style.tiles import measure as measured
from nstpipe.system.files import SpecialFileError, check_is_no_special_file, is_numbered, suggest_path

DEFAULT_SIZE = 512
"""Pixels on the longest side at which both are compared; smaller results are not enlarged."""

DISTANCE_FRAMES = 25
"""Frames, evenly spread, whose distances to content and style are measured: each is a pass through VGG19."""

PICTURES_A_SECOND = Fraction(25)
"""Taken for folders of pictures, which have no rate; the drift is that of the last second against the first."""

CONTENT_LAYER = "relu4_2"
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
"""Whatever a job asked for: a figure that is to be compared is always measured in the same way."""

LARGEST_ASPECT_CHANGE = 0.03
"""Of width over height between original and result: rounding to even sides changes it a little, cropping more."""


@dataclass(frozen=True)
class Drift:
    """The last second against the first; in what is shorter than two seconds, the second half against the first.

    Attributes:
        luminance: change of the mean, in levels of 255.
        detail: the last second's over the first's; None if the first has none.
    """

    luminance: float
    detail: float | None


@dataclass(frozen=True)
class Distances:
    """How far a result is from what was wanted, as VGG19 sees it; means over the frames that were looked at.

    Attributes:
        frames: that were looked at.
        content: Σ(F − P)² / ΣP² of relu4_2's activations.
        style: mean over relu1_1 to relu5_1 of Σ(G − A)² / ΣA² of the Gram matrices; None without a painting.
    """

    frames: int
    content: float
    style: float | None


@dataclass(frozen=True)
class Metrics:
    """What `nstpipe metrics` says.

    Attributes:
        frames: that were compared.
        width: of the frames compared, in pixels; of the first one where they differ.
        height: of the frames compared, in pixels; of the first one where they differ.
        flow: the optical flow's name.
        coherence: by frame.
        original_drift: of the original.
        stylized_drift: of the result.
        distances: to content and style.
        notices: what the reader should know of how they were compared.
    """

    frames: int
    width: int
    height: int
    flow: str
    coherence: Coherence
    original_drift: Drift
    stylized_drift: Drift
    distances: Distances
    notices: tuple[str, ...] = ()

    @property
    def ranges(self) -> tuple[Range, ...]:
        """Warping errors by lag."""
        return self.coherence.ranges

    def as_json(self) -> dict[str, Any]:
        """Everything, with nothing but JSON's own types."""
        found: dict[str, Any] = _spelled_as_ever({**asdict(self), "ranges": [asdict(one) for one in self.ranges]})
        return found


def _spelled_as_ever(value: Any) -> Any:
    """JSON with the keys that its readers know; they are spelled as in British English."""
    if isinstance(value, dict):
        return {name.replace("stylized", "stylised"): _spelled_as_ever(child) for name, child in value.items()}
    return [_spelled_as_ever(child) for child in value] if isinstance(value, (list, tuple)) else value


def measure(
    original: Path,
    stylized: Path,
    *,
    lags: Sequence[int] = (1, 10),
    flow: str | Path = "dis",
    size: int = DEFAULT_SIZE,
    paintings: Sequence[Path] = (),
    weights: str | Path = "bundled",
    device: str = "auto",
) -> Metrics:
    """Compare two videos, folders of pictures, globs, numbered pictures, or single pictures; see docs/motion.md.

    Args:
        original: what was stylized.
        stylized: what came of it, by whatever means.
        lags: how many frames apart the two of a pair are; each from 1 on.
        flow: dis, farneback, raft, or the path of a RAFT state dict.
        size: longest side in pixels at which they are compared, if the result is not smaller.
        paintings: whose style is wanted; without any, no style distance is given.
        weights: of VGG19: bundled, torchvision or a path.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        UsageError: a lag or the size makes no sense.
        InputError: one of the two, or a painting, cannot be read, or they do not belong together.
        MachineError: weights or device are not to be had.
    """
    if not lags or min(lags) < 1 or len(set(lags)) < len(lags):
        raise UsageError(f"--lags: found {', '.join(map(str, lags)) or 'none'}; should be different numbers from 1 on.")
    if size < 16:
        raise UsageError(f"--size: found {size}; should be 16 pixels or more.")
    find_flow = flow_method(flow, device)
    try:
        pair = _Pair.opened(original, stylized, size)
        judge = _Judge(_network(weights, device), paintings, pair.count)
        measured = coherence(
            judge.watched(pair.frames()),
            tuple(lags),
            lambda _before, _now, one, other, at_size: motion_between(one, other, find_flow, at_size),
        )
    except ItemError as error:
        raise InputError(error.problem, error.next_step) from error
    width, height = working_size(pair.stylized.size, pair.longest)
    return Metrics(
        frames=pair.count,
        width=width,
        height=height,
        flow=str(flow),
        coherence=measured,
        original_drift=_drift(measured.originals, pair.frames_a_second),
        stylized_drift=_drift(measured.stylized, pair.frames_a_second),
        distances=judge.distances,
        notices=pair.notices,
    )


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two sources that belong together.

    Attributes:
        count: of the frames that both have.
        longest: side at which they are compared, in pixels.
    """

    original: Source
    stylized: Source
    count: int
    longest: int
    frames_a_second: Fraction
    notices: tuple[str, ...]

    @classmethod
    def opened(cls, original: Path, stylized: Path, longest: int) -> _Pair:
        one, other = _source(original), _source(stylized)
        notices = []
        if isinstance(one, PictureSource) and isinstance(other, PictureSource):
            one = _of_the_same_names(one, other)
        count = min(one.frame_count, other.frame_count)
        if one.frame_count != other.frame_count:
            notices.append(
                f"{original} has {one.frame_count} frames, {stylized} has {other.frame_count}; the first {count} are compared "
                "in order. If frames are missing in the middle, the figures are wrong."
            )
        (width, height), (wide, high) = one.size, other.size
        if abs(width / height * high / wide - 1) > LARGEST_ASPECT_CHANGE:
            raise InputError(
                f"{original} is {width}x{height} and {stylized} is {wide}x{high}; a result should have its original's shape.",
                "Give the original that it was made of.",
            )
        rates = (source.info.average_rate for source in (other, one) if isinstance(source, VideoSource))
        rate = next(rates, PICTURES_A_SECOND)
        return cls(one, other, count, min(longest, max(wide, high)), rate, tuple(notices))

    def frames(self) -> Iterator[tuple[Pixels, Pixels]]:
        """Originals, as flow wants to see them, with their results at the size of comparison; both in uint8."""
        frames = zip(self.original.read(0, self.count), self.stylized.read(0, self.count), strict=True)
        for original, result in frames:
            height, width, _ = result.pixels.shape
            size = working_size((width, height), min(self.longest, max(width, height)))
            yield for_flow(original.pixels, size), in_eight_bits(resized(result.pixels, size))


def _source(path: Path) -> Source:
    """A video, a moving picture, a folder, a glob or a picture as frames.

    Raises:
        ItemError: it cannot be read.
        InputError: there is nothing.
    """
    if path.is_dir():
        found = [one for one in path.rglob("*") if one.suffix.lower() in PICTURE_SUFFIXES and one.is_file()]
        return _pictures(path, [one for one in found if not is_hidden(one, path)])
    if is_numbered(path):
        return VideoSource(probe(path))
    if path.is_file():
        moving = is_moving(path)
        is_video = path.suffix.lower() not in PICTURE_SUFFIXES if moving is None else moving
        return VideoSource(probe(path)) if is_video else PictureSource(path.parent, [path])
    if glob.has_magic(str(path)):
        folder = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        return _pictures(folder, [Path(one) for one in glob.glob(str(path), recursive=True)])  # noqa: PTH207
    try:
        check_is_no_special_file(path)
    except SpecialFileError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Give a file or a folder.") from error
    raise InputError(f"{path} does not exist.", suggest_path(path))


def _pictures(folder: Path, paths: Sequence[Path]) -> PictureSource:
    if not paths:
        raise InputError(f"{folder} holds no picture.", f"Pictures end with {', '.join(PICTURE_SUFFIXES)}.")
    return PictureSource(folder, sorted(paths, key=lambda path: (natural_key(str(path)), str(path))))


def _of_the_same_names(original: PictureSource, stylized: PictureSource) -> PictureSource:
    """The originals that a folder of results has, by name without suffix; all of them if the names say nothing."""
    by_name = {path.relative_to(original.folder).with_suffix(""): path for path in original.paths}
    names = [path.relative_to(stylized.folder).with_suffix("") for path in stylized.paths]
    if any(name not in by_name for name in names):
        return original
    return PictureSource(original.folder, [by_name[name] for name in names])


def _drift(tones: Sequence[Tone], frames_a_second: Fraction) -> Drift:
    second = max(1, min(len(tones) // 2, round(frames_a_second)))
    first, last = tones[:second], tones[-second:]
    luminance = _mean([tone.luminance for tone in last]) - _mean([tone.luminance for tone in first])
    detail = _mean([tone.detail for tone in first])
    return Drift(luminance, _mean([tone.detail for tone in last]) / detail if detail else None)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _network(weights: str | Path, device: str) -> Network:
    settings = EngineSettings(
        weights=weights,
        device=device,
        precision="float32",
        pooling="max",
        padding="replicate",
        content_layers=((CONTENT_LAYER, 1.0),),
        style_layers=tuple((layer, 1.0) for layer in STYLE_LAYERS),
        strength=1.0,
        style_scale=1.0,
        total_variation=0.0,
    )
    return network_of(settings)


class _Judge:
    """Looks at some of the frames that pass, and remembers how far they are from content and style."""

    def __init__(self, network: Network, paintings: Sequence[Path], count: int) -> None:
        self._network = network
        self._tile_budget = TileBudget(network, (CONTENT_LAYER,))
        pictures = map(read_picture, paintings)
        styles = tuple(StylePicture.of(in_eight_bits(pixels), metadata.alpha, 1.0) for pixels, metadata in pictures)
        self._paintings = PaintingMoments(network, self._tile_budget, STYLE_LAYERS, RegionPaint(styles))
        self._has_style = bool(styles)
        self._indices = {round(place) for place in np.linspace(0, count - 1, min(count, DISTANCE_FRAMES))}
        self._content: list[float] = []
        self._style: list[float] = []

    def watched(self, frames: Iterable[tuple[Pixels, Pixels]]) -> Iterator[tuple[Pixels, Pixels]]:
        for index, (original, result) in enumerate(frames):
            if index in self._indices:
                at_size = resized(original, (result.shape[1], result.shape[0]))
                self._look(tensor_of(at_size), tensor_of(result))
            yield original, result

    @torch.no_grad()
    def _look(self, original: Tensor, result: Tensor) -> None:
        smallest_side = self._network.vgg.smallest_side
        if min(original.shape[-2:]) < smallest_side:
            raise ItemError(
                f"the frames are compared at {original.shape[-1]}x{original.shape[-2]} pixels; VGG19 needs "
                f"{smallest_side} on the shorter side.",
                "Give a larger --size.",
            )
        targets, found = self._targets(max(original.shape[-2:])), self._measured(result)
        content = self._measured(original, grams=False)
        self._content.append(float(content_distance(found.activations[CONTENT_LAYER], content.activations[CONTENT_LAYER])))
        distances = [float(gram_distance(found.moments[layer].gram, target.gram)) for layer, target in targets.items()]
        self._style += [_mean(distances)] if distances else []

    def _measured(self, image: Tensor, *, grams: bool = True) -> Measured:
        # In tiles where the memory asks for it, as when painting.
        side = self._tile_budget.tile_side(*image.shape[-2:], is_optimized=False) or max(image.shape[-2:])
        wanted = frozenset(STYLE_LAYERS) if grams and self._has_style else frozenset[str]()
        layers = frozenset({CONTENT_LAYER})
        return measured(self._network.features(), image.to(self._network.device), side, styles=wanted, activations=layers)

    def _targets(self, longest: int) -> Mapping[str, Moments]:
        return self._paintings.targets(longest) if self._has_style else {}

    @property
    def distances(self) -> Distances:
        return Distances(len(self._content), _mean(self._content), _mean(self._style) if self._style else None)
