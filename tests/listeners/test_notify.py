"""Notifications, to a real server on this machine."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

import nstpipe
import nstpipe.api
from nstpipe.cli import exit_code
from nstpipe.config import load_pipeline
from nstpipe.config.models import Notify
from nstpipe.errors import ConfigError, InputError, MachineError
from nstpipe.events import Event, Noticed, RunFinished
from nstpipe.listeners.notify import deliver
from nstpipe.system.lock import locked
from tests.making import make_picture, write_pipeline

SECRET = "correct-horse-battery-staple"
PATH = "/hook/path-that-nobody-may-see"


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """A webhook's receiver, and what it got."""

    url: str = ""
    received: list[Received] = field(default_factory=list)


@contextmanager
def serving(*answers: int, hang_seconds: float = 0.0, location: str = "") -> Iterator[Server]:
    """A server that gives these answers one after the other, and then 200."""
    server, left, may_end = Server(), list(answers), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.received.append(Received(self.path, {key.lower(): value for key, value in self.headers.items()}, body))
            if hang_seconds:
                may_end.wait(hang_seconds)
            self.send_response(left.pop(0) if left else 200)
            if location:
                self.send_header("Location", location)
            self.end_headers()

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        server.url = f"http://127.0.0.1:{listening.server_address[1]}{PATH}"
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            may_end.set()
            listening.shutdown()


def notify(server: Server, **keys: object) -> Notify:
    return Notify.model_validate({"webhook": server.url, **keys})


def test_a_server_that_fails_twice_is_told_the_third_time() -> None:
    with serving(503, 500) as server:
        assert deliver({"a": 1}, notify(server), first_wait_seconds=0.01) == ""
    assert [json.loads(request.body) for request in server.received] == [{"a": 1}] * 3
    # All tries are the same message, so that a receiver can leave out what it has.
    assert len({request.headers["webhook-id"] for request in server.received}) == 1


def test_the_message_is_signed_by_the_rules_of_standard_webhooks() -> None:
    with serving() as server:
        assert deliver({"a": "é"}, notify(server, secret=SECRET)) == ""
    [request] = server.received
    name, moment = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    assert abs(int(moment) - time.time()) < 60
    expected = hmac.new(SECRET.encode(), f"{name}.{moment}.".encode() + request.body, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert request.headers["content-type"] == "application/json"
    assert SECRET not in str(request)


def test_the_signature_is_that_of_the_rules_own_example() -> None:
    """The example that libraries for Standard Webhooks are tested with."""
    from nstpipe.listeners.notify import _key

    signed = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
    made = hmac.new(_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), signed, hashlib.sha256).digest()
    assert base64.b64encode(made) == b"g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("answers", "tries", "words"),
    [((404,), 1, "answered 404"), ((500, 500, 500), 3, "answered 500"), ((429, 401), 2, "answered 401")],
    ids=["gone for good", "always busy", "busy, then forbidden"],
)
def test_what_cannot_go_right_is_not_tried_again(answers: tuple[int, ...], tries: int, words: str) -> None:
    with serving(*answers) as server:
        problem = deliver({}, notify(server, retries=2), first_wait_seconds=0.01)
    assert words in problem
    assert f"({tries} {'try' if tries == 1 else 'tries'})" in problem
    assert len(server.received) == tries
    assert PATH not in problem


def test_a_server_that_hangs_is_not_waited_for() -> None:
    with serving(hang_seconds=60) as server:
        began = time.monotonic()
        problem = deliver({}, notify(server, timeout_seconds=0.3, retries=1), first_wait_seconds=0.01)
        assert time.monotonic() - began < 30
    assert problem == "the webhook at 127.0.0.1 could not be notified (2 tries): no answer within 0.3 s"


