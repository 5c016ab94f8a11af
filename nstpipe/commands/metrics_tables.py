"""What `nstpipe metrics` shows: tables, and a plot over time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from nstpipe.errors import MachineError, UsageError
from nstpipe.system.files import atomic_write, check_replaceable, ensure_writable

if TYPE_CHECKING:
    from nstpipe.commands.metrics import Metrics

PLOT_SUFFIXES = (".png", ".svg", ".pdf")

MARK = "nstpipe metrics"
"""Stands in each plot, so that a later one may replace it."""

PLOT_INCHES, PLOT_DOTS_AN_INCH = (8.0, 7.0), 120

ORIGINAL_COLOR, STYLIZED_COLORS = "0.55", ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")


def tables(found: Metrics) -> Iterator[Table]:
    """The figures of a result, for a terminal."""
    errors = Table("lag", "pairs", "coverage", "original", "stylized", "ratio", title="Warping error")
    for one in found.ranges:
        ratio = "–" if one.ratio is None else f"{one.ratio:.2f}"
        left_out = f" ({one.pairs_left_out} left out)" if one.pairs_left_out else ""
        values = (f"{one.original:.6f}", f"{one.stylized:.6f}") if one.pairs else ("–", "–")
        errors.add_row(str(one.lag), f"{one.pairs}{left_out}", f"{one.coverage:.0%}" if one.pairs else "–", *values, ratio)
    for column in errors.columns:
        column.justify = "right"
    yield errors
    rest = Table("", "original", "stylized", title=f"{found.frames} frames at {found.width}x{found.height}")
    for column in rest.columns[1:]:
        column.justify = "right"
    before, after = found.original_drift, found.stylized_drift
    rest.add_row("luminance, last second minus first, of 255", f"{before.luminance:+.2f}", f"{after.luminance:+.2f}")
    details = ("–" if drift.detail is None else f"{drift.detail:.3f}" for drift in (before, after))
    rest.add_row("detail, last second over first", *details)
    rest.add_row("content distance", "0", f"{found.distances.content:.3f}")
    style = found.distances.style
    rest.add_row("style distance", "", "– (give --style)" if style is None else f"{style:.3f}")
    yield rest


def check(path: Path) -> None:
    """See that a plot can be drawn and written.

    Raises:
        UsageError: the suffix is none of a plot.
        MachineError: matplotlib is not installed.
        OutputError: the folder cannot be written.
    """
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise UsageError(f"--plot: found {path}; its name should end with {', '.join(PLOT_SUFFIXES)}.")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MachineError(
            "--plot: matplotlib, which draws it, is not installed.", "Install it with `pip install 'nstpipe[plot]'`."
        ) from error
    ensure_writable(path.parent)
    check_replaceable(path, MARK)


def draw(found: Metrics, path: Path) -> None:
    """Plot warping error, luminance and detail over time.

    Raises:
        OutputError: the file cannot be written.
    """
    # Not pyplot, which keeps figures and asks for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=PLOT_INCHES, layout="constrained")
    flicker, luminance, detail = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
    measured = found.coherence
    for color, lag in zip(STYLIZED_COLORS * len(measured.lags), measured.lags, strict=False):
        of_lag = [error for error in measured.errors if error.lag == lag]
        indices = [error.frame_index for error in of_lag]
        flicker.plot(indices, [error.stylized for error in of_lag], color=color, label=f"stylized, lag {lag}")
        flicker.plot(indices, [error.original for error in of_lag], color=color, ls=":", lw=1, label=f"original, lag {lag}")
    flicker.set_yscale("log")
    flicker.set_ylabel("warping error")
    flicker.legend(fontsize="small")
    for axes, name in ((luminance, "luminance"), (detail, "detail")):
        for tones, color, label in (
            (measured.stylized, STYLIZED_COLORS[0], "stylized"),
            (measured.originals, ORIGINAL_COLOR, "original"),
        ):
            axes.plot([tone.frame_index for tone in tones], [getattr(tone, name) for tone in tones], color=color, label=label)
        axes.set_ylabel(name)
    luminance.legend(fontsize="small")
    detail.set_xlabel("frame")
    for axes in (flicker, luminance, detail):
        axes.grid(alpha=0.3)
    content = io.BytesIO()
    # Without a date, the same figures give the same file.
    kind = path.suffix.lower()[1:]
    undated = {
        "png": {"Software": MARK},
        "svg": {"Date": None, "Creator": MARK},
        "pdf": {"CreationDate": None, "Creator": MARK},
    }
    figure.savefig(content, format=kind, dpi=PLOT_DOTS_AN_INCH, metadata=undated[kind])
    with atomic_write(path) as partial:
        partial.write_bytes(content.getvalue())
