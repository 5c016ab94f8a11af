"""One bucket, container or host: lists, identifies, reads and writes its files, and tries again where that may help."""

from __future__ import annotations

import base64
import errno
import hashlib
import importlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from nstpipe.storage.address import Address
from nstpipe.storage.clients import Clients, check_packages
from nstpipe.storage.failures import BadTransferError, Kind, StorageError, failure, is_taken, kind_of
from nstpipe.system.files import complete, partial_path
from nstpipe.system.stop import Stop, Stopped

T = TypeVar("T")

CHUNK_BYTES = 8 << 20
"""The bytes that are read with one request. An interrupted download continues after the last whole chunk."""

PART_BYTES = 32 << 20
"""The bytes of a part of a multipart upload. They decide the checksum that S3 gives the whole."""

FIRST_WAIT_SECONDS = 1.0
"""The wait before the second attempt. Each further wait is twice as long."""

LONGEST_WAIT_SECONDS = 30.0
"""The longest wait before another attempt."""

RENEWAL_SECONDS = 60.0
"""How long credentials are taken for the newest. If they fail later, they are looked up anew."""


@dataclass(frozen=True)
class Policy:
    """How remote storage is used.

    Attributes:
        max_bytes: The most bytes of remote files that are kept on this machine at a time.
        retries: How often a request is tried again.
        timeout_seconds: How long an answer may take.
        transfers: How many files are transferred at the same time.
        checkpoint_seconds: The time between two copies of the work folder to its remote place.
        lock_seconds: The time without a sign of life after which another machine may take over a remote work folder.
        clients: What all stores that are used in this way share.
    """

    max_bytes: int = 20_000_000_000
    retries: int = 6
    timeout_seconds: float = 60.0
    transfers: int = 4
    checkpoint_seconds: float = 60.0
    lock_seconds: float = 120.0
    clients: Clients = field(default_factory=Clients, compare=False, repr=False)


@dataclass(frozen=True)
class Entry:
    """A remote file, as its server describes it.

    Attributes:
        inside: Its path below the listed address; empty if it is that itself.
        size: Its size in bytes; None if the server does not tell.
        modified: When it was changed, in seconds since 1970; 0 if the server does not tell.
        etag: The server's own mark of its content; empty if there is none.
    """

    inside: str
    size: int | None
    modified: float
    etag: str

    @property
    def identity(self) -> str:
        """What changes with the content: the server's mark, or else the time."""
        return f"{self.size}|{self.etag or self.modified}"


