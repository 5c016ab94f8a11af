"""A window that is really open: its server runs in a thread, as the command runs it."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nstpipe.window import studio
from nstpipe.window.server import WindowOptions, server_of
from tests.report.conftest import browser  # noqa: F401

studio.PAUSE_SECONDS = 3600.0  # no test here waits for torch, which would be loaded behind its back


@dataclass
class Opened:
    """An open window."""

    folder: Path
    port: int
    said: list[str]
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return re.findall(r"http://\S+token=\S+", "\n".join(self.said))[-1]

    def ask(self, method: str, path: str, body: Any = None, **headers: str | None) -> tuple[int, dict[str, str], bytes]:
        """Send a request as the window's own page would; headers replace its own, and None leaves one out."""
        own = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie}
        if method != "GET":
            own |= {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/x-www-form-urlencoded"}
        chosen = {**own, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if isinstance(body, str):
                body = body.encode()
            if body is not None and "Content-Length" not in chosen:
                chosen["Content-Length"] = str(len(body))
            for name, value in chosen.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def come_in(self) -> str:
        _, headers, _ = self.ask("GET", self.address.partition(f":{self.port}")[2], Cookie=None)
        return headers["set-cookie"].partition(";")[0]


@contextmanager
def open_window(folder: Path, **options: Any) -> Iterator[Opened]:
    said: list[str] = []
    server, listening = server_of(WindowOptions(folder, opens_browser=False, **{"port": 0, **options}), said.append)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not any("token=" in line for line in said):
            thread.join(0.01)
            assert thread.is_alive()
        window = Opened(folder, listening.getsockname()[1], said)
        window.cookie = window.come_in()
        yield window
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


@pytest.fixture
def window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """A window on an empty folder beside which lies a file that is nobody's business."""
    (tmp_path / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\n secret")
    (tmp_path / "open").mkdir()
    with open_window(tmp_path / "open") as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """A window for tests that leave nothing behind."""
    with open_window(tmp_path_factory.mktemp("shared")) as opened:
        yield opened
