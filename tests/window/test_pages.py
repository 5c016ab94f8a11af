"""The parts of the page without a browser: texts, fields, YAML, and what the server's process loads."""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
import shutil
import string
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
from PIL import Image
from pydantic import BaseModel

import nstpipe
from nstpipe.config import load_pipeline
from nstpipe.config.engines import ENGINE_TRAITS, ENGINES_WITH_KEYS, PlainEngine
from nstpipe.config.models import Job
from nstpipe.errors import UsageError
from nstpipe.events import Event, TrainingProgressed
from nstpipe.system.lock import holder_of
from nstpipe.system.stop import Stop, StopReason
from nstpipe.training import looks as training
from nstpipe.window.jobs.forms import Field, field_of, fields
from nstpipe.window.jobs.yaml_text import Draft
from nstpipe.window.roots import PAINTINGS
from nstpipe.window.runs.page import _training_words
from nstpipe.window.runs.process import SIGNAL_SECONDS, ask_to_stop, stop_request
from nstpipe.window.runs.progress import Training
from nstpipe.window.texts import LANGUAGES, language_of, texts_in
from tests.making import make_picture, make_video, write_pipeline
from tests.test_docs import EXAMPLES
from tests.window.conftest import Opened

WINDOW = Path(__file__).parents[2] / "nstpipe" / "window"


def test_the_server_loads_no_torch_and_vendored_files_are_as_they_were_published() -> None:
    code = "import nstpipe.window.server, nstpipe.commands.scaffold, sys; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not loaded & {"torch", "torchvision", "cv2", "scenedetect"}
    rows = re.findall(r"^\| (\S+\.js) .* ([0-9a-f]{64}) \|$", (WINDOW / "static/vendor/README.md").read_text(), re.MULTILINE)
    assert {name: hashlib.sha256((WINDOW / "static/vendor" / name).read_bytes()).hexdigest() for name, _ in rows} == dict(rows)
    assert {path.name for path in (WINDOW / "static/vendor").glob("*.js")} == {name for name, _ in rows}


def test_each_language_has_every_text_with_the_same_places_to_fill() -> None:
    def places(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text)} - {None}

    templates = "\n".join(path.read_text() for path in (WINDOW / "templates").iterdir())
    used = set(re.findall(r"\bt\.([a-z_]+)", templates)) | set(re.findall(r"\bt\(\"([a-z_]+)\"", templates))
    english = texts_in("en")
    assert used <= set(english)
    said = {name for name in english if name.startswith(("run_", "training_", "seen_"))}
    said |= {"changed_elsewhere", "start", "go_on_run", "upload_too_large"}
    assert set(english) - used <= said
    for language in LANGUAGES:
        texts = texts_in(language)
        assert {key: places(text) for key, text in texts.items()} == {key: places(text) for key, text in english.items()}
    assert [
        language_of(*asked) for asked in ((None, "ca-ES,en;q=0.5"), (None, "de, es;q=0.3"), ("es", "ca"), (None, "x;q=,"))
    ] == [*("ca", "es", "es", "en")]


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys_of(field.annotation, f"{prefix}{name}.")
        elif name == "engine":  # one of several models
            models = [PlainEngine, *ENGINES_WITH_KEYS.values()]
            yield from (f"engine.{key}" for model in models for key in model.model_fields)
        else:
            yield f"{prefix}{name}"


def test_the_form_has_every_key_of_a_job_with_its_range() -> None:
    assert {field.key for field in fields()} == set(keys_of(Job))
    assert all(field.description for field in fields())
    found = {key: field_of(key) for key in ("size", "style.scale", "color", "optimizer.tolerance", "style.images", "init")}
    assert [(field.kind, field.allowed) for field in found.values() if field] == [
        ("text", "32 – 16384, native"),
        ("number", "0.1 – 4"),
        ("choice", "style, content, matched"),
        ("number", "≥ 0, < 1"),
        ("yaml", ""),
        ("text", "matched, content, noise, blank"),
    ]
    engine = {field.key: field for field in fields() if field.key.startswith("engine.")}
    assert engine["engine.name"].choices == (*ENGINE_TRAITS, "auto")
    assert engine["engine.weights"].engines == tuple(ENGINES_WITH_KEYS)
    assert engine["engine.transformer"].engines == ("iecontrast",)


