"""Lets in who may come in: checks each request before any page sees it, and gives each answer its security headers.

The checks follow the OWASP cheat sheets on cross-site request forgery, session management and content security policy. A page
of another site that has its name lead to 127.0.0.1 (DNS rebinding) sends that name as Host, and is refused for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_FORM_BYTES = 13_000_000
"""The longest body of a request that is no upload. A pipeline.yaml may have a million characters, and a form takes up to
twelve bytes for each."""

MOST_OPEN_BYTES = 10_000
"""The longest body of whoever has not come in yet. A password is short."""

MOST_STREAMS = 32
"""The most event streams at a time. A browser opens one for each tab that is in view."""

OPEN_PATHS = ("/enter", "/login", "/language", "/static/")
"""What is answered to whoever has not come in yet."""

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No script or style within a page, and nothing from elsewhere."""

SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With "no-referrer", browsers send "Origin: null" with the forms of our own pages.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Entrance:
    """Knows who has come in.

    Args:
        port: The port of the server. It is part of the cookie's name, because cookies are shared by all ports of a host.
        password: What lets in besides a token; empty if only a token does.
        announce: Called with each new token, which is good for one browser.
    """

    def __init__(self, port: int, password: str, announce: Callable[[str], None]) -> None:
        self.cookie = f"nstpipe_{port}"
        self.has_password = bool(password)
        self._password = _digest(password)
        self._announce = announce
        self._sessions: set[bytes] = set()
        self._token = b""
        self._failures = 0
        self._one_at_a_time = asyncio.Lock()

    def new_token(self) -> None:
        """Make a token that lets in one browser, and announce it. The one before is void."""
        token = secrets.token_urlsafe(24)
        self._token = _digest(token)
        self._announce(token)

    def redeem(self, token: str) -> str | None:
        """Return a new session for the token; None if it is not the right one, or was used."""
        if not self._token or not hmac.compare_digest(_digest(token), self._token):
            return None
        session = self._new_session()
        self.new_token()
        return session

    async def log_in(self, password: str) -> str | None:
        """Return a new session for the password; None if it is wrong. Each wrong one makes the next answer take longer."""
        if not self.has_password:
            return None
        async with self._one_at_a_time:
            if self._failures:
                await asyncio.sleep(min(0.25 * 2**self._failures, 8.0))
            if not hmac.compare_digest(_digest(password), self._password):
                self._failures = min(self._failures + 1, 10)
                return None
            self._failures = 0
            return self._new_session()

    def _new_session(self) -> str:
        session = secrets.token_urlsafe(32)
        self._sessions.add(_digest(session))
        return session

    def knows(self, cookies: str) -> bool:
        """Return whether the Cookie header holds a session."""
        # As browsers read it: programs on other ports of this machine send cookies along that http.cookies stops at.
        return _digest(cookie_parser(cookies).get(self.cookie, "")) in self._sessions

    def give_cookie(self, response: Response, session: str) -> None:
        """Let the browser keep a session. No script can read it, and no other site's page sends it."""
        response.set_cookie(self.cookie, session, httponly=True, samesite="strict", path="/")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class Guard:
    """ASGI middleware that refuses what must not come in.

    Args:
        app: The pages.
        entrance: Knows who has come in.
        hosts: The names under which the server is reached, each with its port.
        most_upload_bytes: The longest upload.
        upload_path: The path of uploads.
        refused: Makes the answer for a reader who has not come in.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        entrance: Entrance,
        hosts: Sequence[str],
        most_upload_bytes: int,
        upload_path: str,
        refused: Callable[[Scope], Response],
    ) -> None:
        self._app = app
        self._entrance = entrance
        self._hosts = frozenset(host.lower() for host in hosts)
        self._most_upload_bytes = most_upload_bytes
        self._upload_path = upload_path
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # there are no web sockets
        headers = Headers(scope=scope)
        guarded = _with_security_headers(scope, send)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            refusal.headers["Connection"] = "close"  # what it still sends is not read
            await refusal(scope, receive, guarded)
            return
        await self._app(scope, _counted(receive, self._most_bytes(scope["path"])), guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        method, path = scope["method"], scope["path"]
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return PlainTextResponse("This server does not go by that name.\n", 421)
        if not _is_same_site(scope, headers):
            return PlainTextResponse("Another site's page sent this request.\n", 403)
        if method not in ("GET", "POST"):  # a HEAD would use up a token, or keep a stream
            return PlainTextResponse("This method is not used here.\n", 405)
        if not path.startswith(OPEN_PATHS) and not self._entrance.knows(headers.get("cookie", "")):
            return self._refused(scope)
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > self._most_bytes(path):
            return PlainTextResponse(f"The body is too long; at most {self._most_bytes(path)} bytes are read.\n", 413)
        return None

    def _most_bytes(self, path: str) -> int:
        if path.startswith(OPEN_PATHS):
            return MOST_OPEN_BYTES
        return self._most_upload_bytes if path == self._upload_path else MOST_FORM_BYTES


def _is_same_site(scope: Scope, headers: Headers) -> bool:
    """Return whether a request comes from a page of this server, or from the address bar.

    Browsers send Origin with each POST, and Sec-Fetch-Site with each request. Another port of this machine is another site
    here, though it is the same one for cookies.
    """
    host = headers["host"].lower()
    origins = headers.getlist("origin")
    if any(origin.lower() != f"http://{host}" for origin in origins):
        return False
    site = headers.get("sec-fetch-site", "none" if scope["method"] == "GET" or origins else "unknown")
    if scope["method"] == "GET":
        is_followed_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        return site in ("same-origin", "none") or is_followed_link
    return site in ("same-origin", "none") and bool(origins)


class BodyTooLongError(Exception):
    """A body turned out longer than its request may have."""


def _counted(receive: Receive, most_bytes: int) -> Receive:
    read = 0

    async def counted() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > most_bytes:
            raise BodyTooLongError
        return message

    return counted


def _with_security_headers(scope: Scope, send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return guarded


class Streams:
    """Counts the open event streams."""

    def __init__(self, most: int = MOST_STREAMS) -> None:
        self._most = most
        self._open = 0

    def enter(self) -> bool:
        """Count one more; return whether there is room for it."""
        if self._open >= self._most:
            return False
        self._open += 1
        return True

    def leave(self) -> None:
        """Count one less."""
        self._open -= 1
