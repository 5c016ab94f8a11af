"""Says in words why an output must be made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nstpipe.config.engines import DEFAULT_ENGINE
from nstpipe.journal.records import Record

CHANGES_NAMED = 3
"""The most changes that a reason names."""

_NEVER_SHOWN = ("input", "masks", "weights", "settings.init", "settings.temporal.flow")
"""Keys whose values are not shown, because they are hashes, or may be."""


def reason_to_run(
    fingerprint: str, fingerprint_inputs: Mapping[str, Any], record: Record | None, stored: int, frames: int
) -> str:
    """Say why an output must be made; the result is empty if it is done.

    Args:
        fingerprint: The fingerprint of the output with the current settings.
        fingerprint_inputs: The values that the fingerprint is the hash of.
        record: The journal's record of the output; None if there is none.
        stored: The number of frames that are finished and wait to be encoded.
        frames: The number of all frames.
    """
    unfinished = f"unfinished (frame {stored + 1} of {frames})" if stored < frames else f"unfinished (all {frames} frames done)"
    if record is None:
        return unfinished if stored else "new"
    if record.fingerprint == fingerprint:
        if record.state == "done":
            return f"output {record.damage}" if record.damage else ""
        if record.state == "failed":
            return f"failed before ({record.attempts} {'try' if record.attempts == 1 else 'tries'}): {record.reason}"
        return unfinished if stored else "new"
    if not record.fingerprint:
        return unfinished if stored else f"failed before: {record.reason}"
    changes = list(changes_between(record.fingerprint_inputs, fingerprint_inputs))
    said = ", ".join(changes[:CHANGES_NAMED]) or "settings changed since it was made"
    more = len(changes) - CHANGES_NAMED
    return f"{said} and {more} more" if more > 0 else said


def changes_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs between two descriptions of a result, such as ``style.strength changed from 1.0 to 2.0``."""
    old, new = dict(_flat(before)), dict(_flat(after))
    if not old:
        return  # early versions recorded no description
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) == new.get(key):
            continue
        if key == "painting" and (key not in old or key not in new):
            continue  # whether a painting was picked or named changes nothing
        if key == "settings.style.images[0].path" and "painting" in old and "painting" in new:
            if old["painting"] == new["painting"]:
                yield f"the painting {new['painting']} changed"
            continue  # otherwise its name says so
        name = key.removeprefix("settings.").removeprefix("output.")
        if key == "clips":
            yield "cuts changed"
        elif key == "follows":
            yield "the previous picture changed"
        elif key in _NEVER_SHOWN or key.endswith(".path"):
            yield f"{name.removesuffix('.path')} changed"
        elif key == "settings.engine":
            yield f"{name} changed from {old.get(key, DEFAULT_ENGINE)} to {new.get(key, DEFAULT_ENGINE)}"
        else:
            yield f"{name} changed from {old.get(key, 'nothing')} to {new.get(key, 'nothing')}"


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, child in value.items():
        key = f"{prefix}{name}"
        if isinstance(child, Mapping):
            yield from _flat(child, f"{key}.")
        elif isinstance(child, list) and child and isinstance(child[0], Mapping):
            for index, entry in enumerate(child):
                yield from _flat(entry, f"{key}[{index}].")
        else:
            yield key, child
