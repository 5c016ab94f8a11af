"""Makes media once in a test run, whichever of its processes asks first."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import imageio_ffmpeg

FOLDER_VARIABLE = "NSTPIPE_TESTS_MADE"
"""Environment variable that names the folder of what was made; all processes of a test run share it."""


def make_with_ffmpeg(*arguments: str | Path, result: Path, content: bytes = b"") -> Path:
    """Let ffmpeg write a file, or copy the one that it wrote for the same arguments and inputs before.

    Args:
        arguments: All arguments between the program's name and the result. A `Path` among them stands for its file's content.
        result: Path of the file, whose suffix decides its format. Its folder exists.
        content: What ffmpeg reads from its standard input.

    Returns:
        `result`.

    Raises:
        AssertionError: ffmpeg failed; its own words are in the message.
    """
    kept = Path(os.environ[FOLDER_VARIABLE]) / f"{_digest(arguments, content)}{result.suffix}"
    if not kept.exists():
        # Under a name of its own until it is whole: another process may make the same at this moment.
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            made = Path(folder) / f"made{result.suffix}"
            command = [
                imageio_ffmpeg.get_ffmpeg_exe(),
                "-hide_banner",
                "-loglevel",
                "error",
                *map(str, arguments),
                f"file:{made}",
            ]
            finished = subprocess.run(command, input=content, capture_output=True, check=False)
            assert finished.returncode == 0, finished.stderr.decode(errors="replace")
            made.replace(kept)
    shutil.copyfile(kept, result)  # no link: tests damage what they are given
    return result


def _digest(arguments: tuple[str | Path, ...], content: bytes) -> str:
    digest = hashlib.sha256(content)
    for argument in arguments:
        part = argument.read_bytes() if isinstance(argument, Path) else argument.encode()
        digest.update(b"\0%d\0" % len(part) + part)
    return digest.hexdigest()