class Store:
    """The files of one bucket, container or host.

    Args:
        address: An address there, with the user and password that it may name.
        policy: How it is used.

    Raises:
        MachineError: A package is missing.
    """

    def __init__(self, address: Address, policy: Policy) -> None:
        self._policy = policy
        self._web = address.protocol in ("http", "https")
        self._base = replace(address, key="", query="")
        self._address = address
        self._lock = threading.Lock()
        self._connected: Any = None
        self._connected_at = 0.0
        check_packages(address)

    @property
    def _fs(self) -> Any:
        with self._lock:
            if self._connected is None:
                self._connected = self._policy.clients.of(self._address, self._policy.timeout_seconds)
                self._connected_at = time.monotonic()
            return self._connected

    def look(self, address: Address, *, may_be_missing: bool = False) -> list[Entry] | Entry:
        """Return the file at an address, or all files of the folder there.

        Args:
            address: Where to look.
            may_be_missing: Whether an empty folder is returned if nothing is there. The bucket itself must exist.

        Raises:
            StorageError: Nothing is there, or it cannot be listed.
        """
        path = self._path(address)

        def once() -> list[Entry] | Entry:
            self._fs.invalidate_cache()
            info = self._info(path)
            if info["type"] == "file" and not str(info["name"]).endswith("/"):
                return _entry("", info)
            begin = str(info["name"]).rstrip("/") + "/"
            found = self._fs.find(path, detail=True)
            return [
                _entry(name[len(begin) :], one)
                for name, one in found.items()
                if one.get("type") == "file" and name.startswith(begin) and not name.endswith("/")
            ]

        try:
            return self._tried(once, address, "listed")
        except StorageError as error:
            if error.kind != "missing":
                raise
            self._see_that_the_bucket_exists(address)
            if may_be_missing:
                return []
            raise

    def files(self, address: Address) -> list[Entry]:
        """Return the files right in a folder, with one request where `look` takes three; none if it is not there.

        Raises:
            StorageError: It cannot be listed.
        """
        return [_entry(_name_of(one), one) for one in self._children(address) if one.get("type") == "file"]

    def folders(self, address: Address) -> list[str]:
        """Return the names of the folders right in a folder; none if it is not there.

        Raises:
            StorageError: It cannot be listed.
        """
        return [_name_of(one) for one in self._children(address) if one.get("type") == "directory"]

    def _children(self, address: Address) -> list[dict[str, Any]]:
        def once() -> list[dict[str, Any]]:
            self._fs.invalidate_cache()
            found: list[dict[str, Any]] = self._fs.ls(self._path(address), detail=True)
            return found

        try:
            return self._tried(once, address, "listed")
        except StorageError as error:
            if error.kind != "missing":
                raise
            self._see_that_the_bucket_exists(address)
            return []

    def _see_that_the_bucket_exists(self, address: Address) -> None:
        if address.protocol not in ("s3", "gs", "az"):
            return
        place = address.kind.place
        try:
            self._tried(lambda: self._fs.ls(address.host, detail=False), replace(address, key=""), "listed")
        except StorageError as error:
            if error.kind != "missing":
                raise
            problem = f"there is no {place} {address.host}, so {address} does not exist."
            raise StorageError(problem, f"Look at the name, or make the {place} first.", "missing") from None

    def entry(self, address: Address) -> Entry:
        """Return what the server says of a file.

        Raises:
            StorageError: It is not there, or cannot be looked at.
        """

        def once() -> Entry:
            self._fs.invalidate_cache()
            return _entry("", self._info(self._path(address)))

        return self._tried(once, address, "looked at")

    def head(self, address: Address, length: int) -> bytes:
        """Return the first bytes of a file.

        Raises:
            StorageError: It cannot be read.
        """
        return self._tried(lambda: self._range(self._path(address), 0, length), address, "read")[:length]

    def fetch(self, address: Address, entry: Entry, target: Path, stop: Stop, *, modified_ns: int | None = None) -> None:
        """Copy a file to this machine. It gets its name when all of it is there and was checked.

        An interrupted copy continues where it was, in this run or the next.

        Args:
            address: The file.
            entry: What the listing said of it. Its size and, where the server gives one, its checksum must be those of the
                copy.
            target: Where to put it.
            stop: Asks to end.
            modified_ns: The time of change that the copy has from the first moment, in nanoseconds since 1970; None for now.

        Raises:
            StorageError: It cannot be read, is another one than the listing said, or there is no room.
            Stopped: The run is to end.
        """
        unfinished = target.with_name(f".{hashlib.sha256(f'{target.name}|{entry.identity}'.encode()).hexdigest()[:32]}.fetched")
        target.parent.mkdir(parents=True, exist_ok=True)
        for again in (True, False):
            try:
                digest = self._copy(address, entry, unfinished, stop)
            except OSError as error:  # of this machine: the client's own errors are caught in `_tried`
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    with suppress(OSError):
                        unfinished.unlink(missing_ok=True)
                raise StorageError(
                    f"{address} cannot be fetched to {target.parent}: {error.strerror}.",
                    "Free some space, or give a `work` folder on another disk.",
                    "local",
                ) from None
            if self._is_same(address, entry, digest, unfinished.stat().st_size):
                if modified_ns is not None:
                    os.utime(unfinished, ns=(modified_ns, modified_ns))
                complete(unfinished, target)
                return
            unfinished.unlink()
            if not again:
                break
        raise StorageError(
            f"{address} is not the file that was listed: it was changed while it was fetched, or damaged on the way.",
            "Run again; its new content is done then.",
        )

    def _copy(self, address: Address, entry: Entry, target: Path, stop: Stop) -> Any:
        """Write what is left of a file, and return the MD5 of all of it."""
        path, size = self._path(address), entry.size
        digest = hashlib.md5(usedforsecurity=False)
        if size is None:
            self._tried(lambda: self._fs.get_file(path, str(target)), address, "read")
            with target.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            return digest
        with target.open("a+b") as file:
            file.seek(0)
            while block := file.read(1 << 20):
                digest.update(block)
            while (offset := file.tell()) < size:
                if stop.should_stop():
                    raise Stopped
                length = min(CHUNK_BYTES, size - offset)
                block = self._tried(partial(self._whole_range, path, offset, length, size), address, "read", stop)
                file.write(block)
                digest.update(block)
                if not block:
                    break
        return digest

    def _whole_range(self, path: str, offset: int, length: int, size: int) -> bytes:
        block = self._range(path, offset, offset + length)
        if len(block) == size:
            return block[offset:]  # a server that sends no parts sends everything
        if len(block) != length:
            raise BadTransferError(f"{len(block)} of {length} bytes came")
        return block

    def _range(self, path: str, start: int, end: int) -> bytes:
        if self._base.protocol == "sftp":  # its client takes no parts
            with self._fs.open(path, "rb") as file:
                file.seek(start)
                parts = []
                while start < end and (part := file.read(end - start)):
                    parts.append(part)
                    start += len(part)
                return b"".join(parts)
        content: bytes = self._fs.cat_file(path, start=start, end=end)
        return content

    def _is_same(self, address: Address, entry: Entry, digest: Any, size: int) -> bool:
        if entry.size is not None and size != entry.size:
            return False
        if len(entry.etag) == 32 and self._base.protocol in ("s3", "gs", "az"):
            try:
                bytes.fromhex(entry.etag)
            except ValueError:
                pass
            else:
                if digest.hexdigest() == entry.etag:
                    return True
        # A mark of another kind says only whether the file is still the same.
        return entry.size is None or self.entry(address).identity == entry.identity

    def put(self, source: Path, address: Address, sha256: str, stop: Stop) -> Entry:
        """Copy a file from this machine. It gets its name when all of it is there and was checked.

        Args:
            source: The file.
            address: Where to put it. A file there is replaced.
            sha256: The hash of its content.
            stop: Ends the wait before another attempt.

        Returns:
            What the server says of it.

        Raises:
            StorageError: It cannot be written.
            Stopped: The run is to end.
        """
        folder, _, name = address.key.rpartition("/")
        hidden = replace(address, key=f"{folder}/{partial_path(Path(name)).name}".lstrip("/"))
        path, temporary = self._path(address), self._path(hidden)
        size = source.stat().st_size

        def once() -> None:
            self._put(source, temporary, size, sha256)
            if self._base.protocol == "sftp":
                self._fs.mv(temporary, path)
            else:
                self._fs.cp_file(temporary, path)
                self._fs.invalidate_cache()
                if self._info(path).get("size") != size:  # some servers copy after they have answered
                    raise BadTransferError("the server has not finished its own copy")
                self._fs.rm_file(temporary)

        self._tried(once, address, "written", stop)
        made = self.entry(address)
        if made.size != size:
            raise StorageError(
                f"{address} was changed by somebody while it was written.", "Run again; it is written once more."
            )
        return made

    def place(self, source: Path, address: Address, sha256: str) -> None:
        """Copy a file from this machine to where nobody looks yet: its name tells its content. It is checked there.

        Raises:
            StorageError: It cannot be written.
        """
        path, size = self._path(address), source.stat().st_size

        def once() -> None:
            self._put(source, path, size, sha256)

        self._tried(once, address, "written")

    def _put(self, source: Path, path: str, size: int, sha256: str) -> None:
        extra = {"chunksize": PART_BYTES} if self._base.protocol == "s3" else {}
        self._fs.put_file(str(source), path, **extra)
        self._fs.invalidate_cache()
        info = self._info(path)
        if info.get("size") != size:
            raise BadTransferError(f"{info.get('size')} of {size} bytes arrived")
        if not _has_checksum_of(info, source) and self._sha256_of(path, size) != sha256:
            raise BadTransferError("the content was damaged on the way")

    def create(self, address: Address, content: bytes) -> bool:
        """Write a small file where there is none, and return whether it was written. Of several callers, one succeeds.

        Raises:
            StorageError: It cannot be written.
        """
        path = self._path(address)

        def once() -> bool:
            try:
                if self._base.protocol == "sftp":
                    self._create_over_sftp(path, content)
                else:
                    self._fs.pipe_file(path, content, mode="create")
            except Exception as error:
                if not is_taken(error):
                    raise
                return self._whole(path) == content  # whether the answer to an earlier attempt was lost
            return True

        return self._tried(once, address, "written")

    def _create_over_sftp(self, path: str, content: bytes) -> None:
        asyn, client = importlib.import_module("fsspec.asyn"), self._fs

        async def write() -> None:
            await client._makedirs(client._parent(path), exist_ok=True)
            async with client._pool.get() as channel:
                try:
                    async with channel.open(path, "xb") as file:
                        await file.write(content)
                except Exception as error:
                    # The protocol's third version has no word for it.
                    if await channel.exists(path):
                        raise FileExistsError(errno.EEXIST, "it exists already") from error
                    raise

        asyn.sync(client.loop, write, timeout=self._policy.timeout_seconds)

    def write(self, address: Address, content: bytes) -> None:
        """Write a small file, in place of one that is there. Nobody sees half of it.

        Raises:
            StorageError: It cannot be written.
        """
        path = self._path(address)

        def once() -> None:
            if self._base.protocol != "sftp":
                self._fs.pipe_file(path, content)
                return
            folder, _, name = path.rpartition("/")
            self._fs.pipe_file(f"{folder}/.{name}.partial", content)
            self._fs.mv(f"{folder}/.{name}.partial", path)

        self._tried(once, address, "written")

    def read(self, address: Address) -> bytes:
        """Return the content of a small file.

        Raises:
            StorageError: It cannot be read.
        """
        return self._tried(lambda: self._whole(self._path(address)), address, "read")

    def _whole(self, path: str) -> bytes:
        if self._base.protocol == "sftp":
            with self._fs.open(path, "rb") as file:
                content: bytes = file.read()
        else:
            content = self._fs.cat_file(path)
        return content

    def delete(self, address: Address) -> None:
        """Delete a file, if it is there.

        Raises:
            StorageError: It cannot be deleted.
        """
        try:
            self._tried(lambda: self._fs.rm_file(self._path(address)), address, "deleted")
        except StorageError as error:
            if error.kind != "missing":
                raise

    def _sha256_of(self, path: str, size: int) -> str:
        digest = hashlib.sha256()
        for offset in range(0, size, CHUNK_BYTES):
            digest.update(self._range(path, offset, min(offset + CHUNK_BYTES, size)))
        return digest.hexdigest()

    def _info(self, path: str) -> dict[str, Any]:
        info: dict[str, Any] = self._fs.info(path)
        return info

    def _path(self, address: Address) -> str:
        if self._web:
            return address.url
        return f"/{address.key}" if address.protocol == "sftp" else f"{address.host}/{address.key}".rstrip("/")

    def _tried(self, call: Callable[[], T], address: Address, verb: str, stop: Stop | None = None) -> T:
        """Return what a call returns. After a transient failure it is called again, with a longer wait each time.

        Raises:
            StorageError: It failed for good.
            Stopped: The run is to end.
        """
        waits = iter(_waits(self._policy))
        attempt = 0
        while True:
            attempt += 1
            used = self._connected
            try:
                return call()
            except (StorageError, Stopped):
                raise
            except Exception as error:
                wait, kind = next(waits, None), kind_of(error)
                if kind != "transient" or wait is None:
                    said = self._diagnosed(failure(error, address, verb, attempt), address, verb)
                    self._let_go(said.kind, used)
                    # Neither the error nor its cause goes along: their texts may hold a signature.
                    raise said from None
                self._let_go(kind, used)
            until = time.monotonic() + wait
            while (left := until - time.monotonic()) > 0:
                if stop is not None and stop.should_stop():
                    raise Stopped
                time.sleep(min(left, 0.1))

    def _let_go(self, kind: Kind, used: Any) -> None:
        """Let a client go that cannot do better the next time: it keeps its credentials, and over SFTP its connection.

        Args:
            kind: What kind of failure it had.
            used: The client; None if it was made meanwhile.
        """
        is_sftp = self._base.protocol == "sftp"
        if kind not in (("transient",) if is_sftp else ("expired", "denied")):
            return
        with self._lock:
            if self._connected is None or used not in (None, self._connected):
                return  # somebody else has let it go
            # Many files may be denied, one after the other, and a client takes long to make.
            if not is_sftp and time.monotonic() - self._connected_at < RENEWAL_SECONDS:
                return
            self._policy.clients.forget(self._connected)
            self._connected = None

    def _diagnosed(self, error: StorageError, address: Address, verb: str) -> StorageError:
        """Return an error with its real reason: an answer without a body says 403 alone where credentials have expired."""
        if self._base.protocol != "s3" or error.kind == "expired" or "403" in error.problem or error.kind == "missing":
            return error
        if error.kind != "denied" and "Bad Request" not in error.problem:
            return error
        try:
            self._fs.cat_file(self._path(address), start=0, end=1)
        except Exception as said:
            if kind_of(said) == "expired":
                return failure(said, address, verb)
        return error