def test_a_server_that_drips_is_not_waited_for_either() -> None:
    """A byte now and then keeps a socket's own limit from ever being reached."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        end = threading.Event()

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                while not end.wait(0.05):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return

        threading.Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        began = time.monotonic()
        problem = deliver({}, Notify(webhook=SecretStr(url), timeout_seconds=0.5, retries=0))
        assert time.monotonic() - began < 30
        end.set()
    assert "no answer within 0.5 s" in problem


def test_nobody_listens() -> None:
    with serving() as server:
        pass
    problem = deliver({}, notify(server, retries=0))
    assert "Connection refused" in problem


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://127.0.0.1:1/elsewhere"])
@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(location: str, code: int) -> None:
    with serving(code, location=location) as server:
        problem = deliver({}, notify(server), first_wait_seconds=0.01)
    assert f"answered {code}" in problem
    assert len(server.received) == 1


def picture_job(folder: Path, **keys: object) -> Path:
    make_picture(folder / "in" / "a.png")
    return write_pipeline(folder, {"name": "one", "input": "in", "output": "out"}, **keys)


def test_a_run_tells_how_it_ended(tmp_path: Path) -> None:
    with serving() as server:
        nstpipe.run(picture_job(tmp_path, notify={"webhook": server.url}))
        (tmp_path / "in" / "b.png").write_text("no picture")
        nstpipe.run(tmp_path / "pipeline.yaml")
    done, failed = (json.loads(request.body) for request in server.received)
    assert done["type"] == "nstpipe.run.done"
    assert (done["data"]["outputs_made"], done["data"]["exit_code"], done["data"]["jobs"]) == (1, 0, ["one"])
    assert done["data"]["report"] == str(tmp_path / ".nstpipe" / "report.html")
    assert "1 made, 0 failed, 0 left" in done["text"]
    assert failed["type"] == "nstpipe.run.failed"
    assert (failed["data"]["items_failed"], failed["data"]["exit_code"]) == (1, 2)
    assert "b.png is not a picture" in failed["data"]["failures"][0]["reason"]


def test_the_message_in_the_documents_has_the_keys_of_a_real_one(tmp_path: Path) -> None:
    with serving() as server:
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "b.png").write_text("no picture")
        nstpipe.run(picture_job(tmp_path, notify={"webhook": server.url}))
    real = json.loads(server.received[0].body)
    document = Path(__file__).parent.parent.parent / "docs" / "report.md"
    [example] = re.findall(r"```json\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    told = json.loads(example)
    assert told.keys() == real.keys()
    assert list(told["data"]) == list(real["data"])
    assert told["data"]["failures"][0].keys() == real["data"]["failures"][0].keys()


def test_an_error_that_ends_a_run_is_a_failure(tmp_path: Path) -> None:
    with serving() as server:
        pipeline = write_pipeline(
            tmp_path, {"name": "gone", "input": "nowhere.mp4", "output": "out.mp4"}, notify={"webhook": server.url}
        )
        with pytest.raises(InputError):
            nstpipe.run(pipeline)
        with pytest.raises(MachineError):
            nstpipe.run(pipeline, device="cuda:9")
    first, second = (json.loads(request.body)["data"] for request in server.received)
    assert (first["status"], first["exit_code"], first["error"]) == ("failed", 65, "nothing usable in the inputs.")
    assert (second["status"], second["exit_code"]) == ("failed", 69)
    assert "cuda:9" in second["error"]


def test_only_what_is_wanted_is_told_and_nothing_of_another_run(tmp_path: Path) -> None:
    with serving() as server:
        pipeline = picture_job(tmp_path, notify={"webhook": server.url, "on": ["failure"]})
        assert nstpipe.run(pipeline).exit_code == 0
        with locked(tmp_path / ".nstpipe"):
            assert exit_code(["run", str(pipeline)]) == 75
    assert server.received == []


def test_a_notification_that_fails_is_a_notice_and_costs_nothing_else(tmp_path: Path) -> None:
    with serving(404) as server:
        events: list[Event] = []
        result = nstpipe.run(picture_job(tmp_path, notify={"webhook": server.url}), on_event=events.append)
    assert result.exit_code == 0
    assert isinstance(events[-2], RunFinished)
    assert isinstance(events[-1], Noticed)
    assert "the webhook at 127.0.0.1 could not be notified (1 try): it answered 404" in events[-1].message


def test_secrets_are_written_down_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(500) as server:
        monkeypatch.setenv("HOOK", server.url)
        monkeypatch.setenv("HOOK_SECRET", SECRET)
        settings = {"webhook": "${HOOK}", "secret": "${HOOK_SECRET}", "retries": 0}
        pipeline = picture_job(tmp_path, notify=settings)
        for command in (
            ["validate"],
            ["plan", "--json", "--no-calibrate"],
            ["run", "--json"],
            ["status", "--json"],
            ["report"],
        ):
            assert exit_code([command[0], str(pipeline), *command[1:]]) == 0
    assert len(server.received) == 1
    said = capfd.readouterr()
    assert "could not be notified" in said.out
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(written) > 5
    for hidden in (SECRET, PATH, server.url):
        assert hidden not in said.out + said.err
        assert hidden not in repr(load_pipeline(pipeline))
        assert [path for path, content in written.items() if hidden.encode() in content] == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("webhook", f"ftp://example.org{PATH}"),
        ("webhook", f"file://{PATH}"),
        ("webhook", f"https:{PATH}"),
        ("webhook", f"https://user:word@example.org{PATH}"),
        ("webhook", f"https://example.org{PATH}\r\nX-Injected: 1"),
        ("webhook", f"https://example.org:99999{PATH}"),
        ("secret", ""),
    ],
)
def test_a_wrong_address_is_named_but_not_shown(tmp_path: Path, key: str, value: str) -> None:
    pipeline = picture_job(tmp_path, notify={"webhook": "https://example.org", key: value})
    with pytest.raises(ConfigError) as caught:
        load_pipeline(pipeline)
    said = str(caught.value)
    assert f"notify.{key}: found something that is not shown here; should be " in said
    assert PATH not in said


LISTENING: list[Callable[[Path], dict[str, object]]] = [
    lambda folder: {"notify": {"webhook": "https://example.org/", "secret": "s", "on": ["failure"]}},
    lambda folder: {"track": {"tensorboard": str(folder / "board")}},
    lambda folder: {"prometheus": str(folder / "run.prom")},
]


@pytest.mark.parametrize("listening", LISTENING, ids=["notify", "track", "prometheus"])
def test_who_is_told_changes_no_result(tmp_path: Path, listening: Callable[[Path], dict[str, object]]) -> None:
    [plain] = nstpipe.api.plan(picture_job(tmp_path)).outputs
    [told] = nstpipe.api.plan(picture_job(tmp_path, **listening(tmp_path))).outputs
    assert told.fingerprint == plain.fingerprint
    assert [clip.fingerprint for clip in told.clips] == [clip.fingerprint for clip in plain.clips]
    assert told.fingerprint_inputs == plain.fingerprint_inputs
