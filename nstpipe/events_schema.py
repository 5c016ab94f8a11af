"""Makes the JSON Schema of the events that `--json` prints from the events themselves."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter

from nstpipe import events

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


def event_types() -> tuple[type[events.Event], ...]:
    """Return every kind of event, in the order in which a run may first emit them."""
    kinds = (kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event))
    return tuple(kind for kind in kinds if kind is not events.Event)


def events_schema() -> dict[str, Any]:
    """Return the schema of one line.

    Newer versions may add kinds of events and fields. Readers should ignore those that they do not know.
    """
    return {
        "$schema": SCHEMA_ID,
        "title": "A line of nstpipe run --json",
        "description": "One event. Newer versions may add kinds of events, and fields to them.",
        "oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in event_types()],
        "$defs": {kind.__name__: _schema_of(kind) for kind in event_types()},
    }


def _schema_of(kind: type[events.Event]) -> dict[str, Any]:
    sentences, described = described_fields(kind)
    made = TypeAdapter(kind).json_schema(mode="serialization")
    properties = {"event": {"const": kind.__name__}}
    for name, rule in made["properties"].items():
        rest = {key: value for key, value in rule.items() if key not in ("title", "default")}
        properties[name] = {**rest, "description": described[name]}
    # A line always has all of an event's fields; those with a default are in it too.
    return {"type": "object", "description": sentences, "properties": properties, "required": list(properties)}


_AT = "When it happened, in seconds since 1970."
_PLAIN = {
    "job": "Name of the job.",
    "path": "Path of the input.",
    "output": "Path of the result.",
    "frame_index": "Frame, counted from 0 in the file.",
    "frames": "Number of frames.",
    "evaluations": "Number of iterations so far.",
    "most_evaluations": "Maximum number of iterations.",
    "loss": "Total loss.",
    "reason": "Why.",
    "next_step": "What to do about it. It may be empty.",
    "message": "A sentence for people.",
    "fingerprint": "Hash of everything that decides the result.",
    "sha256": "SHA-256 of the result.",
    "outputs_made": "Number of results made in this run.",
    "outputs_already_done": "Number of results made by earlier runs.",
    "items_failed": "Number of pictures and videos that could not be done.",
    "seconds": "Duration of the run.",
}
"""The meaning of each field whose event does not describe it."""


def described_fields(kind: type[events.Event]) -> tuple[str, dict[str, str]]:
    """Return what an event's docstring says of the event, and of each of its fields."""
    text, _, attributes = inspect.cleandoc(kind.__doc__ or "").partition("\n\nAttributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", attributes, re.MULTILINE)
    described = {name: _sentence(words) for name, words in found}
    names = [field.name for field in fields(kind)]
    return _sentence(text), {name: described.get(name) or (_AT if name == "at" else _PLAIN.get(name, "")) for name in names}


def _sentence(words: str) -> str:
    one_line = " ".join(words.split())
    return one_line[0].upper() + one_line[1:]
