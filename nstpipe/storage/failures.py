"""What went wrong with remote storage, in words that a user can act on and that hold no secret."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Iterator
from typing import Literal

from nstpipe.errors import ItemError
from nstpipe.storage.address import Address

Kind = Literal["missing", "denied", "expired", "local", "transient"]
"""missing: nothing is there. denied: the credentials do not suffice, or there are none. expired: they did. local: the error is
this machine's own, such as a full disk. transient: anything else, which another attempt may mend."""


class StorageError(ItemError):
    """A remote file cannot be reached, read or written.

    Args:
        problem: What is wrong.
        next_step: What to do about it.
        kind: What kind of failure it is.
    """

    def __init__(self, problem: str, next_step: str = "", kind: Kind = "transient") -> None:
        super().__init__(problem, next_step)
        self.kind = kind


class BadTransferError(Exception):
    """What arrived is not what was sent. The text says how, and holds no secret."""


_EXPIRED = re.compile(r"expiredtoken|token.{0,40}expired|expired.{0,20}(token|credential)|requestexpired|has expired", re.I)

_DENIED = re.compile(
    r"nocredentials|unable to locate credentials|permissiondenied|permission denied|hostkeynotverifiable|host key is not|"
    r"invalidaccesskey|signaturedoesnotmatch|accessdenied|authenticationfailed|clientauthenticationerror|"
    r"defaultcredentialserror|unauthorized|forbidden|partialcredentials|anonymous caller",
    re.I,
)

_LOCAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def kind_of(error: BaseException) -> Kind:
    """Return what kind of failure a client's error is."""
    chain = list(_chain(error))
    texts = [f"{type(one).__name__} {_code_of(one)} {one}" for one in chain]
    if any(map(_EXPIRED.search, texts)):
        return "expired"
    if any(isinstance(one, OSError) and one.errno in _LOCAL for one in chain):
        return "local"
    statuses = {status for one in chain if (status := _status_of(one)) is not None}
    if any(isinstance(one, PermissionError) for one in chain) or statuses & {401, 403} or any(map(_DENIED.search, texts)):
        return "denied"
    is_missing = any(isinstance(one, FileNotFoundError) for one in chain) or statuses & {404, 410}
    # fsspec's client for the web says of a host that cannot be reached that the file is not there.
    if is_missing and not any(isinstance(one, ConnectionError | TimeoutError) or _is_out_of_reach(one) for one in chain):
        return "missing"
    return "transient"


def is_taken(error: BaseException) -> bool:
    """Return whether a client's error says that a file is there already, which was to be made anew."""
    chain = list(_chain(error))
    return any(
        isinstance(one, FileExistsError) or _status_of(one) == 412 or _code_of(one) in ("PreconditionFailed", "412")
        for one in chain
    )


def _code_of(error: BaseException) -> str:
    """Return the code in the answer of an object store; empty if there is none."""
    response = getattr(error, "response", None)
    found = response.get("Error", {}) if isinstance(response, dict) else {}
    return str(found.get("Code", "")) if isinstance(found, dict) else ""


def _status_of(error: BaseException) -> int | None:
    for name in ("status", "status_code", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int):
            return value
    return None


def _is_out_of_reach(error: BaseException) -> bool:
    return any(name in type(error).__name__ for name in ("EndpointConnection", "ClientConnector", "ClientConnection"))


def in_words(error: BaseException, address: Address) -> str:
    """Return what a client's error says, without any part that is secret."""
    chain = list(_chain(error))
    if isinstance(error, BadTransferError):
        return str(error)
    if any(_status_of(one) == 503 or _code_of(one) in ("SlowDown", "ServiceUnavailable", "503") for one in chain) or any(
        isinstance(one, OSError) and one.errno == errno.EBUSY for one in chain
    ):
        return "the server asks to slow down (503)"
    if any(isinstance(one, TimeoutError | asyncio.TimeoutError) or "Timeout" in type(one).__name__ for one in chain):
        return "no answer came in time"
    if any(map(_is_out_of_reach, chain)):
        return "the server cannot be reached"
    lost = (ConnectionError, asyncio.IncompleteReadError)
    names = (
        "ClientPayloadError",
        "IncompleteRead",
        "ConnectionLost",
        "ServerDisconnected",
        "ConnectionClosed",
        "ResponseStream",
    )
    if any(isinstance(one, lost) or any(name in type(one).__name__ for name in names) for one in chain):
        return "the connection was cut"
    said = str(error).strip().splitlines()
    return without_secrets(said[0][:200] if said else type(error).__name__, address)


_QUERY = re.compile(r"(https?://[^\s?'\"]*)\?[^\s'\"]*")
_USER = re.compile(r"://[^\s/@]*@")


def without_secrets(text: str, *addresses: Address) -> str:
    """Return a text without passwords, and without the queries of web addresses."""
    for address in addresses:
        for secret in address.secrets:
            text = text.replace(secret, "…")
    return _USER.sub("://", _QUERY.sub(r"\1?…", text))


def failure(error: BaseException, address: Address, verb: str, attempts: int = 1) -> StorageError:
    """Return a client's error as one of nstpipe.

    Args:
        error: The error.
        address: What was to be read or written.
        verb: What could not be done with it, such as ``read``.
        attempts: How often it was tried.
    """
    kind, protocol = kind_of(error), address.kind
    again = "Run again; what is done is kept."
    if kind == "expired":
        return StorageError(
            f"{address} cannot be {verb}: the credentials have expired.", f"Renew them: {protocol.renew}. {again}", kind
        )
    if kind == "denied":
        step = f"Credentials come from {protocol.credentials}. See that they allow it."
        if protocol.name == "sftp":
            step += (
                f" The host's own key must be in ~/.ssh/known_hosts: `ssh-keyscan {address.host.partition(':')[0]}` shows it."
            )
        if address.query:
            step = "It is presigned, and may have expired. Give a new one."
        return StorageError(f"{address} cannot be {verb}: permission denied.", step, kind)
    if kind == "missing":
        return StorageError(f"{address} does not exist.", f"Look at the name, and at the {protocol.place}.", kind)
    tries = f" It was tried {attempts} times." if attempts > 1 else ""
    return StorageError(f"{address} cannot be {verb}: {in_words(error, address)}.{tries}", again, kind)
