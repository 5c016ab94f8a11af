"""What every kind of remote storage must do, against a local server of each kind.

moto's S3 and asyncssh's SFTP come with the tests. Google's and Azure's need an emulator, which CONTRIBUTING.md names.
"""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from nstpipe.errors import BusyError
from nstpipe.storage.address import Address, parse_address
from nstpipe.storage.remote_lock import RemoteLock
from nstpipe.storage.store import Policy, Store
from nstpipe.system.stop import Stop
from tests.storage.conftest import Cloud
from tests.storage.test_runs import PASSWORD, sftp_server

CONTENT = bytes(range(256)) * 400

AZURE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey="
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
)
"""How Azure's emulator is reached. Its key is the same everywhere, and published."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def serving(*command: str, port: int) -> Iterator[None]:
    """Run a server until it is not needed any more."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(params=["s3", "sftp", "gs", "az"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    """A folder on a server of each kind."""
    port = free_port()
    if request.param == "s3":
        cloud: Cloud = request.getfixturevalue("cloud")
        yield parse_address(f"s3://{cloud.bucket}/base")
    elif request.param == "sftp":
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        (tmp_path / "far").mkdir()
        with sftp_server(tmp_path / "far", tmp_path / "home") as port:
            yield parse_address(f"sftp://anna:{PASSWORD}@127.0.0.1:{port}/base")
    elif request.param == "gs":
        emulator = shutil.which("fake-gcs-server")
        if emulator is None:
            pytest.skip("fake-gcs-server is not here")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
        options = ["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
        with serving(emulator, *options, "-public-host", f"127.0.0.1:{port}", port=port):
            bucket = urllib.request.Request(
                f"http://127.0.0.1:{port}/storage/v1/b?project=p", b'{"name": "street"}', {"Content-Type": "application/json"}
            )
            urllib.request.urlopen(bucket).close()
            yield parse_address("gs://street/base")
    else:
        emulator = shutil.which("azurite-blob")
        if emulator is None:
            pytest.skip("azurite-blob is not here")
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", AZURE.format(port=port))
        options = ["--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
        with serving(emulator, *options, "--blobPort", str(port), port=port):
            from azure.storage.blob import BlobServiceClient

            BlobServiceClient.from_connection_string(AZURE.format(port=port)).create_container("street")
            yield parse_address("az://street/base")


def test_files_are_written_listed_and_read(place: Address, tmp_path: Path) -> None:
    store = Store(place, Policy(retries=1))
    assert store.look(place.below("none"), may_be_missing=True) == []
    assert (store.files(place.below("none")), store.folders(place.below("none"))) == ([], [])
    source, sha256 = tmp_path / "a.bin", hashlib.sha256(CONTENT).hexdigest()
    source.write_bytes(CONTENT)
    before = time.time()
    made = store.put(source, place.below("in/a b.bin"), sha256, Stop())
    assert made.size == len(CONTENT)
    assert before - 60 < made.modified < time.time() + 60
    store.place(source, place.below("in/deep/b.bin"), sha256)
    found = store.look(place.below("in"))
    assert isinstance(found, list)
    assert sorted(one.inside for one in found) == ["a b.bin", "deep/b.bin"]
    assert [one.inside for one in store.files(place.below("in"))] == ["a b.bin"]
    assert store.folders(place.below("in")) == ["deep"]
    assert store.head(place.below("in/a b.bin"), 10) == CONTENT[:10]
    store.fetch(place.below("in/a b.bin"), made, tmp_path / "b.bin", Stop())
    assert (tmp_path / "b.bin").read_bytes() == CONTENT
    store.write(place.below("in/small"), b"one")
    store.write(place.below("in/small"), b"two")
    assert store.read(place.below("in/small")) == b"two"
    for _ in range(2):
        store.delete(place.below("in/small"))
    assert [one.inside for one in store.files(place.below("in"))] == ["a b.bin"]


def test_of_several_who_make_a_file_one_succeeds(place: Address) -> None:
    store, file = Store(place, Policy(retries=1)), place.below("lock")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: store.create(file, str(number).encode()), range(8)))
    assert sum(made) == 1
    assert store.read(file) == str(made.index(True)).encode()
    assert not store.create(file, b"another")
    assert store.create(file, store.read(file))  # whoever has made it, and lost the answer


def test_a_lock_has_one_holder_until_it_is_given_back_or_expires(place: Address) -> None:
    lost = threading.Event()
    policy = Policy(retries=1, lock_seconds=2)
    first, second, third = (RemoteLock(place, policy, folder, lost.set) for folder in ("a", "b", "c"))
    assert first.take() == ""
    with pytest.raises(BusyError, match="another run works with"):
        second.take()
    first.confirm()
    first.release()
    assert second.take() == ""
    second._ends.set()  # it gives no sign of life any more
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            notice = third.take()
        except BusyError:
            time.sleep(0.5)
        else:
            break
    assert "has given no sign of life for" in notice
    with pytest.raises(BusyError):
        second.confirm()
    third.release()
    assert third.living_holder() is None
