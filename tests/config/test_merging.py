"""`defaults`, `matrix` and ``--set``: how one job comes from several places, and many from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nstpipe.config.load import MOST_JOBS
from nstpipe.config.models import Style

from .making import document, job, load, marked, only_problem, problems

# defaults


def test_defaults_reach_every_job_and_a_job_overrides_them(tmp_path: Path) -> None:
    top = "defaults: {size: 64, audio: none, include: [a, b]}\n"
    first, second = load(tmp_path, document(job(), job("size: 128", "include: [c]", name="b"), top=top)).jobs
    assert (first.size, first.audio, first.include) == (64, "none", ("a", "b"))
    # Lists are replaced, not joined.
    assert (second.size, second.audio, second.include) == (128, "none", ("c",))


def test_defaults_are_merged_in_depth(tmp_path: Path) -> None:
    top = "defaults:\n  optimizer: {first: 9, next: 8}\n  content: {layers: {relu4_1: 2, relu3_1: 3}}\n"
    lines = ("optimizer: {next: 7}", "content: {layers: {relu3_1: 4, pool1: 5}}")
    (entry,) = load(tmp_path, document(job(*lines), top=top)).jobs
    assert (entry.optimizer.first, entry.optimizer.next, entry.optimizer.tolerance) == (9, 7, 0.001)
    assert entry.content.layers == {"relu4_1": 2, "relu3_1": 4, "pool1": 5}


def test_defaults_can_give_what_is_required(tmp_path: Path) -> None:
    top = "defaults: {style: s.jpg, input: in}\n"
    first, second = load(tmp_path, document(job(input="", style=""), job(name="b", input="", style=""), top=top)).jobs
    assert first.input == second.input == tmp_path / "in"
    assert first.style == second.style


def test_a_job_says_anew_where_its_paintings_come_from(tmp_path: Path) -> None:
    top = "defaults: {style: {collection: w, pick: each, artists: [monet], strength: 2}}\n"
    lines = (job(style=""), job(name="b", style="o.jpg"), job(name="c", style="{pick: cycle}"))
    whole, named, part = (entry.style for entry in load(tmp_path, document(*lines, top=top)).jobs)
    assert (whole.collection, whole.pick, whole.artists, whole.images) == (tmp_path / "w", "each", ("monet",), ())
    assert (named.collection, [image.path.name for image in named.images], named.strength) == (None, ["o.jpg"], 2)
    assert (part.collection, part.pick, part.artists) == (tmp_path / "w", "cycle", ("monet",))
    # The other way around.
    (other,) = load(tmp_path, document(job(style="{collection: w}"), top="defaults: {style: d.jpg}\n")).jobs
    assert (other.style.collection, other.style.images) == (tmp_path / "w", ())
    # What the report writes out gives the same style again.
    for style in (whole, named, part):
        assert Style.model_validate(style.model_dump(mode="json"), context={"folder": tmp_path}) == style


@pytest.mark.parametrize(
    ("default", "own", "pictures", "strength", "scale"),
    [
        ("d.jpg", "", ["d.jpg"], 1, 1),
        ("d.jpg", "o.jpg", ["o.jpg"], 1, 1),
        ("{images: [d.jpg, e.jpg], strength: 2}", "o.jpg", ["o.jpg"], 2, 1),
        ("{strength: 2}", "o.jpg", ["o.jpg"], 2, 1),
        ("d.jpg", "{strength: 3}", ["d.jpg"], 3, 1),
        ("{images: [d.jpg], strength: 2, scale: 2}", "{strength: 3}", ["d.jpg"], 3, 2),
        ("{images: [d.jpg], scale: 2}", "{images: [o.jpg, {path: p.jpg}], strength: 3}", ["o.jpg", "p.jpg"], 3, 2),
    ],
)
def test_a_styles_short_form_is_merged_as_its_long_form(
    tmp_path: Path, default: str, own: str, pictures: list[str], strength: float, scale: float
) -> None:
    (entry,) = load(tmp_path, document(job(style=own), top=f"defaults: {{style: {default}}}\n")).jobs
    assert [picture.path.name for picture in entry.style.images] == pictures
    assert (entry.style.strength, entry.style.scale) == (strength, scale)
    assert entry.style.layers == Style.model_fields["layers"].default


def test_a_jobs_null_is_a_value_and_wins(tmp_path: Path) -> None:
    (entry,) = load(tmp_path, document(job("encode: {crf: null}"), top="defaults: {encode: {crf: 3}}\n")).jobs
    assert entry.encode.crf is None
    problem = only_problem(tmp_path, document(job("size:"), top="defaults: {size: 64}\n"))
    assert (problem.key, problem.line) == ("jobs.a.size", 8)


def test_a_job_of_the_wrong_kind_under_defaults(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, "version: 1\ndefaults: {size: 64}\njobs:\n  - street\n")
    assert (problem.key, problem.line) == ("jobs[0]", 4)


# matrix


def test_a_matrix_makes_one_job_for_each_combination(tmp_path: Path) -> None:
    text = document(
        job(
            "matrix:",
            "  clip: [city, street]",
            "  style: [starry, cafe, night]",
            name="'{clip}-{style}'",
            input="'samples/{clip}.mp4'",
            output="'out/{clip}/{style}.mp4'",
            style="{images: ['{style}.jpg', {path: 'also_{style}.jpg'}]}",
        ),
        job(name="last"),
    )
    jobs = load(tmp_path, text).jobs
    # The last key turns fastest.
    assert [entry.name for entry in jobs] == [
        "city-starry",
        "city-cafe",
        "city-night",
        "street-starry",
        "street-cafe",
        "street-night",
        "last",
    ]
    assert jobs[4].input == tmp_path / "samples/street.mp4"
    assert jobs[4].output == tmp_path / "out/street/cafe.mp4"
    assert [picture.path.name for picture in jobs[4].style.images] == ["cafe.jpg", "also_cafe.jpg"]


def test_a_matrix_in_defaults_is_every_jobs(tmp_path: Path) -> None:
    top = "defaults: {matrix: {size: [64, 96]}, size: '{size}'}\n"
    jobs = [job(name=f"'{name}-{{size}}'", input="in", output=f"'out/{name}/{{size}}'") for name in "ab"]
    found = load(tmp_path, document(*jobs, top=top)).jobs
    assert [(entry.name, entry.size) for entry in found] == [("a-64", 64), ("a-96", 96), ("b-64", 64), ("b-96", 96)]


@pytest.mark.parametrize(
    ("values", "line", "key", "expected"),
    [
        ("[64, native]", "size: '{v}'", "size", [64, "native"]),
        ("[1, 2]", "total_variation: '{v}'", "total_variation", [1.0, 2.0]),
        ("[max, average]", "pooling: '{v}'", "pooling", ["max", "average"]),
        ("[1, 2]", "include: ['*_{v}.{w}', '{w}']", "include", [("*_1.jpg", "jpg"), ("*_2.jpg", "jpg")]),
        ("[1, 2]", "include: ['*.{jpg,png}', '{}', '{1}']", "include", [("*.{jpg,png}", "{}", "{1}")] * 2),
    ],
)
def test_a_placeholder_alone_takes_the_value_with_its_type(
    tmp_path: Path, values: str, line: str, key: str, expected: list[Any]
) -> None:
    lines = (line, f"matrix: {{v: {values}, w: [jpg]}}")
    text = document(job(*lines, name="'a-{v}'", input="in", output="'out/{v}'"))
    assert [getattr(entry, key) for entry in load(tmp_path, text).jobs] == expected


def test_a_number_inside_a_text_stays_text(tmp_path: Path) -> None:
    text = document(job("size: '{v}0'", "matrix: {v: [64] }", name="a-64"))
    problem = only_problem(tmp_path, text)
    assert (problem.key, problem.line) == ("jobs.a-64.size", 7)
    assert problem.message == "found the text '640'; should be a whole number or native"


def test_braces_without_a_matrix_are_plain_text(tmp_path: Path) -> None:
    assert load(tmp_path, document(job(output="'out/{clip}'"))).jobs[0].output == tmp_path / "out/{clip}"


def test_own_keys_of_a_matrix_are_left_out(tmp_path: Path) -> None:
    text = document(job("matrix: {x-why: because, v: [1]}", name="'a{v}'", input="in"))
    assert [entry.name for entry in load(tmp_path, text).jobs] == ["a1"]


@pytest.mark.parametrize("output", ["'out/{clap}'", "'{clap}'"])
def test_a_placeholder_that_the_matrix_has_not(tmp_path: Path, output: str) -> None:
    text = document(job("matrix: {clip: [a], hour: [1]}", name="'{clip}'", input="in", output=f"{output} # <-"))
    problem = only_problem(tmp_path, text)
    assert (problem.key, [problem.line]) == ("jobs[0].output", marked(text))
    assert problem.message == "has {clap}, but matrix has only clip, hour"


@pytest.mark.parametrize(
    "matrix", ["", "[a, b]", "text", "{}", "{a: 1}", "{a: []}", "{a: [[1]]}", "{a: [{b: 1}]}", "{a: [1], b: c}"]
)
def test_a_matrix_of_the_wrong_form(tmp_path: Path, matrix: str) -> None:
    problem = only_problem(tmp_path, document(job(f"matrix: {matrix}")))
    assert (problem.key, problem.line) == ("jobs[0].matrix", 7)
    assert problem.message == "should map each key to a list of its values, such as style: [starry_night, night_cafe]"


def test_combinations_that_do_not_differ_in_their_names(tmp_path: Path) -> None:
    found = problems(tmp_path, document(job("matrix: {v: [1, 2]}")))
    assert [(problem.key, problem.line) for problem in found] == [("jobs.a.name", 3), ("jobs.a.output", 5)]


def test_a_wrong_value_of_a_matrix_is_told_where_it_is_used(tmp_path: Path) -> None:
    lines = ("size: '{size}' # <-", "matrix: {size: [64, 3]}")
    text = document(job(*lines, name="'a-{size}'", input="in", output="'out/{size}'"))
    problem = only_problem(tmp_path, text)
    assert (problem.key, [problem.line]) == ("jobs.a-3.size", marked(text))
    assert "found 3; should be at least 32" in problem.message


@pytest.mark.timeout(60)
@pytest.mark.parametrize("keys", [5, 9, 40])
def test_a_matrix_that_makes_too_many_jobs(tmp_path: Path, keys: int) -> None:
    rows = [f"  k{number}: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]" for number in range(keys)]
    problem = only_problem(tmp_path, document(job("matrix:", *rows)))
    assert (problem.key, problem.line) == ("jobs[0].matrix", 7)
    assert problem.message == f"makes {10**keys} jobs, at most {MOST_JOBS} are allowed"


def test_as_many_jobs_as_are_allowed_and_one_more(tmp_path: Path) -> None:
    rows = [f"  {key}: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]" for key in "wxyz"]
    many = job("matrix:", *rows, name="'{w}{x}{y}{z}'", input="in", output="'out/{w}{x}{y}{z}'")
    assert len({entry.output for entry in load(tmp_path, document(many)).jobs}) == MOST_JOBS == 10_000
    problem = only_problem(tmp_path, document(many, job()))
    assert (problem.key, problem.line) == ("jobs", 2)
    assert f"are more than {MOST_JOBS}" in problem.message


# --set


def test_setting_a_key_of_the_file(tmp_path: Path) -> None:
    pipeline = load(tmp_path, document(job(), top="seed: 1\n"), "seed=2", "device=cpu")
    assert (pipeline.seed, pipeline.device) == (2, "cpu")


@pytest.mark.parametrize(
    ("override", "sizes"),
    [
        ("jobs.b.size=64", [512, 64, 512]),
        ("jobs.*.size=64", [64, 64, 64]),
        ("jobs[0].size=64", [64, 512, 512]),
        ("jobs[2].size=64", [512, 512, 64]),
        ("defaults.size=64", [64, 64, 64]),
        (" jobs.b.size = 64 ", [512, 64, 512]),
        ("jobs.b.x-size=64", [512, 512, 512]),
        ("x-size=64", [512, 512, 512]),
    ],
)
def test_setting_a_key_of_some_jobs(tmp_path: Path, override: str, sizes: list[int]) -> None:
    text = document(*(job(name=name) for name in "abc"))
    assert [entry.size for entry in load(tmp_path, text, override).jobs] == sizes


def test_of_two_settings_the_later_wins(tmp_path: Path) -> None:
    text = document(job("size: 32"), job(name="b"), top="defaults: {size: 48}\n")
    assert [entry.size for entry in load(tmp_path, text, "jobs.*.size=64", "jobs.b.size=96").jobs] == [64, 96]
    assert [entry.size for entry in load(tmp_path, text, "jobs.b.size=96", "jobs.*.size=64").jobs] == [64, 64]


def test_setting_what_was_not_there_and_leaves_what_was(tmp_path: Path) -> None:
    text = document(job("encode: {crf: 3}", "temporal:"))
    overrides = ("jobs.a.optimizer.first=7", "jobs.a.encode.codec=libx265", "jobs.a.temporal.init=content")
    (entry,) = load(tmp_path, text, *overrides).jobs
    assert (entry.optimizer.first, entry.optimizer.next) == (7, 30)
    assert (entry.encode.codec, entry.encode.crf) == ("libx265", 3)
    assert entry.temporal.init == "content"


@pytest.mark.parametrize(
    ("override", "pictures", "strength"),
    [
        ("jobs.a.style=new.jpg", [("new.jpg", 1)], 1),
        ("jobs.a.style.strength=2", [("style.jpg", 1)], 2),
        ("jobs.a.style.images=[n.jpg, {path: m.jpg, weight: 3}]", [("n.jpg", 1), ("m.jpg", 3)], 1),
        ("jobs.a.style.images[0]=new.jpg", [("new.jpg", 1)], 1),
        ("jobs.a.style.images[0].weight=3", [("style.jpg", 3)], 1),
        ("jobs.a.style.images.*.weight=3", [("style.jpg", 3)], 1),
        ("jobs.a.style={images: [n.jpg], strength: 5}", [("n.jpg", 1)], 5),
    ],
)
@pytest.mark.parametrize("style", ["style.jpg", "{images: [style.jpg]}", "{images: [{path: style.jpg}]}"])
def test_setting_a_part_of_a_style_in_any_form(
    tmp_path: Path, style: str, override: str, pictures: list[tuple[str, float]], strength: float
) -> None:
    (entry,) = load(tmp_path, document(job(style=style)), override).jobs
    assert [(picture.path.name, picture.weight) for picture in entry.style.images] == pictures
    assert entry.style.strength == strength


def test_setting_a_part_of_a_style_that_defaults_give(tmp_path: Path) -> None:
    text = document(job(style=""), top="defaults: {style: d.jpg}\n")
    (entry,) = load(tmp_path, text, "jobs.a.style.strength=2").jobs
    assert (entry.style.images[0].path.name, entry.style.strength) == ("d.jpg", 2)


def test_jobs_of_a_matrix_go_by_their_full_names(tmp_path: Path) -> None:
    made = job("matrix: {v: [1, 2]}", "size: '3{v}'", name="'a-{v}'", input="in", output="'out/{v}'", style="")
    text = document(made.replace("'3{v}'", "32"), job(name="b"), top="defaults: {style: d.jpg}\n")
    jobs = load(tmp_path, text, "jobs.a-2.size=64", "jobs.a-1.style.strength=2", "jobs.b.size=96").jobs
    assert [(entry.name, entry.size, entry.style.strength) for entry in jobs] == [("a-1", 32, 2), ("a-2", 64, 1), ("b", 96, 1)]
    # What is said of one job wins over what is said of all.
    jobs = load(tmp_path, text, "jobs.a-2.size=64", "jobs.*.size=128").jobs
    assert [entry.size for entry in jobs] == [128, 64, 128]
    problem = only_problem(tmp_path, text, "jobs.a-3.size=64")
    assert problem.message == "found 'a-3'; allowed are * and a-1, a-2, b"
    problem = only_problem(tmp_path, text, "jobs.a-2.size=3")
    assert (problem.key, problem.line) == ("--set jobs.a-2.size", None)


def test_of_many_jobs_the_nearest_names_are_told(tmp_path: Path) -> None:
    made = job(f"matrix: {{v: {list(range(100, 200))}}}", name="'a-{v}'", input="in", output="'out/{v}'")
    problem = only_problem(tmp_path, document(made), "jobs.a-1500.size=64")
    allowed = problem.message.removeprefix("found 'a-1500'; allowed are * and ").split(", ")
    assert (allowed[0], len(allowed)) == ("a-150", 8)


def test_setting_comes_before_a_matrix(tmp_path: Path) -> None:
    text = document(job("matrix: {v: [1, 2]}", name="'a-{v}'", input="in", output="'out/{v}'"))
    assert [entry.size for entry in load(tmp_path, text, "jobs.a-{v}.size=64").jobs] == [64, 64]
    assert [entry.name for entry in load(tmp_path, text, "jobs[0].matrix.v=[7]").jobs] == ["a-7"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("'{a: 1}'", "{a: 1}"), ("a=b", "a=b"), ("${GLOB}", "*.png"), ("", ""), ("'5'", "5")],
)
def test_values_are_yaml_with_the_environment_filled_in(tmp_path: Path, value: str, expected: str) -> None:
    (entry,) = load(tmp_path, document(job("include: [a, b]")), f"jobs.a.include[1]={value}", GLOB="*.png").jobs
    assert entry.include == ("a", expected)


WRONG_OVERRIDES: list[tuple[str, str, str]] = [
    # of the wrong form
    ("size", "size", "should be key.path=value, such as jobs.street.size=256"),
    ("=64", "=64", "should be key.path=value"),
    (" =64", " =64", "should be key.path=value"),
    ("jobs..size=64", "jobs..size=64", "should be key.path=value"),
    (".seed=1", ".seed=1", "should be key.path=value"),
    ("jobs[0]size=64", "jobs[0]size=64", "should be key.path=value"),
    ("jobs[a].size=64", "jobs[a].size=64", "should be key.path=value"),
    ("jobs[-1].size=64", "jobs[-1].size=64", "should be key.path=value"),
    ("[0].size=64", "[0].size=64", "should be key.path=value"),
    (f"jobs[{'9' * 5000}].size=64", f"jobs[{'9' * 5000}].size=64", "should be key.path=value"),
    # of the wrong place
    ("jobs.c.size=64", "jobs.c.size", "found 'c'; allowed are * and a, b"),
    ("jobs[2].size=64", "jobs[2].size", "found 2; allowed are * and a, b"),
    ("jobs.size=64", "jobs.size", "found 'size'; allowed are * and a, b"),
    ("seed[0]=1", "seed[0]", "[0] counts the entries of a list, but there is none"),
    ("seed.a=1", "seed.a", "seed is no mapping, so it has no a"),
    ("jobs.a.size.b=1", "jobs.a.size.b", "jobs[0].size is no mapping, so it has no b"),
    # of the wrong value
    ("sede=1", "sede", "did you mean seed?"),
    ("jobs.a.szie=64", "jobs.a.szie", "did you mean size?"),
    ("jobs.a.optimizer.frist=1", "jobs.a.optimizer.frist", "did you mean first?"),
    ("jobs.a.size=big", "jobs.a.size", "found the text 'big'; should be a whole number or native"),
    ("jobs.a.size='64'", "jobs.a.size", "found the text '64'; should be a whole number or native"),
    ("jobs.a.size=", "jobs.a.size", "found the text ''; should be a whole number or native"),
    ("jobs.a.size=[64", "jobs.a.size", "is not YAML"),
    ("jobs.a.size=${SIZE}", "jobs.a.size", "needs the environment variable SIZE, which is not set"),
    ("jobs.a.style={strength: 2}", "jobs.a.style.images", "is required, but missing"),
    ("jobs.a.style={images: [a.jpg], scale: 9}", "jobs.a.style.scale", "found 9; should be at most 4"),
    ("jobs.a.encode.codec=libx246", "jobs.a.encode.codec", "Did you mean libx26"),
    ("jobs.b.output=out/a", "jobs.b.output", "is also the output of the job a"),
    ("jobs.b.name=a", "jobs.b.name", "found a twice"),
    ("defaults.audio=loud", "defaults.audio", "found the text 'loud'; should be copy or none"),
]


@pytest.mark.parametrize(("override", "key", "words"), WRONG_OVERRIDES, ids=[override[:40] for override, *_ in WRONG_OVERRIDES])
def test_wrong_settings_are_told_by_their_name(tmp_path: Path, override: str, key: str, words: str) -> None:
    text = document(job("size: 64"), job(name="b"), top="seed: 1\n")
    problem = only_problem(tmp_path, text, override)
    assert (problem.key, problem.line) == (f"--set {key}", None)
    assert words in problem.message


def test_settings_do_not_hide_what_else_is_wrong(tmp_path: Path) -> None:
    text = document(job("size: 3"), job(name="b"), top="defaults: {encode: {codec: libx264}}\n")
    wrong = ("nonsense", "jobs.b.size=4", "jobs.c.size=64", "work=${NOWHERE}", "seed=x", "defaults.encode.crf=1")
    found = problems(tmp_path, text, *wrong)
    assert [(problem.key, problem.line) for problem in found] == [
        ("--set nonsense", None),
        ("--set work", None),
        ("--set jobs.c.size", None),
        ("--set seed", None),
        ("--set jobs.b.size", None),
        ("jobs.a.size", 8),
    ]
