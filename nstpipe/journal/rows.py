"""Rows of the table `output`, each with a checksum."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

FIELDS_OF_4 = (
    "path", "job", "input", "state", "fingerprint", "described", "frames", "sha256", "size_bytes", "modified_ns",
    "attempts", "reason", "next_step", "log", "changed_at",
)  # fmt: skip
"""Columns that the checksum covered in version 4 of the journal."""

FIELDS = (*FIELDS_OF_4, "maker")
"""Columns that the checksum covers."""

DEFAULTS = {
    "sha256": "", "size_bytes": 0, "modified_ns": 0, "attempts": 0, "reason": "", "next_step": "", "log": "", "frames": 0,
    "maker": "",
}  # fmt: skip
"""Values of the columns that a row need not give."""


def after(prefix: str) -> str:
    """Return the least text that sorts behind every text with this prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def put_row(connection: sqlite3.Connection, row: Mapping[str, Any]) -> None:
    """Write a row, in place of one with the same path."""
    values = [row[name] for name in FIELDS]
    marks = ", ".join("?" for _ in range(len(FIELDS) + 1))
    query = f"INSERT OR REPLACE INTO main.output ({', '.join(FIELDS)}, checksum) VALUES ({marks})"
    connection.execute(query, (*values, checksum_of(values)))


def checksum_of(values: Sequence[object]) -> str:
    """Return a checksum of values. SQLite detects damage to its structure, but not to the values in it."""
    return hashlib.sha256(_encoder.encode(values).encode()).hexdigest()[:16]


_encoder = json.JSONEncoder()


def checked_row(row: Sequence[Any], fields: Sequence[str] = FIELDS) -> dict[str, Any] | None:
    """Return a row that was read with its checksum, by column; None if it is damaged."""
    *values, checksum = row
    return dict(zip(fields, values, strict=True)) if checksum == checksum_of(values) else None
