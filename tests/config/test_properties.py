"""What holds for every text and every value, tried on invented ones."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from nstpipe.config import Pipeline, load_pipeline
from nstpipe.config.document import parse
from nstpipe.config.models import Job
from nstpipe.errors import ConfigError

from .making import CONTRACT, document, job

ENVIRONMENT = {"SIZE": "64", "EMPTY": "", "NAME": "night"}

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = st.text(CHARACTERS, max_size=40)

KEYS = st.one_of(
    st.sampled_from([*Pipeline.model_fields, "defaults", *Job.model_fields, "matrix", "images", "path", "layers", "<<", "x-a"]),
    st.text(max_size=5),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.dates(),
    st.binary(max_size=5),
    st.sampled_from(
        ["a", "in", "out", "matched", "cuda:0", "native", "${SIZE}", "${NOT}", "{a}", "~", "~nobody/a", "a\0b", "", 512]
    ),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)), max_leaves=12
)

PIECES = st.one_of(
    st.sampled_from(
        ["\n", "\n  ", "\n  - ", "\n    ", "- ", ": ", "{", "}", "[", "]", ", ", "? ", "<<: ", "---\n", "\t", "# "]
    ),
    st.sampled_from(
        ["&a ", "*a", "!!int ", "!!bool ", "!!float ", "!!timestamp ", "!!binary ", "!!set ", "!!str ", "!a ", "|\n"]
    ),
    st.sampled_from(["version: 1", "jobs: ", "defaults: ", "name: a", "input: in", "output: out", "style: s.jpg", "matrix: "]),
    st.sampled_from(["64", "1e3", "0x1F", "1:30", "2024-01-01", ".inf", "true", "${SIZE}", "${", "$$", "{a}", "é", "\u2028"]),
    st.sampled_from(["'", '"', "=", "~", "size: ", "x-a: ", ">-\n", "\ufeff"]),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("properties")


def is_loaded_or_refused(folder: Path, text: str, overrides: tuple[str, ...] = ()) -> None:
    file = folder / "pipeline.yaml"
    file.write_bytes(text.encode())
    try:
        pipeline = load_pipeline(file, overrides, ENVIRONMENT)
    except ConfigError as error:
        assert error.problems
        last_line = len(re.split("\r\n|[\n\r\x85\u2028\u2029]", text))  # what YAML 1.1 ends a line with
        for problem in error.problems:
            assert problem.message
            assert problem.line is None or 1 <= problem.line <= last_line
        assert str(error).encode()
    else:
        assert pipeline.jobs
        assert len({entry.name for entry in pipeline.jobs}) == len(pipeline.jobs)


@settings(deadline=None)
@given(text=st.text())
@example("\x00")
@example("\ufeff\ufeff")
@example("!!bool x")
def test_any_text_is_loaded_or_refused(folder: Path, text: str) -> None:
    is_loaded_or_refused(folder, text)


@settings(deadline=None, max_examples=300)
@given(pieces=st.lists(PIECES, max_size=25))
@example(["x-a: ", "&a ", "2024-99-99", "\n", "jobs: ", "[", "*a", ", ", "*a", "]"])
def test_any_pieces_of_yaml_are_loaded_or_refused(folder: Path, pieces: list[str]) -> None:
    is_loaded_or_refused(folder, "".join(pieces))


@settings(deadline=None)
@given(value=VALUES)
def test_any_value_is_loaded_or_refused(folder: Path, value: Any) -> None:
    is_loaded_or_refused(folder, yaml.safe_dump(value))


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a value with each of its keys."""
    children = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return [place for name, child in children for place in ((value, name), *places(child))]


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_right_file_with_any_value_put_in_is_loaded_or_refused(folder: Path, data: st.DataObject) -> None:
    content = copy.deepcopy(yaml.safe_load(CONTRACT))
    for _ in range(data.draw(st.integers(1, 3), label="changes")):
        container, name = data.draw(st.sampled_from(places(content)), label="place")
        if isinstance(container, dict) and data.draw(st.booleans(), label="with a key of its own"):
            name = data.draw(KEYS, label="key")
        container[name] = data.draw(VALUES, label="value")
    is_loaded_or_refused(folder, yaml.safe_dump(content))


