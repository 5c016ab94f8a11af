"""A proxy in front of a web server that lets requests go wrong: slow, turned away, cut, or with expired credentials."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@dataclass
class Fault:
    """What goes wrong with some requests.

    Attributes:
        method: Of those requests.
        part: A part of their paths.
        status: The answer in place of the server's; 0 to let the server answer.
        body: The answer's body.
        cut_after: The bytes of the server's answer after which the connection is cut; None to send all, -1 to send no answer.
        wait: Seconds before the answer.
        times: How many requests it still meets.
    """

    method: str
    part: str = ""
    status: int = 0
    body: bytes = b""
    cut_after: int | None = None
    wait: float = 0.0
    times: int = 10**9


@dataclass
class Proxy:
    """A proxy that listens on this machine.

    Attributes:
        port: Its port.
        faults: What goes wrong. The first that fits a request counts.
        requests: The method and path of each request, in order.
        authorizations: What each request proved itself with, in order.
        on_request: Called with each.
        ignored: Names of headers that the server does not get, in lower case, as if it did not know them.
    """

    port: int
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    on_request: Callable[[str, str], None] | None = None
    ignored: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, method: str, part: str) -> int:
        """How many requests there were so far."""
        return sum(one == method and part in path for one, path in self.requests)


@contextmanager
def proxy_before(target: int) -> Iterator[Proxy]:
    """Run a proxy in front of a port of this machine."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Otherwise the body of each answer waits 40 ms for the client to acknowledge the head.
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def _body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(parts)

        def _serve(self) -> None:
            body = self._body()
            with lock:
                proxy.requests.append((self.command, self.path))
                proxy.authorizations.append(self.headers.get("Authorization", ""))
                fault = next(
                    (one for one in proxy.faults if one.times > 0 and one.method == self.command and one.part in self.path),
                    None,
                )
                if fault is not None:
                    fault.times -= 1
            if proxy.on_request is not None:
                proxy.on_request(self.command, self.path)
            if fault is not None:
                time.sleep(fault.wait)
                if fault.status:
                    self._answer(fault.status, [("Content-Type", "application/xml")], fault.body)
                    return
            connection = http.client.HTTPConnection("127.0.0.1", target, timeout=60)
            ignored = {"transfer-encoding", *proxy.ignored}
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ignored}
            connection.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            cut = fault.cut_after if fault is not None else None
            if cut == -1:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._answer(answer.status, answer.getheaders(), content, cut)

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, cut: int | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            length = {name.lower(): value for name, value in headers}.get("content-length")
            self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content if cut is None else content[:cut])
            if cut is not None:
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = Proxy(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
