"""Paints one picture that is in memory, outside a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nstpipe.config.models import Job
from nstpipe.media.frame import Pixels, resized, working_size
from nstpipe.media.tensors import pixels_of, tensor_of
from nstpipe.painting.engines import engine_settings
from nstpipe.painting.start import first_start
from nstpipe.painting.task import RunSettings
from nstpipe.style.engines import make_engine
from nstpipe.style.settings import StylePicture


def painted_picture(
    pixels: Pixels,
    paintings: Sequence[StylePicture],
    job: Job,
    run: RunSettings,
    on_progress: Callable[[int, float], None] | None = None,
) -> Pixels:
    """Paint one picture, as the first frame of a clip is painted.

    Args:
        pixels: the picture, height x width x 3, uint8, RGB. It is resized as the job says.
        paintings: the paintings; the job's own are not read.
        job: the job's settings.
        run: the run's settings.
        on_progress: called with the iterations done and the loss after each iteration; not by an engine without a loss.

    Returns:
        The result, height x width x 3, uint8, RGB.

    Raises:
        ItemError: the picture is too small for VGG19 at this size.
        MachineError: this machine lacks the weights or the device.
    """
    engine = make_engine(engine_settings(job, run), paintings)
    content = tensor_of(resized(pixels, working_size((pixels.shape[1], pixels.shape[0]), job.size)))
    stylizer = engine.stylizer(content)
    seen = stylizer.seen(content)
    start = first_start(stylizer, seen, job, run.seed)
    image = start.image
    for iterate in stylizer.stylize(seen, start.image, start.options):
        image = iterate.image
        if on_progress is not None and iterate.loss is not None:
            on_progress(iterate.iterations, iterate.loss)
    return pixels_of(stylizer.shown(image.cpu(), content))
