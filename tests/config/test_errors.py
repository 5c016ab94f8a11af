"""What a wrong file is told: which key, which line, what was found and what was meant."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from nstpipe.config import load_pipeline, load_right_part
from nstpipe.config.document import MOST_CHARACTERS
from nstpipe.errors import ConfigError, Problem

from .making import document, job, load, marked, only_problem, problems

WRONG_VALUES: list[tuple[str, str, str]] = [
    # text for a number, and the like
    ("size: big", "size", "found the text 'big'; should be a whole number or native"),
    ("size: '512'", "size", "found the text '512'; should be a whole number or native"),
    ("size: true", "size", "found true; should be a whole number or native"),
    ("size: 99.5", "size", "found 99.5; should be a whole number or native"),
    ("size:", "size", "found nothing; should be a whole number or native"),
    ("size: nativ", "size", "Did you mean native?"),
    ("total_variation: false", "total_variation", "found false; should be a number"),
    ("total_variation: much", "total_variation", "found the text 'much'; should be a number"),
    ("total_variation: .inf", "total_variation", "found inf; should be a finite number"),
    ("total_variation: .nan", "total_variation", "found nan; should be"),
    ("optimizer: {first: 2.5}", "optimizer.first", "found 2.5; should be a whole number"),
    ("encode: {crf: true}", "encode.crf", "found true; should be a whole number"),
    # a number, a list, a mapping where something else belongs
    ("init: 7", "init", "found 7; should be a path, in quotes if it looks like a number"),
    ("init: ''", "init", "should be a path, but is empty"),
    ("init: ~nobody-of-that-name/x.png", "init", "should be a path; one that starts with ~"),
    ("include: '*.jpg'", "include", "found the text '*.jpg'; should be a list"),
    ("include: []", "include", "found a list of 0; should be a list of at least 1"),
    ("include: [1]", "include[0]", "found 1; should be text"),
    ("exclude: {a: 1}", "exclude", "found a mapping; should be a list"),
    ("optimizer: [lbfgs]", "optimizer", "found a list of 1; should be a mapping"),
    ("encode: libx264", "encode", "found the text 'libx264'; should be a mapping"),
    ("content: {layers: [relu4_2]}", "content.layers", "found a list of 1; should be a mapping"),
    ("content: {layers: {}}", "content.layers", "should be a mapping of at least one layer, such as relu4_2: 1"),
    ("regions: [{style: keep}]", "regions[0].mask", "is required, but missing"),
    ("regions: [{msk: m.png, style: keep, mask: n.png}]", "regions[0].msk", "did you mean mask?"),
    (
        "regions: [{mask: m.png, style: {images: [a.jpg], layers: {relu1_1: 1}}}]",
        "regions[0].style.layers",
        "is in the wrong place; it belongs below style or below content",
    ),
    ("temporal: {lags: [10, 1]}", "temporal.lags", "; should be numbers that rise and begin with 1"),
    ("audio: [copy]", "audio", "found a list of 1; should be copy or none"),
    ("color: [style]", "color", "found a list of 1; should be"),
    ("metadata: no", "metadata", "found the text 'no'; should be keep or strip"),
    # out of range
    ("size: 31", "size", "found 31; should be at least 32 or native"),
    ("size: 16385", "size", "found 16385; should be at most 16384 or native"),
    ("total_variation: -0.5", "total_variation", "found -0.5; should be at least 0"),
    ("optimizer: {first: 0}", "optimizer.first", "found 0; should be at least 1"),
    ("optimizer: {tolerance: 1}", "optimizer.tolerance", "found 1; should be less than 1"),
    ("encode: {crf: 64}", "encode.crf", "found 64; should be at most 63"),
    ("content: {layers: {relu4_2: 0}}", "content.layers.relu4_2", "found 0; should be more than 0"),
    ("content: {layers: {relu4_2: one}}", "content.layers.relu4_2", "found the text 'one'; should be a number"),
    # names
    (
        "content: {layers: {relu42: 1}}",
        "content.layers.relu42",
        "found relu42, which is not a layer of VGG19; did you mean relu4_2",
    ),
    ("encode: {codec: libsvtav}", "encode.codec", "Did you mean libsvtav1?"),
    (
        "encode: {codec: vp9}",
        "encode.codec",
        "found the text 'vp9'; should be libx264, libx265, libsvtav1, prores, qtrle, png, libvpx-vp9 or ffv1",
    ),
    ("optimizer: {name: lbgfs}", "optimizer.name", "should be lbfgs or adam. Did you mean lbfgs?"),
    ("pooling: avarage", "pooling", "should be max or average. Did you mean average?"),
    ("encode: {preset: Very-Slow}", "encode.preset", "should be small letters and digits only"),
    # unknown keys
    ("szie: 64", "szie", "unknown key; did you mean size?"),
    ("matrx: {a: [1]}", "matrx", "did you mean matrix?"),
    ("zzz: 1", "zzz", "known here: name, input, output, style, engine, size"),
    ("X-mine: 1", "X-mine", "Keys of your own start with x-"),
    ("optimizer: {frist: 3}", "optimizer.frist", "did you mean first?"),
    ("encode: {codek: ffv1}", "encode.codek", "did you mean codec?"),
    ("content: {layer: {relu4_2: 1}}", "content.layer", "did you mean layers?"),
    ("encode: {crf:3, codec: libx264}", "encode.crf:3", "needs a space after its colon: crf: 3"),
    # known keys of other places
    ("seed: 1", "seed", "is in the wrong place; it belongs at the top of the file"),
    ("defaults: {size: 64}", "defaults", "is in the wrong place; it belongs at the top of the file"),
    ("weight: 2", "weight", "is in the wrong place; it belongs below style.images or below regions.style.images or below"),
    ("strength: 2", "strength", "is in the wrong place; it belongs below style or below regions.style"),
    ("crf: 2", "crf", "is in the wrong place; it belongs below encode"),
    ("optimizer: {size: 64}", "optimizer.size", "is in the wrong place; it belongs in a job or in defaults"),
]


def brief(problem: Problem) -> Problem:
    """A problem without what is said of the key's meaning."""
    return replace(problem, message=problem.message.partition(":")[0])


