"""Loads a pipeline.yaml with the overrides of the command line into a checked `Pipeline`."""

from __future__ import annotations

import difflib
import itertools
import math
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nstpipe.config.document import MOST_CHARACTERS, UNREAD, DocumentError, Located, below, parse
from nstpipe.config.messages import problems_of
from nstpipe.config.models import COLLECTION_KEYS, Job, Pipeline
from nstpipe.errors import ConfigError, Problem
from nstpipe.media.pictures.formats import PICTURE_FORMATS, PICTURE_SUFFIXES
from nstpipe.media.signature import SIGNATURE_BYTES, matches
from nstpipe.media.video.containers import CONTAINERS, OTHER_VIDEO_SIGNATURES, VIDEO_CODECS_BY_SUFFIX, VIDEO_SUFFIXES
from nstpipe.storage.address import AddressError, is_address, parse_address
from nstpipe.storage.remotes import LivePlace, Remotes, usual_live_folder
from nstpipe.system.characters import lookalikes
from nstpipe.system.files import MOST_NAMED, PIPELINE_NAMES

MOST_JOBS = 10_000
"""The most jobs of a pipeline. A matrix multiplies them, and more are a mistake."""


@dataclass(frozen=True)
class Loaded:
    """What could be read of a pipeline.yaml.

    Attributes:
        pipeline: The valid part, without invalid jobs, and with defaults for other invalid keys. None if nothing is valid.
        problems: All problems, in the order of the file.
    """

    pipeline: Pipeline | None
    problems: tuple[Problem, ...]


def load_pipeline(path: Path, overrides: Sequence[str] = (), environment: Mapping[str, str] = os.environ) -> Pipeline:
    """Read, fill in, merge and check a pipeline.yaml.

    Args:
        path: The file. Relative paths in it are relative to its folder.
        overrides: ``key.path=value``, such as ``jobs.street.size=256``, ``jobs.*.size=256`` or ``device=cpu``.
        environment: The environment variables that replace ``${VAR}``.

    Raises:
        ConfigError: The file has problems; the error holds all that could be found.
    """
    loaded = load_right_part(path, overrides, environment)
    if loaded.problems or loaded.pipeline is None:
        raise ConfigError(path, loaded.problems)
    return loaded.pipeline


def load_right_part(
    path: Path,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
    text: str | None = None,
) -> Loaded:
    """Do the same as `load_pipeline`, but return the problems, so that the valid part can be checked further.

    Args:
        path: The file. Relative paths in it are relative to its folder.
        overrides: See `load_pipeline`.
        environment: See `load_pipeline`.
        text: What the file is going to hold, such as a text that is being edited; None to read the file.
    """
    problems: list[Problem] = []
    read = ""
    try:
        read = _text_of(path) if text is None else text
        document = parse(read, environment)
    except DocumentError as error:
        problems += error.problems
        if error.rest is None:
            return Loaded(None, _with_lookalikes(problems, read))
        document = error.rest
    if not isinstance(document.value, dict):
        message = "should be a mapping with version and jobs; see the README for an example"
        return Loaded(None, _with_lookalikes([*problems, Problem("", message, document.line)], read))
    settings = [setting for text in overrides for setting in _setting(text, environment, problems)]
    late = [setting for setting in settings if setting.is_of_an_expanded_job(document)]
    document = _overridden(document, [setting for setting in settings if setting not in late], problems)
    document, defaults = _expanded(document, problems)
    document = _overridden(document, late, problems)
    context = _context_of(path, document)
    # A default that every job overrides is checked too.
    problems += validated(_with_jobs(document, [defaults]), context)[1] if defaults is not None else []
    pipeline, found = validated(document, context)
    problems += found
    if pipeline is not None:
        pipeline = pipeline.read_from(path, {name: _described_place(path, key) for name, key in _placed_keys(document)})
    return Loaded(pipeline, _with_lookalikes(sorted(dict.fromkeys(problems), key=lambda problem: problem.line or 0), read))


_LINE = re.compile("[^\n\r\x85\u2028\u2029]*(?:\r\n|[\n\r\x85\u2028\u2029]|$)")
"""A line as YAML counts them, with its end."""


