"""The user's own keys, anchors and merges, and what too many or too deep ones lead to."""

from __future__ import annotations

from pathlib import Path

import pytest

from nstpipe.config.document import DEEPEST, MOST_VALUES

from .making import document, job, load, marked, only_problem

SOON = pytest.mark.timeout(60)
"""Refused is refused at once: an exponential or quadratic way there takes hours."""


def test_keys_that_start_with_x_are_the_users_own_at_any_level(tmp_path: Path) -> None:
    plain = document(job("content: {layers: {relu4_1: 2}}", "encode: {crf: 3}", style="{images: [{path: a.jpg}]}"))
    lines = ("content: {x-1: 1, layers: {x-why: because, relu4_1: 2}}", "encode: {crf: 3, x-: [1]}", "x-note: {size: big}")
    style = "{images: [{path: a.jpg, x-bought: 1889}], x-painter: van Gogh}"
    with_own = document(job(*lines, style=style), top="x-top: {anything: [goes, 1, null]}\ndefaults: {x-mine: 1}\n")
    assert load(tmp_path, with_own) == load(tmp_path, plain)


def test_keys_of_ones_own_may_repeat_nothing_is_read_of_them(tmp_path: Path) -> None:
    assert load(tmp_path, document(job("x-note: ${NOT_SET}", "x-note: 2024-99-99"))).jobs[0].size == 512


def test_aliases(tmp_path: Path) -> None:
    text = "x-size: &small 64\nx-style: &night {images: [night.jpg], scale: 2}\n" + document(
        job("size: *small", style="*night"), job("optimizer: {next: *small}", name="b", style="*night")
    )
    first, second = load(tmp_path, text).jobs
    assert (first.size, second.optimizer.next) == (64, 64)
    assert first.style == second.style
    assert (first.style.images[0].path, first.style.scale) == (tmp_path / "night.jpg", 2.0)


def test_a_merge_gives_what_the_job_does_not(tmp_path: Path) -> None:
    text = "x-fast: &fast\n  size: 64\n  audio: none\n  optimizer: {first: 5, next: 2}\n" + document(
        job("size: 128", "<<: *fast", "optimizer: {first: 7}")
    )
    (entry,) = load(tmp_path, text).jobs
    assert (entry.size, entry.audio, entry.optimizer.first) == (128, "none", 7)
    # A merge key takes or leaves whole values, as YAML has it; only `defaults` goes deeper.
    assert entry.optimizer.next == 30


def test_of_several_merges_the_first_wins(tmp_path: Path) -> None:
    text = "x-a: &a {size: 64, audio: none}\nx-b: &b {size: 128, metadata: strip, pooling: average}\n" + document(
        job("<<: [*a, *b]", "pooling: max")
    )
    (entry,) = load(tmp_path, text).jobs
    assert (entry.size, entry.audio, entry.metadata, entry.pooling) == (64, "none", "strip", "max")


def test_a_merge_of_a_merge(tmp_path: Path) -> None:
    text = "x-a: &a {size: 64, audio: none}\nx-b: &b {<<: *a, size: 128}\n" + document(job("<<: *b"))
    (entry,) = load(tmp_path, text).jobs
    assert (entry.size, entry.audio) == (128, "none")


def test_a_merge_comes_before_defaults(tmp_path: Path) -> None:
    text = "x-a: &a {size: 64}\n" + document(job("<<: *a"), top="defaults: {size: 128, audio: none}\n")
    (entry,) = load(tmp_path, text).jobs
    assert (entry.size, entry.audio) == (64, "none")


def test_a_wrong_value_is_told_where_it_stands(tmp_path: Path) -> None:
    text = "x-a: &a\n  size: 3 # <-\n" + document(job("<<: *a"))
    problem = only_problem(tmp_path, text)
    assert (problem.key, [problem.line]) == ("jobs.a.size", marked(text))


@pytest.mark.parametrize("merged", ["*size", "[*size]", "[[1]]", "text"])
def test_only_mappings_can_be_merged(tmp_path: Path, merged: str) -> None:
    problem = only_problem(tmp_path, "x-size: &size 64\n" + document(job(f"<<: {merged}")))
    assert problem.key == "jobs[0].<<"
    assert "should be an alias of a mapping" in problem.message


def grown(first: str, each: str, levels: int = 12) -> str:
    """Anchors a0, a1, ..., of which each has the one before nine times."""
    lines = [f"x-0: &a0 {first}"]
    lines += [f"x-{level}: &a{level} " + each.format(", ".join([f"*a{level - 1}"] * 9)) for level in range(1, levels)]
    return "\n".join(lines) + "\n"


@SOON
@pytest.mark.parametrize(
    "text",
    [
        grown("lol", "[{}]") + "version: 1\njobs: *a11\n",
        grown("{b: lol}", "{{<<: [{}]}}") + "version: 1\njobs: [*a11]\n",
        grown("{}", "{{<<: [{}]}}") + "<<: *a11\nversion: 1\n",
        grown("{x-b: lol}", "{{<<: [{}]}}") + "<<: *a11\nversion: 1\n",
        "x-wide: &wide {" + "x-, " * 20_000 + "x-}\nversion: 1\njobs: [" + "*wide , " * 20_000 + "]\n",
        "x-long: &long '" + "$$" * 100_000 + "'\nversion: 1\njobs: [" + "*long , " * 20_000 + "]\n",
    ],
    ids=["lists", "merges", "empty merges", "merges of ones own keys", "many of ones own keys", "a long text"],
)
def test_alias_bombs_are_refused(tmp_path: Path, text: str) -> None:
    problem = only_problem(tmp_path, text)
    assert f"has more than {MOST_VALUES} values once its aliases are filled in" in problem.message


@SOON
@pytest.mark.parametrize(
    "text",
    [
        "version: 1\njobs: " + "[" * (DEEPEST + 5) + "]" * (DEEPEST + 5),
        "version: 1\njobs: " + "[" * 100_000,
        "version: 1\njobs: " + "{a: " * 100_000,
        "version: 1\njobs:\n" + "- " * 10_000 + "a",
        "version: 1\njobs: &a [*a]",
        "version: 1\njobs: &a {b: *a}",
        "version: 1\njobs: &a {<<: *a}",
        "version: 1\njobs: &a {<<: [*a, *a], b: *a}",
    ],
    ids=["one too deep", "lists", "mappings", "blocks", "in itself", "in itself by key", "merged", "merged twice"],
)
def test_what_is_nested_too_deep_is_refused(tmp_path: Path, text: str) -> None:
    problem = only_problem(tmp_path, text)
    assert problem.message == f"is nested more than {DEEPEST} levels deep"
