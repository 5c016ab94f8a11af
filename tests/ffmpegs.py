"""The versions of ffmpeg that this machine has for tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import imageio_ffmpeg

FOLDER_VARIABLE = "NSTPIPE_TEST_FFMPEGS"
"""Environment variable that names a folder with further programs: `4.2.2/ffmpeg`, say. See CONTRIBUTING.md."""


def found_ffmpegs() -> dict[str, str]:
    """The path of one program for each version: the bundled one, the system's, and those of the folder."""
    system, folder = shutil.which("ffmpeg"), os.environ.get(FOLDER_VARIABLE)
    others = sorted(map(str, Path(folder).glob("*/ffmpeg"))) if folder else []
    found: dict[str, str] = {}
    for path in (imageio_ffmpeg.get_ffmpeg_exe(), *([system] if system else []), *others):
        said = subprocess.run([path, "-version"], capture_output=True, text=True, check=True, timeout=30).stdout
        match = re.match(r"ffmpeg version (\S+)", said)
        assert match is not None, path
        found.setdefault(match[1], path)
    return found