def _with_lookalikes(problems: Iterable[Problem], text: str) -> tuple[Problem, ...]:
    """Let each problem also name a character of its line that looks like another one, such as a no-break space.

    If the text is no YAML at all, the character may stand on a line before.
    """
    lines = _LINE.findall(text)

    def first_on(line: int) -> str:
        # The end of a line is told only if editors do not take it for one.
        code = re.split("(?:^|[ \t])#", lines[line - 1].rstrip("\r\n"))[0] if line <= len(lines) else ""
        found = next(lookalikes(code), None)
        return f"column {found[0] + 1} has {found[1]}" if found is not None else ""

    named = []
    for problem in problems:
        said = first_on(problem.line) if problem.line is not None else ""
        if not said and not problem.key and problem.line is not None:
            before = (f"line {line}, {first_on(line)}" for line in range(problem.line, 0, -1) if first_on(line))
            said = next(before, "")
        has_it = not said or "U+" in problem.message
        end = "" if problem.message.endswith(("?", ".")) else "."
        named.append(problem if has_it else replace(problem, message=f"{problem.message}{end} {said[0].upper()}{said[1:]}"))
    return tuple(named)


def _placed_keys(document: Located) -> Iterator[tuple[str, Located]]:
    """Yield the keys of a pipeline, and those of the engine of each job, such as ``jobs.street.engine.weights``."""
    yield from document.value.items()
    jobs = document.child("jobs")
    for _, job in jobs.children() if jobs is not None else ():
        engine = job.child("engine")
        for key, value in engine.children() if engine is not None else ():
            yield f"jobs.{_name_of(job)}.engine.{key}", value


def _described_place(path: Path, key: Located) -> str:
    """A key with its file and line, as in the messages of a ConfigError."""
    if key.key.startswith("--"):
        return key.key
    return f"{path}:{key.line}: {key.key}" if key.line is not None else f"{path}: {key.key}"


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(4 * MOST_CHARACTERS + 1)  # what UTF-8 needs at most; a video given by mistake is far longer
    except OSError as error:
        raise DocumentError(Problem("", _said_of_no_file(path, error))) from error
    if _is_media(path, content):
        raise DocumentError(Problem("", f"is not a pipeline.yaml, but something to paint; {_init_for(path)}"))
    if len(content) > 4 * MOST_CHARACTERS:
        message = f"has more than {4 * MOST_CHARACTERS} bytes, which no pipeline has; is this the right file?"
        raise DocumentError(Problem("", message))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"is not text in UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x}); save it as UTF-8"
        raise DocumentError(Problem("", message)) from error


def _said_of_no_file(path: Path, error: OSError) -> str:
    """Say why a path cannot be read as a pipeline.yaml, and what to give instead."""
    if path.is_dir():
        inside = next((path / name for name in PIPELINE_NAMES if (path / name).is_file()), None)
        step = f"give {inside}" if inside is not None else _init_for(path)
        return f"is a folder, not a pipeline.yaml; {step}"
    if path.suffix.lower() in (*VIDEO_SUFFIXES, *PICTURE_SUFFIXES):
        return f"cannot be read: {error.strerror}; it would not be a pipeline.yaml either: {_init_for(path)}"
    near = sorted(file.name for file in path.parent.glob("*.y*ml")) if path.parent.is_dir() and not path.exists() else []
    there = f"; in that folder are {', '.join(near[:MOST_NAMED])}. Or" if near else ", or"
    return f"cannot be read: {error.strerror}. Give the path of a pipeline.yaml{there} write one with `nstpipe init`"


def _is_media(path: Path, content: bytes) -> bool:
    if path.suffix.lower() in (".yaml", ".yml"):
        return False
    pictures = [one for row in PICTURE_FORMATS.values() for one in row.signatures]
    videos = [one for row in CONTAINERS.values() for one in row.signatures]
    signatures = (*pictures, *videos, *OTHER_VIDEO_SIGNATURES)
    return path.suffix.lower() in (*VIDEO_SUFFIXES, *PICTURE_SUFFIXES) or matches(content[:SIGNATURE_BYTES], signatures)


