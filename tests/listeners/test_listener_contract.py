"""What every listener promises, also the one that docs/extending/listener.md shows how to write."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pydantic import SecretStr
from rich.console import Console

from nstpipe.config import Pipeline, load_pipeline
from nstpipe.config.models import Notify, Track
from nstpipe.errors import BusyError, InputError
from nstpipe.events import (
    ClipStarted,
    Event,
    FrameDone,
    FrameProgressed,
    InputsProgressed,
    ItemFailed,
    JobPlanned,
    Noticed,
    OutputDone,
    RunFinished,
    TrainingProgressed,
    TrainingSaved,
    TriedAgain,
)
from nstpipe.events_schema import event_types
from nstpipe.journal.log import RunLog
from nstpipe.listeners.bars import BarProgress
from nstpipe.listeners.json_lines import JsonLines
from nstpipe.listeners.lines import LineProgress, QuietProgress
from nstpipe.listeners.listener import Listener, finishing
from nstpipe.listeners.listeners import LISTENERS, Listeners
from nstpipe.listeners.notify import Notifier
from nstpipe.listeners.prometheus import Exporter
from nstpipe.listeners.tracking import TensorBoard, WeightsAndBiases
from tests.making import make_picture, write_pipeline
from tests.making_examples import example_of

FrameTable = example_of("extending/listener.md").FrameTable

JOB = {"job": "film", "path": "in.mp4"}
LOOK = InputsProgressed(**JOB, inputs_done=0, inputs=2, share=0.5)
FAILURE = ItemFailed(job="film", path="bad[1].mp4", reason="bad[1].mp4 is no video.", next_step="Play it.")
PLANNED = JobPlanned(job="film", outputs=2, outputs_done=0, frames=2, frames_left=2, work_left=2000)
FRAME = FrameDone(
    **JOB, first_frame_index=0, frame_index=0, seconds=2.0, optimising_seconds=1.5, evaluations=8, most_evaluations=10,
    pixels=100, loss=0.5, content_loss=0.3, style_loss=0.2,
)  # fmt: skip
STORY: tuple[Event, ...] = (
    LOOK,
    FAILURE,
    PLANNED,
    Noticed(job="film", message="[b]in.mp4[/b] has 2 shots"),
    ClipStarted(**JOB, first_frame_index=0, next_frame_index=0, end_frame_index=2, reason="new"),
    FrameProgressed(**JOB, frame_index=0, evaluations=5, most_evaluations=10, loss=0.7),
    TriedAgain(**JOB, reason="killed", attempt=1, wait_seconds=0.0, first_frame_index=0),
    FRAME,
    OutputDone(**JOB, output="out.mp4", frames=2, encode_seconds=1.0, fingerprint="f", sha256="s"),
    # No run sends these two, but whoever listens to a training may be the same.
    TrainingProgressed(
        network="adain", step=5, steps=10, losses={"content": 1.0, "style": 2.0}, seconds_a_step=0.5, seconds_left=2.5
    ),
    TrainingSaved(network="adain", step=10, output="my.safetensors", sheet=""),
    RunFinished(exit_code=2, outputs_made=1, outputs_already_done=0, items_failed=1, seconds=75.0),
)


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """A pipeline that names every listener there is."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    make_picture(tmp_path / "a.png")
    loaded = load_pipeline(write_pipeline(tmp_path, {"name": "film", "input": "a.png", "output": "b.png"}))
    loaded.work.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hook)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    hook = SecretStr(f"http://127.0.0.1:{server.server_port}/hook")
    track = Track(tensorboard=tmp_path / "board", wandb="project")
    named = {"prometheus": tmp_path / "night.prom", "notify": Notify(webhook=hook), "track": track}
    yield loaded.model_copy(update=named)
    server.shutdown()
    server.server_close()


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=80)


Make = Callable[[Pipeline, Callable[[str], None]], Listener | None]