@pytest.mark.parametrize(("line", "key", "words"), WRONG_VALUES, ids=[line for line, *_ in WRONG_VALUES])
def test_wrong_values_of_a_job(tmp_path: Path, line: str, key: str, words: str) -> None:
    text = document(job(name="before"), job(f"{line} # <-"))
    problem = only_problem(tmp_path, text)
    assert (problem.key, [problem.line]) == (f"jobs.a.{key}", marked(text))
    assert words in problem.message


WRONG_STYLES: list[tuple[str, str, str]] = [
    ("5", "", "found 5; should be a path or a mapping"),
    ("[a.jpg]", "", "found a list of 1; should be a path or a mapping"),
    ("''", "", "should be a path, but is empty"),
    ("{strength: 1}", ".images", "is required, but missing"),
    ("{images: []}", ".images", "should be a list of at least 1"),
    ("{images: a.jpg}", ".images", "found the text 'a.jpg'; should be a list"),
    ("{images: [5]}", ".images[0]", "found 5; should be a path or a mapping"),
    ("{images: [a.jpg, {weight: 1}]}", ".images[1].path", "is required, but missing"),
    ("{images: [a.jpg, {path: b.jpg, wieght: 1}]}", ".images[1].wieght", "did you mean weight?"),
    ("{images: [{path: b.jpg, weight: 0}]}", ".images[0].weight", "found 0; should be more than 0"),
    ("{images: [a.jpg], strenght: 1}", ".strenght", "did you mean strength?"),
    ("{images: [a.jpg], strength: strong}", ".strength", "found the text 'strong'; should be a number"),
    ("{images: [a.jpg], scale: 5}", ".scale", "found 5; should be at most 4"),
    ("{images: [a.jpg], layers: {conv9_9: 1}}", ".layers.conv9_9", "found conv9_9, which is not a layer of VGG19"),
    ("{images: [a.jpg], collection: w}", ".collection", "should be alone: give images or a collection, not both"),
    ("{images: [a.jpg], pick: each}", ".pick", "should be beside a collection, from which it picks; this style has none"),
    ("{collection: w, artists: monet}", ".artists", "found the text 'monet'; should be a list"),
    ("{collection: w, genres: ['-']}", ".genres[0]", "should be a text with a letter or a digit"),
    ("{collection: w, pick: ech}", ".pick", "Did you mean each?"),
    ("{collection: w, seed: -1}", ".seed", "found -1; should be at least 0"),
]


@pytest.mark.parametrize(("style", "key", "words"), WRONG_STYLES, ids=[style for style, *_ in WRONG_STYLES])
def test_wrong_styles(tmp_path: Path, style: str, key: str, words: str) -> None:
    problem = only_problem(tmp_path, document(job(style=style)))
    assert (problem.key, problem.line) == (f"jobs.a.style{key}", 6)
    assert words in problem.message


