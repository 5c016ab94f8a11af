"""Whole runs whose work folder is remote: copied at checkpoints, held by one machine at a time, and continued on another."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import nstpipe
from nstpipe import api
from nstpipe.cli import exit_code
from nstpipe.errors import BusyError, OutputError
from nstpipe.events import Event, FrameDone, Noticed
from nstpipe.running.outcome import RunResult
from nstpipe.storage import store
from nstpipe.storage.checkpoint import Checkpoint
from nstpipe.system.stop import Stop, StopReason
from tests.making import make_picture, make_video, small_disk, write_pipeline
from tests.running.test_shards import make_cut_video
from tests.storage.conftest import SECRET_KEY, SESSION_TOKEN, Cloud
from tests.storage.faulty import EXPIRED, SLOW_DOWN, Fault
from tests.storage.test_runs import PASSWORD, sftp_server

FRAMES = 6

SLOWER = {"optimizer": {"first": 3, "next": 40, "tolerance": 0}}
"""Settings with which a frame takes so long that a copy can be made meanwhile."""


@pytest.fixture
def project(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for pipelines that read a remote film, and have a remote work folder. Who waits for a lock looks often."""
    monkeypatch.setattr(api, "REMOTE_LOCK_POLL_SECONDS", 0.5)
    cloud.put("film.mp4", make_video(tmp_path / "film.mp4", frames=FRAMES, audio=False))
    return tmp_path


def machine(project: Path, name: str, **storage: Any) -> Path:
    """The pipeline.yaml on a machine of its own: in a folder of its own, with a live folder beside it."""
    (project / name).mkdir(exist_ok=True)
    job = {"name": "film", "input": "s3://street/film.mp4", "output": "s3://street/out/film.mp4", **SLOWER}
    settings = {"live": "live", "retries": 0, "checkpoint_seconds": 1, "lock_seconds": 3, **storage}
    return write_pipeline(project / name, job, workers=1, work="s3://street/work", storage=settings)


def run(pipeline: Path, **arguments: Any) -> tuple[RunResult, list[Event]]:
    events: list[Event] = []
    on_event = arguments.pop("on_event", lambda _: None)

    def note(event: Event) -> None:
        events.append(event)
        on_event(event)

    return nstpipe.run(pipeline, on_event=note, **arguments), events


def painted(events: list[Event]) -> int:
    return sum(isinstance(event, FrameDone) for event in events)


def notices(events: list[Event]) -> str:
    return "\n".join(event.message for event in events if isinstance(event, Noticed))


def at_frame(number: int, do: Any) -> Any:
    """A listener that does something once, after so many frames."""
    frames: list[Event] = []

    def listen(event: Event) -> None:
        if isinstance(event, FrameDone):
            frames.append(event)
            if len(frames) == number:
                do()

    return listen


HOLDING_STILL = """
import sys, time, nstpipe
from nstpipe.events import FrameDone
done = []
def on_event(event):
    done.extend([event] * isinstance(event, FrameDone))
    if len(done) == int(sys.argv[2]):
        time.sleep(120)
nstpipe.run(sys.argv[1], on_event=on_event)
"""


def killed_at_frame(pipeline: Path, number: int, is_time: Callable[[], bool]) -> int:
    """Run in a process that holds still after so many frames, kill it when it is time, and return its number."""
    killed = subprocess.Popen([sys.executable, "-c", HOLDING_STILL, str(pipeline), str(number)])
    deadline = time.monotonic() + 100
    while not is_time() and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert is_time()
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    return killed.pid


def run_until(pipeline: Path, frames: int) -> None:
    """Run, and stop after so many frames."""
    stop = Stop()
    listen = at_frame(frames, lambda: stop.ask(StopReason.TIME))
    assert run(pipeline, stop=stop, on_event=listen)[0].exit_code == 75


def checkpoint(cloud: Cloud) -> dict[str, Any]:
    """The latest checkpoint; empty if there is none."""
    names = cloud.names("work/checkpoints/0")
    found: dict[str, Any] = json.loads(cloud.get(max(names))) if names else {}
    return found


def frames_in(found: dict[str, Any]) -> int:
    return sum("/frame_" in file["path"] for file in found.get("files", ()))