@pytest.mark.parametrize("example", [pytest.param(block, id=name) for name, block in EXAMPLES])
def test_a_text_that_is_not_changed_stays_as_it_is(example: str) -> None:
    assert Draft(example).text == example


def test_a_key_that_is_set_changes_its_line_and_no_other() -> None:
    text = (
        "# mine\nversion: 1\ndefaults: {size: 320}   # small\njobs:\n"
        "  - name: a            # the first\n    input: in.png\n    output: out.png\n    style: p.jpg\n"
        "    optimizer: {first: 100, next: 12}  # quick\n  # the second\n  - {name: b, input: x, output: y, style: p.jpg}\n"
    )
    draft = Draft(text)
    assert (draft.names, draft.defaults()) == (["a", "b"], {"size": "320"})
    assert draft.values(0)["style.images"] == "[p.jpg]"
    changes = {
        "optimizer.first": ("first: 100", "first: 50"),
        "name": ("name: a ", "name: '12' "),
        "color": ("# quick\n", "# quick\n    color: content\n"),
        "style.strength": ("style: p.jpg\n    opt", "style: {images: [p.jpg], strength: 1.5}\n    opt"),
    }
    expected = text
    for (key, (before, after)), value in zip(changes.items(), ("50", "12", "content", "1.5"), strict=True):
        expected = expected.replace(before, after, 1)
        draft.set(0, the(key), value)
        assert draft.text == expected
    for key in ("optimizer.first", "optimizer.next", "color", "name"):
        draft.set(0, the(key), "")
    # The key after the name moves up beside the dash; what is empty goes; comments on lines of their own stay.
    head, _, rest = text.partition("  - name: a            # the first\n    input")
    rest = rest.replace("style: p.jpg\n    opt", "style: {images: [p.jpg], strength: 1.5}\n    opt", 1)
    assert draft.text == f"{head}  - input{rest}".replace("    optimizer: {first: 100, next: 12}  # quick\n", "")
    assert draft.add({"name": "c", "input": "a: b", "style": {"images": ["p.jpg"]}}) == 2
    assert draft.text.endswith("style: p.jpg}\n\n  - name: c\n    input: 'a: b'\n    style: {images: [p.jpg]}\n")
    draft.set(1, the("size"), "native")
    assert "  - {name: b, input: x, output: y, style: p.jpg, size: native}\n" in draft.text
    draft.remove(2)
    assert draft.names == ["1", "b"]