def _init_for(path: Path) -> str:
    return f"`nstpipe init {shlex.quote(str(path))} --style PAINTING.jpg` writes a pipeline.yaml for it"


@dataclass(frozen=True)
class _Setting:
    """An override: its name, the steps to its place, and its value."""

    name: str
    steps: tuple[str | int, ...]
    value: Located

    def is_of_an_expanded_job(self, document: Located) -> bool:
        """Return whether it names a job that does not exist until a matrix is expanded."""
        jobs = document.value.get("jobs")
        match self.steps:
            case ("jobs", str(name), *_) if jobs is not None and name != "*":
                return all(_name_of(job) != name for _, job in jobs.children())
        return False


def _setting(override: str, environment: Mapping[str, str], problems: list[Problem]) -> Iterator[_Setting]:
    name, equals, text = (part.strip() for part in override.partition("="))
    steps = _steps(name)
    if not equals or not steps:
        problems.append(Problem(f"--set {override}", "should be key.path=value, such as jobs.street.size=256"))
        return
    try:
        yield _Setting(name, tuple(steps), parse(text or "''", environment, key=f"--set {name}", first_line=None))
    except DocumentError as error:
        problems += error.problems


def _overridden(document: Located, settings: Sequence[_Setting], problems: list[Problem]) -> Located:
    for setting in settings:
        try:
            document = _set(document, setting.steps, setting.value, setting.name)
        except DocumentError as error:
            problems += error.problems
    return document


def _steps(name: str) -> list[str | int]:
    """Split ``jobs[0].size`` into jobs, 0, size. The result is empty if the name is not of this form."""
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
            names = [str(_name_of(child) or index) for index, child in enumerate(place.value)]
            if len(names) > MOST_NAMED:
                names = difflib.get_close_matches(str(step), names, n=MOST_NAMED, cutoff=0.0)
            raise DocumentError(Problem(f"--set {name}", f"found {step!r}; allowed are * and {', '.join(names)}"))
        items = [_set(child, rest, value, name) if index in chosen else child for index, child in enumerate(place.value)]
        return replace(place, value=items)
    if isinstance(step, int):
        raise DocumentError(Problem(f"--set {name}", f"[{step}] counts the entries of a list, but there is none"))
    if step.startswith("x-") or place.value is UNREAD:
        return place  # the user's own, which nothing reads; or wrong already
    # A short form, such as a style's path, gives way to the mapping that the override speaks of.
    known = {} if place.value is None else _long_form(place).value
    if not isinstance(known, dict):
        raise DocumentError(Problem(f"--set {name}", f"{place.key} is no mapping, so it has no {step}"))
    return replace(place, value={**known, step: _set(known.get(step, nothing), rest, value, name)})


def _name_of(job: Located) -> str | None:
    name = job.value.get("name") if isinstance(job.value, dict) else None
    return name.value if name is not None and isinstance(name.value, str) else None


def _expanded(document: Located, problems: list[Problem]) -> tuple[Located, Located | None]:
    """Fill `defaults` into every job, and make one job of each combination of a `matrix`. Also return the defaults as a job."""
    top = dict(document.value)
    defaults = top.pop("defaults", None)
    document, alone = replace(document, value=top), None
    if defaults is not None and isinstance(defaults.value, dict):
        alone = _without_matrix(_merged(_unread_job(defaults), defaults))
    elif defaults is not None:
        if defaults.value is not UNREAD:
            problems.append(Problem(defaults.key, "should be a mapping of job keys, such as size: 512", defaults.line))
        defaults = _unread_job(defaults)  # what it would have given is not missing
    jobs = top.get("jobs")
    if jobs is None or not isinstance(jobs.value, list):
        return document, alone
    expanded: list[Located] = []
    for job in jobs.value:
        merged = _merged(defaults, job) if defaults is not None and isinstance(job.value, dict) else job
        expanded += _combinations(merged, problems)
        if len(expanded) > MOST_JOBS:
            problems.append(Problem(jobs.key, f"are more than {MOST_JOBS}, with what each matrix makes", jobs.line))
            break
    return _with_jobs(document, expanded), alone