def check_whole(cloud: Cloud) -> None:
    """See that all contents of the latest checkpoint are there, and no others."""
    named = {file["sha256"] for file in checkpoint(cloud)["files"]}
    assert {name.rpartition("/")[2] for name in cloud.names("work/objects/")} == named


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The result of a run on this machine alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    make_video(folder / "film.mp4", frames=FRAMES, audio=False)
    pipeline = write_pipeline(folder, {"name": "film", "input": "film.mp4", "output": "out.mp4", **SLOWER}, workers=1)
    assert run(pipeline)[0].exit_code == 0
    return (folder / "out.mp4").read_bytes()


def test_another_machine_goes_on_after_the_last_frame(cloud: Cloud, project: Path, undisturbed: bytes) -> None:
    run_until(machine(project, "a"), 3)
    check_whole(cloud)
    other = machine(project, "b")
    [job] = api.status(other).jobs
    assert (job.frames, job.frames_done) == (FRAMES, 3)
    assert [output.is_done for output in api.plan(other).outputs] == [False]
    assert api.clean(other, lambda found: not found).leftovers == ()
    for command in ("status", "report"):
        assert exit_code([command, str(other)]) == 0
    result, events = run(other)
    assert (result.exit_code, painted(events)) == (0, FRAMES - 3)
    assert cloud.get("out/film.mp4") == undisturbed
    assert frames_in(checkpoint(cloud)) == 0
    check_whole(cloud)
    result, events = run(machine(project, "a"))
    assert (result.exit_code, len(result.already_done), painted(events)) == (0, 1, 0)
    everything = b"".join(cloud.get(name) for name in cloud.names("work/")) + b"".join(
        file.read_bytes() for file in project.rglob("*") if file.is_file() and "live" in file.parts
    )
    for secret in (SECRET_KEY, SESSION_TOKEN):
        assert secret.encode() not in everything


def test_killed_and_taken_over_after_the_lock_expires(cloud: Cloud, project: Path, undisturbed: bytes) -> None:
    first = machine(project, "a")
    process = killed_at_frame(first, 3, lambda: frames_in(checkpoint(cloud)) > 0)
    copied = frames_in(checkpoint(cloud))
    other = machine(project, "b")
    with pytest.raises(BusyError, match=r"another run works with s3://street/work: process \d+ on ") as busy:
        run(other)
    assert busy.value.exit_code == 75
    holder = api.status(other).holder
    assert holder is not None
    assert holder.process == process
    result, events = run(other, wait=True)
    assert (result.exit_code, painted(events)) == (0, FRAMES - copied)
    assert "has given no sign of life for" in notices(events)
    assert cloud.get("out/film.mp4") == undisturbed
    # What the first machine has not copied is no part of the story any more, but is kept.
    result, events = run(first)
    assert (result.exit_code, painted(events)) == (0, 0)
    [kept] = (project / "a" / "live").glob("work.set-aside-*")
    assert str(kept) in notices(events)
    assert (kept / "journal.sqlite").exists()


def test_two_machines_never_work_at_once_and_one_that_was_taken_for_dead_stops(cloud: Cloud, project: Path) -> None:
    first, other = machine(project, "a"), machine(project, "b")

    def second_machine() -> None:
        with pytest.raises(BusyError, match="another run works with s3://street/work"):
            run(other)
        # Somebody takes the lock over, as if this run had been silent too long.
        [lock] = cloud.names("work/locks/0")
        cloud.put(lock.replace("1.json", "2.json"), cloud.get(lock))

    with pytest.raises(BusyError, match="was taken over by process") as lost:
        run(first, on_event=at_frame(2, second_machine))
    assert lost.value.exit_code == 75
    assert str(project / "a" / "live") in lost.value.next_step
    assert api.status(first).jobs[0].frames_done >= 2
    assert "out/film.mp4" not in cloud.names()


