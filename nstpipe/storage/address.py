"""Addresses of remote files: which ones are taken, how they are shown, and which names from elsewhere a folder may hold."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, unquote, urlsplit

from nstpipe.system.files import LONGEST_NAME_BYTES


@dataclass(frozen=True)
class Protocol:
    """A kind of remote storage.

    Attributes:
        name: What an address begins with.
        package: The package that fsspec needs for it. It is also the name of nstpipe's extra for it, where they differ.
        place: What the first part of an address names.
        credentials: Where the credentials come from, for messages.
        renew: What renews credentials that have expired, for messages.
        is_writable: Whether outputs can go there.
    """

    name: str
    package: str
    place: str
    credentials: str
    renew: str
    is_writable: bool = True


PROTOCOLS: dict[str, Protocol] = {
    row.name: row
    for row in (
        Protocol(
            "s3",
            "s3fs",
            "bucket",
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, ~/.aws or the machine's role",
            "`aws sso login`, or a new AWS_SESSION_TOKEN",
        ),
        Protocol(
            "gs",
            "gcsfs",
            "bucket",
            "GOOGLE_APPLICATION_CREDENTIALS, gcloud or the machine's account",
            "`gcloud auth application-default login`",
        ),
        Protocol(
            "az",
            "adlfs",
            "container",
            "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or "
            "AZURE_STORAGE_CONNECTION_STRING",
            "`az login`, or a new AZURE_STORAGE_SAS_TOKEN",
        ),
        Protocol(
            "sftp",
            "sshfs",
            "host",
            "ssh-agent, the keys in ~/.ssh, or sftp://USER:${PASSWORD}@host",
            "a new key or password",
        ),
        Protocol(
            "https",
            "aiohttp",
            "host",
            "the address itself, as a presigned one or as https://USER:${PASSWORD}@host",
            "a new presigned address",
            is_writable=False,
        ),
    )
}
"""The kinds of remote storage, by what their addresses begin with."""

_MEANT = {"gcs": "gs", "abfs": "az", "abfss": "az", "wasb": "az", "wasbs": "az", "ssh": "sftp", "scp": "sftp", "s3a": "s3"}

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

_OF_SIGNATURES = re.compile(
    r"x-(amz|goog|ms)-.*|awsaccesskeyid|googleaccessid|signature|expires|key-pair-id|policy|sig|se|sv|sp|sr|st|spr|sip|skoid|"
    r"sktid|skt|ske|sks|skv|token|access_token",
    re.IGNORECASE,
)
"""Names in the query of a presigned address. They change with each signing, and say nothing of the file."""


SHORTEST_SECRET = 12
"""The shortest value in a query that may be secret by itself."""


class AddressError(ValueError):
    """An address cannot be used. Its text completes "should be …", and holds nothing of what may be secret."""


class UnsafeNameError(ValueError):
    """A name from elsewhere cannot be that of a file on this machine. Its text completes "its name …"."""


@dataclass(frozen=True)
class Address:
    """The place of a file or folder.

    Attributes:
        protocol: One of `PROTOCOLS`, or ``http`` for this machine.
        host: The bucket, the container, or the host with its port.
        key: The path there, without a slash in front.
        user: The user; empty if the address names none. Never shown.
        password: The password; empty if the address names none. Never shown.
        query: What follows the question mark of a web address. Never shown.
    """

    protocol: str
    host: str
    key: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    query: str = field(default="", repr=False)

    @property
    def kind(self) -> Protocol:
        """What is known of its protocol."""
        return PROTOCOLS["https" if self.protocol == "http" else self.protocol]

    @property
    def secrets(self) -> tuple[str, ...]:
        """The parts that are never shown, the longest first. Short values of a query, such as a number, are no secrets."""
        values = {value for _, value in parse_qsl(self.query) if len(value) >= SHORTEST_SECRET}
        return tuple(sorted(filter(None, {self.password, self.query, *values}), key=len, reverse=True))

    @property
    def url(self) -> str:
        """The address as a client takes it, with its query, but with neither user nor password."""
        return f"{self.protocol}://{self.host}/{self.key}" + (f"?{self.query}" if self.query else "")

    def below(self, inside: str) -> Address:
        """Return the address of a file within this folder."""
        return replace(self, key=f"{self.key.rstrip('/')}/{inside}".lstrip("/")) if inside not in ("", ".") else self

    @property
    def local_parts(self) -> tuple[str, ...]:
        """The parts of its path within a mirror. Signatures and passwords do not change them.

        Raises:
            AddressError: They could not be those of a file.
        """
        try:
            parts = safe_parts(self.key) if self.key else ()
        except UnsafeNameError as error:
            raise AddressError(f"should be an address whose name can be that of a file here; {error}") from None
        deciding = [pair for pair in parse_qsl(self.query, keep_blank_values=True) if not _OF_SIGNATURES.fullmatch(pair[0])]
        if deciding:
            parts = (f"~{hashlib.sha256(repr(sorted(deciding)).encode()).hexdigest()[:12]}", *parts)
        return (self.protocol, self.host.replace(":", "~"), *parts)

    def __str__(self) -> str:
        return f"{self.protocol}://{self.host}/{self.key}" + ("?…" if self.query else "")


def is_address(text: str) -> bool:
    """Return whether a text is meant as an address, rather than as a path on this machine."""
    return _ADDRESS.match(text) is not None


def protocol_of(text: str) -> str:
    """Return what an address begins with, which holds no secret."""
    match = _ADDRESS.match(text)
    return match[1].lower() if match is not None else ""


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        AddressError: It cannot be used.
    """
    protocol = protocol_of(text)
    allowed = ", ".join(f"{name}://" for name in PROTOCOLS)
    if protocol == "file":
        raise AddressError("should be a plain path, without file://")
    if protocol not in (*PROTOCOLS, "http"):
        meant = f". Did you mean {_MEANT[protocol]}://?" if protocol in _MEANT else ""
        raise AddressError(f"should begin with one of {allowed}, or be a path; {protocol}:// is not known{meant}")
    if any(not character.isprintable() for character in text):
        raise AddressError("should be an address without line breaks and other characters that cannot be printed")
    if protocol in ("s3", "gs", "az"):  # their keys may hold any character, such as ? and #
        host, _, key = text.partition("://")[2].partition("/")
        if "@" in host:
            raise AddressError(
                f"should name a {PROTOCOLS[protocol].place} alone, without keys; credentials come from "
                f"{PROTOCOLS[protocol].credentials}"
            )
        address = Address(protocol, host, key.strip("/"))
    else:
        address = _parse_web(protocol, text)
    if not address.host:
        raise AddressError(f"should name a {address.kind.place}, such as {protocol}://{address.kind.place.upper()}/folder")
    if not re.fullmatch(r"[A-Za-z0-9._\[\]:-]+", address.host) or set(address.host) <= {"."}:
        raise AddressError(f"should name a {address.kind.place} with letters, digits, dots and hyphens")
    address.local_parts  # noqa: B018 - whether it has one
    return address


