"""Whole runs with remote inputs, outputs and paintings."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import asyncssh
import pytest
import yaml

import nstpipe
from nstpipe import api
from nstpipe.cli import exit_code
from nstpipe.events import Event, FrameDone, ItemFailed, Noticed, OutputDone
from nstpipe.running.outcome import RunResult
from nstpipe.storage.address import parse_address
from nstpipe.storage.store import Policy, Store
from tests.making import make_picture, make_video, write_pipeline
from tests.storage.conftest import SECRET_KEY, SESSION_TOKEN, Cloud
from tests.storage.faulty import EXPIRED, SLOW_DOWN, Fault, proxy_before

PASSWORD = "pa55-of-anna"


def run(pipeline: Path, *overrides: str) -> tuple[RunResult, list[Event]]:
    events: list[Event] = []
    return nstpipe.run(pipeline, overrides=overrides, on_event=events.append), events


def painted(events: list[Event]) -> int:
    return sum(isinstance(event, FrameDone) for event in events)


def put_inputs(cloud: Cloud, folder: Path) -> None:
    """Two pictures that are linked, a mask, a video and a painting, in the bucket and on this machine."""
    for name in ("in/1.png", "in/deep/2.png", "mask.png"):
        cloud.put(name, make_picture(folder / name, seed=1))
    cloud.put("in/3.png", (folder / "in" / "1.png").read_bytes())
    (folder / "in" / "3.png").write_bytes((folder / "in" / "1.png").read_bytes())
    cloud.put("film.mp4", make_video(folder / "film.mp4", frames=2))


def test_remote_files_give_the_same_results_and_no_secret_is_left(
    cloud: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_inputs(cloud, tmp_path)
    key = {"Bucket": "street", "Key": "mask.png"}
    signed = cloud.client.generate_presigned_url("get_object", Params=key)
    signed = signed.replace(cloud.client.meta.endpoint_url, cloud.proxy.url)
    region = {"mask": "mask.png", "style": "keep"}
    pictures = {"name": "pictures", "input": "in", "output": "out", "regions": [region]}
    film = {"name": "film", "input": "film.mp4", "output": "out/film.mp4"}
    (tmp_path / "far").mkdir()
    assert run(write_pipeline(tmp_path, pictures, film, workers=1))[0].exit_code == 0
    remote = [
        {**pictures, "input": "s3://street/in", "output": "s3://street/out", "regions": [{**region, "mask": signed}]},
        {**film, "input": "s3://street/film.mp4", "output": "s3://street/films/film.mp4"},
    ]
    path = write_pipeline(tmp_path / "far", *remote, workers=1)
    result, events = run(path)
    assert (result.exit_code, len(result.outputs), painted(events)) == (0, 4, 5)
    for name in ("1.png", "3.png", "deep/2.png"):
        assert cloud.get(f"out/{name}") == (tmp_path / "out" / name).read_bytes()
    assert cloud.get("films/film.mp4") == (tmp_path / "out" / "film.mp4").read_bytes()
    assert not [name for name in cloud.names() if "partial" in name]
    assert {event.output for event in events if isinstance(event, OutputDone)} >= {"s3://street/out/1.png"}

    # Nothing is here any more, and nothing is fetched again; another signature of the mask is the same mask.
    mirror = tmp_path / "far" / ".nstpipe" / "remote"
    assert all(path.stat().st_blocks * 512 <= 8192 for path in mirror.rglob("*.*") if "index" not in path.name)
    before = len(cloud.proxy.requests)
    path.write_text(
        path.read_text().replace(signed, cloud.client.generate_presigned_url("get_object", Params=key, ExpiresIn=99))
    )
    path.write_text(path.read_text().replace(cloud.client.meta.endpoint_url, cloud.proxy.url))
    result, events = run(path)
    assert (result.exit_code, result.outputs, len(result.already_done)) == (0, (), 4)
    read = [place for method, place in cloud.proxy.requests[before:] if method == "GET" and "list-type" not in place]
    assert [place for place in read if "mask.png" not in place] == []

    for command in ("plan", "status", "validate"):
        assert exit_code([command, str(path)]) == 0
    said = capsys.readouterr()
    kept = [file.read_bytes() for file in (tmp_path / "far" / ".nstpipe").rglob("*") if file.is_file()]
    everything = b"".join([*kept, f"{said.out}{said.err}{events}{result}".encode()])
    query = yaml.safe_load(path.read_text())["jobs"][0]["regions"][0]["mask"].partition("?")[2]
    for secret in (SECRET_KEY, SESSION_TOKEN, query, "Signature", "X-Amz-Credential"):
        assert secret.encode() not in everything


def test_an_upload_that_fails_or_is_interrupted_is_made_up_for_without_painting(cloud: Cloud, tmp_path: Path) -> None:
    cloud.put("in/a.png", make_picture(tmp_path / "a.png"))
    job = {"name": "one", "input": "s3://street/in", "output": "s3://street/out"}
    path = write_pipeline(tmp_path, job, workers=1, storage={"retries": 0})
    cloud.proxy.faults.append(Fault("PUT", "/out/", 503, SLOW_DOWN))
    with pytest.raises(nstpipe.errors.OutputError, match="slow down"):
        run(path)
    assert api.status(path).jobs[0].done == 1
    cloud.proxy.faults[:] = [Fault("PUT", "/out/", 400, EXPIRED)]
    result, events = run(path)
    [failure] = [event for event in events if isinstance(event, ItemFailed)]
    assert "s3://street/out/a.png cannot be written: the credentials have expired." in failure.reason
    assert "aws sso login" in failure.next_step
    assert (result.exit_code, painted(events)) == (2, 0)
    cloud.proxy.faults.clear()
    result, events = run(path)
    assert (result.exit_code, painted(events), cloud.names("out/")) == (0, 0, ["out/a.png"])
    assert any("is uploaded" in event.message for event in events if isinstance(event, Noticed))
    assert run(path)[0].exit_code == 0


def test_an_input_that_cannot_be_fetched_fails_alone_and_is_tried_again(cloud: Cloud, tmp_path: Path) -> None:
    for name in ("a", "b"):
        cloud.put(f"in/{name}.png", make_picture(tmp_path / f"{name}.png", seed=ord(name)))
    job = {"name": "one", "input": "s3://street/in", "output": "out", "link": "none"}
    lost = {"name": "lost", "input": "s3://nowhere/in/*.png", "output": "out2"}
    path = write_pipeline(tmp_path, job, lost, workers=1, storage={"retries": 0})
    api.plan(path)
    work = tmp_path / ".nstpipe" / "remote" / "s3" / "street" / "in" / "b.png"
    api.status(path)
    cloud.put("in/b.png", make_picture(tmp_path / "b.png", seed=7))
    cloud.proxy.faults.append(Fault("GET", "b.png", cut_after=1000))
    result, events = run(path)
    assert result.exit_code == 2
    reasons = [event.reason for event in events if isinstance(event, ItemFailed)]
    assert any("there is no bucket nowhere" in reason for reason in reasons)
    assert any("s3://street/in/b.png cannot be read: the connection was cut" in reason for reason in reasons)
    assert [event.output for event in result.outputs] == [str(tmp_path / "out" / "a.png")]
    assert work.exists()
    cloud.proxy.faults.clear()
    result, events = run(path)
    assert [event.output for event in result.outputs] == [str(tmp_path / "out" / "b.png")]
    assert painted(events) == 1


@contextmanager
def sftp_server(folder: Path, home: Path, connections: list[Callable[[], object]] | None = None) -> Iterator[int]:
    """An SFTP server on this machine for the user anna, whose key the home folder knows; yields its port.

    If there is a list, what cuts it is put there for each connection.
    """
    key = asyncssh.generate_private_key("ssh-ed25519")
    loop = asyncio.new_event_loop()

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            if connections is not None:
                connections.append(partial(loop.call_soon_threadsafe, conn.abort))

        def begin_auth(self, username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("anna", PASSWORD)

    def sftp(channel: asyncssh.SSHServerChannel) -> asyncssh.SFTPServer:
        return asyncssh.SFTPServer(channel, chroot=str(folder).encode())

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen("127.0.0.1", 0, server_factory=Server, server_host_keys=[key], sftp_factory=sftp)

    server = loop.run_until_complete(listen())
    port = server.get_port()
    known = home / ".ssh" / "known_hosts"
    known.parent.mkdir(parents=True)
    known.write_text(f"[127.0.0.1]:{port} {key.export_public_key().decode()}")
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.run_until_complete(server.wait_closed())
        loop.close()


def test_sftp_reads_and_writes_and_trusts_known_hosts_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far, home = tmp_path / "far", tmp_path / "home"
    make_picture(far / "in" / "a.png")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ANNA", PASSWORD)
    with sftp_server(far, home) as port:
        place = f"sftp://anna:${{ANNA}}@127.0.0.1:{port}"
        job = {"name": "one", "input": f"{place}/in", "output": f"{place}/out"}
        path = write_pipeline(tmp_path, job, workers=1, storage={"retries": 0})
        result, _ = run(path)
        assert (result.exit_code, len(result.outputs)) == (0, 1)
        assert [file.name for file in (far / "out").iterdir()] == ["a.png"]
        assert len(run(path)[0].already_done) == 1
        (home / ".ssh" / "known_hosts").write_text("")
        planned = api.plan(path)
        assert "permission denied" in planned.failures[0].reason
        assert "known_hosts" in planned.failures[0].next_step
    kept = b"".join(file.read_bytes() for file in (tmp_path / ".nstpipe").rglob("*") if file.is_file())
    assert PASSWORD.encode() not in kept


def test_a_lost_sftp_connection_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far, home = tmp_path / "far", tmp_path / "home"
    make_picture(far / "in" / "a.png")
    monkeypatch.setenv("HOME", str(home))
    connections: list[Callable[[], object]] = []
    with sftp_server(far, home, connections) as port:
        place = parse_address(f"sftp://anna:{PASSWORD}@127.0.0.1:{port}/in")
        policy = Policy(retries=2)
        one, other = Store(place, policy), Store(place, policy)
        names = [entry.inside for entry in one.files(place)]
        assert ([entry.inside for entry in other.files(place)], len(connections)) == (names, 1)  # they share it
        connections[0]()
        for store in (one, other, Store(place, policy)):
            assert [entry.inside for entry in store.files(place)] == names
        assert len(connections) == 2


def test_a_pipeline_that_is_loaded_again_connects_again(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.put("in/1.png", make_picture(tmp_path / "1.png"))
    path = write_pipeline(tmp_path, {"name": "one", "input": "s3://street/in", "output": "out"}, workers=1)
    assert len(api.plan(path).outputs) == 1
    # The same default settings, another server.
    with proxy_before(int(cloud.client.meta.endpoint_url.rpartition(":")[2])) as other:
        monkeypatch.setenv("AWS_ENDPOINT_URL", other.url)
        before = len(cloud.proxy.requests)
        assert len(api.plan(path).outputs) == 1
        assert other.requests and len(cloud.proxy.requests) == before


def test_shards_with_remote_files_share_a_work_folder(cloud: Cloud, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        cloud.put(f"in/{name}.png", make_picture(tmp_path / f"{name}.png", seed=ord(name)))
    job = {"name": "one", "input": "s3://street/in", "output": "s3://street/out", "link": "none"}
    path = write_pipeline(tmp_path, job, workers=1)
    made = []
    for shard in ("1/2", "2/2"):
        events: list[Event] = []
        assert nstpipe.run(path, shard=shard, on_event=events.append).exit_code == 0
        made.append(painted(events))
    assert sorted(made) == [1, 2]
    assert len(cloud.names("out/")) == 3
    result, events = run(path)
    assert (result.exit_code, len(result.already_done), painted(events)) == (0, 3, 0)


def test_a_cluster_paints_remote_files_with_a_remote_work_folder(cloud: Cloud, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    for name in ("a", "b"):
        cloud.put(f"in/{name}.png", make_picture(tmp_path / f"{name}.png", seed=ord(name)))
    job = {"name": "one", "input": "s3://street/in", "output": "s3://street/out", "link": "none"}
    path = write_pipeline(tmp_path, job, workers=1, work="s3://street/work", storage={"live": "live"})
    events: list[Event] = []
    result = nstpipe.run(path, cluster="local", on_event=events.append)
    assert (result.exit_code, painted(events)) == (0, 2)
    assert cloud.names("out/") == ["out/a.png", "out/b.png"]
    result, events = run(path)
    assert (result.exit_code, len(result.already_done)) == (0, 2)


def test_a_network_is_trained_on_remote_pictures(cloud: Cloud, tmp_path: Path) -> None:
    cloud.put("in/1.png", make_picture(tmp_path / "1.png"))
    job = {"name": "far", "input": "s3://street/in", "output": "s3://street/out", "size": 48}
    path = write_pipeline(tmp_path, {**job, "engine": {"name": "network", "train_minutes": 0.001}}, workers=1)
    assert api.train_look(path, tmp_path / "my.safetensors").is_done
    assert (tmp_path / "my.safetensors").exists()