def test_the_machine_of_a_killed_run_goes_on_at_once_with_what_it_has(cloud: Cloud, project: Path, undisturbed: bytes) -> None:
    pipeline = machine(project, "a", checkpoint_seconds=1000, lock_seconds=1000)
    run_until(pipeline, 1)
    frames = project / "a" / "live" / "work" / "clips"
    killed_at_frame(pipeline, 2, lambda: len(list(frames.rglob("frame_*.npy"))) > 2)
    made = len(list(frames.rglob("frame_*.npy")))
    assert made > frames_in(checkpoint(cloud))
    result, events = run(pipeline)
    assert (result.exit_code, painted(events)) == (0, FRAMES - made)
    assert "the last run here ended before it had copied all to s3://street/work" in notices(events)
    assert cloud.get("out/film.mp4") == undisturbed


def test_copies_that_fail_cost_nothing_and_leave_the_one_before(cloud: Cloud, project: Path, undisturbed: bytes) -> None:
    pipeline = machine(project, "a")
    run_until(pipeline, 1)
    before = checkpoint(cloud)
    for fault, said in (
        (Fault("PUT", "/work/objects/", 503, SLOW_DOWN), "the server asks to slow down (503)"),
        (Fault("PUT", "/work/objects/", cut_after=-1), "the connection was cut"),
        (Fault("PUT", "/work/checkpoints/", 400, EXPIRED), "the credentials have expired"),
    ):
        cloud.proxy.faults[:] = [fault]
        with pytest.raises(OutputError, match="cannot be copied to s3://street/work") as failed:
            run_until(pipeline, 1)
        assert said in failed.value.problem
        assert "and the next run on this machine copies it" in failed.value.next_step
        assert checkpoint(cloud) == before
        there = {name.rpartition("/")[2] for name in cloud.names("work/objects/")}
        assert {file["sha256"] for file in before["files"]} <= there
    cloud.proxy.faults.clear()
    result, events = run(pipeline)
    assert (result.exit_code, painted(events)) == (0, FRAMES - 4)
    assert cloud.get("out/film.mp4") == undisturbed
    check_whole(cloud)


def test_copies_do_not_hold_up_the_painting(cloud: Cloud, project: Path) -> None:
    all_painted = threading.Event()
    in_time: list[bool] = []

    def hold(method: str, path: str) -> None:
        if method == "PUT" and "/work/objects/" in path:
            in_time.append(all_painted.wait(60))

    cloud.proxy.on_request = hold
    result, _ = run(machine(project, "a"), on_event=at_frame(FRAMES, all_painted.set))
    assert result.exit_code == 0
    assert set(in_time) == {True}
    check_whole(cloud)


def test_a_server_that_ignores_the_condition_is_refused(cloud: Cloud, project: Path) -> None:
    cloud.proxy.faults.append(Fault("PUT", "/work/locks/", cut_after=-1, times=1))  # the answer to the first one is lost
    cloud.proxy.ignored.add("if-none-match")
    with pytest.raises(OutputError, match="ignores the condition that a file must not exist yet"):
        run(machine(project, "a", retries=1))
    assert cloud.names("work/") == []


def test_a_folder_that_cannot_be_reached_or_is_another_one_is_told(cloud: Cloud, project: Path) -> None:
    pipeline = machine(project, "a")
    cloud.proxy.faults.append(Fault("GET", "prefix=work", 503, SLOW_DOWN))
    with pytest.raises(OutputError, match=r"work: s3://street/work/\w+ cannot be listed: the server asks to slow down"):
        run(pipeline)
    [error] = [error for error in api.validate(pipeline).missing if "work:" in str(error)]
    assert "slow down" in error.problem
    cloud.proxy.faults.clear()
    with pytest.raises(OutputError, match="there is no bucket nowhere"):
        run(machine(project, "b"), overrides=["work=s3://nowhere/work"])
    pipeline.write_text(pipeline.read_text().replace("s3://street/work", "s3://street/elsewhere"))
    with pytest.raises(OutputError, match="holds the work folder of s3://street/work, not of s3://street/elsewhere"):
        api.status(pipeline)


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a\\b"])
def test_no_file_of_a_copy_leads_out_of_the_folder(path: str) -> None:
    file = {"path": path, "size": 1, "modified_ns": 1, "sha256": "0" * 64}
    with pytest.raises(ValueError, match="its name"):
        Checkpoint.of(json.dumps({"version": 1, "holder": 1, "serial": 1, "files": [file]}).encode())


