"""The page of the jobs: pipeline.yaml as a form and as text, its check, its plan, and proof sheets."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from nstpipe.config import Loaded, load_right_part
from nstpipe.errors import NstpipeError, Problem, UsageError
from nstpipe.media.pictures.pillow import PILLOW_ERRORS
from nstpipe.system.files import atomic_write, ensure_folder
from nstpipe.window.forms import advanced_fields, field_of, first_fields
from nstpipe.window.pages import Window, form_of, page, said, texts_for, window_of
from nstpipe.window.roots import PAINTINGS
from nstpipe.window.studio import look_of
from nstpipe.window.yaml_text import Draft

COMMAND_SECONDS = 600.0
"""How long `plan` and `validate` may take. They open every input."""

MASKS = "masks"
"""The folder for masks that are painted here, in the folder of the pipeline."""

MOST_MASK_PIXELS = 4096
"""The longest side of such a mask."""

MOST_ROWS = 200
"""The most rows of a plan that the page shows."""

EMPTY_PIPELINE = "# nstpipe run pipeline.yaml does all that is not done yet.\nversion: 1\njobs: []\n"


def text_of(window: Window) -> str:
    """Return the text of the pipeline.yaml; empty if there is none yet.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        return window.pipeline.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{window.pipeline} cannot be read: {error}.", "Look at the file.") from error


def stamp(text: str) -> str:
    """Return what tells whether a text has changed since."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def checked(window: Window, text: str) -> Loaded:
    """Check a text as `validate` checks the file, and that it stays in the window's folders."""
    loaded = load_right_part(window.pipeline, text=text)
    if loaded.pipeline is not None:
        try:
            window.roots.check(loaded.pipeline)
        except UsageError as error:
            key, _, message = error.problem.partition(": ")
            problems = (*loaded.problems, Problem(key, f"{message} {error.next_step}"))
            return Loaded(loaded.pipeline, problems)
    return loaded


async def show(request: Request) -> Response:
    """The page."""
    window = window_of(request)
    try:
        text = await asyncio.to_thread(text_of, window)
    except UsageError as error:
        return page(request, "jobs.html", text=None, error=error)
    if not text:
        return page(request, "jobs.html", text="", error=None)
    paintings = sorted((window.folder / "paintings").glob("*.jpg"))
    index = _number(request.query_params.get("job"), 0)
    values = await asyncio.to_thread(_editor, window, text, index)
    return page(
        request,
        "jobs.html",
        text=text,
        error=None,
        complaint=None,
        stamp=stamp(text),
        is_saved=True,
        paintings=paintings,
        **values,
    )


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and re.fullmatch("[0-9]{1,6}", text) else otherwise


def _editor(window: Window, text: str, index: int) -> dict[str, Any]:
    """Return what the form and the list of problems show of a text."""
    loaded = checked(window, text)
    problems = sorted(loaded.problems, key=lambda problem: problem.line or 0)
    try:
        draft = Draft(text)
        names = draft.names
        index = min(index, max(0, len(names) - 1))
        values, inherited = (draft.values(index) if names else {}), draft.defaults()
    except UsageError as error:
        return {"problems": problems, "draft_error": error, "names": [], "index": 0, "values": {}, "inherited": {}, **_FIELDS}
    return {
        "problems": problems,
        "draft_error": None,
        "names": names,
        "index": index,
        "values": values,
        "inherited": inherited,
        **_FIELDS,
    }


_FIELDS = {"first": first_fields(), "advanced": advanced_fields()}


async def edit(request: Request) -> Response:
    """Take a change of the text or of a field, and return form, text and problems as they then are."""
    window = window_of(request)
    fields = await form_of(request)
    text, index = fields.get("text", ""), _number(fields.get("job"), 0)
    key, complaint = fields.get("key", ""), None
    if key:
        field = field_of(key)
        if field is None:
            return Response("There is no such key.\n", 400)
        try:
            draft = Draft(text)
            draft.set(index, field, fields.get(f"value:{key}", "").strip())
            text = draft.text
        except UsageError as error:
            complaint = error
    elif fields.get("remove"):
        try:
            draft = Draft(text)
            draft.remove(index)
            text = draft.text
        except UsageError as error:
            complaint = error
    values = await asyncio.to_thread(_editor, window, text, index)
    return page(
        request,
        "editor.html",
        text=text,
        complaint=complaint,
        stamp=fields.get("stamp", ""),
        is_saved=stamp(text) == fields.get("stamp"),
        **values,
    )


async def save(request: Request) -> Response:
    """Write the text to the file, unless somebody else has changed it meanwhile, or it is wrong."""
    window = window_of(request)
    fields = await form_of(request)
    text = fields.get("text", "")
    _, t = texts_for(request)
    try:
        known = await asyncio.to_thread(text_of, window)
        if stamp(known) != fields.get("stamp") and known and not fields.get("anyway"):
            return page(request, "saved.html", problem=t["changed_elsewhere"], can_replace=True, stamp=fields.get("stamp", ""))
        outside = _outside(window, text)
        if outside:
            raise outside
        await asyncio.to_thread(_write, window, text)
    except NstpipeError as error:
        return page(request, "saved.html", problem=str(error), can_replace=False, stamp=fields.get("stamp", ""))
    return page(request, "saved.html", problem="", can_replace=False, stamp=stamp(text))


def _outside(window: Window, text: str) -> UsageError | None:
    loaded = load_right_part(window.pipeline, text=text)
    if loaded.pipeline is None:
        return None
    try:
        window.roots.check(loaded.pipeline)
    except UsageError as error:
        return error
    return None