@settings(deadline=None)
@given(
    key=st.one_of(
        st.text(max_size=8), st.lists(KEYS | st.sampled_from(["a", "*", "jobs[0]", "[1]"]), max_size=4).map(".".join)
    ),
    value=st.one_of(st.text(max_size=8), VALUES.map(yaml.safe_dump)),
)
def test_any_override_is_taken_or_refused(folder: Path, key: str, value: str) -> None:
    is_loaded_or_refused(folder, document(job()), (f"{key}={value}",))


def read(value: Any, environment: dict[str, str]) -> Any:
    """What becomes of a value that is written to YAML in quotes where it has to be."""
    return parse(yaml.safe_dump([value]), environment).plain()[0]


@given(text=TEXT, environment=st.dictionaries(st.text("ABC", min_size=1), TEXT, max_size=3))
def test_text_without_a_dollar_stays_as_it_is(text: str, environment: dict[str, str]) -> None:
    plain = text.replace("$", "S")
    assume(not re.fullmatch(r"[-+.0-9]+[eE][-+0-9]+", plain))  # PyYAML writes 1e3 without quotes, and a number is read
    assert read({"a": plain}, environment) == {"a": plain}


@given(text=TEXT)
@example("$")
@example("${A}")
@example("$$")
@example("${A:-$}")
def test_a_doubled_dollar_is_a_dollar_in_any_text(text: str) -> None:
    doubled = f"'{text}'".replace("$", "$$")
    assert read(doubled, {"A": "filled in"}) == f"'{text}'"


@given(value=TEXT, before=TEXT, after=TEXT)
@example("${A} $$", "$", "}")
def test_what_is_filled_in_is_not_looked_at_again(value: str, before: str, after: str) -> None:
    doubled = [part.replace("$", "$$") for part in (before, after)]
    assert read("'" + "${A}".join(doubled), {"A": value}) == f"'{before}{value}{after}"


SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "size": st.one_of(st.integers(32, 16384), st.just("native")),
    "exclude": st.lists(st.sampled_from(["a", "b", "*.png"]), max_size=2),
    "total_variation": st.floats(0, 10),
    "pooling": st.sampled_from(["max", "average"]),
    "audio": st.sampled_from(["copy", "none"]),
    "metadata": st.sampled_from(["keep", "strip"]),
    "optimizer": st.fixed_dictionaries(
        {}, optional={"name": st.sampled_from(["lbfgs", "adam"]), "first": st.integers(1, 999), "next": st.integers(1, 999)}
    ),
    "content": st.fixed_dictionaries(
        {"layers": st.dictionaries(st.sampled_from(["relu4_2", "relu3_1", "pool1"]), st.integers(1, 9), min_size=1)}
    ),
}
SOME_SETTINGS = st.fixed_dictionaries({}, optional=SETTINGS)


def leaves(value: dict[str, Any], outer: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for key, child in value.items():
        found.update(leaves(child, (*outer, key)) if isinstance(child, dict) else {(*outer, key): child})
    return found


@settings(deadline=None)
@given(defaults=SOME_SETTINGS, own=SOME_SETTINGS)
def test_a_job_wins_over_defaults_and_defaults_over_the_formats_own(
    folder: Path, defaults: dict[str, Any], own: dict[str, Any]
) -> None:
    required = {"name": "a", "input": "in", "output": "out", "style": "s.jpg"}
    file = folder / "pipeline.yaml"

    def loaded(content: dict[str, Any]) -> dict[tuple[str, ...], Any]:
        file.write_text(yaml.safe_dump({"version": 1, **content}))
        return leaves(load_pipeline(file).jobs[0].model_dump(mode="json"))

    plain = loaded({"jobs": [required]})
    given_leaves = {**leaves(defaults), **leaves(own)}
    expected = {**plain, **given_leaves}
    if any(key[:1] == ("content",) for key in given_leaves):
        # Layers that are given are all there are: the format's own layer is a default of the whole mapping.
        expected = {key: value for key, value in expected.items() if key[:1] != ("content",) or key in given_leaves}
    assert loaded({"defaults": defaults, "jobs": [{**required, **own}]}) == expected
