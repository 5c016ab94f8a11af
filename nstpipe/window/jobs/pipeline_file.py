"""The pipeline.yaml of a window: its text, its check, and that it stays in the window's folders."""

from __future__ import annotations

import hashlib
import shutil

from nstpipe.config import Loaded, Pipeline, load_right_part
from nstpipe.errors import Problem, UsageError
from nstpipe.system.files import atomic_write
from nstpipe.window.pages import Window


def text_of(window: Window) -> str:
    """Return the text of the pipeline.yaml, with the line ends of a form's text; empty if there is none yet.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        return window.pipeline.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UsageError(f"{window.pipeline} cannot be read: {error.strerror}.", "Look at the file.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{window.pipeline} is not text in UTF-8.", "Save it as UTF-8 in an editor.") from error


def stamp(text: str) -> str:
    """Return what tells whether a text has changed since."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def checked(window: Window, text: str) -> Loaded:
    """Check a text as `validate` checks the file, and that it stays in the window's folders."""
    loaded = load_right_part(window.pipeline, text=text)
    return _in_the_folders(window, loaded, loaded.pipeline) if loaded.pipeline is not None else loaded


def checked_while_edited(window: Window, text: str) -> Loaded:
    """Do the same as `checked`, but look up on the disk only the jobs that have changed since the text before.

    This is for what the page says of a text. Whatever reads or runs it checks it as a whole.
    """
    loaded = load_right_part(window.pipeline, text=text)
    if loaded.pipeline is None:
        return loaded
    changed = tuple(job for job in loaded.pipeline.jobs if window.jobs_inside.get(job.name) != job)
    found = _in_the_folders(window, loaded, loaded.pipeline.with_jobs(changed))
    if found is loaded:
        window.jobs_inside.clear()
        window.jobs_inside.update({job.name: job for job in loaded.pipeline.jobs})
    return found


def _in_the_folders(window: Window, loaded: Loaded, part: Pipeline) -> Loaded:
    """Return what was loaded, with one more problem if a path of this part of it leads out of the window's folders."""
    try:
        window.roots.check(part)
    except UsageError as error:
        key, _, message = error.problem.partition(": ")
        return Loaded(loaded.pipeline, (*loaded.problems, Problem(key, f"{message} {error.next_step}")))
    return loaded


def outside(window: Window, text: str) -> UsageError | None:
    """Return the error of a text that reads or writes outside of the window's folders; None if it does not."""
    loaded = load_right_part(window.pipeline, text=text)
    if loaded.pipeline is None:
        return None
    try:
        window.roots.check(loaded.pipeline)
    except UsageError as error:
        return error
    return None


def write(window: Window, text: str) -> None:
    """Write the text to the file, which keeps its line ends and permissions."""
    is_of_windows = window.pipeline.exists() and b"\r\n" in window.pipeline.read_bytes()
    with atomic_write(window.pipeline) as partial:
        partial.write_text(text, encoding="utf-8", newline="\r\n" if is_of_windows else "\n")
        if window.pipeline.exists():
            shutil.copymode(window.pipeline, partial)