def _with_jobs(document: Located, jobs: Sequence[Located]) -> Located:
    before = document.value.get("jobs", document)
    return replace(document, value={**document.value, "jobs": replace(before, key="jobs", value=list(jobs))})


def _unread_job(place: Located) -> Located:
    """Return a job whose required keys are all unread."""
    unread = replace(place, value=UNREAD)
    keys = {name: unread for name, field in Job.model_fields.items() if field.is_required()}
    return replace(place, value={**keys, "style": replace(place, value={"images": unread})})


def _merged(defaults: Located, job: Located) -> Located:
    if not isinstance(defaults.value, dict) or not isinstance(job.value, dict):
        return job
    merged = dict(defaults.value)
    if job.key.endswith(".style"):
        # Where a job says where its paintings come from, that of the defaults no longer counts.
        given = [("images",) if "collection" in job.value else (), COLLECTION_KEYS if "images" in job.value else ()]
        merged = {name: child for name, child in merged.items() if name not in itertools.chain(*given)}
    for name, own in job.value.items():
        default = merged.get(name)
        if default is not None and default.value is UNREAD and isinstance(own.value, dict):
            own = replace(own, value=UNREAD)  # a part of it is not known
        elif default is not None:
            default, own = _long_form(default), _long_form(own)
            # The keys of one engine are no defaults for another.
            own = own if name == "engine" and _name_of(own) not in (None, _name_of(default)) else _merged(default, own)
        merged[name] = own
    return replace(job, value=merged)


def _long_form(place: Located) -> Located:
    """Expand the short form of a style, of one of its pictures, or of an engine; return anything else as it is."""
    if isinstance(place.value, str) and re.search(r"\.style$", place.key):
        picture = replace(place, key=f"{place.key}.images[0]")
        return replace(place, value={"images": replace(place, value=[picture])})
    if isinstance(place.value, str) and re.search(r"\.style\.images\[\d+\]$", place.key):
        return replace(place, value={"path": place})
    if isinstance(place.value, str) and re.search(r"\.engine$", place.key):
        return replace(place, value={"name": place})
    return place


_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")


def _combinations(job: Located, problems: list[Problem]) -> list[Located]:
    if not isinstance(job.value, dict) or "matrix" not in job.value:
        return [job]
    matrix = job.value["matrix"]
    usable = isinstance(matrix.value, dict) and all(
        isinstance(values.value, list)
        and values.value
        and not any(isinstance(value.value, (dict, list)) for value in values.value)
        for values in matrix.value.values()
    )
    if not usable or not matrix.value:
        message = "should map each key to a list of its values, such as style: [starry_night, night_cafe]"
        problems += [Problem(matrix.key, message, matrix.line)] if matrix.value is not UNREAD else []
        return [_without_matrix(job)]
    made = math.prod(len(values.value) for values in matrix.value.values())
    if made > MOST_JOBS:
        problems.append(Problem(matrix.key, f"makes {made} jobs, at most {MOST_JOBS} are allowed", matrix.line))
        return [_without_matrix(job)]
    keys = list(matrix.value)
    rest = replace(job, value={name: child for name, child in job.value.items() if name != "matrix"})
    combinations = itertools.product(*(matrix.value[key].value for key in keys))
    return [_filled(rest, dict(zip(keys, values, strict=True)), problems) for values in combinations]


def _without_matrix(job: Located) -> Located:
    """Return the part of a job that can be checked without its matrix."""
    return _filled(replace(job, value={name: child for name, child in job.value.items() if name != "matrix"}), None, [])


def _filled(place: Located, values: Mapping[str, Located] | None, problems: list[Problem]) -> Located:
    """Replace each ``{key}``. A text that is a single placeholder takes the value with its type.

    Args:
        place: The value to fill.
        values: The values by key. If they are None, a text with a placeholder becomes unread.
        problems: The list to which placeholders without a value are added.
    """
    if isinstance(place.value, dict):
        return replace(place, value={name: _filled(child, values, problems) for name, child in place.value.items()})
    if isinstance(place.value, list):
        return replace(place, value=[_filled(child, values, problems) for child in place.value])
    if not isinstance(place.value, str):
        return place
    names = _PLACEHOLDER.findall(place.value)
    if values is None:
        return replace(place, value=UNREAD) if names else place
    unknown = [name for name in names if name not in values]
    if unknown:
        problems.append(Problem(place.key, f"has {{{unknown[0]}}}, but matrix has only {', '.join(values)}", place.line))
    if unknown or any(values[name].value is UNREAD for name in names):
        return replace(place, value=UNREAD)
    whole = _PLACEHOLDER.fullmatch(place.value)
    if whole:
        return replace(place, value=values[whole[1]].value)
    return replace(place, value=_PLACEHOLDER.sub(lambda match: str(values[match[1]].value), place.value))


