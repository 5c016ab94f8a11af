"""From a file and the command line's overrides to a checked `Pipeline`."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from nstpipe.config.document import MOST_CHARACTERS, DocumentError, Located, below, parse
from nstpipe.config.messages import problems_of
from nstpipe.config.models import VIDEO_CODECS_BY_SUFFIX, VIDEO_SUFFIXES, Job, Pipeline
from nstpipe.errors import ConfigError, Problem

MOST_JOBS = 10_000
"""A matrix multiplies; more jobs than this is a slip."""


MOST_NAMED = 8
"""Files that a message names."""


@dataclass(frozen=True)
class Loaded:
    """What could be read of a pipeline.yaml.

    Attributes:
        pipeline: its right part: without the jobs, and with the defaults of the other keys, that are wrong; None if
            there is none.
        problems: all that is wrong, in the order of the file.
    """

    pipeline: Pipeline | None
    problems: tuple[Problem, ...]


def load_pipeline(path: Path, overrides: Sequence[str] = (), environment: Mapping[str, str] = os.environ) -> Pipeline:
    """Read, fill in, merge and check a pipeline.yaml.

    Args:
        path: the file. Relative paths in it are relative to its folder.
        overrides: ``key.path=value``, such as ``jobs.street.size=256``, ``jobs.*.size=256`` or ``device=cpu``.
        environment: what ``${VAR}`` is filled in from.

    Raises:
        ConfigError: with every problem that could be found.
    """
    loaded = load_right_part(path, overrides, environment)
    if loaded.problems or loaded.pipeline is None:
        raise ConfigError(path, loaded.problems)
    return loaded.pipeline


def load_right_part(path: Path, overrides: Sequence[str] = (), environment: Mapping[str, str] = os.environ) -> Loaded:
    """The same, but with the problems as values, so that what is right can be looked at further."""
    problems: list[Problem] = []
    pipeline = None
    try:
        try:
            document = parse(_text_of(path), environment)
        except DocumentError as error:
            if error.rest is None:
                raise
            document = error.rest
            problems += error.problems
        document = _expanded(_overridden(document, overrides, environment))
        pipeline, found = _validated(document, path, [problem.key for problem in problems if problem.key])
        problems += found
    except DocumentError as error:
        problems += error.problems
    return Loaded(pipeline, tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line or 0)))


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(4 * MOST_CHARACTERS + 1)  # what UTF-8 needs at most; a video given by mistake is far longer
        if len(content) > 4 * MOST_CHARACTERS:
            message = f"has more than {4 * MOST_CHARACTERS} bytes, which no pipeline has; is this the right file?"
            raise DocumentError(Problem("", message))
        return content.decode("utf-8-sig")
    except OSError as error:
        near = sorted(file.name for file in path.parent.glob("*.y*ml")) if path.parent.is_dir() and not path.exists() else []
        there = f"; in that folder are {', '.join(near[:MOST_NAMED])}" if near else ", or write one with `nstpipe init`"
        message = f"cannot be read: {error.strerror}. Give the path of a pipeline.yaml{there}"
        raise DocumentError(Problem("", message)) from error
    except UnicodeDecodeError as error:
        message = f"is not text in UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x}); save it as UTF-8"
        raise DocumentError(Problem("", message)) from error


def _overridden(document: Located, overrides: Sequence[str], environment: Mapping[str, str]) -> Located:
    for override in overrides:
        name, equals, text = (part.strip() for part in override.partition("="))
        steps = _steps(name)
        if not equals or not steps:
            raise DocumentError(Problem(f"--set {override}", "should be key.path=value, such as jobs.street.size=256"))
        value = parse(text or "''", environment, key=f"--set {name}", first_line=None)
        document = _set(document, steps, value, name)
    return document


def _steps(name: str) -> list[str | int]:
    """``jobs[0].size`` as jobs, 0, size; nothing if it has not that form."""
    steps: list[str | int] = []
    for part in name.split("."):
        match = re.fullmatch(r"([^\[\]]+)((?:\[[0-9]{1,9}\])*)", part)
        if match is None:
            return []
        steps += [match[1], *map(int, re.findall("[0-9]+", match[2]))]
    return steps


def _set(place: Located, steps: Sequence[str | int], value: Located, name: str) -> Located:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    nothing = Located(None, value.key, None)
    if isinstance(place.value, list):
        chosen = [index for index, child in enumerate(place.value) if step in ("*", index) or _name_of(child) == step]
        if not chosen:
            names = [_name_of(child) or index for index, child in enumerate(place.value)]
            raise DocumentError(Problem(f"--set {name}", f"found {step!r}; allowed are * and {', '.join(map(str, names))}"))
        items = [_set(child, rest, value, name) if index in chosen else child for index, child in enumerate(place.value)]
        return replace(place, value=items)
    if isinstance(step, int):
        raise DocumentError(Problem(f"--set {name}", f"[{step}] counts the entries of a list, but there is none"))
    if step.startswith("x-"):
        return place  # the user's own, which nothing reads
    # A short form, such as a style's path, gives way to the mapping that the override speaks of.
    known = {} if place.value is None else _long_form(place).value
    if not isinstance(known, dict):
        raise DocumentError(Problem(f"--set {name}", f"{place.key} is no mapping, so it has no {step}"))
    return replace(place, value={**known, step: _set(known.get(step, nothing), rest, value, name)})


def _name_of(job: Located) -> str | None:
    name = job.value.get("name") if isinstance(job.value, dict) else None
    return name.value if name is not None and isinstance(name.value, str) else None


def _expanded(document: Located) -> Located:
    """Fill `defaults` into every job, and make one job for each combination of a `matrix`."""
    if not isinstance(document.value, dict):
        message = "should be a mapping with version and jobs; see the README for an example"
        raise DocumentError(Problem("", message, document.line))
    top = dict(document.value)
    defaults = top.pop("defaults", None)
    if defaults is not None and not isinstance(defaults.value, dict):
        raise DocumentError(Problem("defaults", "should be a mapping of job keys, such as size: 512", defaults.line))
    jobs = top.get("jobs")
    if jobs is None or not isinstance(jobs.value, list):
        return replace(document, value=top)
    expanded: list[Located] = []
    for job in jobs.value:
        merged = _merged(defaults, job) if defaults is not None and isinstance(job.value, dict) else job
        expanded += _combinations(merged)
        if len(expanded) > MOST_JOBS:
            raise DocumentError(Problem(jobs.key, f"are more than {MOST_JOBS}, with what each matrix makes", jobs.line))
    top["jobs"] = replace(jobs, value=expanded)
    return replace(document, value=top)


def _merged(defaults: Located, job: Located) -> Located:
    if not isinstance(defaults.value, dict) or not isinstance(job.value, dict):
        return job
    merged = dict(defaults.value)
    for name, own in job.value.items():
        default = merged.get(name)
        if default is not None:
            own = _merged(_long_form(default), _long_form(own))
        merged[name] = own
    return replace(job, value=merged)


def _long_form(place: Located) -> Located:
    """A style's path, or that of one of its pictures, as the mapping that it is short for; anything else as it is."""
    if isinstance(place.value, str) and re.search(r"\.style$", place.key):
        picture = replace(place, key=f"{place.key}.images[0]")
        return replace(place, value={"images": replace(place, value=[picture])})
    if isinstance(place.value, str) and re.search(r"\.style\.images\[\d+\]$", place.key):
        return replace(place, value={"path": place})
    return place