def _write(window: Window, text: str) -> None:
    with atomic_write(window.pipeline) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
        if window.pipeline.exists():
            shutil.copymode(window.pipeline, partial)


async def new(request: Request) -> Response:
    """Make a job of what was tuned on the first page, and lead to it."""
    window = window_of(request)
    try:
        fields = await form_of(request)
        index = await asyncio.to_thread(_new_job, window, fields)
    except NstpipeError as error:
        return page(request, "jobs.html", status=422, text=None, error=error)
    return RedirectResponse(f"/jobs?job={index}", 303)


def _new_job(window: Window, fields: dict[str, str]) -> int:
    from nstpipe.commands.scaffold import default_output, look_at

    source = window.roots.existing(fields.get("input", ""))
    fields.pop("size", None)  # that of the preview
    settings = look_of(fields)
    style = settings.pop("style")
    style["images"] = [_shown(_own_painting(window, window.roots.existing(path)), window) for path in style["images"]]
    text = text_of(window) or EMPTY_PIPELINE
    draft = Draft(text)
    seen = look_at(source)
    taken = set(draft.names)
    name = _free(re.sub("[^A-Za-z0-9]+", "-", f"{source.stem}-{Path(style['images'][0]).stem}").strip("-") or "job", taken)
    folder = default_output([source], window.pipeline)
    output = folder / (name if seen.is_folder else f"{name}{source.suffix.lower()}")
    plain = {"strength": 1.0, "scale": 1.0, "distance": "gram"}
    short = {key: _rounded(value) for key, value in style.items() if plain.get(key) != value}
    job = {
        "name": name,
        "input": _shown(source, window),
        "output": _shown(output, window),
        "style": short["images"][0] if list(short) == ["images"] and len(short["images"]) == 1 else short,
        **{key: value for key, value in settings.items() if (key, value) != ("color", "style")},
    }
    index = draft.add(job)
    changed = draft.text
    outside = _outside(window, changed)
    if outside:
        raise outside
    _write(window, changed)
    return index


def _own_painting(window: Window, painting: Path) -> Path:
    """Return a painting's place. One that comes with nstpipe is copied, so that the pipeline stays whole elsewhere."""
    if not painting.is_relative_to(PAINTINGS.resolve()):
        return painting
    copy = window.folder / "paintings" / painting.name
    if not copy.exists():
        with atomic_write(copy) as partial:
            shutil.copyfile(painting, partial)
    return copy


def _shown(path: Path, window: Window) -> str:
    return path.relative_to(window.folder).as_posix() if path.is_relative_to(window.folder) else str(path)


def _rounded(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value


def _free(name: str, taken: set[str]) -> str:
    return next(one for one in (name, *(f"{name}-{number}" for number in range(2, 100_000))) if one not in taken)


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
    problem = text.strip() if code not in (0, 2) and not rows else ""
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


async def proof(request: Request) -> Response:
    """Begin a proof sheet of the saved job: one or two keys, each with several values."""
    window = window_of(request)
    fields = await form_of(request)
    axes = [
        f"{fields[key].strip()}={fields[f'{key}-values'].strip()}" for key in ("across", "down") if fields.get(key, "").strip()
    ]
    try:
        text = await asyncio.to_thread(text_of, window)
        loaded = checked(window, text)
        if loaded.pipeline is None or loaded.problems:
            raise UsageError("pipeline.yaml has problems.", "Mend them first; they stand below the text.")
        names = [job.name for job in loaded.pipeline.jobs]
        index, written = _number(fields.get("job"), 0), Draft(text).names
        if index >= len(written):
            raise UsageError("There is no such job any more.", "Load the page again.")
        # A job with a matrix is several by other names; the first one that is left stands for them.
        name = written[index] if written[index] in names else next(one for one in (*names[index:], names[-1]))
        if not axes:
            raise UsageError("No key is given.", "Choose one, with two or more values, such as 0.5, 1, 2.")
        small = tuple(
            job.model_copy(update={"size": min(job.size, 256) if isinstance(job.size, int) else 256})
            for job in loaded.pipeline.jobs
        )
        number = await window.previews.request(loaded.pipeline.with_jobs(small), name, 0, 20, axes)
    except NstpipeError as error:
        return JSONResponse(said(error), 422)
    return JSONResponse({"number": number}, 202)


async def mask(request: Request) -> Response:
    """Store the mask of a region that was painted on the page. The body is a PNG, white where the region is."""
    window = window_of(request)
    name = re.sub(r"[^\w-]+", "-", unquote(request.headers.get("x-mask-name", ""))).strip("-")[:60] or "region"
    body = await request.body()
    try:
        path = await asyncio.to_thread(_store_mask, window, name, body)
    except NstpipeError as error:
        return JSONResponse(said(error), 422)
    return JSONResponse({"path": _shown(path, window)}, 201)


def _store_mask(window: Window, name: str, content: bytes) -> Path:
    folder = window.roots.resolved(window.folder / MASKS)
    ensure_folder(folder)
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if max(image.size) > MOST_MASK_PIXELS:
                raise UsageError(f"The mask has {image.width}x{image.height} pixels.", f"At most {MOST_MASK_PIXELS} a side.")
            gray = image.convert("L")
    except PILLOW_ERRORS as error:
        raise UsageError("This is no mask: it is no PNG.", "Paint it on the page.") from error
    if not gray.getextrema()[1]:
        raise UsageError("Nothing is painted yet, so the region would be empty.", "Paint where it is.")
    taken = {path.stem for path in folder.iterdir()}
    path = folder / f"{_free(name, taken)}.png"
    with atomic_write(path) as partial:
        gray.save(partial)
    return path
