"""`nstpipe train`."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from nstpipe.cli.options import AsJson, console_for, deadline_of, print_json, write_or_discard
from nstpipe.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_STOPPED, EXIT_TERMINATED
from nstpipe.system.stop import Stop, StopReason

_EXIT_CODES = {StopReason.INTERRUPTED: EXIT_INTERRUPTED, StopReason.TERMINATED: EXIT_TERMINATED}


def train(
    context: typer.Context,
    network: Annotated[
        Literal["adain", "iecontrast"],
        typer.Argument(metavar="NETWORK", help="Engine that the network is for: adain or iecontrast.", show_default=False),
    ],
    content: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of photographs.")],
    styles: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of paintings.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File of the trained network.")],
    steps: Annotated[int | None, typer.Option(min=1, help="Number of steps; default: 160000.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Photographs, and paintings, in a step; default: 8 for adain, 6 for iecontrast.")
    ] = None,
    resize: Annotated[int, typer.Option(min=32, help="Shorter side to which pictures are resized, in pixels.")] = 512,
    crop: Annotated[int, typer.Option(min=32, help="Side of the random squares that are trained on, in pixels.")] = 256,
    learning_rate: Annotated[
        float, typer.Option(min=0, metavar="RATE", help="Learning rate of Adam in the first step.")
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
    """Train a network that paints in the style of any painting, and save it for `engine`. Run it again to continue.

    The defaults are those of the papers. Ctrl-C saves and stops; the same command continues.

    Example: nstpipe train adain --content photographs --styles paintings -o my.safetensors
    """
    from nstpipe.training.options import TrainingOptions, paper_options

    stop: Stop = context.obj
    stop.deadline = deadline_of(None, max_runtime, time.time())
    given = {"steps": steps, "batch": batch, "style_weight": style_weight}
    options = TrainingOptions(
        network=network,
        content=content,
        styles=styles,
        output=output,
        resize=resize,
        crop=crop,
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
    from nstpipe.events import Event
    from nstpipe.listeners.json_lines import JsonLines
    from nstpipe.listeners.listener import finishing
    from nstpipe.listeners.training import TrainingProgress

    console = console_for(as_json)
    json_lines = JsonLines(sys.stdout)
    with finishing(TrainingProgress(console, quiet=quiet)) as shown:

        def on_event(event: Event) -> None:
            write_or_discard(lambda: shown(event), sys.stderr if as_json else sys.stdout)
            if as_json:
                write_or_discard(lambda: json_lines(event), sys.stdout)

        trained = api.train(options, restart=restart, tensorboard=tensorboard, wandb=wandb, stop=stop, on_event=on_event)
    if as_json:
        print_json({**asdict(trained), "output": str(trained.output), "sheet": str(trained.sheet) if trained.sheet else None})
    what = f"{trained.step:,} of {options.steps:,} steps"
    said = f"{trained.output}: {what}" + (f"; results on held-out pictures: {trained.sheet}" if trained.sheet else "")
    if not trained.is_done:
        said += ". The same command continues."
    if not quiet:
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    code = EXIT_DONE if trained.is_done else EXIT_STOPPED
    raise typer.Exit(code if stop.reason is None or trained.is_done else _EXIT_CODES.get(stop.reason, code))