WRONG_TOP: list[tuple[str, str, str]] = [
    ("device: gpu", "device", "found the text 'gpu'; should be auto, cpu, cuda or cuda:N"),
    ("device: 'cuda:x'", "device", "should be auto, cpu, cuda or cuda:N"),
    ("device: 0", "device", "found 0; should be auto, cpu, cuda or cuda:N"),
    ("precision: bfloat", "precision", "Did you mean bfloat16?"),
    ("workers: 0", "workers", "found 0; should be at least 1 or auto"),
    ("workers: true", "workers", "found true; should be a whole number or auto"),
    ("seed: -1", "seed", "found -1; should be at least 0"),
    ("seed: 9223372036854775808", "seed", "found 9223372036854775808; should be"),
    ("work: 5", "work", "found 5; should be a path"),
    ("weights: [a]", "weights", "found a list of 1; should be a path"),
    ("job: 1", "job", "did you mean jobs?"),
    ("defualts: {size: 64}", "defualts", "did you mean defaults?"),
    ("size: 64", "size", "is in the wrong place; it belongs in a job or in defaults"),
    ("style: s.jpg", "style", "is in the wrong place; it belongs in a job or in defaults or below regions"),
    ("matrix: {a: [1]}", "matrix", "is in the wrong place; it belongs in a job or in defaults"),
    ("webhook: https://a.b", "webhook", "is in the wrong place; it belongs below notify"),
    ("weight: a.pth", "weight", "below temporal; or did you mean weights?"),
    ("1: one", "1", "unknown key"),
    ("defaults: [1]", "defaults", "should be a mapping of job keys, such as size: 512"),
    ("defaults: none", "defaults", "should be a mapping of job keys, such as size: 512"),
    ("? [a, b]\n: 1", "", "has a key that is not text"),
    ("? {a: b}\n: 1", "", "has a key that is not text"),
    ('"a\\ud800": 1', "", "has a key with a character that is not text"),
]


@pytest.mark.parametrize(("line", "key", "words"), WRONG_TOP, ids=[line for line, *_ in WRONG_TOP])
def test_wrong_keys_of_the_file(tmp_path: Path, line: str, key: str, words: str) -> None:
    problem = only_problem(tmp_path, document(job(), top=f"{line}\n"))
    assert (problem.key, problem.line) == (key, 2)
    assert words in problem.message


@pytest.mark.parametrize("version", ["2", "true", "1.0", "'1'", "[1]"])
def test_only_version_1_is_known(tmp_path: Path, version: str) -> None:
    problem = only_problem(tmp_path, document(job()).replace("version: 1", f"version: {version}"))
    assert (problem.key, problem.line) == ("version", 1)
    assert problem.message.endswith("1")


@pytest.mark.parametrize("name", ["with space", "a/b", "é", "'a.b'", "''"])
def test_names_are_letters_digits_dash_and_underscore(tmp_path: Path, name: str) -> None:
    problem = only_problem(tmp_path, document(job(name=name, input="in", output="out")))
    assert problem.key.endswith(".name")
    assert problem.line == 3
    assert "should be letters, digits, - and _ only" in problem.message


@pytest.mark.parametrize("name", ["12", "true", "1_000"])
def test_names_that_yaml_takes_for_something_else(tmp_path: Path, name: str) -> None:
    problem = only_problem(tmp_path, document(job(name=name)))
    assert (problem.key, problem.line) == ("jobs[0].name", 3)
    assert "should be text, in quotes if it looks like something else" in problem.message


@pytest.mark.parametrize("written", ["no", "2024-01-01", "0123", "off", "2024-99-99"])
def test_what_only_old_yaml_takes_for_something_else_is_text(tmp_path: Path, written: str) -> None:
    found = load(tmp_path, document(job(name=written, input=written), "overwrite: yes"))
    assert (found.jobs[0].name, found.jobs[0].input, found.overwrite) == (written, tmp_path / written, True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("size: 0512", "found 0512, which is text because of its leading zero; should be a whole number or native"),
        ("size: 10:40", "found the text '10:40'; should be a whole number or native"),
        ("rate: 1:30.5", "found the text '1:30.5'; should be a number"),
        ("size: on", "found the text 'on'; should be a whole number or native"),
    ],
)
def test_numbers_of_old_yaml_are_told_as_they_are_written(tmp_path: Path, line: str, words: str) -> None:
    assert only_problem(tmp_path, document(job(line))).message == words


