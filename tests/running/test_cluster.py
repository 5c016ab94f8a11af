"""What is special about a cluster: the order of tasks, leases, what workers must see, and GPUs. Faults have their own tests."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import nstpipe
from nstpipe.config import load_pipeline
from nstpipe.config.cluster import Cluster, Tls
from nstpipe.errors import MachineError, UsageError
from nstpipe.events import ClipStarted, FrameDone
from nstpipe.report.data import Painter, painters_of
from nstpipe.running.cluster import examination
from nstpipe.running.cluster import leases as leases_module
from nstpipe.running.cluster.backlog import Backlog, Waiting
from nstpipe.running.cluster.executor import DaskCluster
from nstpipe.running.cluster.leases import LeasedStop, Leases
from nstpipe.running.cluster.reads import Reads
from nstpipe.running.cluster.worker import Expected, examine
from nstpipe.running.worker_processes import WorkerProcesses
from nstpipe.system import hardware
from nstpipe.system.devices import only_visible
from nstpipe.system.stop import StopReason
from tests.making import make_picture, write_pipeline
from tests.running.tasks import execute, visible_gpus


def numbers(waiting: list[Waiting]) -> list[int]:
    return [one.number for one in waiting]


def backlog(costs: list[float], not_ready: set[int] | None = None) -> Backlog:
    blocked = not_ready or set()
    return Backlog(list(range(len(costs))), lambda task: costs[task], lambda task: task not in blocked)


def anywhere(hardware: str) -> bool:
    return True


def test_the_longest_task_comes_first_and_of_equal_ones_the_first() -> None:
    waiting = backlog([1, 3, 2, 3])
    assert [numbers(waiting.take(2, "cpu", anywhere)) for _ in range(5)] == [[1], [3], [2], [0], []]


def test_short_tasks_travel_together_up_to_their_share_and_singly_at_the_end() -> None:
    waiting = backlog([1.0] * 256)
    taken = []
    while chosen := waiting.take(2, "cpu", anywhere):
        taken.append(len(chosen))
    assert taken[0] == 4  # 256 / (2 slots x 32 shares)
    assert sum(taken) == 256
    assert taken == sorted(taken, reverse=True)
    assert taken[-64:] == [1] * 64


def test_a_long_task_is_not_joined_by_others() -> None:
    assert numbers(backlog([100.0, *[1.0] * 50]).take(1, "cpu", anywhere)) == [0]


def test_a_task_waits_until_it_is_ready_and_is_looked_at_after_a_result() -> None:
    blocked = {0}
    waiting = backlog([5, 1], blocked)
    assert (waiting.ready_count, bool(waiting)) == (1, True)
    assert numbers(waiting.take(1, "cpu", anywhere)) == [1]
    blocked.clear()
    assert waiting.take(1, "cpu", anywhere) == []
    waiting.note_result()
    assert numbers(waiting.take(1, "cpu", anywhere)) == [0]
    assert not waiting


@pytest.mark.parametrize("most", [1, 2, 5, 100])
def test_of_very_many_tasks_some_are_looked_at_together_and_none_is_forgotten(most: int) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for task in range(20):
            taken.append(task)
            yield task

    done: set[int] = set()
    # Each third task waits for the one before it.
    waiting = Backlog(tasks(), lambda _: 1.0, lambda task: task % 3 != 2 or task - 1 in done, most)
    assert len(taken) == min(most, 20), "no more than are looked at together"
    while waiting:
        chosen = waiting.take(1, "cpu", anywhere)
        assert chosen
        assert len(taken) - len(done) <= max(2 * most, 3)
        done.update(numbers(chosen))
        waiting.note_result()
    assert done == set(range(20))


def test_a_task_that_nothing_in_hand_waits_for_is_looked_for_further_on() -> None:
    waiting = Backlog(range(50), lambda _: 1.0, {40, 45}.__contains__, 10)
    assert waiting.ready_count == 2
    assert [numbers(waiting.take(1, "cpu", anywhere)) for _ in range(3)] == [[40], [45], []]
    assert waiting


def test_a_task_that_was_begun_goes_on_on_the_same_hardware_if_there_is_any() -> None:
    waiting = backlog([1, 1])
    begun = waiting.take(1, "old", anywhere)
    waiting.put_back(begun, "old")
    assert numbers(waiting.take(1, "new", {"old", "new"}.__contains__)) == [1]
    assert waiting.take(1, "new", {"old", "new"}.__contains__) == []
    assert numbers(waiting.take(1, "new", {"new"}.__contains__)) == [0]


@pytest.fixture
def leases(tmp_path: Path) -> Iterator[Leases]:
    made = Leases(tmp_path, "run", lost_after=0.6)
    yield made
    made.close()


def patiently(stop: LeasedStop) -> bool:
    end = time.monotonic() + 10
    while not stop.should_stop() and time.monotonic() < end:
        time.sleep(0.05)
    return stop.should_stop()


def test_a_lease_lets_go_on_passes_a_stop_on_and_ends_at_once_when_it_is_gone(leases: Leases) -> None:
    lease = leases.give("1")
    stop = LeasedStop(lease)
    assert (stop.should_stop(), stop.is_late) == (False, False)
    leases.ask_to_stop(lease, StopReason.TERMINATED)
    assert patiently(stop)
    assert (stop.reason, stop.is_late, stop.is_revoked) == (StopReason.TERMINATED, False, False)
    other = leases.give("2")
    stop = LeasedStop(other)
    assert not stop.should_stop()
    leases.take_back(other)
    assert patiently(stop)
    assert (stop.is_late, stop.is_revoked) == (True, True)


def test_a_lease_ends_when_its_giver_shows_no_life_or_a_later_run_begins(leases: Leases, tmp_path: Path) -> None:
    stop = LeasedStop(leases.give("1"))
    assert not stop.should_stop()
    assert patiently(stop)
    assert stop.is_revoked
    stop = LeasedStop(leases.give("2"))
    Leases(tmp_path, "later", lost_after=60).give("2")
    assert patiently(stop)
    assert stop.is_revoked


def test_a_machine_that_was_suspended_does_not_blame_the_giver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(leases_module, "time", SimpleNamespace(monotonic=lambda: now))
    given = Leases(tmp_path, "run", lost_after=30)
    stop = LeasedStop(given.give("1"))
    assert not stop.should_stop()
    now += 10_000  # all machines slept
    assert not stop.should_stop()
    given.show_life()
    for _ in range(7):  # the first one sees the sign; the others count five seconds each
        now += 6
        assert not stop.should_stop()
    now += 6
    assert stop.should_stop()


def test_a_giver_that_shows_life_is_believed(leases: Leases) -> None:
    stop = LeasedStop(leases.give("1"))
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        leases.show_life()
        assert not stop.should_stop()
        time.sleep(0.1)


def expected(folder: Path, **other: Any) -> Expected:
    answers = folder / "work" / "cluster" / "run"
    answers.mkdir(parents=True, exist_ok=True)
    (answers / "probe").write_text("right")
    (folder / "in.mp4").write_bytes(b"12345")
    fields = {
        "probe": answers / "probe",
        "content": "right",
        "answer": answers / "answer",
        "inputs": ((folder / "in.mp4", 5),),
        "outputs": (),
        "weights": "bundled",
        "device": "cpu",
        "slots": 1,
    }
    return Expected(**{**fields, **other})


def test_a_worker_says_what_it_does_not_see(tmp_path: Path) -> None:
    assert examine(expected(tmp_path)).problems == ()
    wrong = expected(
        tmp_path,
        content="other",
        inputs=((tmp_path / "in.mp4", 6), (tmp_path / "none", None)),
        outputs=(tmp_path / "out" / ".probe",),
    )
    assert examine(wrong).problems == (
        f"does not see the work folder {tmp_path / 'work'}",
        f"sees another file at {tmp_path / 'in.mp4'}, of 5 bytes instead of 6",
        f"does not see {tmp_path / 'none'}: No such file or directory",
        f"does not see the folder {tmp_path / 'out'}, where results go",
    )


def test_what_a_run_reads_is_checked_also_behind_a_pattern(tmp_path: Path) -> None:
    make_picture(tmp_path / "in" / "a.png")
    pipeline = load_pipeline(write_pipeline(tmp_path, {"name": "one", "input": "in/*.png", "output": "out/deep"}))
    reads = Reads.of(pipeline)
    assert reads.inputs == (tmp_path / "in", tmp_path / "style.png")
    assert reads.outputs == (tmp_path,)
    assert reads.device == "cpu"


def test_a_scheduler_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nstpipe.running.cluster.connection.CONNECT_SECONDS", 0.5)
    with pytest.raises(MachineError, match=r"cluster: tcp://127.0.0.1:9 cannot be used"):
        DaskCluster(Cluster(address="tcp://127.0.0.1:9"), tmp_path).prepare(print)
    with pytest.raises(MachineError, match="cannot be read: No such file or directory") as caught:
        DaskCluster(Cluster(address=tmp_path / "none.json"), tmp_path).prepare(print)
    assert "dask scheduler --scheduler-file" in caught.value.next_step
    assert not (tmp_path / "cluster").exists()


def test_a_shard_of_a_cluster_is_refused(tmp_path: Path) -> None:
    make_picture(tmp_path / "a.png")
    path = write_pipeline(tmp_path, {"name": "one", "input": "a.png", "output": "b.png"})
    with pytest.raises(UsageError, match="give either a shard or a cluster"):
        nstpipe.run(path, shard="1/2", cluster="tcp://scheduler:8786")


def test_a_key_that_dask_jobqueue_does_not_know_is_named(tmp_path: Path) -> None:
    cluster = Cluster.model_validate({"kind": "slurm", "cores": 1, "memory": "1GB", "partition": "gpu"})
    with pytest.raises(MachineError, match=r"cluster.partition: unknown key of kind slurm") as caught:
        DaskCluster(cluster, tmp_path, 1).prepare(print)
    assert "queue" in caught.value.next_step


def certificates(folder: Path) -> Tls | None:
    """Certificates for all machines of a cluster; None if openssl is missing."""
    if shutil.which("openssl") is None:
        return None
    subject, made = ["-nodes", "-newkey", "rsa:2048", "-subj"], {"cwd": folder, "check": True, "capture_output": True}
    for command in (
        ["req", "-x509", "-keyout", "ca.key", "-out", "ca.pem", *subject, "/CN=authority"],
        ["req", "-keyout", "me.key", "-out", "me.csr", *subject, "/CN=me"],
        ["x509", "-req", "-in", "me.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "me.pem"],
    ):
        subprocess.run(["openssl", *command], **made)  # type: ignore[call-overload]
    return Tls(ca=folder / "ca.pem", cert=folder / "me.pem", key=folder / "me.key")


def test_a_worker_is_reached_by_certificate_and_one_with_another_version_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real worker, which has this version, is compared with a process that says it has another."""
    monkeypatch.setattr(examination, "versions_here", lambda weights: (("nstpipe", "9.9"), *real_versions(weights)[1:]))
    tls = certificates(tmp_path)
    executor = DaskCluster(Cluster(kind="local", tls=tls), tmp_path, 1)
    place = "tls" if tls is not None else "tcp"
    try:
        named = rf"worker local-1 at {place}://.* has another version of nstpipe: .*; this machine has 9.9"
        with pytest.raises(MachineError, match=named):
            list(execute(executor, visible_gpus, [0]))
    finally:
        executor.close()


