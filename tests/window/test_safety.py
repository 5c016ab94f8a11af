"""Each hole that a local page may have is tried."""

from __future__ import annotations

import http.client
import json
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from nstpipe.window import connections, guard, server
from tests.making import make_picture
from tests.window.conftest import Opened, open_window

PAGES = ("/", "/jobs", "/night", "/results", "/browse", "/small?path=a.png", "/describe?path=a.png", "/media?path=a.png")


def test_whoever_has_no_session_sees_nothing_and_the_token_is_good_once(window: Opened) -> None:
    for path in (*PAGES, "/preview/1/events", "/preview/1/picture", "/night/events", "/reports/a", "/no-such-page"):
        for cookie in (None, "", f"nstpipe_{window.port}=wrong", 'nstpipe="', f"nstpipe_{window.port + 1}=x"):
            status, headers, body = window.ask("GET", path, Cookie=cookie)
            assert (status, headers["connection"]) == (403, "close"), path
            assert str(window.folder).encode() not in body
    for path in ("/upload", "/preview", "/jobs/save", "/night/start", "/night/stop", "/results/open"):
        assert window.ask("POST", path, b"", Cookie=None)[0] == 403
    used = window.said[0].split("token=")[1]
    assert window.ask("GET", f"/enter?token={used}", Cookie=None)[0] == 403
    assert window.ask("GET", "/enter?token=", Cookie=None)[0] == 403
    status, headers, _ = window.ask("GET", window.address.partition(str(window.port))[2], Cookie=None)
    assert status == 200
    assert {part.strip() for part in headers["set-cookie"].split(";")[1:]} == {"HttpOnly", "SameSite=strict", "Path=/"}


@pytest.mark.parametrize("other", ["a[b]=x", 'x={"a": "b c"}', "x=a b", "foo", 'x="not closed', "x=1, 2"])
def test_cookies_of_other_programs_on_this_machine_lock_nobody_out(shared: Opened, other: str) -> None:
    assert shared.ask("GET", "/", Cookie=f"{other}; {shared.cookie}")[0] == 200


@pytest.mark.parametrize("key", ["frame", "iterations", "size"])
@pytest.mark.parametrize("value", ["inf", "nan", "x"])
def test_a_number_that_is_none_is_refused(window: Opened, key: str, value: str) -> None:
    make_picture(window.folder / "a.png")
    status, _, body = window.ask("POST", "/preview", urlencode({"input": "a.png", "painting": "a.png", key: value}))
    assert (status, f"{key}: found '{value}'; should be a number." in body.decode()) == (422, True)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("GET", {"Host": "localhost:{port}"}, 200),
        ("GET", {"Host": "evil.example:{port}"}, 421),  # a name that leads to 127.0.0.1: DNS rebinding
        ("GET", {"Host": "127.0.0.1"}, 421),
        ("GET", {"Host": "127.0.0.1:{port}.evil.example"}, 421),
        ("GET", {"Host": None}, 400),
        ("GET", {"Origin": "http://evil.example"}, 403),
        ("GET", {"Origin": "null"}, 403),
        ("GET", {"Origin": "http://localhost:{port}"}, 403),  # another name is another origin
        ("GET", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}, 403),
        ("GET", {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"}, 403),  # another port
        ("GET", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}, 403),
        ("GET", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}, 200),  # a link
        ("POST", {"Origin": None}, 403),
        ("POST", {"Origin": "http://evil.example"}, 403),
        ("POST", {"Origin": "https://127.0.0.1:{port}"}, 403),
        ("POST", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("POST", {"Sec_Fetch_Site": "same-site"}, 403),
        ("POST", {}, 422),  # the form is empty, but it was read
        ("PUT", {}, 405),
        ("HEAD", {}, 405),
        ("OPTIONS", {"Origin": "http://127.0.0.1:{port}", "Access_Control_Request_Method": "POST"}, 405),
    ],
)
def test_requests_of_other_sites_are_refused(shared: Opened, method: str, headers: dict[str, str | None], status: int) -> None:
    filled = {name: value.format(port=shared.port) if value else value for name, value in headers.items()}
    found, answered, _ = shared.ask(method, "/preview" if method == "POST" else "/", b"" if method != "GET" else None, **filled)
    assert found == status
    assert not [name for name in answered if name.startswith("access-control")]
    if status != 400:  # which the server itself answers
        assert "'unsafe" not in answered["content-security-policy"]
        assert answered["content-security-policy"].startswith("default-src 'none'")
        assert (answered["x-content-type-options"], answered["referrer-policy"]) == ("nosniff", "same-origin")
        assert answered["cross-origin-resource-policy"] == "same-origin"


