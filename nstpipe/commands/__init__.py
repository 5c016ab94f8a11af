"""What single commands do, apart from running a pipeline: preview, doctor, schedule, scaffold and metrics."""

PREVIEW_ITERATIONS = 20
"""The maximum number of iterations of a preview, in a terminal and on the page of `nstpipe ui`. From the color-matched start
they settle the look; more of them add detail. The loss is a seventh higher than after 30."""
