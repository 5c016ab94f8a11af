"""The textfile for Prometheus, read by Prometheus' own parser."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import nstpipe
from nstpipe.config import load_pipeline
from nstpipe.errors import BusyError, ConfigError, InputError
from nstpipe.events import Event, FrameDone, JobPlanned, Noticed, RunFinished
from nstpipe.listeners.prometheus import Exporter
from nstpipe.system.lock import locked
from tests.making import make_picture, write_pipeline

Samples = dict[tuple[str, str], float]


def samples(path: Path, work: Path) -> Samples:
    """Values by metric and job."""
    found: Samples = {}
    for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
        assert family.documentation
        assert family.type == "gauge"
        for sample in family.samples:
            assert sample.labels["work"] == str(work)
            key = sample.name, sample.labels.get("job", "")
            assert key not in found
            found[key] = sample.value
    return found


def picture_job(folder: Path) -> Path:
    for number in range(2):
        make_picture(folder / "in" / f"{number}.png", seed=number)
    return write_pipeline(folder, {"name": "one", "input": "in", "output": "out"}, prometheus="metrics/night.prom")


def test_figures_of_a_run_that_ended_well_and_of_one_that_did_not(tmp_path: Path) -> None:
    pipeline, path, work = picture_job(tmp_path), tmp_path / "metrics" / "night.prom", tmp_path / ".nstpipe"
    began = time.time()
    assert nstpipe.run(pipeline).exit_code == 0
    done = samples(path, work)
    assert done["nstpipe_run_running", ""] == 0
    assert done["nstpipe_run_exit_code", ""] == 0
    assert began <= done["nstpipe_run_start_timestamp_seconds", ""] <= done["nstpipe_last_success_timestamp_seconds", ""]
    assert done["nstpipe_last_success_timestamp_seconds", ""] <= time.time()
    assert done["nstpipe_job_frames", "one"] == done["nstpipe_job_frames_done", "one"] == 2
    assert done["nstpipe_job_outputs", "one"] == done["nstpipe_job_outputs_done", "one"] == 2
    assert done["nstpipe_job_evaluations", "one"] == 6
    assert done["nstpipe_job_frame_seconds", "one"] > 0
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "in" / "broken.png").write_text("no picture")
    assert nstpipe.run(pipeline).exit_code == 2
    failed = samples(path, work)
    assert failed["nstpipe_run_exit_code", ""] == 2
    assert failed["nstpipe_job_failures", "one"] == 1
    assert failed["nstpipe_job_frames_done", "one"] == 2
    success = "nstpipe_last_success_timestamp_seconds", ""
    assert failed[success] == done[success], "the last success stays what it was"


def test_the_documents_name_every_metric(tmp_path: Path) -> None:
    nstpipe.run(picture_job(tmp_path))
    document = (Path(__file__).parent.parent.parent / "docs" / "report.md").read_text(encoding="utf-8")
    names = {name for name, _ in samples(tmp_path / "metrics" / "night.prom", tmp_path / ".nstpipe")}
    assert names == set(re.findall(r"`(nstpipe_\w+)`", document))


def test_an_error_has_its_exit_code_and_a_run_that_waits_in_vain_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "night.prom"
    pipeline = write_pipeline(tmp_path, {"name": "gone", "input": "no.mp4", "output": "out.mp4"}, prometheus="night.prom")
    with locked(tmp_path / ".nstpipe"), pytest.raises(BusyError):
        nstpipe.run(pipeline)
    assert not path.exists()
    with pytest.raises(InputError):
        nstpipe.run(pipeline)
    found = samples(path, tmp_path / ".nstpipe")
    assert (found["nstpipe_run_exit_code", ""], found["nstpipe_job_failures", "gone"]) == (65, 1)
    assert ("nstpipe_last_success_timestamp_seconds", "") not in found


def test_figures_are_kept_true_while_the_run_goes_on(tmp_path: Path) -> None:
    pipeline = load_pipeline(picture_job(tmp_path)).model_copy(update={"work": tmp_path / 'we"ird\\wo\nrk'})
    assert pipeline.prometheus is not None
    exporter = Exporter(pipeline, lambda notice: pytest.fail(notice), interval_seconds=0.02)
    exporter(JobPlanned(job="one", outputs=1, outputs_done=0, frames=4, frames_left=2, work_left=2))
    exporter(
        FrameDone(
            job="one", path="in", first_frame_index=0, frame_index=2, seconds=1.5, optimising_seconds=1.4,
            evaluations=7, most_evaluations=9,
            pixels=1, loss=0.5, content_loss=0.1, style_loss=0.1,
        )
    )  # fmt: skip
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = samples(pipeline.prometheus, pipeline.work) if pipeline.prometheus.exists() else {}
        if found.get(("nstpipe_job_frames_done", "one")) == 3:
            break
        time.sleep(0.01)
    assert found["nstpipe_job_frames_done", "one"] == 3
    assert found["nstpipe_job_loss", "one"] == 0.5
    assert found["nstpipe_run_running", ""] == 1
    assert ("nstpipe_run_exit_code", "") not in found
    exporter(RunFinished(exit_code=0, outputs_made=0, outputs_already_done=0, items_failed=0, seconds=1))
    exporter.finish(None)
    assert samples(pipeline.prometheus, pipeline.work)["nstpipe_run_running", ""] == 0
    assert not [thread for thread in threading.enumerate() if "_tick" in thread.name]


def test_a_file_that_cannot_be_written_is_one_notice(tmp_path: Path) -> None:
    pipeline = picture_job(tmp_path)
    (tmp_path / "metrics").write_text("in the way")
    events: list[Event] = []
    assert nstpipe.run(pipeline, on_event=events.append).exit_code == 0
    [notice] = [event for event in events if isinstance(event, Noticed)]
    assert "figures for Prometheus could not be written" in notice.message


def test_a_name_that_node_exporter_would_pass_over_is_refused(tmp_path: Path) -> None:
    pipeline = write_pipeline(tmp_path, {"name": "one", "input": "in", "output": "out"}, prometheus="night.txt")
    with pytest.raises(ConfigError, match=r"prometheus: found the text 'night.txt'; should be a path that ends in \.prom"):
        load_pipeline(pipeline)


@pytest.mark.parametrize("before", ["", "nonsense {", 'nstpipe_last_success_timestamp_seconds{work="x" 1', "\x00"])
def test_a_damaged_file_of_the_run_before_is_replaced(tmp_path: Path, before: str) -> None:
    pipeline = load_pipeline(picture_job(tmp_path))
    assert pipeline.prometheus is not None
    pipeline.prometheus.parent.mkdir()
    pipeline.prometheus.write_text(before)
    exporter = Exporter(pipeline, lambda notice: pytest.fail(notice))
    exporter.finish(InputError("nothing usable."))
    found = samples(pipeline.prometheus, pipeline.work)
    assert found["nstpipe_run_exit_code", ""] == 65
    assert ("nstpipe_last_success_timestamp_seconds", "") not in found


def test_a_file_of_an_older_version_is_understood(tmp_path: Path) -> None:
    pipeline = load_pipeline(picture_job(tmp_path))
    assert pipeline.prometheus is not None
    pipeline.prometheus.parent.mkdir()
    pipeline.prometheus.write_text(
        "# HELP nstpipe_last_success_timestamp_seconds When a run last ended with exit code 0.\n"
        "# TYPE nstpipe_last_success_timestamp_seconds gauge\n"
        'nstpipe_last_success_timestamp_seconds{work="/x"} 1764400000.25\n'
    )
    Exporter(pipeline, lambda notice: pytest.fail(notice)).finish(InputError("nothing usable."))
    found = samples(pipeline.prometheus, pipeline.work)
    assert found["nstpipe_last_success_timestamp_seconds", ""] == 1764400000.25