@pytest.mark.parametrize(
    ("before", "after", "line", "words"),
    [
        ("input: in", "input:\u00a0in", 4, "Column 11 has U+00A0 (no-break space); write a space"),
        ("    input", "\u00a0\u00a0\u00a0 input", 5, "Line 4, column 1 has U+00A0 (no-break space); write a space"),
        ("input: in", "input\u200b: in", 4, "Column 10 has U+200B (zero width space); delete it"),
        ("version: 1", "version: 1\nseed: \ufeff1", 2, "Column 7 has U+FEFF (zero width no-break space); delete it"),
        ("version: 1", "version\uff1a 1", 2, "Line 1, column 8 has U+FF1A (fullwidth colon); write :"),
        ("output: out", 'output: "out\u201d', 5, "Column 17 has U+201D (right double quotation mark)"),
        ("  - name", "  \u2013 name", 4, "Line 3, column 3 has U+2013 (en dash); write -"),
        ("output: out", "\toutput: out", 5, "found a tab in column 5"),
    ],
)
def test_a_character_that_looks_like_another_is_named(tmp_path: Path, before: str, after: str, line: int, words: str) -> None:
    text = "version: 1\njobs:\n  - name: a\n    input: in\n    output: out\n    style: s.png\n"
    assert before in text
    assert any(found.line == line and words in found.message for found in problems(tmp_path, text.replace(before, after)))


def test_missing_keys_of_the_file(tmp_path: Path) -> None:
    found = problems(tmp_path, "device: cpu\n")
    assert {(problem.key, problem.line) for problem in found} == {("version", 1), ("jobs", 1)}
    assert {brief(problem).message for problem in found} == {"is required, but missing"}


@pytest.mark.parametrize("key", ["input", "output", "style"])
def test_missing_keys_of_a_job(tmp_path: Path, key: str) -> None:
    problem = only_problem(tmp_path, document(job(name="first"), job(**{key: ""})))
    assert brief(problem) == Problem(f"jobs.a.{key}", "is required, but missing", 7)


def test_a_job_without_a_name_goes_by_its_number(tmp_path: Path) -> None:
    text = document(job("size: 3", name="", input="in", output="out"))
    assert [(problem.key, problem.line) for problem in problems(tmp_path, text)] == [("jobs[0].name", 3), ("jobs[0].size", 6)]


@pytest.mark.parametrize(
    ("jobs", "key", "words"),
    [
        ("jobs: []", "jobs", "should be a list of at least 1"),
        ("jobs:", "jobs", "found nothing; should be a list"),
        ("jobs: {a: 1}", "jobs", "found a mapping; should be a list"),
        ("jobs: [street]", "jobs[0]", "found the text 'street'; should be a mapping"),
        ("jobs: [[]]", "jobs[0]", "found a list of 0; should be a mapping"),
    ],
)
def test_jobs_of_the_wrong_kind(tmp_path: Path, jobs: str, key: str, words: str) -> None:
    problem = only_problem(tmp_path, f"version: 1\n{jobs}\n")
    assert (problem.key, problem.line) == (key, 2)
    assert words in problem.message


@pytest.mark.parametrize("lags", ["[]", "[2]", "[1, 1]", "[1, 20, 10]", "[0, 1]", "[1, 101]", "[1.5]", "1"])
def test_lags_rise_from_one(tmp_path: Path, lags: str) -> None:
    text = document(job(f"temporal: {{lags: {lags}}} # <-"))
    problem = only_problem(tmp_path, text)
    assert problem.key.startswith("jobs.a.temporal.lags")
    assert [problem.line] == marked(text)
    assert "should" in problem.message


# Between keys that are right by themselves


def test_two_jobs_of_one_name(tmp_path: Path) -> None:
    text = document(job(), job(name="a # <-", input="in/b", output="out/b"))
    problem = only_problem(tmp_path, text)
    assert (problem.key, [problem.line]) == ("jobs.a.name", marked(text))
    assert "found a twice; every job needs its own name" in problem.message


@pytest.mark.parametrize("output", ["out/a", "./out/a", "out//a", "out/b/../a"])
def test_two_jobs_with_one_output(tmp_path: Path, output: str) -> None:
    text = document(job(), job(name="b", output=f"{output} # <-"))
    problem = only_problem(tmp_path, text)
    assert (problem.key, [problem.line]) == ("jobs.b.output", marked(text))
    assert "is also the output of the job a" in problem.message


@pytest.mark.parametrize("output", ["in/a", "in/a/out", "in/a/b/c.mp4", "out/../in/a/out"])
def test_an_output_inside_the_input(tmp_path: Path, output: str) -> None:
    problem = only_problem(tmp_path, document(job(output=output)))
    assert (problem.key, problem.line) == ("jobs.a.output", 5)
    assert "lies inside the input" in problem.message


@pytest.mark.parametrize("output", ["w", "w/out", "x/../w/out.mp4"])
def test_an_output_inside_the_collection(tmp_path: Path, output: str) -> None:
    problem = only_problem(tmp_path, document(job(output=output, style="{collection: w}")))
    assert (problem.key, problem.line) == ("jobs.a.output", 5)
    assert "lies inside the style's collection" in problem.message


def test_a_region_picks_from_no_collection(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, document(job("regions: [{mask: m.png, style: {collection: w}}]")))
    assert problem.key == "jobs.a.regions[0].style"
    assert "only the job's own style can be picked from a collection" in problem.message


