"""A message to a webhook when a run has ended."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import json
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from nstpipe.config import Pipeline
from nstpipe.config.models import Notify
from nstpipe.errors import EXIT_BUG, BusyError, NstpipeError
from nstpipe.events import Event, ItemFailed, RunFinished
from nstpipe.listeners.tally import Tally
from nstpipe.planning.eta import as_duration
from nstpipe.version import __version__

MOST_FAILURES = 20
"""Failures in a message, at most. The report has all."""

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP status codes after which another attempt may succeed."""

SECRET_PREFIX = "whsec_"
"""Prefix of a secret that is written in base64 (Standard Webhooks)."""


@dataclass(frozen=True)
class Message:
    """The message about a run.

    Attributes:
        text: A sentence for people.
        status: done, failed or stopped.
        exit_code: Exit code of the run.
        run: Name of the run.
        host: Machine on which it ran.
        work: Its work folder.
        jobs: Names of its jobs.
        outputs_made: Outputs made in this run.
        outputs_already_done: Outputs made by earlier runs.
        outputs_left: Outputs not made yet.
        items_failed: Pictures and videos that failed.
        seconds: Duration of the run.
        seconds_left: What the outputs left will likely take; None if it is not known.
        stopped: Why it was stopped in time; empty if it was not.
        error: The error that ended it early; empty if there was none.
        failures: The first failures, with job, path, reason and next_step.
        report: Path of the report; empty if there is none.
        nstpipe: Version of nstpipe.
    """

    text: str
    status: str
    exit_code: int
    run: str
    host: str
    work: str
    jobs: tuple[str, ...]
    outputs_made: int
    outputs_already_done: int
    outputs_left: int
    items_failed: int
    seconds: float
    stopped: str
    error: str
    failures: tuple[Mapping[str, str], ...]
    report: str
    seconds_left: float | None = None
    nstpipe: str = __version__

    def as_json(self) -> dict[str, Any]:
        """Return the body of the request."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return {"type": f"nstpipe.run.{self.status}", "timestamp": moment, "text": self.text, "data": asdict(self)}


class Notifier:
    """A listener that calls a webhook when a run has ended.

    Args:
        pipeline: The settings, with the key `notify`.
        run: The name of the run.
        notice: Called with a sentence if the webhook cannot be reached.
        first_wait_seconds: Seconds before the second attempt. Each further wait is twice as long.
    """

    def __init__(self, pipeline: Pipeline, run: str, notice: Callable[[str], None], *, first_wait_seconds: float = 1.0) -> None:
        self._pipeline = pipeline
        self._run = run
        self._notice = notice
        self._first_wait_seconds = first_wait_seconds
        self._began = time.monotonic()
        self._failures: list[ItemFailed] = []
        self._tally = Tally()
        self._finished: RunFinished | None = None

    @classmethod
    def for_pipeline(cls, pipeline: Pipeline, run: str, notice: Callable[[str], None]) -> Notifier | None:
        """Return a notifier, if the pipeline has `notify.webhook`."""
        return cls(pipeline, run, notice) if pipeline.notify.webhook is not None else None

    def __call__(self, event: Event) -> None:
        """Remember failures, what is left, and the end of the run."""
        self._tally.add(event)
        if isinstance(event, ItemFailed):
            self._failures.append(event)
        elif isinstance(event, RunFinished):
            self._finished = event

    def finish(self, error: BaseException | None) -> None:
        """Call the webhook, if the settings ask for it.

        Args:
            error: The exception that ended the run; None if there was none.
        """
        # If the folder is busy, the other run sends its own message. A user who presses Ctrl-C twice does not want to wait.
        if isinstance(error, BusyError) or (error is not None and not isinstance(error, Exception)):
            return
        message = self._message(error)
        if ("failure" if message.status == "failed" else "finish") not in self._pipeline.notify.on:
            return
        problem = deliver(message.as_json(), self._pipeline.notify, first_wait_seconds=self._first_wait_seconds)
        if problem:
            self._notice(problem)

    def _message(self, error: BaseException | None) -> Message:
        done = self._finished
        exit_code = error.exit_code if isinstance(error, NstpipeError) else EXIT_BUG if done is None else done.exit_code
        said = "" if error is None else error.problem if isinstance(error, NstpipeError) else type(error).__name__
        stopped = done.stopped if done is not None else ""
        status = "failed" if said or self._failures else "stopped" if stopped else "done"
        made, left = (done.outputs_made, done.outputs_left) if done is not None else (0, 0)
        seconds = done.seconds if done is not None else time.monotonic() - self._began
        host = socket.gethostname()
        text = f"nstpipe on {host}: {made} made, {len(self._failures)} failed, {left} left, in {as_duration(seconds)}"
        text += f"; {said or stopped}" if said or stopped else "."
        return Message(
            text=text,
            status=status,
            exit_code=exit_code,
            run=self._run,
            host=host,
            work=str(self._pipeline.work),
            jobs=tuple(job.name for job in self._pipeline.jobs),
            outputs_made=made,
            outputs_already_done=done.outputs_already_done if done is not None else 0,
            outputs_left=left,
            items_failed=len(self._failures),
            seconds=seconds,
            stopped=stopped,
            error=said,
            failures=tuple(
                {"job": failure.job, "path": failure.path, "reason": failure.reason, "next_step": failure.next_step}
                for failure in self._failures[:MOST_FAILURES]
            ),
            report=done.report if done is not None else "",
            seconds_left=self._tally.seconds_left() if left else 0.0 if done is not None and not said else None,
        )


def deliver(body: Mapping[str, Any], notify: Notify, *, first_wait_seconds: float = 1.0) -> str:
    """Post a message, with further attempts if they may succeed.

    Args:
        body: The content of the message.
        notify: The address, the number of attempts, and their time limit.
        first_wait_seconds: Seconds before the second attempt. Each further wait is twice as long.

    Returns:
        Why the message could not be delivered, without anything secret; empty if it was.
    """
    assert notify.webhook is not None
    content = json.dumps(body).encode()
    name = f"msg_{uuid.uuid4().hex}"  # the same for all attempts, so that a receiver can recognize a repetition
    tries = notify.retries + 1
    problem = ""
    for number in range(tries):
        if number:
            time.sleep(first_wait_seconds * 2 ** (number - 1))
        attempt = _Attempt(notify, content, _headers(notify, name, content))
        attempt.start()
        # The socket's own limit applies to each byte, and looking up a name has no limit.
        attempt.join(notify.timeout_seconds)
        problem = attempt.problem
        if not problem or not attempt.may_go_right:
            break
    if not problem:
        return ""
    host = urlsplit(notify.webhook.get_secret_value()).hostname
    return f"the webhook at {host} could not be notified ({number + 1} {'try' if not number else 'tries'}): {problem}"


def _headers(notify: Notify, name: str, content: bytes) -> dict[str, str]:
    """Return headers by which a receiver can check the message; see https://www.standardwebhooks.com."""
    moment = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"nstpipe/{__version__}",
        "webhook-id": name,
        "webhook-timestamp": moment,
    }
    if notify.secret is not None:
        signed = b".".join((name.encode(), moment.encode(), content))
        signature = hmac.new(_key(notify.secret.get_secret_value()), signed, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(signature).decode()}"
    return headers