def test_certificates_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"cluster: tls://127.0.0.1:9 needs certificates"):
        DaskCluster(Cluster(address="tls://127.0.0.1:9"), tmp_path).prepare(print)
    tls = Tls(ca=tmp_path / "none.pem", cert=tmp_path / "none.pem", key=tmp_path / "none.pem")
    with pytest.raises(MachineError, match=r"cluster.tls: .*none.pem cannot be read: No such file"):
        DaskCluster(Cluster(address="tls://127.0.0.1:9", tls=tls), tmp_path).prepare(print)


real_versions = examination.versions_here


@pytest.mark.parametrize(
    ("device", "environment", "seen"),
    [
        ("cuda:1", {}, "1"),
        ("cuda", {}, "0"),
        ("cuda:1", {"CUDA_VISIBLE_DEVICES": "4, 7"}, "7"),
        ("cuda:0", {"CUDA_VISIBLE_DEVICES": "GPU-6a"}, "GPU-6a"),
    ],
)
def test_a_process_sees_its_own_gpu_only(device: str, environment: dict[str, str], seen: str) -> None:
    assert only_visible(device, environment) == {"CUDA_VISIBLE_DEVICES": seen}


def test_a_list_of_gpus_pins_each_process_before_torch_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    make_picture(tmp_path / "a.png")
    job = {"name": "one", "input": "a.png", "output": "b.png"}
    pipeline = load_pipeline(write_pipeline(tmp_path, job, device=["cuda:1", "cuda:3"], workers=2))
    assert pipeline.device_of_process == "cuda"
    executor = WorkerProcesses.for_pipeline(pipeline, 2, isolated=True)
    assert set(execute(executor, visible_gpus, [0, 1])) == {("1", False), ("3", False)}