@pytest.mark.parametrize("output", ["in/ab", "in", "in/a/../b", "a"])
def test_an_output_beside_the_input(tmp_path: Path, output: str) -> None:
    assert load(tmp_path, document(job(output=output))).jobs[0].output == tmp_path / output


def test_a_codec_that_does_not_go_with_the_container(tmp_path: Path) -> None:
    text = document(job("encode:", "  crf: 20", "  codec: ffv1 # <-", output="out/a.mp4"))
    problem = only_problem(tmp_path, text)
    assert (problem.key, [problem.line]) == ("jobs.a.encode.codec", marked(text))
    assert problem.message == "found ffv1, which .mp4 cannot be written with; allowed: libx264, libx265, libsvtav1"


def test_a_codec_that_was_asked_for_is_not_replaced_by_the_containers_own(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, document(job("encode: {codec: libx264}", output="out/a.webm")))
    assert problem.key == "jobs.a.encode.codec"
    assert problem.message == "found libx264, which .webm cannot be written with; allowed: libsvtav1, libvpx-vp9"


def test_a_container_that_is_only_read(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, document(job(output="out/a.avi")))
    assert (problem.key, problem.line) == ("jobs.a.output", 5)
    assert problem.message == "found .avi, which is read but not written; allowed for a video: .mp4, .mov, .mkv, .webm"


# Several at once


def test_all_problems_are_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        "device: gpu # <-\n"
        "defaults:\n"
        "  audio: loud # <-\n"
        "jobs:\n"
        "  - name: b\n"
        "    input: in\n"
        "    output: out\n"
        "    style: {images: [a.jpg], scale: 9} # <-\n"
        "    size: 3 # <-\n"
        "  - name: c\n"
        "    szie: 64 # <-\n"
        "    input: in\n"
        "    output: out2\n"
        "    style: 5 # <-\n"
        "version: 7 # <-\n"
        "sede: 1 # <-\n"
    )
    found = problems(tmp_path, text)
    assert [problem.line for problem in found] == marked(text)
    assert [problem.key for problem in found] == [
        "device",
        "defaults.audio",
        "jobs.b.style.scale",
        "jobs.b.size",
        "jobs.c.szie",
        "jobs.c.style",
        "version",
        "sede",
    ]


def test_all_problems_between_keys_are_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = document(
        job("encode: {codec: ffv1} # <-", output="out/a.mp4"),
        job(name="b", output="in/b/out # <-"),
        "  - output: out/a.mp4 # <-\n    input: in/c\n    style: s.jpg\n    name: a # <-\n",
    )
    found = problems(tmp_path, text)
    assert [problem.line for problem in found] == marked(text)
    assert [problem.key for problem in found] == ["jobs.a.encode.codec", "jobs.b.output", "jobs.a.output", "jobs.a.name"]


def test_problems_of_the_text_and_of_the_values_are_told_together_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        "x-shared: &shared\n"
        "  audio: ${NO_SUCH_AUDIO} # <-\n"
        "version: 1\n"
        "version: 1 # <-\n"
        "jobs:\n"
        "  - name: a\n"
        "    size: !!int many # <-\n"
        "    encode: {crf: 1, crf: 2} # <-\n"
        "    <<: *shared\n"
        "    input: a.mp4\n"
        "    output: b.mp4\n"
        "    style: c.png\n"
        "    strength: 2 # <-\n"
    )
    found = problems(tmp_path, text)
    assert [problem.line for problem in found] == marked(text)
    assert [problem.key for problem in found] == [
        "jobs[0].audio", "version", "jobs[0].size", "jobs[0].encode.crf", "jobs.a.strength",
    ]  # fmt: skip


def test_what_is_wrong_between_jobs_that_are_right_is_told_with_the_rest(tmp_path: Path) -> None:
    text = document(job("sise: 3 # <-"), job(name="b"), job("input: out/c # <-", name="c", input="", output="out/c/d"))
    text = text.replace("output: out/c/d", "output: out/c/d # <-").replace("input: out/c # <-", "input: out/c")
    assert [problem.key for problem in problems(tmp_path, text)] == ["jobs.a.sise", "jobs.c.output"]


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ("  size: 3 # <-\n", "defaults.size"),
        ("  szie: 64 # <-\n", "defaults.szie"),
        ("  optimizer:\n    first: many # <-\n", "defaults.optimizer.first"),
        ("  optimizer:\n    frist: 3 # <-\n", "defaults.optimizer.frist"),
        ("  content: {layers: {relu9_9: 1}} # <-\n", "defaults.content.layers.relu9_9"),
        ("  style: {strength: 0} # <-\n", "defaults.style.strength"),
        ("  encode: {codec: libsvtav1} # <-\n", "defaults.encode.codec"),
    ],
)
def test_what_is_wrong_in_defaults_is_told_once(tmp_path: Path, lines: str, key: str) -> None:
    jobs = [job(name=name, output=f"out/{name}.mov") for name in "abc"]
    text = document(*jobs, top=f"defaults:\n{lines}")
    problem = only_problem(tmp_path, text)
    assert (problem.key, [problem.line]) == (key, marked(text))