@pytest.mark.parametrize(
    ("job", "key", "value", "expected"),
    [
        ("name: a\n    style: &t {images: [p]}", "style.scale", "2", "name: a\n    style: &t {images: [p], scale: 2}"),
        ("name: a\n    style: *s", "style", None, "name: a\n    style: *s"),
        ("name: a\n    size: *n # n", "size", "9", "name: a\n    size: 9 # n"),
        ("name: a\n    size: *n # n", "size", "", "name: a"),
        ("name: a\n    color:  # none yet", "color", "content", "name: a\n    color: content  # none yet"),
        ("name: a\n    encode: {crf: 18,}", "encode.preset", "slow", "name: a\n    encode: {crf: 18, preset: slow}"),
        ("name: a\n    encode: {crf: 18, preset: slow}", "encode.preset", "", "name: a\n    encode: {crf: 18}"),
        ("name: a\n    encode: {crf: 18}", "encode.crf", "", "name: a"),
        ("name: a\n    exclude:\n      - x  # ü\n      - 'y'", "exclude", "[z]", "name: a\n    exclude: [z]"),
        ("name: 'ä: b'", "name", "#c", "name: '#c'"),
        ("name: a", "optimizer.first", "5", "name: a\n    optimizer: {first: 5}"),
        ("name: a", "exclude", "[x", UsageError),
        ("name: a", "engine.name", "adain", "name: a\n    engine: adain"),
        ("name: a\n    engine: adain", "engine.weights", "w", "name: a\n    engine: {name: adain, weights: w}"),
        ("name: a\n    engine: {name: adain, alpha: 1}", "engine.name", "optimizer", "name: a\n    engine: optimizer"),
        ("name: a\n    engine: {name: adain, alpha: 1}", "engine.name", "", "name: a"),
        ("name: a\n    style: p", "style.collection", "c", "name: a\n    style: {collection: c}"),
        ("name: a\n    style: {collection: c, pick: each}", "style.images", "[p]", "name: a\n    style: {images: [p]}"),
    ],
)
def test_values_of_every_kind_are_written(job: str, key: str, value: str | None, expected: str | type[UsageError]) -> None:
    text = "x-s: &s {images: [q]}\nx-n: &n 12\njobs:\n  - {job}\n  # the next\n  - name: b\n"
    draft = Draft(text.replace("{job}", job))
    if isinstance(expected, str):
        if value is not None:
            draft.set(0, the(key), value)
        assert draft.text == text.replace("{job}", expected)
    else:
        with pytest.raises(expected):
            draft.set(0, the(key), str(value))


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\r", "\r\n"])
def test_every_line_end_of_yaml_is_counted(end: str) -> None:
    text = f"# a{end}# b\njobs:\n- name: a\n  size: 64{end}- name: b\n"
    draft = Draft(text)
    draft.set(0, the("size"), "32")
    assert draft.text == text.replace("64", "32")
    draft.set(0, the("color"), "content")
    assert draft.text == text.replace("64", "32\n  color: content")


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{f'*{a}, ' * 6}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
        "a: &a {b: *a}\n",
        "a: " + 60 * "[" + 60 * "]" + "\n",
        "# " + 1_000_000 * "x" + "\n",
    ],
    ids=["bomb", "endless", "deep", "long"],
)
def test_a_text_that_grows_without_end_is_not_filled_in(window: Opened, text: str) -> None:
    with pytest.raises(UsageError):
        Draft(f"{text}jobs: [{{name: a, exclude: *a}}]\n" if "&a" in text else f"{text}jobs: []\n")
    (window.folder / "pipeline.yaml").write_text(f"{text}jobs: []\n")
    assert b"The form comes back when the text is YAML" in window.ask("GET", "/jobs")[2]


def test_what_others_refer_to_is_not_changed() -> None:
    text = "jobs:\n- name: a\n  style: &s p.jpg\n- name: b\n  style: *s\n"
    for change in (lambda draft: draft.set(0, the("style.images"), "[q.jpg]"), lambda draft: draft.remove(0)):
        with pytest.raises(UsageError, match="other lines refer to it"):
            change(Draft(text))


def the(key: str) -> Field:
    found = field_of(key)
    assert found is not None
    return found