def _waits(policy: Policy) -> Iterator[float]:
    for number in range(policy.retries):
        # Clients that were turned away together should not come back together.
        yield min(FIRST_WAIT_SECONDS * 2**number, LONGEST_WAIT_SECONDS) * random.uniform(0.75, 1.25)


def _name_of(info: Mapping[str, Any]) -> str:
    return str(info["name"]).rstrip("/").rpartition("/")[2]


def _entry(inside: str, info: Mapping[str, Any]) -> Entry:
    size = info.get("size")
    etag = str(info.get("ETag") or info.get("etag") or info.get("md5Hash") or "").strip('"')
    return Entry(inside, int(size) if size is not None else None, _modified(info), etag)


def _modified(info: Mapping[str, Any]) -> float:
    for name in ("LastModified", "last_modified", "mtime", "updated", "Last-Modified"):
        value = info.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):
            for read in (datetime.fromisoformat, parsedate_to_datetime):
                with suppress(ValueError, TypeError):
                    return read(value.replace("Z", "+00:00")).timestamp()
    return 0.0


def _has_checksum_of(info: Mapping[str, Any], source: Path) -> bool:
    """Return whether a server's own checksum of a file is that of a file here; False if it has none that is known."""
    etag = str(info.get("ETag") or info.get("etag") or "").strip('"')
    if "ETag" in info and etag in _s3_marks(source):
        return True
    of_azure = info.get("content_settings") or {}
    md5 = info.get("md5Hash") or (of_azure.get("content_md5") if isinstance(of_azure, dict) else None)
    if not md5:
        return False
    given = base64.b64encode(bytes(md5)).decode() if isinstance(md5, bytes | bytearray) else str(md5)
    digest = hashlib.md5(usedforsecurity=False)
    with source.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return given == base64.b64encode(digest.digest()).decode()


def _s3_marks(source: Path) -> tuple[str, str]:
    """Return the marks that S3 gives a file uploaded as one, and one uploaded in parts of `PART_BYTES`."""
    whole, parts = hashlib.md5(usedforsecurity=False), []
    with source.open("rb") as file:
        while block := file.read(PART_BYTES):
            whole.update(block)
            parts.append(hashlib.md5(block, usedforsecurity=False).digest())
    joined = hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
    return whole.hexdigest(), f"{joined}-{len(parts)}"