def test_what_is_missing_in_a_style_of_defaults_is_told_once(tmp_path: Path) -> None:
    jobs = [job(name=name, style="") for name in "abc"]
    problem = only_problem(tmp_path, document(*jobs, top="defaults:\n  style: {strength: 2}\n"))
    assert brief(problem) == Problem("defaults.style.images", "is required, but missing", 3)


def test_what_is_wrong_in_a_job_with_a_matrix_is_told_once(tmp_path: Path) -> None:
    lines = ("size: 3 # <-", "matrix: {hour: [1, 2, 3]}")
    text = document(job(*lines, name="'a-{hour}'", input="in", output="'out/{hour}'"))
    problem = only_problem(tmp_path, text)
    assert (problem.key, [problem.line]) == ("jobs.a-1.size", marked(text))

    lines = ("matrix: {hour: [1, 2, 3]}", "encode: {codec: ffv1} # <-")
    text = document(job(*lines, name="'a-{hour}'", input="in", output="'out/{hour}.mp4'"))
    problem = only_problem(tmp_path, text)
    assert (problem.key, [problem.line]) == ("jobs.a-1.encode.codec", marked(text))


def test_a_nameless_job_after_a_matrix_keeps_its_number(tmp_path: Path) -> None:
    several = job("matrix: {hour: [1, 2, 3]}", name="'a-{hour}'", input="in", output="'out/{hour}'")
    text = document(several, job(name="", input="in/b", output="out/b"))
    assert brief(only_problem(tmp_path, text)) == Problem("jobs[1].name", "is required, but missing", 8)


# What is wrong in one place hides nothing in another


@pytest.mark.parametrize("defaults", ["[1]", "many", "{size: 3}", "${NOWHERE}"])
def test_wrong_defaults_hide_nothing_and_what_they_would_have_given_is_not_missing(tmp_path: Path, defaults: str) -> None:
    text = f"version: 1\ndefaults: {defaults} # <-\njobs:\n{job(style='')}{job('sise: 3 # <-', name='b')}"
    text = text.replace("{size: 3}", "{size: 3, style: d.jpg}")
    found = problems(tmp_path, text)
    assert [problem.line for problem in found] == marked(text)
    assert found[0].key.startswith("defaults")


@pytest.mark.parametrize(
    ("value", "key", "words"),
    [
        ("{size: many}", "size", "found the text 'many'; should be a whole number or native"),
        ("{size: 3, style: d.jpg}", "size", "found 3; should be at least 32 or native"),
        ("{style: {strength: -1}, size: 64}", "style.strength", "found -1; should be more than 0"),
        ("{style: {scael: 1}}", "style.scael", "did you mean scale?"),
        ("{style: {images: [5]}}", "style.images[0]", "found 5; should be a path or a mapping"),
        ("{regions: [{style: keep}]}", "regions[0].mask", "is required, but missing"),
        ("{matrix: {v: [1]}, size: '{v}', audio: 3}", "audio", "found 3; should be"),
    ],
)
def test_defaults_are_checked_though_every_job_overrides_them(tmp_path: Path, value: str, key: str, words: str) -> None:
    own = ("size: 64", "audio: none", "regions: []", "style: {images: [s.jpg], strength: 2}", "matrix: {v: [2]}")
    text = document(job(*own, style=""), top=f"defaults: {value}\n")
    problem = only_problem(tmp_path, text)
    assert (problem.key, problem.line) == (f"defaults.{key}", 2)
    assert words in problem.message


def test_defaults_of_no_job_are_checked_too(tmp_path: Path) -> None:
    found = problems(tmp_path, "version: 1\ndefaults: {size: 3}\njobs: []\n")
    assert [(problem.key, problem.line) for problem in found] == [("defaults.size", 2), ("jobs", 3)]


@pytest.mark.parametrize("matrix", ["[1]", "{v: 1}", "{v: ['${NOWHERE}']}", "${NOWHERE}"])
def test_a_wrong_matrix_hides_nothing_and_what_depends_on_it_is_not_wrong(tmp_path: Path, matrix: str) -> None:
    own = (f"matrix: {matrix} # <-", "size: '{v}'", "sise: 3 # <-", "audio: '{v}{v}'")
    text = document(
        job(*own, name="'a-{v}'", input="'{v}'", output="'{v}'"), job("total_variation: -1 # <-", name="b"), job(name="c")
    )
    found = problems(tmp_path, text)
    assert [problem.line for problem in found] == marked(text)