def test_threads_are_shared_and_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "core_count", lambda: 16)
    monkeypatch.delenv(hardware.THREADS_VARIABLE, raising=False)
    assert [hardware.threads_of_slot(slots) for slots in (1, 3, 32)] == [16, 5, 1]
    monkeypatch.setenv(hardware.THREADS_VARIABLE, "4")
    assert hardware.threads_of_slot(3) == 4


def frame(path: str, index: int) -> FrameDone:
    rest: dict[str, Any] = {"content_loss": None, "style_loss": None, "optimising_seconds": 1.0, "most_evaluations": 1}
    return FrameDone(
        job="one", path=path, first_frame_index=0, frame_index=index, seconds=2.0, evaluations=1, pixels=1, loss=None, **rest
    )


def began(path: str, worker: str) -> ClipStarted:
    clip: dict[str, Any] = {"first_frame_index": 0, "next_frame_index": 0, "end_frame_index": 9, "reason": "new"}
    return ClipStarted(job="one", path=path, worker=worker, hardware="cpu" if worker else "", **clip)


def test_the_report_says_which_worker_painted_what() -> None:
    events = [
        began("in/a.mp4", "w1"),
        frame("in/a.mp4", 0),
        began("in/b.mp4", "w2"),
        frame("in/b.mp4", 0),
        began("in/a.mp4", "w2"),
        frame("in/a.mp4", 1),
    ]
    assert painters_of(events) == (
        Painter("w1", "cpu", 1, 1, 2.0, ("a.mp4",)),
        Painter("w2", "cpu", 2, 2, 4.0, ("b.mp4", "a.mp4")),
    )
    assert painters_of([began("in/a.mp4", ""), frame("in/a.mp4", 0)]) == ()
