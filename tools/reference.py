"""Writes docs/reference and the tables of docs/events.md from the code: `python tools/reference.py`. A test checks them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from typer.models import ArgumentInfo

from nstpipe.cli import app
from nstpipe.config import json_schema
from nstpipe.config.engines import DEFAULT_ENGINE, NetworkEngine, PlainEngine
from nstpipe.config.models import Job, Pipeline
from nstpipe.events_schema import described_fields, event_types, events_schema
from nstpipe.media.pictures.formats import NEVER_CARRIED, PICTURE_FORMATS, Content
from nstpipe.media.video.codecs import VIDEO_CODECS
from nstpipe.media.video.containers import CONTAINERS, Container
from nstpipe.media.video.omissions import NEVER_HELD

FOLDER = Path(__file__).parent.parent / "docs" / "reference"

NOTE = "<!-- Written by `python tools/reference.py`; change the code instead. -->\n\n"


def commands() -> str:
    """One section for each command: what it does, an example, its arguments and options."""
    text = NOTE + (
        "# Commands\n\n"
        "`nstpipe --help` and `nstpipe COMMAND --help` show the same text. `nstpipe --version` prints the version.\n"
        "`nstpipe --install-completion` teaches your shell to complete commands, options and job names.\n"
    )
    functions = [info.callback for info in app.registered_commands if info.callback is not None]
    for command in sorted(functions, key=lambda function: function.__name__):
        name = command.__name__
        body, _, example = inspect.cleandoc(command.__doc__ or "").rpartition("Example:")
        text += f"\n## nstpipe {name}\n\n{body.strip()}\n\n```bash\n{example.strip()}\n```\n\n"
        hints = get_type_hints(command, include_extras=True)
        declared = [key for key in inspect.signature(command).parameters if get_origin(hints[key]) is Annotated]
        rows = [_option(key, hints[key]) for key in declared]
        text += _table(("option", "means"), rows) if rows else ""
    return text


def _option(name: str, hint: Any) -> tuple[str, str]:
    kind, info = get_args(hint)[:2]
    if isinstance(info, ArgumentInfo):
        return f"`{info.metavar}`", str(info.help)
    plain = f"--{name.replace('_', '-')}"
    # Within Annotated, typer takes the first name for what a default would be elsewhere.
    first = (info.default,) if isinstance(info.default, str) else ()
    decls = (*first, *(info.param_decls or ())) or ((plain, f"--no-{plain[2:]}") if name == "calibrate" else (plain,))
    names = ", ".join(f"`{declared}`" for declared in decls)
    choices = [choice for part in (kind, *get_args(kind)) if get_origin(part) is Literal for choice in get_args(part)]
    words = {int: "NUMBER", str: "TEXT"}
    value = info.metavar or "|".join(choices) or next((words[part] for part in (kind, *get_args(kind)) if part in words), "")
    return f"{names} `{value}`" if value else names, str(info.help)


def keys() -> str:
    """A table for each mapping of pipeline.yaml: key, what it takes, default, meaning."""
    text = NOTE + (
        "# Keys of pipeline.yaml\n\n"
        "The values that each key takes, and its default. [pipeline.md](../pipeline.md) has examples.\n"
        "[pipeline.schema.json](../pipeline.schema.json) is the same for editors.\n"
    )
    definitions = json_schema()["$defs"]
    sections = [("Keys of the file", Pipeline), ("Keys of a job", Job), *_mappings(Pipeline), *_mappings(Job)]
    for title, model in sections:
        own = Pipeline.model_json_schema() if model is Pipeline else definitions.get(model.__name__) or {}
        properties = own.get("properties") or own["anyOf"][1]["properties"]  # Style has a short form too
        rows = [_key(name, field, properties[name]) for name, field in model.model_fields.items()]
        text += f"\n## {title}\n\n" + _table(("key", "takes", "default", "meaning"), rows)
    return text


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a value may be made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _mappings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """All that is nested below a model, each with its path."""
    for name, field in model.model_fields.items():
        for nested in _models(field.annotation):
            if issubclass(nested, NetworkEngine):
                yield f"{prefix}{name}, with `name: {get_args(nested.model_fields['name'].annotation)[0]}`", nested
            elif nested is not Job and nested is not PlainEngine:
                yield f"{prefix}{name}", nested
                yield from _mappings(nested, f"{prefix}{name}.")


def _key(name: str, field: Any, schema: dict[str, Any]) -> tuple[str, str, str, str]:
    nested = any(True for _ in _models(field.annotation)) and name not in ("jobs", "images")
    meaning = field.description or (f"see [{name}](#{name})" if nested else "")
    if field.is_required():
        default = "required"
    elif nested or field.default is None:
        default = "`[]`" if field.default == () else ""
    else:
        default = f"`{_written(field.default)}`"
    takes = "a mapping" if nested else _taken(schema)
    if nested and schema.get("type") == "array":
        takes = "a list of mappings"
    if name == "style":
        takes = "a path or a mapping"
    elif name == "engine":
        takes, default = "a name or a mapping", f"`{DEFAULT_ENGINE}`"
    elif takes == "text" and Path in (field.annotation, *get_args(field.annotation)):
        takes = "a path"
    return f"`{name}`", takes, default, meaning


def _written(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {child}" for key, child in value.items()) + "}"
    return "[]" if value == () else str(value)


def _taken(schema: dict[str, Any]) -> str:
    """The values that a part of the schema lets through, in words."""
    if "anyOf" in schema:
        parts = [_taken(part) for part in schema["anyOf"] if "${VAR}" not in part.get("description", "")]
        return " or ".join(dict.fromkeys(part for part in parts if part != "nothing"))
    if "$ref" in schema:
        return "a path or a mapping" if schema["$ref"].endswith(("/Style", "/StyleImage")) else "a mapping"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type")
    if kind == "array":
        return f"a list: {_taken(schema['items'])}"
    if kind == "object":
        return "a mapping of layer names to weights"
    if kind == "string":
        return {
            r"^(auto|cpu|cuda(:[0-9]+)?)$": "`auto`, `cpu`, `cuda`, `cuda:N`",
            r"^[A-Za-z0-9_-]+$": "letters, digits, `-` and `_`",
            r"^[a-z0-9]+$": "small letters and digits",
        }.get(schema.get("pattern", ""), "a path" if "relative" in schema.get("description", "") else "text")
    if kind == "null":
        return "nothing"
    word = {"integer": "a whole number", "number": "a number", "boolean": "`true` or `false`"}[str(kind)]
    return " ".join([word, *_bounds(schema)])


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        yield f"from {low:g} to {high:g}"
    elif low is not None:
        yield f"from {low:g} on"
    if "exclusiveMinimum" in schema:
        yield f"above {schema['exclusiveMinimum']:g}"
    if low is None and high is not None:
        yield f"up to {high:g}"
    if schema.get("exclusiveMaximum", MOST) < MOST:
        yield f"below {schema['exclusiveMaximum']:g}"


def events() -> str:
    """docs/events.md: the introduction that it has, then a table for each kind of event."""
    introduction, heading, _ = (FOLDER / EVENTS_PAGE).read_text(encoding="utf-8").partition("## The kinds\n")
    text = introduction + heading
    for kind in event_types():
        sentences, described = described_fields(kind)
        rules = events_schema()["$defs"][kind.__name__]["properties"]
        rows = [(f"`{name}`", _type(rules[name]), meaning) for name, meaning in described.items() if name != "at"]
        text += f"\n### `{kind.__name__}`\n\n{sentences}\n\n" + _table(("field", "type", "means"), rows)
    return text


def picture_formats() -> str:
    """What the results of each picture format hold, and what no result holds."""
    rows = PICTURE_FORMATS.values()
    head = ("of the original", *(f"{row.name} ({', '.join((*row.suffixes, *row.rare_suffixes))})" for row in rows))
    depends = [content for content in get_args(Content) if content not in NEVER_CARRIED]
    held = [(content, *("yes" if row.holds(content) else "–" for row in rows)) for content in depends]
    never = [(content, row.reason, row.remedy) for content, row in NEVER_CARRIED.items()]
    return NOTE + (
        "# What picture formats hold\n\n"
        "nstpipe compares each picture with this table. What a result will not hold is named by `validate` and `plan`, at the\n"
        "start of `run` and in the report, once a job. [media.md](../media.md) says how each thing is kept.\n\n"
        "## What depends on the format of the result\n\n"
        f"{_table(head, held)}\n"
        "Depth of color means 16 bits of a color value. Partial transparency means pixels between clear and opaque.\n\n"
        "## What no result holds\n\n"
        "XMP and EXIF do not promise these things either: nstpipe removes the entries that list them.\n\n"
        f"{_table(('of the original', 'why', 'next step'), never)}"
    )


def containers() -> str:
    """What the results of each container and codec hold, and what no result holds."""
    rows = [row for row in CONTAINERS.values() if row.is_written]

    def line(what: str, held: Callable[[Container], object]) -> tuple[str, ...]:
        found = [held(row) for row in rows]
        return (what, *(one if isinstance(one, str) else "yes" if one else "–" for one in found))

    lines = [
        line("sound", lambda row: row.sound),
        line("subtitles", lambda row: ", ".join(sorted(row.subtitles)) or "–"),
        line("other text subtitles become", lambda row: row.subtitle_text or "–"),
        line("attachments", lambda row: row.attachments),
        line("chapters", lambda row: row.chapters),
        line("tags of any name", lambda row: row.tags),
        line("language and title of streams", lambda row: row.sound),
        line("other tags of sounds and subtitles", lambda row: row.stream_tags),
        line("timecode", lambda row: row.timecode),
        line("data streams", lambda row: ", ".join(sorted(row.data)) or "–"),
        line("360° and stereo layout", lambda row: row.layout),
        line("transparency", lambda row: ", ".join(row.transparent_codecs) or "–"),
        line("times of frames, end of the last one", lambda row: row.times),
        line("repeats", lambda row: row.is_animation),
    ]
    head = ("of the original", *(row.suffix for row in rows))
    codecs = [
        (codec.name, *(name or "–" for name in (*codec.formats, *(codec.alpha_formats or ("", "")))))
        for codec in VIDEO_CODECS.values()
    ]
    formats = ("codec", "8 bits", "more bits", "8 bits, transparent", "more bits, transparent")
    return NOTE + (
        "# What video containers and codecs hold\n\n"
        "nstpipe compares each video with this table. What a result will not hold is named by `validate` and `plan`, at the\n"
        "start of `run` and in the report, once a job. [media.md](../media.md) says how each thing is kept.\n\n"
        "## What depends on the container of the result\n\n"
        f"{_table(head, lines)}\n"
        "Numbered pictures hold none of this, but transparency where their format does.\n\n"
        "## The pixel formats of the codecs\n\n"
        "nstpipe takes these unless `encode.pix_fmt` names another.\n\n"
        f"{_table(formats, codecs)}\n"
        "## What no result holds\n\n"
        f"{_table(('of the original', 'why'), list(NEVER_HELD.items()))}"
    )


def _type(rule: dict[str, Any]) -> str:
    return " or ".join("mapping" if part["type"] == "object" else str(part["type"]) for part in rule.get("anyOf", [rule]))


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


MOST = 1e15
"""A bound beyond it is one of the machine, and nobody meets it."""


EVENTS_PAGE = "../events.md"

PAGES = {
    "commands.md": commands,
    "keys.md": keys,
    "picture-formats.md": picture_formats,
    "containers.md": containers,
    EVENTS_PAGE: events,
}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for page, make in PAGES.items():
        (FOLDER / page).write_text(make(), encoding="utf-8")