def test_a_placeholder_without_a_value_hides_nothing(tmp_path: Path) -> None:
    own = ("matrix: {v: [1, 2]}", "audio: '{w}' # <-", "sise: 3 # <-")
    text = document(job(*own, name="'a-{v}'", output="'out/{v}'"), job("size: 3 # <-", name="b"))
    assert [problem.line for problem in problems(tmp_path, text)] == marked(text)


def test_what_depends_on_a_variable_that_is_not_set_is_no_part_of_what_is_right(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    same = job(output="${NOWHERE}", name="c")
    file.write_text(document(job(input="${NOWHERE}"), job(name="b"), same, same.replace("name: c", "name: d"), top="seed: 3\n"))
    loaded = load_right_part(file, environment={})
    assert [problem.line for problem in loaded.problems] == [5, 14, 18]
    assert all("NOWHERE, which is not set" in problem.message for problem in loaded.problems)
    assert loaded.pipeline is not None
    assert ([entry.name for entry in loaded.pipeline.jobs], loaded.pipeline.seed) == (["b"], 3)


# The text itself


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version: 1\njobs:\n\t- name: a\n", 3),
        ("version: 1\ndefaults:\n\tsize: 64\n", 3),
        ("version: 1\ndefaults:\n  optimizer:\n  \tfirst: 3\n", 4),
        (document(job()) + "\tsize: 64\n", 7),
    ],
)
def test_tabs(tmp_path: Path, text: str, line: int) -> None:
    problem = only_problem(tmp_path, text)
    assert problem.line == line
    assert "found a tab" in problem.message
    assert "spaces" in problem.message


@pytest.mark.parametrize(
    ("text", "key", "first"),
    [
        (document(job("size: 64", "audio: none", "size: 65 # <-")), "jobs[0].size", 7),
        ("seed: 1\n" + document(job()) + "'seed': 1 # <-\n", "seed", 1),
        (document(job("encode:", "  crf: 1", "  crf: 1 # <-")), "jobs[0].encode.crf", 8),
    ],
)
def test_a_key_given_twice_names_both_lines(tmp_path: Path, text: str, key: str, first: int) -> None:
    problem = only_problem(tmp_path, text)
    assert (problem.key, [problem.line]) == (key, marked(text))
    assert f"is given twice, first on line {first};" in problem.message


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing here\n", "---\n", "---\n...\n"])
def test_a_file_with_nothing_in_it(tmp_path: Path, text: str) -> None:
    problem = only_problem(tmp_path, text)
    assert problem.key == ""
    assert "is empty" in problem.message or "should be a mapping with version and jobs" in problem.message


@pytest.mark.parametrize("text", ["\n- version: 1\n", "\nhello\n", "\n42\n"])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    problem = only_problem(tmp_path, text)
    assert (problem.key, problem.line) == ("", 2)
    assert "should be a mapping with version and jobs" in problem.message


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        # quotes and brackets: told where they are opened
        ("version: 1\nwork: 'here\nseed: 1\n", 2, "a quote is opened here and never closed; close it"),
        ('version: 1\nwork: "here\nseed: 1\n', 2, "a quote is opened here and never closed; close it"),
        ("version: 1\nwork: 'it's'\n", 2, "write '' for a ' in single quotes"),
        ('version: 1\nwork: "a"/b\n', 2, "there is text after the closing quote"),
        ("version: 1\njobs: [\n", 3, "has no matching } or ]"),
        ("version: 1\njobs: [{name: a,\n    input: b\nseed: 1\n", 2, "has no matching } or ]"),
        ("version: 1\nnotify: {retries: 1 timeout_seconds: 2}\n", 2, "or a comma is missing between its entries"),
        ("version: 1\njobs: [a]]\n", 2, "a } or ] has no matching { or ["),
        ('version: 1\nwork: "C:\\Users"\n', 2, "use / in paths, or use single quotes"),
        # colons and spaces
        ("version: 1\nseed:1\nwork: a\n", 2, "write `key: value`, with a space after the colon"),
        ("version: 1\nwork: a\nseed:1\n", 3, "write `key: value`, with a space after the colon"),
        ("version: 1\nseed 1\nwork: a\n", 2, "write `key: value`, with a space after the colon"),
        ("version:1\nseed: 1\n", 2, "does not fit the one before; indent"),
        ("version: 1\nseed: 1: 2\n", 2, "has a second colon; put quotes around"),
        ("version: 1\nwork: a: b\n", 2, "has a second colon; put quotes around"),
        # indentation
        ("version: 1\n  seed: 1\n", 2, "does not fit the one before; indent"),
        ("version: 1\njobs:\n  - name: a\n      input: b\n", 4, "does not fit the one before; indent"),
        (
            "version: 1\njobs:\n  - name: a\n   input: b\n",
            4,
            "the indentation differs from the lines that this line belongs to",
        ),
        ("version: 1\njobs:\n  - name: a\n - name: b\n", 4, "the indentation differs from the lines that this line belongs to"),
        ("version: 1\njobs: - name: a\n", 2, "put the - on the next line"),
        # characters that mean something
        ("version: 1\njobs: *nobody\n", 2, "put quotes around a text that starts with *"),
        ("version: 1\nwork: *.jpg\n", 2, "put quotes around a text that starts with *"),
        ("version: 1\nwork: & a\n", 2, "put quotes around a text that starts with &"),
        ("version: 1\nwork: %05d.png\n", 2, "a text cannot start with this character; put quotes around it"),
        ("version: 1\nwork: | a\n", 2, "the text starts on the next line"),
        ("version: 1\n---\nversion: 1\n", 2, "a second document starts here, with ---"),
        ("version: 1\nseed: !!python/object:os.system x\n", 2, "put quotes around a text that starts with !"),
        ("version: 1\nseed: a\x07b\n", 2, "has a character that YAML does not allow, U+0007"),
        ("version: 1\n\0", 2, "U+0000"),
    ],
)
def test_text_that_is_no_yaml(tmp_path: Path, text: str, line: int, words: str) -> None:
    problem = only_problem(tmp_path, text)
    assert (problem.key, problem.line) == ("", line)
    assert words in problem.message
    for jargon in ("scanning", "parsing", "expected", "<", "scalar", "token", "constructor"):
        assert jargon not in problem.message


