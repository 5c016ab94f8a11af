"""The fields of a job, made from the models of pipeline.yaml: their kinds, ranges, defaults and documentation."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nstpipe.config.engines import ENGINE_TRAITS
from nstpipe.config.models import Job

FIRST_KEYS = (
    "name",
    "input",
    "output",
    "size",
    "engine.name",
    "style.images",
    "style.collection",
    "style.strength",
    "style.scale",
    "color",
    "style.distance",
)
"""The keys that most jobs set. The others are advanced."""

SHORT_FORMS = {"style": "images", "engine": "name"}
"""Keys whose value may be written for the whole: `engine: adain` is `engine: {name: adain}`."""

INSTEAD = {
    "style.images": ("style.collection", "style.artists", "style.genres", "style.pick", "style.seed"),
    "style.collection": ("style.images",),
}
"""Keys that give way when another one is set."""

CHOSEN_FROM = {
    "input": "input",
    "style.images": "painting",
    "style.collection": "folder",
    "engine.weights": "weights",
    "engine.encoder": "weights",
    "engine.transformer": "weights",
}
"""What the dialog of files offers for a key that names one."""


PROOF_KEYS = (
    "style.strength", "style.scale", "color", "style.distance", "init", "total_variation", "scales", "pooling", "padding",
    "optimizer.name", "optimizer.first",
)  # fmt: skip
"""The keys that a proof sheet offers: those that change a frame painted by itself, and have values that are quickly said."""

PROOF_VALUES = {
    "style.strength": "0.5, 1, 2", "style.scale": "0.7, 1, 1.4", "init": "matched, content", "total_variation": "0, 1, 4",
    "scales": "1, 2", "optimizer.first": "10, 30, 90",
}  # fmt: skip
"""The values that it begins with; for a choice all there are."""


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
        engines: The engines that have the key; empty if it is not an engine's.
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
    engines: tuple[str, ...] = ()

    @property
    def chosen_from(self) -> str:
        """What the dialog of files offers for it; empty if it names no file."""
        return CHOSEN_FROM.get(self.key, "")

    @property
    def is_first(self) -> bool:
        """Whether it is one of the usual keys."""
        return self.key in FIRST_KEYS or bool(self.engines)

    @property
    def proof_values(self) -> str:
        """The values with which a proof sheet of it begins."""
        return PROOF_VALUES.get(self.key, ", ".join(self.choices))

    @property
    def group(self) -> str:
        """The key above it; empty for a key of the job itself."""
        return self.key.rpartition(".")[0]


@functools.cache
def fields() -> tuple[Field, ...]:
    """Return all keys of a job, the usual ones first."""
    schema = Job.model_json_schema()
    found = {field.key: field for field in _fields(schema, schema["$defs"], "", ())}
    first = [found.pop(key) for key in FIRST_KEYS]
    place = FIRST_KEYS.index("engine.name") + 1
    first[place:place] = [found.pop(key) for key in [*found] if found[key].engines]
    return (*first, *found.values())


def first_fields() -> tuple[Field, ...]:
    """Return the usual keys, with those of each engine behind its name."""
    return tuple(field for field in fields() if field.is_first)


def advanced_fields() -> dict[str, tuple[Field, ...]]:
    """Return the other keys, by the key above them."""
    groups: dict[str, list[Field]] = {}
    for field in fields():
        if not field.is_first:
            groups.setdefault(field.group, []).append(field)
    return {group: tuple(members) for group, members in groups.items()}


def field_of(key: str) -> Field | None:
    """Return the field of a key; None if a job has no such key."""
    return next((field for field in fields() if field.key == key), None)


def _fields(schema: Mapping[str, Any], known: Mapping[str, Any], prefix: str, above: tuple[str, ...]) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, value in schema["properties"].items():
        if name == "engine":
            yield from _engine_fields(value, known)
            continue
        reference = value.get("$ref", "").rpartition("/")[2]
        if reference and "properties" in known[reference]:
            yield from _fields(known[reference], known, f"{prefix}{name}.", (*above, name))
            continue
        yield _field(f"{prefix}{name}", value, name in required)


def _engine_fields(value: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[Field]:
    """Yield the name of the engine, and the keys of all engines. An engine is one of several models."""
    models = [known[choice["$ref"].rpartition("/")[2]] for choice in value["oneOf"]]
    named = [model["properties"]["name"]["const"] for model in models if "const" in model["properties"]["name"]]
    names = tuple(dict.fromkeys([*ENGINE_TRAITS, *named]))
    shared: dict[str, Any] = {"description": value["description"], "default": value["default"]}
    yield Field("engine.name", "choice", choices=names, allowed=", ".join(names), **shared)
    found: dict[str, Field] = {}
    for model in models:
        engine = model["properties"]["name"].get("const", "")
        for name, key in model["properties"].items():
            if engine and name != "name":
                field = _field(f"engine.{name}", key, is_required=False)
                before = found.get(name)
                said = [before.description] if before is not None else []
                said += [field.description] if field.description not in said else []
                engines = (*(before.engines if before is not None else ()), engine)
                found[name] = replace(field, description=" ".join(said), engines=engines)
    yield from found.values()


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


def proof_fields() -> tuple[Field, ...]:
    """Return the keys that a proof sheet can vary."""
    return tuple(field for key in PROOF_KEYS if (field := field_of(key)) is not None)


def _range(number: Mapping[str, Any]) -> str:
    low, high = number.get("minimum"), number.get("maximum")
    if low is not None and high is not None:
        return f"{low:g} – {high:g}"
    if low is not None:
        return f"≥ {low:g}" + (f", < {number['exclusiveMaximum']:g}" if "exclusiveMaximum" in number else "")
    return f"> {number['exclusiveMinimum']:g}" if "exclusiveMinimum" in number else ""


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
