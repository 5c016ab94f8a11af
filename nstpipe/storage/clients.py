"""fsspec's clients of remote places. Making one takes up to half a second, so what works together shares them."""

from __future__ import annotations

import importlib
import threading
from typing import Any

from nstpipe.errors import MachineError
from nstpipe.storage.address import Address

_importing = threading.Lock()


class Clients:
    """The clients that have been made so far, one for each place and use."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], Any] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Clients], tuple[()]]:
        """Let another process make its own clients."""
        return Clients, ()

    def of(self, address: Address, timeout_seconds: float) -> Any:
        """Return a client for a place, which finds its credentials where they usually are. It may connect at once.

        Args:
            address: An address there.
            timeout_seconds: How long an answer may take.
        """
        key = (address.protocol, address.host, address.user, address.password, timeout_seconds)
        with self._lock:
            client = self._made.get(key)
        if client is None:
            client = _made(address, timeout_seconds)  # without the lock: another place need not wait for this one to answer
            with self._lock:
                client = self._made.setdefault(key, client)
        return client

    def forget(self, client: Any) -> None:
        """Make another one the next time, since the credentials or the connection of this one may be at an end."""
        with self._lock:
            for key in [key for key, made in self._made.items() if made is client]:
                del self._made[key]


def check_packages(address: Address) -> None:
    """See that the packages for an address are installed.

    Raises:
        MachineError: One is missing.
    """
    for package in ("fsspec", address.kind.package):
        try:
            with _importing:  # two threads must not import a package at the same time
                importlib.import_module(package)
        except ImportError:
            step = f"`pip install 'nstpipe[{address.kind.name}]'` installs it."
            raise MachineError(f"{address} needs the package {package}.", step) from None


def _made(address: Address, timeout_seconds: float) -> Any:
    fsspec = importlib.import_module("fsspec")
    client = fsspec.filesystem(address.protocol, skip_instance_cache=True, **_options(address, timeout_seconds))
    if address.protocol == "s3":
        client.retries = 1  # nstpipe waits and tries again itself, so that it can stop and say so
    return client


def _options(address: Address, timeout_seconds: float) -> dict[str, Any]:
    if address.protocol == "s3":
        return {
            "use_listings_cache": False,
            "config_kwargs": {
                "connect_timeout": timeout_seconds,
                "read_timeout": timeout_seconds,
                "retries": {"total_max_attempts": 1},
            },
        }
    if address.protocol == "sftp":
        host, _, port = address.host.partition(":")
        options: dict[str, Any] = {"host": host, "known_hosts": (), "connect_timeout": timeout_seconds}
        options |= {"port": int(port)} if port else {}
        options |= {"username": address.user} if address.user else {}
        return options | ({"password": address.password} if address.password else {})
    if address.protocol in ("http", "https"):
        aiohttp = importlib.import_module("aiohttp")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeout_seconds, sock_read=timeout_seconds)
        options = {"client_kwargs": {"timeout": timeout}}
        if address.user or address.password:
            options["client_kwargs"]["auth"] = aiohttp.BasicAuth(address.user, address.password)
        return options
    return {"use_listings_cache": False}
