"""`nstpipe train`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console

from nstpipe.cli.options import AsJson, Overrides, console_for, deadline_of, print_json, write_or_discard
from nstpipe.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_STOPPED, EXIT_TERMINATED, UsageError
from nstpipe.events import Emit, Event
from nstpipe.system.stop import Stop, StopReason

_EXIT_CODES = {StopReason.INTERRUPTED: EXIT_INTERRUPTED, StopReason.TERMINATED: EXIT_TERMINATED}


def train(
    context: typer.Context,
    network: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK",
            help="adain or iecontrast, for any painting; or a pipeline.yaml, for the look of one of its jobs.",
            show_default=False,
        ),
    ],
    *,
    content: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder of photographs; not with a pipeline.")] = None,
    styles: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder of paintings; not with a pipeline.")] = None,
    job: Annotated[str, typer.Option(metavar="NAME", help="Job of the pipeline; default: its only one.")] = "",
    set_: Overrides = [],  # noqa: B006  # typer reads the default and never changes it
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File of the trained network.")],
    steps: Annotated[int | None, typer.Option(min=1, help="Number of steps; default: 160000.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Photographs, and paintings, in a step; default: 8 for adain, 6 for iecontrast.")
    ] = None,
    resize: Annotated[int, typer.Option(min=32, help="Shorter side to which pictures are resized, in pixels.")] = 512,
    crop: Annotated[int, typer.Option(min=32, help="Side of the random squares that are trained on, in pixels.")] = 256,
    optimizer: Annotated[
        Literal["adam", "muon"], typer.Option(help="adam as in the papers, or muon, which learns more from a step.")
    ] = "adam",
    learning_rate: Annotated[
        float, typer.Option(min=0, metavar="RATE", help="Learning rate of Adam in the first step; Muon's is in proportion.")
    ] = 1e-4,
    decay: Annotated[
        float, typer.Option(min=0, metavar="DECAY", help="Step N has the learning rate RATE / (1 + DECAY x N).")
    ] = 5e-5,
    schedule: Annotated[
        Literal["decay", "cosine"], typer.Option(help="Of the learning rate. cosine falls to 0 at the last step.")
    ] = "decay",
    warmup: Annotated[int, typer.Option(min=0, metavar="STEPS", help="Steps in which the learning rate rises.")] = 0,
    start: Annotated[
        str,
        typer.Option(
            metavar="START",
            help="random weights, fitted (adain only: the decoder that inverts the encoder layer by layer), or the file of a "
            "trained network.",
        ),
    ] = "random",
    content_weight: Annotated[float, typer.Option(min=0, metavar="WEIGHT", help="Weight of the content loss.")] = 1.0,
    style_weight: Annotated[
        float | None,
        typer.Option(min=0, metavar="WEIGHT", help="Weight of the style loss; default: 10 for adain, 1 for iecontrast."),
    ] = None,
    identity_weight: Annotated[
        float, typer.Option(min=0, metavar="WEIGHT", help="Weight of the identity loss of pixels; iecontrast only.")
    ] = 50.0,
    identity_features_weight: Annotated[
        float, typer.Option(min=0, metavar="WEIGHT", help="Weight of the identity loss of activations; iecontrast only.")
    ] = 1.0,
    contrastive_weight: Annotated[
        float, typer.Option(min=0, metavar="WEIGHT", help="Weight of the two contrastive losses; iecontrast only.")
    ] = 0.3,
    adversarial_weight: Annotated[
        float, typer.Option(min=0, metavar="WEIGHT", help="Weight of the discriminator's judgment; iecontrast only.")
    ] = 5.0,
    encoder: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The authors' vgg_normalised.pth; default: made of --weights.")
    ] = None,
    weights: Annotated[
        str, typer.Option(metavar="WEIGHTS", help="VGG19's weights: bundled, torchvision or a path.")
    ] = "bundled",
    precision: Annotated[
        Literal["float32", "bfloat16"],
        typer.Option(help="Of the convolutions. bfloat16 is quicker on machines that have it, and less exact."),
    ] = "float32",
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    held_out: Annotated[
        int, typer.Option(min=0, help="Photographs, and paintings, that are kept for a sheet of results and not trained on.")
    ] = 4,
    save_every: Annotated[int, typer.Option(min=1, metavar="STEPS", help="Steps between two checkpoints.")] = 500,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew, though the file could be continued.")] = False,
    max_runtime: Annotated[str | None, typer.Option(metavar="TIME", help="Stop within this time, such as 6h or 1h30m.")] = None,
    tensorboard: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Draw the losses for TensorBoard.")] = None,
    wandb: Annotated[str | None, typer.Option(metavar="PROJECT", help="Draw the losses in Weights & Biases.")] = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print notices only.")] = False,
) -> None:
    """Train a network and save it for `engine`. Ctrl-C saves and stops; the same command continues.

    With adain or iecontrast it learns to paint in the style of any painting, from two folders; the defaults are those of the
    papers. With a pipeline.yaml it learns the look of a job, on the job's own frames, as `engine: network` does. Of the
    options, --job, --set, --output, --restart, --max-runtime, --json and --quiet are for a pipeline.

    Example: nstpipe train pipeline.yaml --job night -o starry.safetensors
    """
    stop: Stop = context.obj
    stop.deadline = deadline_of(None, max_runtime, time.time())
    if network not in ("adain", "iecontrast"):
        if content is not None or styles is not None:
            raise UsageError(
                f"NETWORK: found {network}; with --content and --styles it should be adain or iecontrast.",
                "A network for the look of a job learns from the job's own frames.",
            )
        _train_look(Path(network), job, set_, output, stop, restart=restart, as_json=as_json, quiet=quiet)
    if content is None or styles is None:
        missing = "--content" if content is None else "--styles"
        raise UsageError(f"{missing}: is missing; {network} learns from a folder of photographs and one of paintings.")
    if job or set_:
        raise UsageError(f"{'--job' if job else '--set'}: belongs to a pipeline, and {network} learns from two folders.")
    from nstpipe.training.options import TrainingOptions, paper_options

    given = {"steps": steps, "batch": batch, "style_weight": style_weight}
    options = TrainingOptions(
        network=network,
        content=content,
        styles=styles,
        output=output,
        resize=resize,
        crop=crop,
        optimizer=optimizer,
        learning_rate=learning_rate,
        decay=decay,
        schedule=schedule,
        warmup=warmup,
        start=start if start in ("random", "fitted") else Path(start),
        content_weight=content_weight,
        identity_weight=identity_weight,
        identity_features_weight=identity_features_weight,
        contrastive_weight=contrastive_weight,
        adversarial_weight=adversarial_weight,
        encoder=encoder,
        vgg_weights=weights if weights in ("bundled", "torchvision") else Path(weights),
        precision=precision,
        seed=seed,
        device=device,
        held_out=held_out,
        save_every=save_every,
        **{**paper_options(network), **{name: value for name, value in given.items() if value is not None}},
    )
    from nstpipe import api

    console = console_for(as_json)
    with _shown(console, as_json=as_json, quiet=quiet) as on_event:
        trained = api.train(options, restart=restart, tensorboard=tensorboard, wandb=wandb, stop=stop, on_event=on_event)
    if as_json:
        print_json({**asdict(trained), "output": str(trained.output), "sheet": str(trained.sheet) if trained.sheet else None})
    what = f"{trained.step:,} of {options.steps:,} steps"
    said = f"{trained.output}: {what}" + (f"; results on held-out pictures: {trained.sheet}" if trained.sheet else "")
    if not trained.is_done:
        said += ". The same command continues."
    if not quiet:
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(_exit_code(stop, is_done=trained.is_done))


def _train_look(
    pipeline: Path, job: str, overrides: list[str], output: Path, stop: Stop, *, restart: bool, as_json: bool, quiet: bool
) -> NoReturn:
    """Train a network for the look of a job, and exit."""
    from nstpipe import api

    console = console_for(as_json)
    with _shown(console, as_json=as_json, quiet=quiet) as on_event:
        learned = api.train_look(pipeline, output, job=job, overrides=overrides, restart=restart, stop=stop, on_event=on_event)
    if as_json:
        print_json(
            {
                "output": str(output),
                "step": learned.step,
                "seconds": learned.seconds,
                "loss": learned.loss,
                "is_done": learned.is_done,
            }
        )
    said = f"{output}: {learned.step:,} steps in {learned.seconds / 60:.1f} minutes"
    if learned.loss is not None:
        said += f", loss of held-out frames {learned.loss:.3g}"
    if not quiet:
        end = "" if learned.is_done else ". The same command continues."
        console.print(f"{said}{end}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(_exit_code(stop, is_done=learned.is_done))


def _exit_code(stop: Stop, *, is_done: bool) -> int:
    if is_done:
        return EXIT_DONE
    return _EXIT_CODES.get(stop.reason, EXIT_STOPPED) if stop.reason is not None else EXIT_STOPPED


@contextmanager
def _shown(console: Console, *, as_json: bool, quiet: bool) -> Iterator[Emit]:
    """Yield what shows the events of a training."""
    from nstpipe.listeners.json_lines import JsonLines
    from nstpipe.listeners.listener import finishing
    from nstpipe.listeners.training import TrainingProgress

    json_lines = JsonLines(sys.stdout)
    with finishing(TrainingProgress(console, quiet=quiet)) as shown:

        def on_event(event: Event) -> None:
            write_or_discard(lambda: shown(event), sys.stderr if as_json else sys.stdout)
            if as_json:
                write_or_discard(lambda: json_lines(event), sys.stdout)

        yield on_event
