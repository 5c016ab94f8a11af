"""Reading from and writing to a local S3 that is slow, busy, cut off, closed or with credentials that have expired."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nstpipe.errors import MachineError
from nstpipe.storage import store as module
from nstpipe.storage.address import parse_address
from nstpipe.storage.failures import StorageError
from nstpipe.storage.store import Entry, Policy, Store
from nstpipe.system.stop import Stop, Stopped, StopReason
from tests.storage.conftest import SECRET_KEY, SESSION_TOKEN, Cloud
from tests.storage.faulty import DENIED, EXPIRED, SLOW_DOWN, Fault

CONTENT = bytes(range(256)) * 40
ADDRESS = parse_address("s3://street/in/a.bin")


def store_of(retries: int = 3, **policy: float) -> Store:
    return Store(ADDRESS, replace(Policy(retries=retries), **policy))


def entry_of(store: Store) -> Entry:
    return store.entry(ADDRESS)


def test_a_folder_is_listed_with_all_below_it_and_without_placeholders(cloud: Cloud) -> None:
    for key in ("in/a.bin", "in/deep/er/b.bin", "in/", "in/c/", "inner/d.bin"):
        cloud.put(key, b"x" * len(key))
    found = store_of().look(parse_address("s3://street/in"))
    assert isinstance(found, list)
    assert {(one.inside, one.size) for one in found} == {("a.bin", 8), ("deep/er/b.bin", 16)}
    one = store_of().look(ADDRESS)
    assert isinstance(one, Entry)
    assert (one.etag, one.inside) == (hashlib.md5(b"x" * 8).hexdigest(), "")
    assert store_of().look(parse_address("s3://street/nothing"), may_be_missing=True) == []


@pytest.mark.parametrize(
    ("address", "faults", "said", "kind"),
    [
        ("s3://street/none", [], "s3://street/none does not exist.", "missing"),
        ("s3://nowhere/in", [], "there is no bucket nowhere, so s3://nowhere/in does not exist.", "missing"),
        ("s3://street/in", [Fault("GET", "", 403, DENIED)], "permission denied.", "denied"),
        ("s3://street/in", [Fault("GET", "", 400, EXPIRED)], "the credentials have expired.", "expired"),
        (
            "s3://street/in/a.bin",
            [Fault("HEAD", "", 400), Fault("GET", "", 400, EXPIRED)],
            "credentials have expired.",
            "expired",
        ),
        ("s3://street/in/a.bin", [Fault("HEAD", "", 403), Fault("GET", "", 403, DENIED)], "permission denied.", "denied"),
        ("s3://street/in", [Fault("GET", "", 503, SLOW_DOWN)], "asks to slow down (503). It was tried 3 times.", "transient"),
    ],
)
def test_what_cannot_be_listed_is_said(cloud: Cloud, address: str, faults: list[Fault], said: str, kind: str) -> None:
    cloud.put("in/a.bin", CONTENT)
    cloud.proxy.faults += faults
    with pytest.raises(StorageError) as error:
        store_of(retries=2).look(parse_address(address))
    assert said in error.value.problem
    assert error.value.kind == kind
    assert error.value.next_step
    assert error.value.__cause__ is None and error.value.__suppress_context__  # a traceback would show what the client said


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", "a.bin", 503, SLOW_DOWN, times=2),
        Fault("GET", "a.bin", 500, b"", times=2),
        Fault("GET", "a.bin", cut_after=1000, times=2),
        Fault("GET", "a.bin", cut_after=0, times=2),
        Fault("GET", "a.bin", wait=1.5, times=1),
    ],
    ids=["slow down", "server error", "cut", "cut at once", "too slow"],
)
def test_a_file_is_fetched_whole_through_a_fault(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 4000)
    cloud.put("in/a.bin", CONTENT)
    store = store_of(timeout_seconds=0.5) if fault.wait else store_of()
    entry = entry_of(store)
    cloud.proxy.faults.append(fault)
    store.fetch(ADDRESS, entry, tmp_path / "a.bin", Stop())
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_an_interrupted_fetch_continues_where_it_was(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 4000)
    cloud.put("in/a.bin", CONTENT)
    store, stop = store_of(retries=0), Stop()
    entry = entry_of(store)
    reads: list[str] = []

    def stop_at_the_second(method: str, path: str) -> None:
        reads.extend([path] if method == "GET" else [])
        if len(reads) == 2:
            stop.ask(StopReason.INTERRUPTED)

    cloud.proxy.on_request = stop_at_the_second
    with pytest.raises(Stopped):
        store.fetch(ADDRESS, entry, tmp_path / "a.bin", stop)
    assert len(reads) == 2 and not (tmp_path / "a.bin").exists()
    cloud.proxy.on_request = lambda method, path: reads.extend([path] if method == "GET" else [])
    store_of().fetch(ADDRESS, entry, tmp_path / "a.bin", Stop())
    assert len(reads) == 3  # only the last of three parts was left
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_file_that_changes_while_it_is_fetched_gets_no_name(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 4000)
    cloud.put("in/a.bin", CONTENT)
    store = store_of()
    entry = entry_of(store)
    cloud.put("in/a.bin", CONTENT[::-1])
    with pytest.raises(StorageError, match="changed while it was fetched"):
        store.fetch(ADDRESS, entry, tmp_path / "a.bin", Stop())
    assert not list(tmp_path.iterdir())


def test_a_file_gets_its_remote_name_when_it_was_checked(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    named: list[bool] = []
    cloud.proxy.on_request = lambda method, _: named.append("in/a.bin" in cloud.names()) if method == "HEAD" else None
    cloud.proxy.faults.append(Fault("PUT", "partial", 503, SLOW_DOWN, times=1))
    made = store_of().put(source, ADDRESS, sha256, Stop())
    assert named[0] is False and named[-1] is True
    assert cloud.names() == ["in/a.bin"] and cloud.get("in/a.bin") == CONTENT
    assert made.size == len(CONTENT)
    cloud.proxy.faults.append(Fault("PUT", "a.bin", 503, SLOW_DOWN))
    with pytest.raises(StorageError, match="cannot be written: the server asks to slow down"):
        store_of(retries=1).put(source, ADDRESS, sha256, Stop())
    assert cloud.get("in/a.bin") == CONTENT  # what was there stays
    cloud.proxy.faults.clear()
    source.write_bytes(b"other")
    monkeypatch.setattr(module, "_has_checksum_of", lambda *_: False)  # as a server that gives no checksum
    with pytest.raises(StorageError, match="damaged on the way"):
        store_of(retries=1).put(source, ADDRESS, sha256, Stop())
    assert cloud.get("in/a.bin") == CONTENT


def test_a_large_file_is_sent_in_parts_and_checked(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 5 << 20)
    content = os.urandom(1 << 20) * 11
    (tmp_path / "large").write_bytes(content)
    before = len(cloud.proxy.requests)
    made = store_of().put(tmp_path / "large", ADDRESS, hashlib.sha256(content).hexdigest(), Stop())
    assert made.size == len(content)
    assert cloud.get("in/a.bin") == content
    sent = cloud.proxy.requests[before:]
    assert sum("partNumber" in path for method, path in sent if method == "PUT") == 3
    assert not [path for method, path in sent if method == "GET"]  # the checksum of the parts is that of the server


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)
    with pytest.raises(MachineError) as error:
        Store(parse_address("gs://bucket/in"), Policy())
    assert error.value.problem == "gs://bucket/in needs the package gcsfs."
    assert "pip install 'nstpipe[gs]'" in error.value.next_step


class _Plain(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_web_server_that_sends_no_parts_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 4000)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a b.bin").write_bytes(CONTENT)
    asked: list[str] = []

    class Handler(_Plain):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path / "served"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        address = parse_address(f"http://127.0.0.1:{server.server_address[1]}/a%20b.bin")
        store = Store(address, Policy(retries=1))
        entry = store.look(address)
        assert isinstance(entry, Entry) and entry.size == len(CONTENT) and entry.modified > 0
        assert store.head(address, 100) == CONTENT[:100]
        asked.clear()
        store.fetch(address, entry, tmp_path / "a.bin", Stop())
        assert (tmp_path / "a.bin").read_bytes() == CONTENT
        assert len(asked) == 1
        with pytest.raises(StorageError, match=r"127.0.0.1:\d+/none does not exist"):
            store.look(replace(address, key="none"))
        closed = replace(address, host="127.0.0.1:9")
        with pytest.raises(StorageError, match="the server cannot be reached"):
            Store(closed, Policy(retries=0)).look(closed)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_errors_hold_no_credentials(cloud: Cloud, tmp_path: Path) -> None:
    cloud.put("in/a.bin", CONTENT)
    url = cloud.client.generate_presigned_url("get_object", Params={"Bucket": "street", "Key": "in/a.bin"})
    signed = parse_address(url.replace(cloud.client.meta.endpoint_url, cloud.proxy.url))
    store = Store(signed, Policy(retries=0))
    assert store.entry(signed).size == len(CONTENT)
    store.fetch(signed, store.entry(signed), tmp_path / "a.bin", Stop())
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    for status in (403, 500, 404):
        cloud.proxy.faults[:] = [Fault("GET", "", status), Fault("HEAD", "", status)]
        with pytest.raises(StorageError) as error:
            store.look(signed)
        for secret in ("Signature", signed.query, SECRET_KEY, SESSION_TOKEN):
            assert secret not in f"{error.value} {error.value!r}"


@pytest.mark.parametrize("answer", [(400, EXPIRED), (403, DENIED)], ids=["expired", "denied"])
def test_renewed_credentials_count_for_the_next_file(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, bytes]
) -> None:
    monkeypatch.setattr(module, "RENEWAL_SECONDS", 0.0)
    cloud.put("in/a.bin", CONTENT)
    credentials = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    credentials.write_text("[default]\naws_access_key_id = AKIAOLD\naws_secret_access_key = one\n")
    store = store_of()
    cloud.proxy.faults.append(Fault("GET", "a.bin", *answer))
    with pytest.raises(StorageError):
        store.read(ADDRESS)
    assert "AKIAOLD" in cloud.proxy.authorizations[-1]
    cloud.proxy.faults.clear()
    credentials.write_text("[default]\naws_access_key_id = AKIANEW\naws_secret_access_key = two\n")
    assert store.read(ADDRESS) == CONTENT
    assert "AKIANEW" in cloud.proxy.authorizations[-1]


def test_many_files_that_are_denied_share_a_client(cloud: Cloud) -> None:
    cloud.put("in/a.bin", CONTENT)
    cloud.proxy.faults.append(Fault("GET", "a.bin", 403, DENIED))
    policy = Policy(retries=0)
    store = Store(ADDRESS, policy)
    store.entry(ADDRESS)
    client = policy.clients.of(ADDRESS, policy.timeout_seconds)
    for _ in range(5):
        with pytest.raises(StorageError, match="permission denied"):
            store.read(ADDRESS)
    assert policy.clients.of(ADDRESS, policy.timeout_seconds) is client