@pytest.mark.parametrize(
    "value",
    [
        "!!timestamp 2024-99-99",
        "!!bool maybe",
        "!!int ''",
        "!!int many",
        "!!float ''",
        "!!timestamp soon",
        "0x" + "f" * 5000,
        "9" * 5000,
        '"\\0"',
        '"\\ud800"',
    ],
)
def test_values_that_yaml_cannot_make(tmp_path: Path, value: str) -> None:
    text = f"x-shared: &shared {value}\n" + document(job("size: *shared"), job("audio: *shared", name="b"))
    found = problems(tmp_path, text)
    # Told for each place that uses it, in the line where it stands.
    assert [(problem.key, problem.line) for problem in found] == [("jobs[0].size", 1), ("jobs[1].audio", 1)]
    assert all(len(problem.message) < 200 for problem in found)


def test_a_long_value_is_shown_in_part(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, document(job(f"size: {'long ' * 100}")))
    assert "long long" in problem.message
    assert len(problem.message) < 200


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_bytes(b"version: 1\n# caf\xe9\n")
    with pytest.raises(ConfigError) as caught:
        load_pipeline(file)
    (problem,) = caught.value.problems
    assert problem.message == "is not text in UTF-8 (byte 16 is 0xe9); save it as UTF-8"


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    file = tmp_path / "nothing.yaml"
    with pytest.raises(ConfigError) as caught:
        load_pipeline(file)
    assert str(caught.value) == f"{file}: cannot be read: No such file or directory. Give the path of a pipeline.yaml" + (
        ", or write one with `nstpipe init`"
    )
    (tmp_path / "pipeline.yaml").touch()
    with pytest.raises(ConfigError, match=r"in that folder are pipeline\.yaml"):
        load_pipeline(file)
    with pytest.raises(ConfigError, match=r"is a folder, not a pipeline\.yaml; give .*pipeline\.yaml"):
        load_pipeline(tmp_path)


def test_a_file_of_another_kind_is_not_read_whole(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.touch()
    os.truncate(film, 10**12)  # a hole: takes no room on the disk, but would not fit into memory
    with pytest.raises(ConfigError, match=r"film\.mp4: is not a pipeline\.yaml, but something to paint"):
        load_pipeline(film)


def test_text_that_is_too_long(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, document(job()) + "#" * MOST_CHARACTERS)
    assert f"at most {MOST_CHARACTERS} are read" in problem.message


# The exception


def test_the_exception_names_file_line_and_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, document(job("size: 3", "szie: 64")))
    error = caught.value
    file = tmp_path / "pipeline.yaml"
    first, second = str(error).split("\n")
    assert first == f"{file}:7: jobs.a.size: found 3; should be at least 32 or native"
    assert second.startswith(f"{file}:8: jobs.a.szie: unknown key; did you mean size?")
    assert (error.exit_code, error.file) == (78, file)
    assert pickle.loads(pickle.dumps(error)).problems == error.problems
