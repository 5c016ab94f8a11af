"""What ``${...}`` is filled in with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nstpipe.config import load_pipeline

from .making import document, job, load, marked, only_problem, problems


@pytest.mark.parametrize(
    ("written", "environment", "expected"),
    [
        ("${CLIP}", {"CLIP": "night"}, "night"),
        ("a/${CLIP}/b", {"CLIP": "night"}, "a/night/b"),
        ("${A}${B}-${A}", {"A": "1", "B": "2"}, "12-1"),
        ("x${EMPTY}", {"EMPTY": ""}, "x"),
        ("${CLIP:-day}", {}, "day"),
        ("${CLIP:-day}", {"CLIP": ""}, "day"),
        ("${CLIP:-day}", {"CLIP": "night"}, "night"),
        ("x${CLIP:-}", {}, "x"),
        ("${CLIP:-a:b-c?d}", {}, "a:b-c?d"),
        ("${CLIP:-$$5}", {}, "$5"),
        ("${CLIP:?give a clip}", {"CLIP": "night"}, "night"),
        ("$$", {}, "$"),
        ("$${CLIP}", {"CLIP": "night"}, "${CLIP}"),
        ("$$${CLIP}", {"CLIP": "night"}, "$night"),
        ("$$$$", {}, "$$"),
        ("$CLIP 5$ $", {"CLIP": "night"}, "$CLIP 5$ $"),
        ("${CLIP}", {"CLIP": "${OTHER} $$ {a}"}, "${OTHER} $$ {a}"),
        ("${_a1}", {"_a1": "low"}, "low"),
    ],
)
@pytest.mark.parametrize("quote", ["'", '"'])
def test_filling_in(tmp_path: Path, quote: str, written: str, environment: dict[str, str], expected: str) -> None:
    text = document(job(f"include: [{quote}{written}{quote}]"))
    assert load(tmp_path, text, **environment).jobs[0].include == (expected,)


@pytest.mark.parametrize(
    ("line", "environment", "key", "expected"),
    [
        ("size: ${SIZE}", {"SIZE": "64"}, "size", 64),
        ("size: ${SIZE:-128}", {}, "size", 128),
        ("size: ${SIZE:-native}", {}, "size", "native"),
        ("size: 1${ZEROS}", {"ZEROS": "00"}, "size", 100),
        ("total_variation: ${TV}", {"TV": "2.5"}, "total_variation", 2.5),
        ("total_variation: ${TV}", {"TV": "5e-1"}, "total_variation", 0.5),
        ("pooling: ${POOLING}", {"POOLING": "average"}, "pooling", "average"),
    ],
)
def test_an_unquoted_value_has_the_type_that_it_would_have_if_written(
    tmp_path: Path, line: str, environment: dict[str, str], key: str, expected: Any
) -> None:
    (entry,) = load(tmp_path, document(job(line)), **environment).jobs
    assert getattr(entry, key) == expected


@pytest.mark.parametrize("line", ["size: '${SIZE}'", 'size: "${SIZE}"', "size: '${SIZE:-64}'"])
def test_a_quoted_value_stays_text(tmp_path: Path, line: str) -> None:
    problem = only_problem(tmp_path, document(job(line)), SIZE="64")
    assert (problem.key, problem.line) == ("jobs.a.size", 7)
    assert problem.message == "found the text '64'; should be a whole number or native"


@pytest.mark.parametrize(
    ("written", "environment", "words"),
    [
        ("${CLIP}", {}, "needs the environment variable CLIP, which is not set; set it, or write ${CLIP:-default}"),
        ("${CLIP}", {"clip": "other case"}, "needs the environment variable CLIP"),
        ("${CLIP:?give a clip}", {}, "needs the environment variable CLIP: give a clip"),
        ("${CLIP:?give a clip}", {"CLIP": ""}, "needs the environment variable CLIP: give a clip"),
        ("${CLIP:?}", {}, "needs the environment variable CLIP: it is not set"),
        ("${}", {}, "write $$ for a plain $"),
        ("${1}", {}, "write $$ for a plain $"),
        ("${CLIP", {"CLIP": "night"}, "has a ${ that is not of the form ${VAR}, ${VAR:-default} or ${VAR:?message}"),
        ("${CLIP-day}", {}, "has a ${ that is not of the form"),
        ("${CLIP:+day}", {}, "has a ${ that is not of the form"),
        ("${CLIP:-${DAY}}", {"DAY": "1"}, "has a ${ that is not of the form"),
    ],
)
def test_what_cannot_be_filled_in(tmp_path: Path, written: str, environment: dict[str, str], words: str) -> None:
    text = document(job(f"include: ['{written}'] # <-"))
    problem = only_problem(tmp_path, text, **environment)
    assert (problem.key, [problem.line]) == ("jobs[0].include[0]", marked(text))
    assert words in problem.message


def test_all_that_is_not_set_is_told_at_once(tmp_path: Path) -> None:
    text = document(job("size: ${SIZE}", "include: ['${A}', '${B}${C}']"))
    names = [
        problem.message.split(",")[0].removeprefix("needs the environment variable ") for problem in problems(tmp_path, text)
    ]
    assert names == ["SIZE", "A", "B", "C"]


def test_the_processs_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(document(job("size: ${NSTPIPE_TEST_SIZE}")))
    monkeypatch.setenv("NSTPIPE_TEST_SIZE", "96")
    assert load_pipeline(file).jobs[0].size == 96


def test_keys_are_not_filled_in(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, document(job("'${KEY}': 64")), KEY="size")
    assert problem.key == "jobs.a.${KEY}"
    assert "unknown key" in problem.message


def test_what_the_environment_gives_cannot_add_structure(tmp_path: Path) -> None:
    (entry,) = load(tmp_path, document(job("include: ['${GLOB}', b]")), GLOB="a', {b: c}]").jobs
    assert entry.include == ("a', {b: c}]", "b")
    problem = only_problem(tmp_path, document(job("encode: ${ENCODE}")), ENCODE="{crf: 3}")
    assert "found the text '{crf: 3}'; should be a mapping" in problem.message