def test_no_path_leads_out_of_the_folders(window: Opened, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    make_picture(window.folder / "own.png")
    make_picture(tmp_path / "elsewhere" / "picture.png")
    (window.folder / "link.png").symlink_to(secret)
    (window.folder / "folder").symlink_to(tmp_path / "elsewhere")
    (window.folder / "loop").symlink_to("loop")
    outside = [str(secret), "../secret.png", "a/../../secret.png", "link.png", "folder/picture.png", "/etc/passwd", "~/x.png"]
    outside += ["loop", "own.png/../../secret.png", "\0", "own.png\0.jpg", "", "%2e%2e/secret.png", "..\\secret.png"]
    outside += ["a" * 300, "a/" * 3000]  # more than a file system takes
    outside += [str(tmp_path / "open-elsewhere" / "a.png"), "/proc/self/environ", "/dev/zero", "//etc/passwd"]
    assert window.ask("GET", "/media?path=own.png")[0] == 200
    for path in outside:
        for page in ("media", "small", "describe"):
            status, _, body = window.ask("GET", f"/{page}?path={quote(path, safe='')}")
            assert status in (404, 422), (page, path)
            assert b"secret" not in body.replace(b"secret.png", b"")
    for path in (
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/reports/..%2f..%2fx",
    ):
        assert window.ask("GET", path)[0] == 404, path
    listed = window.ask("GET", "/browse?path=")[2].decode()
    assert "own.png" in listed and "link.png" not in listed and "loop" not in listed and ">folder<" not in listed
    assert "elsewhere" not in window.ask("GET", f"/browse?path={quote(str(tmp_path))}")[2].decode().replace("lies outside", "")
    # A file that is no picture is not given away, also not by a picture's name.
    (window.folder / "keys.png").write_text("-----BEGIN PRIVATE KEY-----")
    assert window.ask("GET", "/media?path=keys.png")[0] == 404


@pytest.mark.parametrize(
    "place",
    [
        "output: ../out.png",
        "work: ../work",
        "work: s3://bucket/work",
        "style: ../secret.png",
        "init: /etc/passwd",
        "input: link.png",
        "input: s3://bucket/in.png",
        "output: s3://bucket/out.png",
        "style: https://localhost/in.png",
    ],
)
def test_a_pipeline_that_leads_out_of_the_folders_is_not_written(window: Opened, tmp_path: Path, place: str) -> None:
    (window.folder / "link.png").symlink_to(tmp_path / "secret.png")
    make_picture(window.folder / "in.png")
    keys = {"input": "in.png", "output": "out.png", "style": "in.png"}
    name, _, value = place.partition(": ")
    top = f"work: {value}\nstorage: {{live: live}}\n" if name == "work" else ""
    keys |= {name: value} if name != "work" else {}
    text = f"version: 1\n{top}jobs:\n  - name: a\n" + "".join(f"    {key}: {path}\n" for key, path in keys.items())
    _, _, body = window.ask("POST", "/jobs/save", urlencode({"text": text, "stamp": ""}))
    assert b"lies outside of the folders" in body
    assert not (window.folder / "pipeline.yaml").exists()
    (window.folder / "pipeline.yaml").write_text(text)  # as somebody else may write it
    assert b"lies outside of the folders" in window.ask("POST", "/night/start", b"")[2]
    every_night = urlencode({"begins": "22:00", "ends": "06:30"})
    assert b"lies outside of the folders" in window.ask("POST", "/night/schedule", every_night)[2]


def test_uploads_are_bounded_checked_by_content_and_never_replace_a_file(window: Opened, tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "picture.png").read_bytes()

    def send(name: str, content: bytes, **headers: str) -> tuple[int, bytes]:
        status, _, body = window.ask("POST", "/upload", content, X_File_Name=quote(name), **headers)
        return status, body

    assert send("a.png", picture)[0] == send("a.png", picture)[0] == 201
    uploads = window.folder / "uploads"
    assert {path.name: path.read_bytes() == picture for path in uploads.iterdir()} == {"a.png": True, "a-2.png": True}
    for name in ("../../b.png", "/etc/b.png", "..\\b.png", "a\0/b.png", ".b.png"):
        assert send(name, picture)[0] == 201
    assert send("c.png", picture, X_File_Folder=quote("../../up/./x"))[0] == 201
    assert send("\U0001d49c" * 90 + ".png", picture, X_File_Folder=quote("\U0001d49c" * 90))[0] == 201  # of four bytes each
    assert all(path.is_relative_to(uploads) for path in tmp_path.rglob("[bc]*.png"))
    refused = [
        ("a.html", picture),
        ("a.png", b"<script>alert(1)</script>"),
        ("a.svg", b"<svg/>"),
        ("a.png", b""),
        ("", picture),
    ]
    refused += [
        ("a.png", picture[: len(picture) // 2]),
        ("a.mp4", b"\0\0\0\x18ftypmp42" + bytes(500)),
        ("a.yaml", b"version: 1"),
    ]
    for name, content in refused:
        status, body = send(name, content)
        assert (status, b"problem" in body) == (422, True), name
    (tmp_path / "there").mkdir()
    (uploads / "there").symlink_to(tmp_path / "there")
    assert send("d.png", picture, X_File_Folder="there")[0] == 422
    assert not list((tmp_path / "there").iterdir())
    assert not [path for path in uploads.iterdir() if path.name.startswith(".")]


def test_a_huge_upload_is_refused_before_it_is_read(window: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing of the 10 GB is sent: the answer comes from the head alone.
    for path, length in (
        ("/upload", 10_000_000_000),
        ("/jobs/save", guard.MOST_FORM_BYTES + 1),
        ("/login", guard.MOST_OPEN_BYTES + 1),
        ("/upload", "1e3"),
        ("/upload", -1),
    ):
        status, headers, _ = window.ask("POST", path, None, Content_Length=str(length), X_File_Name="a.png")
        assert status in (413, 400), (path, length)
        assert headers["connection"] == "close"
    # A body without a length is counted while it comes. What it has written so far goes away again.
    monkeypatch.setattr(server, "MOST_UPLOAD_BYTES", 1_000_000)
    with open_window(tmp_path / "open") as small:
        connection = http.client.HTTPConnection("127.0.0.1", small.port, timeout=20)
        connection.putrequest("POST", "/upload", skip_host=True)
        origin = f"127.0.0.1:{small.port}"
        sent = {"Host": origin, "Origin": f"http://{origin}", "Cookie": small.cookie, "X-File-Name": "a.png"}
        for name, value in {**sent, "Transfer-Encoding": "chunked"}.items():
            connection.putheader(name, value)
        connection.endheaders()
        chunk = b"\x89PNG\r\n\x1a\n" + bytes(65528)
        try:
            for _ in range(40):
                connection.send(b"10000\r\n" + chunk + b"\r\n")
        except OSError:
            pass  # it has hung up
        else:
            assert connection.getresponse().status == 413
        connection.close()
        end = time.monotonic() + 10
        while list((tmp_path / "open" / "uploads").glob(".upload*")) and time.monotonic() < end:
            time.sleep(0.05)
        assert not list((tmp_path / "open" / "uploads").iterdir())


@pytest.mark.parametrize(
    ("path", "body"), [("/jobs/edit", b"\xff"), ("/language", b"=&" * 3000), ("/preview", "text=ü"), ("/jobs/proof", b"%")]
)
def test_a_body_that_is_no_form_is_refused_and_nothing_breaks(shared: Opened, path: str, body: bytes | str) -> None:
    assert shared.ask("POST", path, body)[0] in (303, 400, 422)
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=20)
    origin = f"127.0.0.1:{shared.port}"
    headers = {"Host": origin, "Origin": f"http://{origin}", "Cookie": shared.cookie}
    pieces = (b"a=" + b"x" * 500_000 for _ in range(guard.MOST_FORM_BYTES // 500_000 + 2))
    try:
        connection.request("POST", path, body=pieces, headers=headers, encode_chunked=True)
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # it hung up while the rest was sent
    finally:
        connection.close()
    assert shared.ask("GET", "/")[0] == 200


def test_two_hundred_streams_leave_the_window_usable(window: Opened) -> None:
    (window.folder / "pipeline.yaml").write_text("version: 1\njobs: []\n")
    head = f"GET /night/events HTTP/1.1\r\nHost: 127.0.0.1:{window.port}\r\nCookie: {window.cookie}\r\n\r\n".encode()
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", window.port), timeout=20)) for _ in range(200)]
        for one in sockets:
            one.sendall(head)
        codes = [one.recv(12)[-3:] for one in sockets]
        assert (codes.count(b"200"), codes.count(b"503")) == (guard.MOST_STREAMS, 200 - guard.MOST_STREAMS)
        assert window.ask("GET", "/jobs")[0] == 200
    # When they are gone, there is room again.
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with socket.create_connection(("127.0.0.1", window.port), timeout=20) as one:
            one.sendall(head)
            if one.recv(12).endswith(b"200"):
                return
        time.sleep(0.1)
    pytest.fail("the streams that were closed still count")


def test_connections_that_never_finish_a_request_are_closed(window: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", window.port), timeout=20)) for _ in range(50)]
        for one in sockets[:25]:
            one.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert {one.recv(1) for one in sockets} == {b""}
        # Whoever has asked in time may take longer to read, and to ask again.
        head = f"GET /jobs HTTP/1.1\r\nHost: 127.0.0.1:{window.port}\r\nCookie: {window.cookie}\r\n\r\n".encode()
        reader = stack.enter_context(socket.create_connection(("127.0.0.1", window.port), timeout=20))
        reader.sendall(head)
        time.sleep(0.6)
        reader.sendall(head)
        answers = b""
        while answers.count(b"HTTP/1.1 200 OK") < 2:
            part = reader.recv(65536)
            assert part, "it was closed"
            answers += part


def test_a_password_lets_in_and_each_wrong_one_makes_the_next_take_longer(tmp_path: Path) -> None:
    with open_window(tmp_path, password="open sesame", host="127.0.0.1") as window:
        assert window.ask("GET", "/", Cookie=None)[1]["location"] == "/login"
        assert window.ask("POST", "/login", urlencode({"password": "sesame"}), Cookie=None)[0] == 403
        began = time.monotonic()
        status, headers, _ = window.ask("POST", "/login", urlencode({"password": "open sesame"}), Cookie=None)
        assert (status, headers["location"], time.monotonic() - began > 0.4) == (303, "/", True)
        assert window.ask("GET", "/", Cookie=headers["set-cookie"].partition(";")[0])[0] == 200


def test_only_a_window_for_the_network_says_that_it_is_plain_http(tmp_path: Path) -> None:
    with open_window(tmp_path, host="0.0.0.0") as window:
        assert "plain HTTP" in window.said[0]
        assert window.ask("GET", "/", Host=f"{socket.gethostname()}:{window.port}")[0] == 200
        assert window.ask("GET", "/", Host=f"evil.example:{window.port}")[0] == 421
    with open_window(tmp_path) as window:
        assert "plain HTTP" not in "".join(window.said)


def test_names_and_texts_are_shown_and_never_taken_for_html(window: Opened) -> None:
    script = "<img src=x onerror=alert(1)>"
    make_picture(window.folder / f"{script}.png")
    make_picture(window.folder / script / "a.png")
    job = {"name": script, "input": f"{script}.png", "output": "</textarea><script>alert(1)</script>", "style": "'><script>"}
    text = "version: 1\njobs:\n  - " + "\n    ".join(f"{key}: {json.dumps(value)}" for key, value in job.items())
    (window.folder / "pipeline.yaml").write_text(text)
    edited = window.ask("POST", "/jobs/edit", urlencode({"text": text, "key": "size", "value:size": "'\"><script>"}))[2]
    answers = [window.ask("GET", path)[2] for path in ("/", "/browse", "/jobs", "/night", "/results")]
    for page in (*answers, edited):
        assert b"<img src=x" not in page and b"<script>" not in page
        assert page.count(b"<script") == page.count(b"<script src=") + page.count(b'<script type="module" src=')
    assert b"&lt;img src=x" in answers[0]


def test_a_report_has_an_origin_of_its_own(window: Opened) -> None:
    make_picture(window.folder / "a.png")
    job = "  - {name: a, input: a.png, output: b.png, style: a.png}\n"
    (window.folder / "pipeline.yaml").write_text(f"version: 1\njobs:\n{job}")
    (window.folder / ".nstpipe" / "reports").mkdir(parents=True)
    (window.folder / ".nstpipe" / "reports" / "20260101-000000-1.html").write_text("<script>1</script>")
    status, headers, _ = window.ask("GET", "/reports/20260101-000000-1")
    assert (status, headers["content-security-policy"].split(";")[0]) == (200, "sandbox allow-scripts")