_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")


def _combinations(job: Located) -> list[Located]:
    if not isinstance(job.value, dict) or "matrix" not in job.value:
        return [job]
    rest = {name: child for name, child in job.value.items() if name != "matrix"}
    matrix = job.value["matrix"]
    usable = isinstance(matrix.value, dict) and all(
        isinstance(values.value, list)
        and values.value
        and not any(isinstance(value.value, (dict, list)) for value in values.value)
        for values in matrix.value.values()
    )
    if not usable or not matrix.value:
        message = "should map each key to a list of its values, such as style: [starry_night, night_cafe]"
        raise DocumentError(Problem(matrix.key, message, matrix.line))
    made = math.prod(len(values.value) for values in matrix.value.values())
    if made > MOST_JOBS:
        raise DocumentError(Problem(matrix.key, f"makes {made} jobs, at most {MOST_JOBS} are allowed", matrix.line))
    keys = list(matrix.value)
    combinations = itertools.product(*(matrix.value[key].value for key in keys))
    return [
        replace(job, value={name: _filled(child, dict(zip(keys, values, strict=True))) for name, child in rest.items()})
        for values in combinations
    ]


def _filled(place: Located, values: Mapping[str, Located]) -> Located:
    """Replace ``{key}``; a text that is nothing but one placeholder takes the value with its type."""
    if isinstance(place.value, dict):
        return replace(place, value={name: _filled(child, values) for name, child in place.value.items()})
    if isinstance(place.value, list):
        return replace(place, value=[_filled(child, values) for child in place.value])
    if not isinstance(place.value, str):
        return place
    whole = _PLACEHOLDER.fullmatch(place.value)
    if whole and whole[1] in values:
        return replace(place, value=values[whole[1]].value)

    def value_of(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise DocumentError(Problem(place.key, f"has {match[0]}, but matrix has only {', '.join(values)}", place.line))
        return str(values[match[1]].value)

    return replace(place, value=_PLACEHOLDER.sub(value_of, place.value))


def _validated(document: Located, path: Path, unread: Collection[str]) -> tuple[Pipeline | None, list[Problem]]:
    """What is right of a document, and what is wrong with the rest, but for keys whose values could not be read."""
    problems: list[Problem] = []
    context = {"folder": path.absolute().parent}
    try:
        pipeline = Pipeline.model_validate(document.plain(), context=context)
    except ValidationError as error:
        problems = problems_of(error, document, unread)
        document = _right_part(document, error)
        try:
            pipeline = Pipeline.model_validate(document.plain(), context=context)
        except ValidationError:
            return None, problems
    return pipeline, [*problems, *_conflicts(pipeline, document)]


def _right_part(document: Located, error: ValidationError) -> Located:
    """A document without its faulty jobs and its other faulty keys, whose defaults then hold."""
    places = [detail["loc"] for detail in error.errors(include_url=False)]
    faulty_jobs = {place[1] for place in places if place[0] == "jobs" and len(place) > 1}
    faulty_keys = {place[0] for place in places if place and place[0] != "jobs"}
    top = {name: child for name, child in document.value.items() if name not in faulty_keys}
    top.setdefault("version", Located(1, "version", None))
    jobs = top.get("jobs")
    if jobs is not None and isinstance(jobs.value, list):
        top["jobs"] = replace(jobs, value=[job for index, job in enumerate(jobs.value) if index not in faulty_jobs])
    return replace(document, value=top)


def _conflicts(pipeline: Pipeline, document: Located) -> list[Problem]:
    """What is wrong between keys that are each right by themselves."""
    problems: list[Problem] = []
    seen: set[tuple[str, int | None, str]] = set()
    first_by_name: dict[str, Job] = {}
    first_by_output: dict[Path, Job] = {}
    for job, place in zip(pipeline.jobs, document.value["jobs"].value, strict=True):

        def add(key: str, message: str, job: Job = job, place: Located = place) -> None:
            found = place
            for step in key.split("."):
                found = found.child(step) or found
            said = below(place.key, key) if found is place else found.key
            if (said, found.line, message) not in seen:  # a matrix would say it once for each combination
                seen.add((said, found.line, message))
                said = f"jobs.{job.name}{said[len(place.key) :]}" if said.startswith(f"{place.key}.") else said
                problems.append(Problem(said, message, found.line))

        source, output = (Path(os.path.normpath(path)) for path in (job.input, job.output))
        if job.name in first_by_name:
            add("name", f"found {job.name} twice; every job needs a name of its own")
        if output in first_by_output:
            add("output", f"is also the output of the job {first_by_output[output].name}; give each job its own")
        first_by_name.setdefault(job.name, job)
        first_by_output.setdefault(output, job)
        suffix = job.output.suffix.lower()
        if suffix in VIDEO_CODECS_BY_SUFFIX:
            if job.encode.codec not in VIDEO_CODECS_BY_SUFFIX[suffix]:
                allowed = ", ".join(VIDEO_CODECS_BY_SUFFIX[suffix])
                add("encode.codec", f"found {job.encode.codec}, which {suffix} is not written with; allowed: {allowed}")
        elif suffix in VIDEO_SUFFIXES:
            allowed = ", ".join(VIDEO_CODECS_BY_SUFFIX)
            add("output", f"found {suffix}, which is read but not written; allowed for a video: {allowed}")
        if source == output or source in output.parents:
            add("output", "lies inside the input; give a place outside it, or results would become inputs")
    return problems
