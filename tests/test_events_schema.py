"""The schema of the events holds for what real runs print, and for nothing less."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from nstpipe.cli import exit_code
from nstpipe.events import Event
from nstpipe.events_schema import event_types, events_schema
from tests.making import make_picture, make_video, write_pipeline

REPOSITORY = Path(__file__).parent.parent


def test_the_schema_that_is_kept_is_the_one_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["schema", "--events"]) == 0
    assert capsys.readouterr().out == (REPOSITORY / "docs" / "events.schema.json").read_text(encoding="utf-8")


def test_every_line_of_a_run_is_as_the_schema_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nstpipe.painting.frames.PROGRESS_INTERVAL_SECONDS", -1.0)  # every iteration, on however fast a machine
    make_video(tmp_path / "in.mp4", frames=3)
    make_picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "broken.png").write_text("no picture")
    film = {"name": "film", "input": "in.mp4", "output": "out/film.mp4", "optimizer": {"first": 200, "next": 1, "tolerance": 0}}
    pipeline = write_pipeline(tmp_path, film, {"name": "street", "input": "in", "output": "out"})
    assert exit_code(["run", str(pipeline), "--json"]) == 2
    validator = jsonschema.Draft202012Validator(events_schema())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line in lines:
        validator.validate(line)
        assert set(line) == set(events_schema()["$defs"][line["event"]]["properties"])
    seen = {line["event"] for line in lines}
    assert {"JobPlanned", "ClipStarted", "FrameProgressed", "FrameDone", "OutputDone", "ItemFailed", "RunFinished"} <= seen


def test_the_schema_refuses_what_is_no_event() -> None:
    validator = jsonschema.Draft202012Validator(events_schema())
    whole = {"event": "Noticed", "at": 1.7e9, "job": "film", "message": "said"}
    validator.validate(whole)
    for wrong in ({**whole, "event": "Heard"}, {**whole, "at": "now"}, {"event": "Noticed", "at": 1.7e9, "job": "film"}):
        assert not validator.is_valid(wrong), wrong


def test_every_kind_and_every_field_is_described() -> None:
    assert set(event_types()) == set(Event.__subclasses__())
    text = (REPOSITORY / "docs" / "events.md").read_text(encoding="utf-8")
    parts = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL))
    for name, rules in events_schema()["$defs"].items():
        for field, rule in rules["properties"].items():
            assert field == "event" or rule["description"], f"{name}.{field}"
            assert field in ("event", "at") or f"| `{field}` |" in parts[name], f"{name}.{field} in docs/events.md"


def test_the_example_of_the_documents_is_right() -> None:
    [example] = re.findall(r"```json\n(.*?)```", (REPOSITORY / "docs" / "events.md").read_text(encoding="utf-8"), re.DOTALL)
    jsonschema.validate(json.loads(example), events_schema())
