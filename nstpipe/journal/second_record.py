"""The second record: one line of JSON for each finished output, from which a lost journal is made again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nstpipe.journal.rows import DEFAULTS, FIELDS, FIELDS_OF_4

SECOND_RECORD = "finished.jsonl"
"""Name of the file in the work folder."""


def append(work: Path, row: Mapping[str, Any]) -> None:
    """Append a row of the table `output`. It is on the disk when this returns.

    Raises:
        OSError: The file cannot be written.
    """
    with (work / SECOND_RECORD).open("ab") as file:
        # The newline in front keeps a line that a power cut left half written apart from this one.
        file.write(b"\n" + json.dumps(row).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def take_over(work: Path, others: Iterable[Path]) -> None:
    """Append the records of other folders to that of the work folder. They are on the disk when this returns.

    Raises:
        OSError: The file cannot be written.
    """
    with (work / SECOND_RECORD).open("ab") as file:
        for other in others:
            with suppress(FileNotFoundError):
                file.write(b"\n" + (other / SECOND_RECORD).read_bytes() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(work: Path) -> list[dict[str, Any]]:
    """Return the rows in the order in which they were written, without damaged lines; none if there is no file."""
    try:
        lines = (work / SECOND_RECORD).read_bytes().split(b"\n")
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and set(value) in (set(FIELDS), set(FIELDS_OF_4)):
            rows.append({**DEFAULTS, **value})
    return rows
