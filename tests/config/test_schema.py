"""The JSON Schema: what an editor underlines should be what `load_pipeline` refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from nstpipe.config import json_schema
from nstpipe.config.models import LAYER_NAMES, Job, Pipeline

from .making import CONTRACT, REPOSITORY, document, job, load, problems


def faults(text: str) -> list[str]:
    """What the schema says against a text, after anchors and merges are filled in, as an editor does it."""
    return [error.message for error in Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(text))]


def properties(definition: dict[str, Any]) -> dict[str, Any]:
    """Those of the long form, where there is a short one too."""
    found: dict[str, Any] = definition.get("properties") or definition["anyOf"][-1]["properties"]
    return found


def test_it_is_a_schema() -> None:
    schema = json_schema()
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema


def test_each_call_gives_a_schema_of_its_own() -> None:
    first = json_schema()
    first["properties"].clear()
    assert json_schema()["properties"]


def test_every_key_is_in_it_and_described() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == {*Pipeline.model_fields, "defaults"}
    definitions = schema["$defs"]
    for name in ("Job", "JobDefaults"):
        assert set(definitions[name]["properties"]) == {*Job.model_fields, "matrix"}
    for definition in (schema, *definitions.values()):
        for key, value in properties(definition).items():
            described = definitions[value["$ref"].rpartition("/")[2]] if "$ref" in value else value
            assert "description" in value or "description" in described, key


def test_editors_can_offer_names() -> None:
    definitions = json_schema()["$defs"]
    layers = properties(definitions["Style"])["layers"]["propertyNames"]
    assert list(LAYER_NAMES) in [choice.get("enum") for choice in layers["anyOf"]]
    codec = properties(definitions["Encode"])["codec"]
    assert "libsvtav1" in codec["anyOf"][0]["enum"]
    assert codec["default"] is None


def test_it_accepts_the_repositorys_own_file() -> None:
    assert faults((REPOSITORY / "pipeline.yaml").read_text()) == []


RIGHT = {
    "contract": CONTRACT,
    "least": document(job()),
    "short forms": document(job(style="{images: [a.jpg, {path: b.jpg, weight: 2}]}"), job(name="b", style="c.jpg")),
    "own keys": document(
        job(
            "x-note: {any: thing}",
            "content: {x-why: 1, layers: {x-who: me, relu4_2: 1}}",
            style="{x-a: 1, images: [{path: a.jpg, x-b: 2}]}",
        ),
        top="x-top: [1]\ndefaults: {x-mine: 1}\n",
    ),
    "anchors": "x-base: &base {size: 64, audio: none}\n" + document(job("<<: *base", "size: 96")),
    "defaults": document(job(style="", input="", output="out/a"), top="defaults: {style: {images: [a.jpg]}, input: in}\n"),
    "part of a style in defaults": document(job(), top="defaults: {style: {strength: 2}}\n"),
    "part of a style in a job": document(job(style="{strength: 2}"), top="defaults: {style: a.jpg}\n"),
    "matrix": document(
        job(
            "size: '{size}'",
            "optimizer: {first: '{steps}'}",
            "matrix: {clip: [a, b], size: [64, native], steps: [3], x-note: 1}",
            name="'{clip}-{size}'",
            input="'in/{clip}'",
            output="'out/{clip}/{size}'",
        ),
    ),
    "matrix in defaults": document(
        job(name="'a-{n}'", input="in", output="'out/{n}'"), top="defaults: {matrix: {n: [1, 2]}, size: 64}\n"
    ),
    "environment": document(
        job("size: ${SIZE:-64}", "pooling: ${POOLING:-max}", "encode:", "  crf: ${CRF:-20}"),
        top="device: ${DEVICE:-cpu}\nseed: ${SEED:-3}\nworkers: ${WORKERS:-2}\n",
    ),
    "nulls": document(job("include: null", "encode: {crf: null, preset: null, pix_fmt: null}")),
    "paths": document(job("init: first.png"), top="work: state\nweights: vgg19.pth\n"),
}


@pytest.mark.parametrize("text", RIGHT.values(), ids=RIGHT)
def test_it_accepts_what_is_right(tmp_path: Path, text: str) -> None:
    load(tmp_path, text)
    assert faults(text) == []


WRONG = [
    "version: 2\njobs: [{name: a, input: in, output: out, style: s.jpg}]\n",
    "version: true\njobs: [{name: a, input: in, output: out, style: s.jpg}]\n",
    "version: 1\n",
    "version: 1\njobs: []\n",
    "version: 1\njobs: [street]\n",
    "- version: 1\n",
    document(job(), top="size: 64\n"),
    document(job(), top="device: gpu\n"),
    document(job(), top="workers: 0\n"),
    document(job(), top="defaults: {szie: 64}\n"),
    document(job(), top="defaults: {size: big}\n"),
    document(job(name="", input="in", output="out")),
    document(job(name="with space")),
    document(job(input="''")),
    document(job(style="''")),
    document(job(style="5")),
    document(job(style="{images: []}")),
    document(job(style="{images: [{weight: 1}]}")),
    document(job(style="{images: [a.jpg], strenght: 1}")),
    document(job(style="{images: [a.jpg], scale: 9}")),
    document(job("szie: 64")),
    document(job("size: big")),
    document(job("size: 31")),
    document(job("size: true")),
    document(job("size: 64.5")),
    document(job("total_variation: -1")),
    document(job("audio: loud")),
    document(job("include: '*.jpg'")),
    document(job("include: []")),
    document(job("content: {layers: {relu42: 1}}")),
    document(job("content: {layers: {relu4_2: 0}}")),
    document(job("encode: {codec: vp9}")),
    document(job("encode: libx264")),
    document(job("optimizer: {first: 0}")),
    document(job("matrix: {}")),
    document(job("matrix: {a: 1}")),
    document(job("matrix: {a: []}")),
    document(job("matrix: {a: [[1]]}")),
]


@pytest.mark.parametrize("text", WRONG)
def test_it_refuses_what_is_wrong(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text)
    assert faults(text)