def _key(secret: str) -> bytes:
    if secret.startswith(SECRET_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except binascii.Error:
            pass  # it only looks like one
    return secret.encode()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects. A redirected POST would lose its body, and may reach a stranger."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _Attempt(threading.Thread):
    """One attempt, in a thread so that nobody waits for it beyond its time limit."""

    def __init__(self, notify: Notify, content: bytes, headers: Mapping[str, str]) -> None:
        super().__init__(daemon=True)
        assert notify.webhook is not None
        url = notify.webhook.get_secret_value()
        self._request = urllib.request.Request(url, content, dict(headers), method="POST")
        self._seconds = notify.timeout_seconds
        self.problem = f"no answer within {notify.timeout_seconds:g} s"
        self.may_go_right = True

    def run(self) -> None:
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler,
            urllib.request.HTTPHandler,
            urllib.request.HTTPSHandler,
            urllib.request.HTTPDefaultErrorHandler,
            urllib.request.HTTPErrorProcessor,
            _NoRedirect,
        ):
            opener.add_handler(handler())
        try:
            with opener.open(self._request, timeout=self._seconds):
                self.problem = ""
        except urllib.error.HTTPError as error:
            moved = 300 <= error.code < 400
            self.problem = f"it answered {error.code} {error.reason}" + (
                ", a redirect; give the address that it leads to" if moved else ""
            )
            self.may_go_right = error.code in AGAIN
        except urllib.error.URLError as error:
            if not isinstance(error.reason, TimeoutError):
                self.problem = str(error.reason)
            self.may_go_right = not isinstance(error.reason, ssl.SSLCertVerificationError)
        except TimeoutError:
            pass
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.problem = type(error).__name__  # the text may contain the address, which is secret
