"""What one evaluation of loss and gradient costs: time, arithmetic and memory, from small pictures to large ones.

The share compares the arithmetic of VGG19's convolutions alone, forward and back to the picture, over the whole time of an
iteration of the optimizer, with what this machine reaches in a plain matrix product of the same type.

Each size runs in a process of its own, since a process gives memory back late.

On a GPU, where an absolute time says something, a painting of 200 iterations is timed as a whole, too, the second one of its
process: what the first one loads is loaded once.

Run: python benchmarks/cost.py [--sizes 128 256 512 1024 2048] [--distance gram] [--device cpu] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nstpipe.media.frame import resized
from nstpipe.media.tensors import tensor_of
from nstpipe.style.engine import MinimizeOptions
from nstpipe.style.engines.optimizer import OptimizerEngine
from nstpipe.style.minimize import LBFGS_HISTORY
from nstpipe.style.settings import EngineSettings, StylePicture

SAMPLES = Path(__file__).parent.parent / "samples"
PRODUCT_SIDE = 2048
WARM_UP, TIMED, ITERATIONS_ON_GPU = 3, 7, 200


@dataclass(frozen=True)
class Cost:
    """One size.

    Attributes:
        size: sides of the square picture, in pixels.
        seconds: of an iteration, the median.
        convolution_gigaflops: of arithmetic in its convolutions.
        product_gigaflops_a_second: of a plain matrix product in the same type.
        share: of that which the iteration reaches.
        gigabytes_a_megapixel: peak memory above that of the loaded network, without the optimizer's history.
        seconds_of_200: iterations on a GPU, with all that a frame needs before the first one; None on a CPU.
    """

    size: int
    seconds: float
    convolution_gigaflops: float
    product_gigaflops_a_second: float
    share: float
    gigabytes_a_megapixel: float
    seconds_of_200: float | None


def peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def processor(device_name: str) -> str:
    if torch.device(device_name).type == "cuda":
        return torch.cuda.get_device_name(device_name)
    return platform.processor() or platform.machine()


def product_rate(precision: torch.dtype, device: torch.device) -> float:
    """GFLOP a second, the best of several: what stands between is other work of the machine."""
    side = PRODUCT_SIDE if device.type == "cpu" else 4 * PRODUCT_SIDE
    one, other = (torch.randn(side, side).to(device, precision) for _ in range(2))
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        one @ other
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds) / 1e9


def measured(size: int, distance: str, device_name: str) -> Cost:
    pictures = []
    for name in ("streetview/street_03.jpg", "styles/van_gogh_cafe_terrace.jpg"):
        with Image.open(SAMPLES / name) as image:
            pictures.append(resized(np.asarray(image.convert("RGB")), (size, size)))
    layers = tuple((f"relu{block}_1", 1.0) for block in range(1, 6))
    settings = EngineSettings(
        weights="bundled",
        device=device_name,
        precision="auto",
        pooling="max",
        padding="replicate",
        content_layers=(("relu4_2", 1.0),),
        style_layers=layers,
        strength=1.0,
        style_scale=1.0,
        total_variation=1.0,
        distance="wasserstein" if distance == "wasserstein" else "gram",
    )
    engine = OptimizerEngine(settings, [StylePicture(pictures[1], 1.0)])
    device, content = engine.network.device, tensor_of(pictures[0])
    is_gpu = device.type == "cuda"
    most = ITERATIONS_ON_GPU if is_gpu else WARM_UP + TIMED
    before = peak_bytes(device)
    stylizer = engine.stylizer(None)
    gigaflops, side = 0.0, size
    for layer in engine.network.vgg.table:
        if layer.kind == "pool":
            side //= 2
        elif layer.kind == "conv":
            # Each pass multiplies and adds 9 times for each pair of channels; forward and back.
            gigaflops += 2 * 2 * 9 * layer.in_channels * layer.out_channels * side * side / 1e9
    for _ in range(2 if is_gpu else 1):
        seconds, losses = [], []
        start = stylizer.first_start(content, "matched", 0)
        began = time.perf_counter()
        for iterate in stylizer.stylize(content, start, MinimizeOptions(most)):
            seconds.append(time.perf_counter() - began)
            losses.append(iterate.loss)
            began = time.perf_counter()
    assert losses[-1] < losses[0] / 2, f"it did not optimize: {losses}"
    peak = peak_bytes(device)
    median = statistics.median(seconds[WARM_UP:])
    rate = product_rate(engine.network.precision, device)
    history = 2 * min(LBFGS_HISTORY, most) * content.numel() * 4
    used = peak - before - history
    return Cost(
        size=size,
        seconds=round(median, 4),
        convolution_gigaflops=round(gigaflops, 1),
        product_gigaflops_a_second=round(rate, 1),
        share=round(gigaflops / median / rate, 3),
        gigabytes_a_megapixel=round(used / size**2 / 1e3, 3),
        seconds_of_200=round(sum(seconds), 4) if is_gpu else None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, 1024, 2048])
    parser.add_argument("--distance", default="gram", choices=["gram", "wasserstein"])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", action="store_true", help="measure in this process, and print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asdict(measured(options.sizes[0], options.distance, options.device))))
        return
    rows = []
    print("| size | time a pixel, over that at the first size | share of a matrix product's rate | GB a megapixel |")
    print("| ---: | ---: | ---: | ---: |")
    for size in options.sizes:
        settings = ["--distance", options.distance, "--device", options.device]
        command = [sys.executable, __file__, "--one", "--sizes", str(size), *settings]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        row = Cost(**json.loads(found.stdout.splitlines()[-1]))
        rows.append(row)
        growth = row.seconds / size**2 / (rows[0].seconds / rows[0].size ** 2)
        print(f"| {size} | {growth:.2f} | {row.share:.0%} | {row.gigabytes_a_megapixel:.2f} |", flush=True)
        if row.seconds_of_200 is not None:
            print(f"200 iterations at {size}x{size}: {row.seconds_of_200:.3f} s", flush=True)
    if options.json:
        machine = {
            "processor": processor(options.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "distance": options.distance,
        }
        options.json.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
