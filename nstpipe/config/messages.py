"""Turns pydantic's errors into messages that say what was found, what is allowed and what was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nstpipe.config.cluster import Cluster
from nstpipe.config.document import UNREAD, Located, below
from nstpipe.config.engines import ENGINES_WITH_KEYS, Engine, PlainEngine
from nstpipe.config.models import SECRETS, Job, Pipeline, Style, StyleImage
from nstpipe.errors import Problem
from nstpipe.storage.address import is_address
from nstpipe.storage.failures import without_secrets
from nstpipe.system.devices import DEVICE_PATTERN


def problems_of(error: ValidationError, document: Located) -> list[Problem]:
    """Return one problem for each invalid key, in the order of the file. Values that could not be read are skipped.

    Args:
        error: The error that pydantic raised.
        document: The document that was checked.
    """
    by_place: dict[tuple[str | int, ...], list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        # pydantic also counts a list's faulty entries as absent; the entries' own faults are said already.
        if detail["type"] == "too_short" and detail["input"]:
            continue
        by_place.setdefault(_place(detail, document), []).append(detail)
    problems: dict[tuple[str, int | None, str], Problem] = {}
    for place, details in by_place.items():
        found = _problem(place, details, document)
        if found is not None:
            written, problem = found
            # `defaults` and a matrix bring one key of the file into many jobs; it is wrong once.
            problems.setdefault((written, problem.line, problem.message), problem)
    return sorted(problems.values(), key=lambda problem: problem.line or 0)


def _place(detail: ErrorDetails, document: Located) -> tuple[str | int, ...]:
    """Return the path of an error without the names that pydantic gives to the members of a union."""
    place: list[str | int] = []
    here: Located | None = document
    for step in detail["loc"]:
        child = here.child(step) if here is not None else None
        if child is not None:
            here = child
            place.append(step)
        elif here is not None and isinstance(here.value, str) and step in ("images", "path"):
            continue  # the short form of a style stands for style.images[0].path
        elif detail["type"] == "missing" and step == detail["loc"][-1]:
            place.append(step)
    return tuple(place)


def _problem(place: tuple[str | int, ...], details: Sequence[ErrorDetails], document: Located) -> tuple[str, Problem] | None:
    """Return the key as written, and the problem, which calls a job by its name; None if it has been reported."""
    here, missing = document, ""
    for step in place:
        child = here.child(step)
        if child is None:
            missing = str(step)
            break
        here = child
    if here.value is UNREAD:
        return None
    written = below(here.key, missing) if missing else here.key
    key = written if written.startswith(("--set", "defaults")) else _named(place, document)
    return written, Problem(key, _message(place, details, here), here.line)


def _message(place: tuple[str | int, ...], details: Sequence[ErrorDetails], here: Located) -> str:
    kinds = {detail["type"] for detail in details}
    if "missing" in kinds:
        about = _model_at(details[0]["loc"][:-1]).model_fields[str(place[-1])].description or ""
        return f"is required, but missing: {about[:1].lower()}{about[1:].rstrip('.')}"
    if "extra_forbidden" in kinds:
        return _unknown_key(place, _model_at(details[0]["loc"][:-1]), here)
    if any(detail["loc"][-1] == "[key]" for detail in details):
        return _unknown_name(str(place[-1]), _choices(details[0]))
    allowed = list(dict.fromkeys(_allowed(detail) for detail in details))
    choices = [choice for detail in details for choice in _choices(detail)]
    found = "something that is not shown here" if place in SECRETS else _found(here)
    message = f"found {found}; should be {' or '.join(allowed)}"
    meant = difflib.get_close_matches(str(here.value), choices, n=1)
    if meant and meant[0] != here.value:
        message += f". Did you mean {meant[0]}?"
    return message


def _named(place: Sequence[str | int], document: Located) -> str:
    """Return a key that calls a job by its name if it has one, such as ``jobs.street.size``."""
    key = ""
    here: Located | None = document
    for step in place:
        here = here.child(step) if here is not None else None
        name = here.child("name") if here is not None else None
        if key == "jobs" and here is not None:
            key = f"jobs.{name.value}" if name is not None and isinstance(name.value, str) else here.key
        else:
            key = below(key, step)
    return key


def _unknown_key(place: tuple[str | int, ...], model: type[BaseModel], here: Located) -> str:
    key = str(place[-1])
    known = list(model.model_fields)
    if place[:-1] == ():
        known.append("defaults")
    elif len(place) == 3 and place[0] == "jobs":
        known.append("matrix")
    name, colon, value = key.partition(":")
    if colon and name in known:
        return f"needs a space after its colon: {name}: {value}"
    if issubclass(model, Engine):
        return _unknown_key_of_engine(key, known, model)
    homes = list(dict.fromkeys(_homes(key)))
    meant = difflib.get_close_matches(key, known, n=1, cutoff=0.8 if homes else 0.6)
    if homes:
        hint = f"; or did you mean {meant[0]}?" if meant else ""
        return f"is in the wrong place; it belongs {' or '.join(homes)}{hint}"
    hint = f"did you mean {meant[0]}?" if meant else f"known here: {', '.join(dict.fromkeys(known))}."
    return f"unknown key; {hint} Keys of your own start with x-"


def _unknown_key_of_engine(key: str, known: Sequence[str], model: type[Engine]) -> str:
    """Say whose key it is, where it belongs to another engine, or what was meant."""
    owners = [name for name, other in ENGINES_WITH_KEYS.items() if key in other.model_fields]
    meant = difflib.get_close_matches(key, known, n=1)
    own = f"its keys are {', '.join(known)}" if len(known) > 1 else "it has none of its own"
    name = get_args(model.model_fields["name"].annotation)
    said = f"is not a key of engine {name[0]}; {own}" if name else f"is not a key of this engine; {own}"
    if owners:
        return f"{said}. It is one of {' and '.join(owners)}"
    return f"{said}. Did you mean {meant[0]}?" if meant else said


def _homes(name: str, model: type[BaseModel] = Pipeline, outer: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the places where a key of this name belongs, in words."""
    known = {*model.model_fields, *(("defaults",) if model is Pipeline else ("matrix",) if model is Job else ())}
    if name in known:
        below_job = ".".join(outer).removeprefix("jobs").removeprefix(".")
        yield f"below {below_job}" if below_job else "in a job or in defaults" if outer else "at the top of the file"
    for key, field in model.model_fields.items():
        for inner in _models_in(field.annotation):
            yield from _homes(name, inner, (*outer, key))


