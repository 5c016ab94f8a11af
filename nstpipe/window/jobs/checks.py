"""What is looked at before a pipeline runs: its inputs, and its plan with time and disk space."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nstpipe.errors import UsageError
from nstpipe.window.pages import Window, page, window_of

COMMAND_SECONDS = 600.0
"""How long `plan` and `validate` may take. They open every input."""

MOST_ROWS = 200
"""The most rows of a plan that the page shows."""


async def command_output(window: Window, arguments: Sequence[str]) -> tuple[int, list[dict[str, Any]], str]:
    """Run a command of nstpipe on the pipeline in a process of its own; return exit code, JSON lines and the text for people.

    Raises:
        UsageError: It took too long.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nstpipe", *arguments, str(window.pipeline), "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=window.folder,
    )
    try:
        out, errors = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
    except asyncio.TimeoutError as error:
        raise UsageError(
            f"nstpipe {arguments[0]} took more than {COMMAND_SECONDS / 60:.0f} minutes.", "Run it in a terminal."
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
    lines = [json.loads(line) for line in out.decode("utf-8", "replace").splitlines() if line.startswith("{")]
    return process.returncode or 0, lines, errors.decode("utf-8", "replace")


async def plan(request: Request) -> Response:
    """What a run would do, with time and disk space."""
    from nstpipe.planning.eta import as_duration
    from nstpipe.system.files import as_megabytes

    window = window_of(request)
    try:
        code, lines, text = await command_output(window, ["plan"])
    except UsageError as error:
        return page(request, "plan.html", rows=(), failures=(), error=str(error), more=0, summary=())
    rows = [line for line in lines if "frames_left" in line]
    failures = [line for line in lines if "message" in line]
    # The text ends with the sums; above them stands the same table.
    summary = [line for line in text.splitlines() if line.startswith(("Total:", "That is", "Frames that", "To try"))]
    problem = text.strip() if code not in (0, 2) and not rows and not failures else ""
    for row in rows:
        row["name"] = Path(row["path"]).name
        row["duration"] = as_duration(row["seconds"]) if row["frames_left"] else "–"
        row["disk"] = as_megabytes(row["bytes_needed"]) if row["bytes_needed"] else "–"
    shown = rows[:MOST_ROWS]
    return page(
        request, "plan.html", rows=shown, failures=failures, error=problem, more=len(rows) - len(shown), summary=summary
    )


async def inputs(request: Request) -> Response:
    """Open every input and painting, as `validate` does."""
    window = window_of(request)
    try:
        code, lines, text = await command_output(window, ["validate"])
    except UsageError as error:
        code, lines, text = 1, [], str(error)
    return page(request, "checked.html", problems=lines, text=text if not lines else "", is_good=code == 0)
