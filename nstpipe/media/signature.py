"""File signatures: the first bytes by which a format is recognized."""

from __future__ import annotations

from collections.abc import Iterable

SIGNATURE_BYTES = 12
"""The number of bytes at the beginning of a file that signatures look at."""

Signature = tuple[tuple[int, bytes], ...]
"""Pairs of an offset and the bytes that stand there. A file matches if all of its pairs do."""


def starts_with(content: bytes) -> Signature:
    """The signature of a file that begins with these bytes."""
    return ((0, content),)


def matches(head: bytes, signatures: Iterable[Signature]) -> bool:
    """Whether the beginning of a file matches one of several signatures."""
    return any(all(head[offset : offset + len(content)] == content for offset, content in one) for one in signatures)