def _parse_web(protocol: str, text: str) -> Address:
    """Read an address that may name a user, a port and a query."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise AddressError("should be an address with a host and a port that is a number") from None
    if protocol == "http" and host not in _THIS_MACHINE:
        raise AddressError("should begin with https://; over http://, anybody on the way can read and change what is fetched")
    host = f"[{host}]" if ":" in host else host
    path = parts.path if protocol != "sftp" or not parts.query else f"{parts.path}?{parts.query}"
    return Address(
        protocol,
        f"{host}:{port}" if port is not None else host,
        path.strip("/"),
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        parts.query if protocol != "sftp" else "",
    )


_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


def safe_parts(key: str) -> tuple[str, ...]:
    """Return the parts of a name from elsewhere, as those of a path below a folder that they cannot leave.

    Args:
        key: The name, with slashes.

    Raises:
        UnsafeNameError: It is not the name of a file below a folder on every system: it has empty parts, dots for parts, a
            backslash or control characters, or it is too long.
    """
    parts = tuple(key.split("/"))
    for part in parts:
        if part in ("", ".", ".."):
            said = f"has {part!r} between two slashes" if part else "begins or ends with a slash, or has two in a row"
            raise UnsafeNameError(f"its name {said}")
        if "\\" in part or any(ord(character) < 32 or ord(character) == 127 for character in part):
            raise UnsafeNameError("its name has a backslash or a control character")
        try:
            length = len(part.encode())
        except UnicodeEncodeError:
            raise UnsafeNameError("its name is no UTF-8") from None
        if length > LONGEST_NAME_BYTES:
            raise UnsafeNameError(f"its name has a part of {length} bytes, at most {LONGEST_NAME_BYTES} are allowed")
        if os.name == "nt" and (re.search(r'[<>:"|?*]|[. ]$', part) or _RESERVED.fullmatch(part)):
            raise UnsafeNameError("its name is none that Windows allows")
    if len(key.encode()) > LONGEST_KEY_BYTES:
        raise UnsafeNameError(f"its name has {len(key.encode())} bytes, at most {LONGEST_KEY_BYTES} are allowed")
    return parts


LONGEST_KEY_BYTES = 2048
"""The longest name from elsewhere. Object stores allow 1024 bytes, and a path here must hold the folder's own as well."""