CASES: dict[str, Make] = {
    "bars": lambda pipeline, notice: BarProgress(console(terminal=True)),
    "lines": lambda pipeline, notice: LineProgress(console(terminal=False)),
    "quiet": lambda pipeline, notice: QuietProgress(console(terminal=False)),
    "json lines": lambda pipeline, notice: JsonLines(io.StringIO()),
    "log": lambda pipeline, notice: RunLog(pipeline.work, "run"),
    "tensorboard": lambda pipeline, notice: TensorBoard.for_pipeline(pipeline, "run", notice),
    "wandb": lambda pipeline, notice: WeightsAndBiases.for_pipeline(pipeline, "run", notice),
    "prometheus": lambda pipeline, notice: Exporter.for_pipeline(pipeline, "run", notice),
    "notify": lambda pipeline, notice: Notifier.for_pipeline(pipeline, "run", notice),
    "frame table, from the document": lambda pipeline, notice: FrameTable.for_pipeline(pipeline, "run", notice),
}


@pytest.fixture(params=CASES)
def listener(request: pytest.FixtureRequest, pipeline: Pipeline) -> Listener:
    if request.param in ("tensorboard", "wandb") and importlib.util.find_spec(request.param) is None:
        pytest.skip(f"the package {request.param} is not installed")
    made = CASES[request.param](pipeline, lambda message: pytest.fail(message))
    assert made is not None
    return made


def test_the_story_has_every_event() -> None:
    assert {type(event) for event in STORY} == set(event_types())


def test_a_listener_of_the_table_is_made_where_the_pipeline_names_it_and_only_there(pipeline: Pipeline) -> None:
    wanted = [choose(pipeline, "run", lambda message: pytest.fail(message)) for choose in LISTENERS]
    assert None not in wanted
    assert len(wanted) == 4, "a new listener needs a case of its own here"
    plain = pipeline.model_copy(update={"prometheus": None, "notify": Notify(), "track": Track()})
    assert [choose(plain, "run", lambda message: pytest.fail(message)) for choose in LISTENERS] == [None] * 4


def test_it_takes_every_event(listener: Listener) -> None:
    for event in STORY:
        listener(event)
    listener.finish(None)


def test_the_end_may_come_before_any_event(listener: Listener) -> None:
    listener.finish(None)


@pytest.mark.parametrize("error", [InputError("nothing usable."), ValueError("a bug"), KeyboardInterrupt(), BusyError("busy")])
@pytest.mark.parametrize("events", [(), (LOOK, FAILURE), STORY[:7]], ids=["nothing", "no plan", "in the middle"])
def test_the_end_may_be_an_error(listener: Listener, events: tuple[Event, ...], error: BaseException) -> None:
    for event in events:
        listener(event)
    listener.finish(error)


def test_a_block_tells_of_its_end_and_of_its_error() -> None:
    told: list[BaseException | None] = []

    class Ended:
        def __call__(self, event: Event) -> None:
            pytest.fail("no event came")

        def finish(self, error: BaseException | None) -> None:
            told.append(error)

    with finishing(Ended()):
        pass
    problem = InputError("nothing usable.")
    with pytest.raises(InputError), finishing(Ended()):
        raise problem
    assert told == [None, problem]


def test_all_that_a_pipeline_names_hear_of_a_run_and_the_caller_first(pipeline: Pipeline, tmp_path: Path) -> None:
    for package in ("tensorboard", "wandb"):
        pytest.importorskip(package)
    told: list[Event] = []
    with finishing(Listeners(pipeline, "run", told.append)) as listeners:
        for event in STORY:
            listeners(event)
    assert told == list(STORY)
    assert (tmp_path / "night.prom").exists()
    assert list((tmp_path / "board" / "run").iterdir())


def test_json_lines_are_the_events(tmp_path: Path) -> None:
    stream = io.StringIO()
    listener = JsonLines(stream)
    for event in STORY:
        listener(event)
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [event.as_json() for event in STORY]


def test_the_frame_table_of_the_document_has_a_row_for_each_frame(pipeline: Pipeline) -> None:
    with finishing(FrameTable.for_pipeline(pipeline, "run", lambda message: pytest.fail(message))) as table:
        for event in (*STORY, FRAME):
            table(event)
    lines = (pipeline.work / "run.csv").read_text().splitlines()
    assert lines == ["job,path,frame,seconds,loss", "film,in.mp4,0,2.0,0.5", "film,in.mp4,0,2.0,0.5"]
