"""Starts the server of the window, and opens the browser."""

from __future__ import annotations

import ipaddress
import socket
import threading
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvicorn

from nstpipe.errors import MachineError, UsageError
from nstpipe.system.files import PIPELINE_NAMES
from nstpipe.window.app import application
from nstpipe.window.connections import HeadInTime
from nstpipe.window.guard import Entrance
from nstpipe.window.pages import Window
from nstpipe.window.roots import Roots

USUAL_PORT = 8420
"""The port that is taken if it is free and none is given. A bookmark then goes on working."""

MOST_UPLOAD_BYTES = 8_000_000_000
"""The longest upload. A longer video is better moved than copied through a browser."""

GOODBYE_SECONDS = 2
"""How long the server waits for open streams when it ends."""


@dataclass(frozen=True)
class WindowOptions:
    """How a window is opened.

    Attributes:
        place: A pipeline.yaml, or a folder that has one or may get one.
        roots: Further folders that may be used.
        host: The address to listen on.
        port: The port; None for the usual one, or any free one; 0 for any free one.
        password: What lets in besides the printed token; empty if only the token does.
        opens_browser: Whether the address is opened.
    """

    place: Path
    roots: tuple[Path, ...] = ()
    host: str = "127.0.0.1"
    port: int | None = None
    password: str = ""
    opens_browser: bool = True

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def pipeline(self) -> Path:
        """The pipeline.yaml, which need not exist yet.

        Raises:
            UsageError: There is no such folder.
        """
        place = self.place.absolute()
        if place.suffix.lower() in (".yaml", ".yml") and not place.is_dir():
            if not place.parent.is_dir():
                raise UsageError(f"{place.parent} does not exist.", "Make it, or give another folder.")
            return place
        if not place.is_dir():
            raise UsageError(f"{self.place} is no folder and no pipeline.yaml.", "Give the folder with your pictures.")
        return next((path for name in PIPELINE_NAMES if (path := place / name).exists()), place / PIPELINE_NAMES[0])


def serve(options: WindowOptions, say: Callable[[str], None]) -> None:
    """Serve the window until the process is asked to end; see `server_of`."""
    server, listening = server_of(options, say)
    with listening:
        server.run(sockets=[listening])


def server_of(options: WindowOptions, say: Callable[[str], None]) -> tuple[uvicorn.Server, socket.socket]:
    """Return the server of a window, and the socket on which it is to serve.

    Args:
        options: How it is opened.
        say: Prints a line for the user.

    Raises:
        UsageError: There is no such folder.
        MachineError: The address or the port cannot be used.
    """
    pipeline = options.pipeline
    for root in options.roots:
        if not root.is_dir():
            raise UsageError(f"--root {root}: is no folder.", "Give one that exists.")
    listening = _listening(options.host, options.port)
    port = listening.getsockname()[1]
    shown_host = _shown_host(options.host)
    is_first = True

    def announce(token: str) -> None:
        nonlocal is_first
        address = f"http://{shown_host}:{port}/enter?token={token}"
        say(f"nstpipe is open at  {address}" if is_first else f"For another browser:  {address}")
        if is_first and options.opens_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        is_first = False

    entrance = Entrance(port, options.password, announce)
    window = Window(pipeline, Roots([pipeline.parent, *options.roots]), entrance, options.is_local, MOST_UPLOAD_BYTES)

    def started() -> None:
        if not options.is_local:
            say(
                "This is plain HTTP: whoever can listen on the network can read the password and your pictures.\n"
                "Use it in a network that you trust, or through an SSH tunnel: ssh -L PORT:127.0.0.1:PORT this-machine."
            )
        entrance.new_token()
        say("The address works for one browser. Press Ctrl+C to close the window; a run that is under way goes on.")

    app = application(window, [f"{name}:{port}" for name in _names(options.host)], started)
    config = uvicorn.Config(
        app,
        http=HeadInTime,
        ws="none",
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GOODBYE_SECONDS,
    )
    return uvicorn.Server(config), listening


def _listening(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens.

    Raises:
        MachineError: The address or the port cannot be used.
    """
    for chosen in (USUAL_PORT, 0) if port is None else (port,):
        try:
            return socket.create_server((host, chosen), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128)
        except OSError as error:
            failure = error
    raise MachineError(
        f"{host}, port {port if port is not None else USUAL_PORT}, cannot be used: {failure.strerror}.",
        "Give another --port or --host; without --port, a free one is taken.",
    )


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _names(host: str) -> Sequence[str]:
    """Return the names under which the server is reached. A Host header with any other is refused."""
    local = ["127.0.0.1", "localhost", "[::1]"]
    if host in ("0.0.0.0", "::"):
        own = [address.address.partition("%")[0] for found in psutil.net_if_addrs().values() for address in found]
        return [*local, socket.gethostname(), *(f"[{one}]" if ":" in one else one for one in own)]
    return [*local, f"[{host}]" if ":" in host else host]