def test_a_full_disk_is_told_and_the_copy_stays(cloud: Cloud, project: Path) -> None:
    run_until(machine(project, "a"), 2)
    before = checkpoint(cloud)
    pipeline = machine(project, "b")
    said = r"s3://street/work has [0-9.]+ MB for this machine; the disk of .* MB free"
    with small_disk(project / "b" / "live", "1m"), pytest.raises(OutputError, match=said):
        run(pipeline)
    assert checkpoint(cloud) == before


def delete_all(cloud: Cloud) -> None:
    """Delete the remote work folder by hand."""
    for name in cloud.names("work/"):
        cloud.client.delete_object(Bucket=cloud.bucket, Key=name)


def name_of_content(found: dict[str, Any], path: str) -> str:
    """The object that holds the first file of a checkpoint whose path has a part."""
    sha256 = next(file["sha256"] for file in found["files"] if path in file["path"])
    return f"work/objects/{sha256[:2]}/{sha256}"


@pytest.mark.faults
def test_what_is_lost_at_the_remote_place_is_told_and_made_again(cloud: Cloud, project: Path, undisturbed: bytes) -> None:
    first, other = machine(project, "a"), machine(project, "b")
    run_until(first, 2)
    journal, folder = name_of_content(checkpoint(cloud), "journal.sqlite"), project / "b" / "live" / "work"
    cloud.put(journal, cloud.get(journal)[:-1])
    with pytest.raises(OutputError, match=f"journal.sqlite of the work folder is damaged: s3://street/{journal}") as damaged:
        run(other)
    assert "Run on the machine that worked there last" in damaged.value.next_step
    run_until(first, 1)  # which has it, and copies it again
    assert api.status(other).jobs[0].frames_done == 3
    before = (folder / "journal.sqlite").read_bytes()
    run_until(first, 1)
    cloud.client.delete_object(Bucket="street", Key=name_of_content(checkpoint(cloud), "journal.sqlite"))
    [notice] = api.status(other).notices  # what is here is older, and stays
    assert "journal.sqlite of the work folder is missing" in notice
    assert (folder / "journal.sqlite").read_bytes() == before
    assert api.clean(first, lambda found: not found).leftovers == ()  # which copies it again
    frame = name_of_content(checkpoint(cloud), "frame_00000003")
    cloud.put(frame, bytes(len(cloud.get(frame))))
    result, events = run(other)
    assert (result.exit_code, painted(events)) == (0, FRAMES - 3)
    assert "1 of the frames and states that wait in s3://street/work are missing or damaged there" in notices(events)
    assert cloud.get("out/film.mp4") == undisturbed
    check_whole(cloud)


