"""The fields of a job, made from the models of pipeline.yaml: their kinds, ranges, defaults and documentation."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nstpipe.config.models import Job

FIRST_KEYS = (
    "name",
    "input",
    "output",
    "size",
    "engine",
    "style.images",
    "style.strength",
    "style.scale",
    "color",
    "style.distance",
)
"""The keys that most jobs set. The others are advanced."""


@dataclass(frozen=True)
class Field:
    """A key of a job.

    Attributes:
        key: Its path within the job, such as ``style.strength``.
        kind: ``choice``, ``whole``, ``number``, ``text``, or ``yaml`` for a list or mapping in one line.
        description: What it does.
        allowed: Its range, for people; empty if it has none.
        default: Its default as it would be written; empty if it is required or has none.
        choices: The values of a choice.
        minimum: The least number; None if there is none, or if it is excluded.
        maximum: The greatest number; None if there is none, or if it is excluded.
        is_required: Whether a job must have it.
    """

    key: str
    kind: str
    description: str
    allowed: str = ""
    default: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    is_required: bool = False

    @property
    def group(self) -> str:
        """The key above it; empty for a key of the job itself."""
        return self.key.rpartition(".")[0]


@functools.cache
def fields() -> tuple[Field, ...]:
    """Return all keys of a job, the usual ones first."""
    schema = Job.model_json_schema()
    found = {field.key: field for field in _fields(schema, schema["$defs"], "", ())}
    return (*(found.pop(key) for key in FIRST_KEYS), *found.values())


def first_fields() -> tuple[Field, ...]:
    """Return the usual keys."""
    return fields()[: len(FIRST_KEYS)]


def advanced_fields() -> dict[str, tuple[Field, ...]]:
    """Return the other keys, by the key above them."""
    groups: dict[str, list[Field]] = {}
    for field in fields()[len(FIRST_KEYS) :]:
        groups.setdefault(field.group, []).append(field)
    return {group: tuple(members) for group, members in groups.items()}


def field_of(key: str) -> Field | None:
    """Return the field of a key; None if a job has no such key."""
    return next((field for field in fields() if field.key == key), None)


def _fields(schema: Mapping[str, Any], known: Mapping[str, Any], prefix: str, above: tuple[str, ...]) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, value in schema["properties"].items():
        reference = value.get("$ref", "").rpartition("/")[2]
        if reference and "properties" in known[reference]:
            yield from _fields(known[reference], known, f"{prefix}{name}.", (*above, name))
            continue
        yield _field(f"{prefix}{name}", value, name in required)


def _field(key: str, value: Mapping[str, Any], is_required: bool) -> Field:
    description = value.get("description", "")
    default = "" if value.get("default") is None else _written(value["default"])
    parts = [part for part in value.get("anyOf", (value,)) if part.get("type") != "null"]
    words = [word for part in parts for word in (part.get("enum") or ([part["const"]] if "const" in part else ()))]
    numbers = [part for part in parts if part.get("type") in ("integer", "number")]
    texts = [part for part in parts if part.get("type") == "string" and "enum" not in part and "const" not in part]
    shared: dict[str, Any] = {"key": key, "description": description, "default": default, "is_required": is_required}
    if words and not numbers and not texts:
        return Field(kind="choice", choices=tuple(map(str, words)), allowed=", ".join(map(str, words)), **shared)
    if any(part.get("type") in ("array", "object") for part in parts):
        return Field(kind="yaml", **shared)
    if numbers:
        [number] = numbers
        kind = "text" if words else "whole" if number["type"] == "integer" else "number"
        allowed = ", ".join(filter(None, [_range(number), *map(str, words)]))
        return Field(kind=kind, allowed=allowed, minimum=number.get("minimum"), maximum=number.get("maximum"), **shared)
    return Field(kind="text", allowed=", ".join(map(str, words)), **shared)


def _range(number: Mapping[str, Any]) -> str:
    low, high = number.get("minimum"), number.get("maximum")
    if low is not None and high is not None:
        return f"{low:g} – {high:g}"
    if low is not None:
        return f"≥ {low:g}" + (f", < {number['exclusiveMaximum']:g}" if "exclusiveMaximum" in number else "")
    return f"> {number['exclusiveMinimum']:g}" if "exclusiveMinimum" in number else ""


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