def _context_of(path: Path, document: Located) -> dict[str, Any]:
    """Return what paths are relative to, and where the addresses that they stand for are noted."""
    folder = path.absolute().parent
    given = _text_at(document, "work") or str(Pipeline.model_fields["work"].default)
    live = _live_place(folder, given, _text_at(document, "storage", "live"))
    try:
        place = live.work if live is not None else folder / Path(given).expanduser()
    except RuntimeError:
        place = folder  # the work folder is told to be wrong
    return {"folder": folder, "work": place, "live": live, "addresses": {}, "outputs": set()}


def _text_at(document: Located, *keys: str) -> str:
    """Return the text of a key; empty if it has none."""
    place: Located | None = document
    for key in keys:
        place = place.value.get(key) if place is not None and isinstance(place.value, dict) else None
    return place.value if place is not None and isinstance(place.value, str) else ""


def _live_place(folder: Path, work: str, given: str) -> LivePlace | None:
    """Return where a remote work folder lives on this machine; None if it is not remote, or nobody can tell where."""
    try:
        address = parse_address(work) if is_address(work) else None
        if address is None:
            return None
        return LivePlace(address, folder / Path(given).expanduser() if given else usual_live_folder(address))
    except (AddressError, RuntimeError):
        return None  # the work folder is told to be wrong


def validated(document: Located, context: Mapping[str, Any]) -> tuple[Pipeline | None, list[Problem]]:
    """Return the valid part of a document, and the problems of the rest."""
    problems: list[Problem] = []
    try:
        pipeline = Pipeline.model_validate(document.plain(), context=context)
    except ValidationError as error:
        problems = problems_of(error, document)
        document = _right_part(document, error)
        try:
            pipeline = Pipeline.model_validate(document.plain(), context=context)
        except ValidationError:
            return None, problems
    live = context["live"] if context.get("live") is not None and pipeline.work == context["live"].work else None
    if context.get("addresses") or live is not None:
        pipeline = pipeline.with_remotes(Remotes(dict(context["addresses"]), frozenset(context["outputs"]), live))
    return pipeline, [*problems, *_conflicts(pipeline, document)]


def _right_part(document: Located, error: ValidationError) -> Located:
    """Return a document without its invalid jobs and its other invalid keys, which then have their defaults."""
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
    """Return conflicts between keys that are each valid."""
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
            add("name", f"found {job.name} twice; every job needs its own name")
        if output in first_by_output:
            add("output", f"is also the output of the job {first_by_output[output].name}; give each job its own")
        first_by_name.setdefault(job.name, job)
        first_by_output.setdefault(output, job)
        suffix = job.output.suffix.lower()
        if suffix in VIDEO_CODECS_BY_SUFFIX:
            if job.encode.codec_for(suffix) not in VIDEO_CODECS_BY_SUFFIX[suffix]:
                allowed = ", ".join(VIDEO_CODECS_BY_SUFFIX[suffix])
                add("encode.codec", f"found {job.encode.codec}, which {suffix} cannot be written with; allowed: {allowed}")
        elif suffix in VIDEO_SUFFIXES:
            allowed = ", ".join(VIDEO_CODECS_BY_SUFFIX)
            add("output", f"found {suffix}, which is read but not written; allowed for a video: {allowed}")
        collection = job.style.collection
        if collection is not None and Path(os.path.normpath(collection)) in (output, *output.parents):
            add("output", "lies inside the style's collection; give a place outside it, or results would become paintings")
        if source == output or source in output.parents:
            add("output", "lies inside the input; give a place outside it, or results would become inputs")
    return problems