def test_whoever_only_reads_makes_way_for_a_run(
    cloud: Cloud, project: Path, undisturbed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CHUNK_BYTES", 1000)  # so that what is fetched takes many requests
    run_until(machine(project, "a"), 1)
    other = machine(project, "b")
    cloud.proxy.faults.append(Fault("GET", "/work/objects/", wait=0.5))
    asked: list[int] = []

    def hurry_once_a_run_holds_the_place(method: str, path: str) -> None:
        if method == "PUT" and "/work/locks/" in path:
            asked.append(cloud.proxy.count("GET", "/work/objects/"))
            cloud.proxy.faults.clear()

    with ThreadPoolExecutor(1) as reader:
        status = reader.submit(api.status, other)
        while not cloud.proxy.count("GET", "/work/objects/"):
            time.sleep(0.01)
        cloud.proxy.on_request = hurry_once_a_run_holds_the_place
        result, events = run(other)
        assert status.result().jobs[0].frames_done == 0  # nothing is known on this machine yet
    assert (result.exit_code, painted(events)) == (0, FRAMES - 1)
    assert cloud.get("out/film.mp4") == undisturbed
    assert asked[0] < 20 < cloud.proxy.count("GET", "/work/objects/")  # it did not wait for all that the reader wanted


@pytest.mark.faults
def test_a_remote_place_that_was_deleted_and_begun_anew_is_not_taken_for_the_old_one(
    cloud: Cloud, project: Path, undisturbed: bytes
) -> None:
    first, other, reader = machine(project, "a"), machine(project, "b"), machine(project, "c")
    run_until(first, 1)
    old = checkpoint(cloud)
    assert api.status(reader).jobs[0].frames_done == 1
    delete_all(cloud)
    run_until(other, 2)
    new = {**checkpoint(cloud), "holder": old["holder"], "serial": old["serial"]}
    cloud.put("work/checkpoints/00000001.json", json.dumps(new).encode())
    assert api.status(first).jobs[0].frames_done == 2
    delete_all(cloud)
    result, events = run(reader)  # whose frame is a name alone
    assert (result.exit_code, painted(events)) == (0, FRAMES)
    assert cloud.get("out/film.mp4") == undisturbed


def test_a_run_that_was_killed_right_after_a_checkpoint_knows_it_as_its_own(cloud: Cloud, project: Path) -> None:
    pipeline = machine(project, "a")
    state = project / "a" / "live" / "live.json"
    run_until(pipeline, 1)
    known = json.loads(state.read_text())
    state.write_text(json.dumps({**known, "checkpoint": "1-1-00000000", "copying": known["checkpoint"], "is_pending": True}))
    cloud.proxy.faults.append(Fault("PUT", "/work/objects/", 503, SLOW_DOWN))
    (project / "a" / "live" / "work" / "logs" / "new.jsonl").write_text("{}")  # so that there is something to copy
    with pytest.raises(OutputError, match="cannot be copied"):
        api.clean(pipeline)
    assert json.loads(state.read_text())["is_pending"]  # what the run had not copied is still not copied
    cloud.proxy.faults.clear()
    result, events = run(pipeline)
    assert (result.exit_code, painted(events)) == (0, FRAMES - 1)
    assert not list((project / "a" / "live").glob("work.set-aside-*"))


def test_a_work_folder_of_this_machine_becomes_a_remote_one(cloud: Cloud, project: Path) -> None:
    pipeline = machine(project, "a")
    overrides = ["work=work"]
    stop = Stop()
    run(pipeline, overrides=overrides, stop=stop, on_event=at_frame(2, lambda: stop.ask(StopReason.TIME)))
    (project / "a" / "live").mkdir()
    (project / "a" / "work").rename(project / "a" / "live" / "work")
    result, events = run(pipeline)
    assert (result.exit_code, painted(events)) == (0, FRAMES - 2)
    # Where there is a copy already, that is used, and a folder that lies in its way is kept.
    (project / "b" / "live" / "work").mkdir(parents=True)
    (project / "b" / "live" / "work" / "mine.txt").write_text("mine")
    result, events = run(machine(project, "b"))
    assert (result.exit_code, len(result.already_done)) == (0, 1)
    [kept] = (project / "b" / "live").glob("work.set-aside-*")
    assert (kept / "mine.txt").read_text() == "mine"


def test_a_busy_server_at_the_last_copy_is_asked_again(cloud: Cloud, project: Path) -> None:
    pipeline = machine(project, "a", retries=1, checkpoint_seconds=1000, lock_seconds=1000)
    once = Fault("PUT", "/work/locks/", 503, SLOW_DOWN, times=1)
    assert run(pipeline, on_event=at_frame(FRAMES, lambda: cloud.proxy.faults.append(once)))[0].exit_code == 0
    assert once.times == 0


def test_a_holder_that_was_held_up_deletes_nothing_of_the_next_one(cloud: Cloud, project: Path) -> None:
    of_next = ["work/checkpoints/00000002.json", f"work/objects/ab/{'ab' * 32}"]

    def take_over(method: str, path: str) -> None:
        if method == "PUT" and "/work/checkpoints/" in path and cloud.proxy.count("PUT", "/work/checkpoints/") == 1:
            for name in of_next:
                cloud.put(name, b"{}")

    cloud.proxy.on_request = take_over
    run_until(machine(project, "a"), 2)
    assert set(of_next) <= set(cloud.names("work/"))


def test_shards_on_machines_of_their_own_are_joined(cloud: Cloud, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        cloud.put(f"in/{name}.png", make_picture(tmp_path / "in" / f"{name}.png", seed=ord(name)))
    job = {"name": "pictures", "input": "s3://street/in", "output": "s3://street/out", "link": "none"}

    def on(name: str) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        return write_pipeline(tmp_path / name, job, workers=1, work="s3://street/work", storage={"live": "live", "retries": 0})

    made = []

    def another_at_once() -> None:
        with pytest.raises(BusyError, match=r"another run works with s3://street/work/shards/1-of-2"):
            run(on("z"), shard="1/2")
        with pytest.raises(BusyError, match=r"shard 1/2 works with s3://street/work: process"):
            run(on("z"))
        assert set(api.status(on("z")).shards) == {"1/2"}

    for name, shard in (("x", "1/2"), ("y", "2/2")):
        result, events = run(on(name), shard=shard, on_event=at_frame(1, another_at_once) if name == "x" else lambda _: None)
        assert result.exit_code == 0
        made.append(painted(events))
    assert sorted(made) == [1, 2]
    with pytest.raises(BusyError, match="shard 1/2 has done a part of the work"):
        run(on("x"), shard="1/3")
    assert api.status(on("z")).jobs[0].done == 3
    result, events = run(on("z"))
    assert (result.exit_code, len(result.already_done), painted(events)) == (0, 3, 0)
    assert not cloud.names("work/shards/1-of-2/objects") + cloud.names("work/settled")
    assert len(cloud.names("out/")) == 3
    assert run(on("x"), shard="1/3")[0].exit_code == 0


def test_sftp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: bytes) -> None:
    far, home = tmp_path / "far", tmp_path / "home"
    far.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ANNA", PASSWORD)
    make_video(tmp_path / "film.mp4", frames=FRAMES, audio=False)
    job = {"name": "film", "input": "film.mp4", "output": "out.mp4", **SLOWER}
    with sftp_server(far, home) as port:
        work = f"sftp://anna:${{ANNA}}@127.0.0.1:{port}/work"

        def on(live: str) -> Path:
            storage = {"live": live, "retries": 0, "checkpoint_seconds": 1}
            return write_pipeline(tmp_path, job, workers=1, work=work, storage=storage)

        def second_machine() -> None:
            with pytest.raises(BusyError, match=r"another run works with sftp://127\.0\.0\.1:\d+/work"):
                run(on("b"))

        stop = Stop()
        first, meet, end = on("a"), at_frame(1, second_machine), at_frame(3, lambda: stop.ask(StopReason.TIME))

        def listen(event: Event) -> None:
            meet(event)
            end(event)

        assert run(first, stop=stop, on_event=listen)[0].exit_code == 75
        result, events = run(on("b"))
        assert (result.exit_code, painted(events)) == (0, FRAMES - 3)
        assert (tmp_path / "out.mp4").read_bytes() == undisturbed
    assert not list(far.rglob("*partial*"))
    for folder in (far, tmp_path / "a", tmp_path / "b"):
        assert all(PASSWORD.encode() not in file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.faults
def test_a_video_whose_shots_are_in_two_shards_is_finished_by_the_run_that_joins(cloud: Cloud, tmp_path: Path) -> None:
    cloud.put("film.mp4", make_cut_video(tmp_path / "film.mp4"))
    job = {"name": "film", "input": "s3://street/film.mp4", "output": "s3://street/out/film.mp4"}

    def on(name: str) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        return write_pipeline(tmp_path / name, job, workers=1, work="s3://street/work", storage={"live": "live", "retries": 0})

    for name, shard in (("x", "1/2"), ("y", "2/2")):
        result, events = run(on(name), shard=shard)
        assert (result.exit_code, painted(events)) == (0, 10)
        assert "1 of 2 are not done yet" in notices(events)
    assert "out/film.mp4" not in cloud.names()
    assert api.clean(on("w"), lambda found: not found).leftovers == ()
    result, events = run(on("z"))
    assert (result.exit_code, len(result.outputs), painted(events)) == (0, 1, 0)
    (tmp_path / "whole").mkdir()
    here = write_pipeline(tmp_path / "whole", {**job, "input": str(tmp_path / "film.mp4"), "output": "film.mp4"}, workers=1)
    assert run(here)[0].exit_code == 0
    assert cloud.get("out/film.mp4") == (tmp_path / "whole" / "film.mp4").read_bytes()