def _unknown_name(name: str, known: Sequence[str]) -> str:
    meant = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return f"found {name}, which is not a layer of VGG19; did you mean {' or '.join(meant) or known[0]}?"


def _model_at(place: Iterable[str | int]) -> type[BaseModel]:
    """Return the model of a place, or the last one on the way to it. Of a union, a tag in the place chooses the model."""
    model: type[BaseModel] = Pipeline
    for step in place:
        if step == "jobs":
            model = Job
        elif isinstance(step, str) and step in model.model_fields:
            model = next(_models_in(model.model_fields[step].annotation), model)
        elif isinstance(step, str) and step in ENGINES_WITH_KEYS and issubclass(model, Engine):
            model = ENGINES_WITH_KEYS[step]
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in an annotation, such as ``tuple[Region, ...]`` or ``RegionStyle | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _found(here: Located) -> str:
    value = here.value
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str) and re.fullmatch("[-+]?0[0-9_]+", value):
        return f"{_short(value)}, which is text because of its leading zero"
    if isinstance(value, str):
        # An address may hold a password or a signature.
        return f"the text {_short(without_secrets(value))!r}" if is_address(value) else f"the text {_short(value)!r}"
    return _short(str(value))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _choices(detail: ErrorDetails) -> list[str]:
    context = detail.get("ctx", {})
    if detail["type"] == "one_of":
        return [str(choice) for choice in context["allowed"]]
    if detail["type"] == "literal_error":
        return [choice.strip("' ") for choice in str(context["expected"]).replace(" or ", ", ").split(", ")]
    return []


_PHRASES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text, in quotes if it looks like something else",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le}",
    "too_short": "a list of at least {min_length}",
    "finite_number": "a finite number",
    "string_too_short": "a text that is not empty",
}

_PATTERNS = {
    r"\w": "a text with a letter or a digit",
    DEVICE_PATTERN: "auto, cpu, cuda or cuda:N",
    r"^[A-Za-z0-9_-]+$": "letters, digits, - and _ only",
    r"^[a-z0-9]+$": "small letters and digits only",
    r"^[A-Za-z0-9_.-]{1,128}$": "letters, digits, ., - and _ only, at most 128",
}


def _allowed(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    choices = _choices(detail)
    if choices:
        return " or ".join((", ".join(choices[:-1]), choices[-1])) if len(choices) > 1 else choices[0]
    if detail["type"] == "string_pattern_mismatch":
        return _PATTERNS[context["pattern"]]
    if detail["type"] == "model_type" and context["class_name"] in (Style.__name__, StyleImage.__name__):
        return "a path or a mapping"
    if detail["type"] == "model_type" and context["class_name"] == Cluster.__name__:
        return "the address of a scheduler, a path or a mapping"
    if detail["type"] == "model_type" and context["class_name"] == PlainEngine.__name__:
        return "the name of an engine or a mapping"
    if detail["type"] in _PHRASES:
        return _PHRASES[detail["type"]].format(**context)
    return detail["msg"].removeprefix("should be ").removeprefix("Input should be ")