def test_a_request_to_stop_is_kept_for_a_server_that_starts_later(tmp_path: Path) -> None:
    holder = """
import signal, sys, time
from pathlib import Path
from nstpipe.system.lock import locked
work = Path(sys.argv[1])
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
deadline = time.monotonic() + 60
with locked(work):
    print("locked", flush=True)
    while len(asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
        (work / "asked.new").write_text(str(len(asked)))
        (work / "asked.new").replace(work / "asked")
"""

    def asked() -> str:
        time.sleep(2 * SIGNAL_SECONDS)
        return (tmp_path / "asked").read_text()

    with subprocess.Popen([sys.executable, "-c", holder, str(tmp_path)], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None and run.stdout.readline() == b"locked\n"
        found = holder_of(tmp_path)
        assert found is not None and stop_request(tmp_path) is None
        # To pause twice is to pause once: a second signal would stop the run in the middle of a frame.
        for _ in range(2):
            ask_to_stop(tmp_path, "a-run", at_once=False)
            assert asked() == "1"
        request = stop_request(tmp_path)
        assert request is not None and request.is_of(found) and not request.is_of(replace(found, process_started=1.0))
        ask_to_stop(tmp_path, "a-run", at_once=True)
        assert run.wait(20) == 0
    assert stop_request(tmp_path) == replace(request, at_once=True)
    with pytest.raises(UsageError, match="No run is under way"):
        ask_to_stop(tmp_path, "a-run", at_once=True)


def test_a_deleted_work_folder_and_a_deleted_pipeline_are_told(window: Opened) -> None:
    make_picture(window.folder / "in.png")
    path = write_pipeline(window.folder, {"name": "a", "input": "in.png", "output": "out.png"})
    holder = """
import sys
from pathlib import Path
from nstpipe.system.lock import locked
with locked(Path(sys.argv[1])):
    input()
"""

    def shown() -> str:
        time.sleep(1.1)  # for a new look
        return html.unescape(window.ask("GET", "/night/progress")[2].decode())

    command = [sys.executable, "-c", holder, str(window.folder / ".nstpipe")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as run:
        while holder_of(window.folder / ".nstpipe") is None:
            time.sleep(0.05)
        assert "A run is under way" in shown()
        shutil.rmtree(window.folder / ".nstpipe")
        text = shown()
        assert f"The run goes on as process {run.pid}, and finished results stay" in text
        assert 'id="start"' not in text
        run.communicate(b"\n")
    assert 'id="start"' in shown()
    path.unlink()
    assert "pipeline.yaml is not there any more. What is painted stays." in shown()
    path.write_bytes(b"\xff")
    assert "pipeline.yaml is not text in UTF-8." in html.unescape(window.ask("GET", "/jobs")[2].decode())


def test_the_training_of_a_network_is_shown_while_it_goes_on_and_afterwards(
    window: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECK_EVERY", 1)
    monkeypatch.setattr(training, "PROGRESS_SECONDS", 0.0)
    make_picture(window.folder / "in.png")
    engine = {"name": "network", "train_minutes": 60}
    path = write_pipeline(window.folder, {"name": "look", "input": "in.png", "output": "out.png", "engine": engine}, workers=1)

    def shown() -> str:
        text = html.unescape(window.ask("GET", "/night/progress")[2].decode())
        return text.partition('id="training-title"')[2].partition("</section>")[0]

    seen: list[str] = []
    stop = Stop()

    def on_event(event: Event) -> None:
        if isinstance(event, TrainingProgressed) and event.step == 3:
            seen.append(shown())
            stop.ask(StopReason.INTERRUPTED)

    assert nstpipe.run(path, stop=stop, on_event=on_event).exit_code == 130
    assert "The network of look is being trained: step 3, at most " in seen[0]
    first, *_, last = re.findall(r"[\d.]+,([\d.]+)", seen[0].partition("points=")[2])
    assert float(first) < float(last), "the loss falls, and down is a larger number"
    time.sleep(1.1)  # for a new look at the journal
    assert "The training of the network of look waits after step 3; at most " in shown()
    monkeypatch.setattr(training._Training, "_limit", 0.0)
    assert nstpipe.run(path).exit_code == 0
    time.sleep(1.1)
    assert re.search(r"The network of look is trained: 3 steps in \d+ s", shown())


def test_a_training_for_many_jobs_names_some_of_them() -> None:
    jobs = tuple(f"job{number}" for number in range(1000))
    said = _training_words(Training(jobs, "running", None), texts_in("en"))["said"]
    assert "job0, job1, " in said and "job7 (+992) is being trained" in said


@pytest.mark.parametrize(
    ("language", "described"),
    {
        "en": ["a picture of 96x72 pixels", "2 pictures, 96x72 to 120x72 pixels", "96x72 pixels, 4 frames, 25 a second, 0.2 s"],
        "ca": ["una imatge de 96x72 píxels", "2 imatges, de 96x72 a 120x72 píxels"],
        "es": ["una imagen de 96x72 píxeles", "2 imágenes, de 96x72 a 120x72 píxeles"],
    }.items(),
)
def test_what_an_input_holds_is_told_in_the_language_of_the_reader(window: Opened, language: str, described: list[str]) -> None:
    make_picture(window.folder / "in" / "a.png", size=(96, 72))
    make_picture(window.folder / "in" / "b.png", size=(120, 72))
    make_video(window.folder / "film.mp4", size="96x72", frames=4, audio=False)
    answers = [
        window.ask("GET", f"/describe?path={window.folder / path}", Accept_Language=language)[2]
        for path in ("in/a.png", "in", "film.mp4")
    ]
    told = [json.loads(answer)["described"] for answer in answers]
    assert told[: len(described)] == described


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_page_is_there_in_each_language_also_before_there_is_anything(window: Opened, language: str) -> None:
    pages = {
        path: window.ask("GET", path, Accept_Language=language) for path in ("/", "/jobs", "/night", "/results", "/browse")
    }
    assert {status for status, _, _ in pages.values()} == {200}
    assert texts_in(language)["no_jobs"] in pages["/jobs"][2].decode().replace("&#39;", "'")
    assert f'<html lang="{language}">' in pages["/"][2].decode()
    (window.folder / "pipeline.yaml").write_text("version: 1\njobs:\n  - {name: a b, inptu: x}\n")
    jobs = window.ask("GET", "/jobs", Accept_Language=language)[2].decode()
    assert "inptu" in jobs and "did you mean input?" in jobs
    assert window.ask("GET", "/night", Accept_Language=language)[0] == 200


def test_what_was_tuned_becomes_a_job_that_is_edited_and_saved(window: Opened) -> None:
    make_picture(window.folder / "street.png")
    make_picture(window.folder / "pictures" / "a.png")
    night_cafe = str(PAINTINGS / "van_gogh_night_cafe.jpg")

    def post(path: str, **fields: str) -> tuple[int, str]:
        status, headers, body = window.ask("POST", path, urlencode(fields))
        return status, headers.get("location", "") or html.unescape(body.decode())

    tuned = {"strength": "2.0000", "scale": "1.0000", "color": "content", "distance": "gram", "size": "256", "frame": "1"}
    assert post("/jobs/new", input="street.png", painting=night_cafe, **tuned) == (303, "/jobs?job=0")
    assert post("/jobs/new", input="pictures", painting=night_cafe) == (303, "/jobs?job=1")
    text = (window.folder / "pipeline.yaml").read_text()
    assert [(job.color, job.size, job.style.strength) for job in load_pipeline(window.folder / "pipeline.yaml").jobs] == [
        ("content", 512, 2.0),
        ("style", 512, 1.0),
    ]
    # The paintings of nstpipe come along, so that the folder stays whole elsewhere.
    assert text.count("paintings/van_gogh_night_cafe.jpg") == 2 and (window.folder / "paintings").is_dir()
    stamp = re.findall(r'name="stamp" value="(\w+)"', window.ask("GET", "/jobs?job=1")[2].decode())[0]
    # A browser may send each line with its carriage return.
    edited = post(
        "/jobs/edit", **{"text": text.replace("\n", "\r\n"), "job": "1", "key": "size", "value:size": "48", "stamp": stamp}
    )[1]
    assert "Not saved yet." in edited and "No problem in the file" in edited
    assert "is not YAML" in post("/jobs/edit", text="{", stamp=stamp)[1]
    [new] = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", edited, re.DOTALL)
    assert new == f"{text.rstrip()}\n    size: 48\n"
    assert "✓ Saved" in post("/jobs/save", text=new, stamp=stamp)[1]
    assert (window.folder / "pipeline.yaml").read_text() == new
    assert "changed elsewhere" in post("/jobs/save", text=text, stamp=stamp)[1]  # another tab, which knows the file as it was
    assert (window.folder / "pipeline.yaml").read_text() == new
    assert "✓ Saved" in post("/jobs/save", text=text, stamp=stamp, anyway="1")[1]
    # A file with the line ends of Windows is known as saved, and keeps them.
    (window.folder / "pipeline.yaml").write_bytes(text.replace("\n", "\r\n").encode())
    assert "Saved." in window.ask("GET", "/jobs")[2].decode()
    assert "✓ Saved" in post("/jobs/save", text=text + "# é\n", stamp=hashlib.sha256(text.encode()).hexdigest())[1]
    assert (window.folder / "pipeline.yaml").read_bytes() == (text + "# é\n").replace("\n", "\r\n").encode()
    mask = io.BytesIO()
    Image.new("L", (4, 4), 255).save(mask, "PNG")
    assert window.ask("POST", "/jobs/mask", mask.getvalue(), X_Mask_Name="../a%20b")[2] == b'{"path":"masks/a-b.png"}'
    assert window.ask("POST", "/jobs/mask", b"x")[0] == 422
