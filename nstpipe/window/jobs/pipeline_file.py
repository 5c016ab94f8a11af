"""The pipeline.yaml of a window: its text, its check, and that it stays in the window's folders."""

from __future__ import annotations

import hashlib
import shutil

from nstpipe.config import Loaded, load_right_part
from nstpipe.errors import Problem, UsageError
from nstpipe.system.files import atomic_write
from nstpipe.window.pages import Window


def text_of(window: Window) -> str:
    """Return the text of the pipeline.yaml; empty if there is none yet.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        return window.pipeline.read_bytes().decode("utf-8-sig")
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
    if loaded.pipeline is not None:
        try:
            window.roots.check(loaded.pipeline)
        except UsageError as error:
            key, _, message = error.problem.partition(": ")
            problems = (*loaded.problems, Problem(key, f"{message} {error.next_step}"))
            return Loaded(loaded.pipeline, problems)
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
    """Write the text to the file, which keeps its permissions."""
    with atomic_write(window.pipeline) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
        if window.pipeline.exists():
            shutil.copymode(window.pipeline, partial)
