"""The window in a real browser, on real small media: from the first picture to the finished result."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nstpipe.config import load_pipeline
from nstpipe.system.lock import holder_of
from nstpipe.window import studio
from tests.making import make_picture, make_video, small_disk, write_pipeline
from tests.window.conftest import open_window

pytest.importorskip("playwright.sync_api")
axe_playwright_python = pytest.importorskip("axe_playwright_python")

from playwright.sync_api import Browser, BrowserContext, Page, Route, expect  # noqa: E402 (whatever is missing is skipped first)

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PATIENCE_MILLISECONDS = 120_000


def context_of(browser: Browser, **options: object) -> BrowserContext:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    return context


def entered(context: BrowserContext, address: str) -> Page:
    """A page that has come in, and fails its test for an error in a script or anything that the policy forbids."""
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if "Security Policy" in message.text else None)
    page.problems = problems  # type: ignore[attr-defined]
    page.goto(address)
    page.wait_for_url("**/")
    return page


def violations(page: Page) -> list[str]:
    found = page.evaluate(f"{AXE}; axe.run({{runOnly: {RULES}}})")["violations"]
    return [f"{one['id']}: {[node['target'] for node in one['nodes'][:4]]}" for one in found]


PAGES = {"Jobs": "/jobs", "Run": "/night", "Results": "/results"}


def follow_link(page: Page, name: str) -> None:
    """Open another page, and wait until its scripts take what is typed there."""
    page.get_by_role("link", name=name).click()
    page.wait_for_url(f"**{PAGES[name]}")
    page.wait_for_load_state()


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a picture and a video. A run that a test has left behind is ended."""
    make_picture(tmp_path / "street.png")
    make_video(tmp_path / "film.mp4", frames=8)
    yield tmp_path
    holder = holder_of(tmp_path / ".nstpipe")
    if holder is not None:
        os.kill(holder.process, signal.SIGKILL)


def test_from_the_first_picture_to_a_job(browser: Browser, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio, "PREVIEW_ITERATIONS", 5)
    monkeypatch.setattr(studio, "FINER", 6)
    (folder / "decoder.pth").write_bytes(b"weights")
    with open_window(folder) as window, context_of(browser) as context:
        page = entered(context, window.address)
        # A first picture, by the keyboard alone.
        page.keyboard.press("Tab")
        assert focused(page) == "Skip to the content"
        page.get_by_role("button", name="street.png").focus()
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Night cafe").focus()
        page.keyboard.press("Space")
        page.locator("#size").evaluate("select => select.add(new Option('64'))")  # smaller than people want it
        page.get_by_label("Preview size").select_option("64")
        expect(page.locator("#status")).to_contain_text("after 5 iterations")
        natural = page.locator("#after").evaluate("image => [image.naturalWidth, image.naturalHeight]")
        assert natural == [64, 48]
        page.get_by_role("button", name="Paint finer").click()
        expect(page.locator("#status")).to_contain_text("after 6 iterations")
        assert len(page.locator("#curve polyline").get_attribute("points").split()) > 3  # type: ignore[union-attr]
        page.locator("#split").focus()
        page.keyboard.press("End")
        assert page.locator("#compare").evaluate("box => box.style.getPropertyValue('--split')") == "100%"
        # What is moved is painted again; a preview that became stale is dropped.
        before = page.locator("#after").get_attribute("src")
        for _ in range(4):
            page.locator("#strength").press("ArrowRight")
        expect(page.locator("#strength-shown")).to_have_text("2 ×")
        expect(page.locator("#after")).not_to_have_attribute("src", str(before))
        # Another tab's preview takes the place of one that takes long, and this one says so.
        monkeypatch.setattr(studio, "PREVIEW_ITERATIONS", 1000)
        page.get_by_role("radio", name="Picture's").check()
        other = entered(context, f"http://127.0.0.1:{window.port}/")
        other.get_by_role("button", name="street.png").click()
        other.get_by_role("button", name="Starry night").click()
        expect(page.locator("#status")).to_have_text("Another preview has taken the place of this one.")
        monkeypatch.setattr(studio, "PREVIEW_ITERATIONS", 5)
        other.close()
        page.get_by_role("button", name="Make it a job").click()
        # Form and text, both ways.
        text = page.locator("#yaml")
        expect(text).to_have_value(re.compile("strength: 2.0(.|\n)*color: content"))
        page.wait_for_load_state()  # the page's scripts, which take the changes, run after its text is there
        page.get_by_label("size", exact=True).fill("48")
        page.get_by_label("size", exact=True).press("Tab")
        expect(text).to_have_value(re.compile("size: 48"))
        page.locator("#f-name").fill("no spaces please")
        page.locator("#f-name").press("Tab")
        expect(page.locator("#problems")).to_contain_text("should be letters, digits, - and _ only")
        text.fill(text.input_value().replace("no spaces please", "street") + "# mine\n")
        expect(page.locator("#problems")).to_contain_text("No problem in the file")
        expect(page.locator("#f-name")).to_have_value("street")
        # An engine brings its own keys, and a file is chosen in the dialog. What stands in its place goes.
        page.locator("#f-engine-name").select_option("iecontrast")
        expect(page.locator("#problems")).to_contain_text("weights")
        page.locator("#f-engine-name").select_option("adain")  # brings its own
        expect(page.locator("#problems")).to_contain_text("No problem in the file")
        page.get_by_role("button", name="Browse folders: engine.weights").click()
        page.locator("#listing").get_by_role("button", name="decoder.pth").click()
        expect(text).to_have_value(re.compile("engine: {name: adain, weights: decoder.pth}"))
        page.locator("#f-engine-name").select_option("optimizer")
        expect(text).to_have_value(re.compile("engine: optimizer\n"))
        # Whoever leaves with a text that is not saved is asked, and may stay.
        page.on("dialog", lambda dialog: (page.problems.append(dialog.type), dialog.dismiss()))  # type: ignore[attr-defined]
        page.get_by_role("link", name="Results").click(no_wait_after=True)
        expect(text).to_have_value(re.compile("# mine"))
        assert page.problems.pop() == "beforeunload"  # type: ignore[attr-defined]
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.locator("#saved")).to_contain_text("✓ Saved")
        assert (folder / "pipeline.yaml").read_text().endswith("# mine\n")
        assert load_pipeline(folder / "pipeline.yaml").jobs[0].size == 48
        assert not page.problems + other.problems  # type: ignore[attr-defined]


def test_what_is_typed_faster_than_it_is_answered_stays_and_is_saved(browser: Browser, folder: Path) -> None:
    path = write_pipeline(folder, {"name": "street", "input": "street.png", "output": "out.png"})
    with open_window(folder) as window, context_of(browser) as context:
        page = entered(context, window.address)
        page.goto(f"{page.url}jobs")
        page.wait_for_load_state()

        def slow(route: Route) -> None:
            time.sleep(0.4)
            route.continue_()

        page.route("**/jobs/edit", slow)
        for key, value in (("size", "40"), ("style-strength", "3"), ("style-scale", "1.5")):
            page.locator(f"#f-{key}").fill(value)
        page.locator("#save-file").click()  # at once
        expect(page.locator("#saved")).to_contain_text("✓ Saved")
        job = load_pipeline(path).jobs[0]
        assert (job.size, job.style.strength, job.style.scale) == (40, 3.0, 1.5)
        # While one field is answered, the next one is typed.
        page.locator("#f-size").fill("48")
        page.locator("#f-style-scale").focus()
        page.keyboard.press("Control+A")
        page.keyboard.type("2")
        expect(page.locator("#yaml")).to_have_value(re.compile("size: 48"))
        expect(page.locator("#f-style-scale")).to_have_value("2")
        page.keyboard.press("Tab")
        expect(page.locator("#yaml")).to_have_value(re.compile("scale: 2\n"))
        # A region is painted on the frame of any input: in the text, a $ stands twice.
        make_picture(folder / "a$b.png")
        page.locator("#f-input").fill("a$$b.png")
        page.locator("#region summary").click()
        expect(page.locator("#mask-frame")).to_have_js_property("naturalWidth", 72)
        page.locator("#region summary").click()
        page.locator("#f-input").fill("gone.png")
        page.locator("#region summary").click()
        expect(page.locator("#region-status")).to_contain_text("gone.png does not exist.")
        # What the server cannot take does not take the place of the editor.
        page.route("**/jobs/edit", lambda route: route.fulfill(status=413, body="The body is too long."))
        page.locator("#yaml").fill(page.locator("#yaml").input_value() + "# mine\n")
        expect(page.locator("#saved")).to_have_text("The body is too long.")
        expect(page.locator("#yaml")).to_have_value(re.compile("# mine\n"))
        assert not page.problems  # type: ignore[attr-defined]


def test_a_full_disk_is_told_and_what_was_there_stays(browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    with small_disk(folder, "1m"):
        make_picture(folder / "street.png")
        path = write_pipeline(folder, {"name": "street", "input": "street.png", "output": "out.png"})
        before = path.read_bytes()
        with open_window(folder) as window, context_of(browser) as context:
            page = entered(context, window.address)
            follow_link(page, "Jobs")
            page.locator("#yaml").fill(before.decode() + "# mine\n")
            expect(page.get_by_role("button", name="Save", exact=True)).to_be_enabled()
            with pytest.raises(OSError, match="No space left"), (folder / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(4096))
            page.get_by_role("button", name="Save", exact=True).click()
            expect(page.locator("#saved")).to_contain_text("No space left on device")
            assert path.read_bytes() == before
            (folder / "filler").unlink()
            page.get_by_role("button", name="Save", exact=True).click()
            expect(page.locator("#saved")).to_contain_text("✓ Saved")
            assert path.read_bytes() == before + b"# mine\n"
            assert not page.problems  # type: ignore[attr-defined]


def open_by_command(folder: Path) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "nstpipe", "ui", str(folder), "--no-browser", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    return process, re.findall(r"http\S+", process.stdout.readline())[0]


def test_a_text_outlives_the_window_and_is_saved_with_the_next_one(browser: Browser, folder: Path) -> None:
    path = write_pipeline(folder, {"name": "street", "input": "street.png", "output": "out/street.png"})
    with context_of(browser) as context:
        with open_window(folder) as window:
            page = entered(context, window.address)
            follow_link(page, "Jobs")
            run = context.new_page()
            run.goto(f"http://127.0.0.1:{window.port}/night")
            expect(run.locator("#run-state")).to_be_visible()
        page.locator("#yaml").fill(path.read_text() + "# mine\n")
        expect(page.locator("#saved")).to_contain_text("The window does not answer. Your text stays here")
        with open_window(folder, port=window.port) as again:
            expect(run.locator("h1")).to_have_text("This browser has not been let in")  # it does not try for ever
            page.get_by_role("button", name="Save", exact=True).click()  # it does not know this browser yet
            expect(page.locator("#saved")).to_contain_text("open its new address in another tab")
            entered(context, again.address)
            page.get_by_role("button", name="Save", exact=True).click()
            expect(page.locator("#saved")).to_contain_text("✓ Saved")
    assert path.read_text().endswith("# mine\n")


def test_a_run_outlives_the_window_and_is_found_again(browser: Browser, folder: Path) -> None:
    make_picture(folder / "broken.png").write_bytes((folder / "broken.png").read_bytes()[:300])
    # A first frame to be shown at once, and then enough work for the run to outlast everything that is done beside it. A pause
    # waits for the end of a frame, so there are many of them rather than long ones.
    lasting = {"optimizer": {"first": 2, "next": 300, "tolerance": 0}}
    write_pipeline(
        folder,
        {"name": "street", "input": "street.png", "output": "out/street.png"},
        {"name": "broken", "input": "broken.png", "output": "out/broken.png"},
        {"name": "film", "input": "film.mp4", "output": "out/film.mp4", **lasting},
        workers=1,
    )
    server, address = open_by_command(folder)
    try:
        with context_of(browser) as context:
            page = entered(context, address)
            follow_link(page, "Run")
            expect(page.locator("#run-state")).to_contain_text("Nothing has run yet")
            page.get_by_role("button", name="Start the run").click()
            expect(page.locator("#run-state")).to_contain_text("A run is under way")
            expect(page.locator(".newest img").first).to_be_visible()
            server.kill()
            server.wait()
            expect(page.locator("#connection")).to_be_visible()
        holder = holder_of(folder / ".nstpipe")
        assert holder is not None and psutil.pid_exists(holder.process)
        server, address = open_by_command(folder)
        with context_of(browser) as context:
            page = entered(context, address)
            page.goto(page.url + "night")
            expect(page.locator("#run-state")).to_contain_text("A run is under way")
            page.get_by_role("button", name="Pause").press("Enter")
            expect(page.locator("#run-state")).not_to_contain_text("A run is under way")  # at once, not after the frame
            expect(page.get_by_role("button", name="Pause")).to_have_count(0)
            expect(page.locator("#run-state")).to_be_focused()
            expect(page.locator("#run-state")).to_contain_text("Paused; finished frames are kept")
            expect(page.locator("#failures-title + *, .problems")).to_contain_text(["Try these again", "broken.png"])
            assert str(folder) not in page.locator("main").inner_text()  # paths are told from the folder on
            text = (folder / "pipeline.yaml").read_text().replace("next: 300", "next: 1")
            (folder / "pipeline.yaml").write_text(text)
            make_picture(folder / "broken.png")  # mended
            page.get_by_role("button", name="Try these again").click()
            expect(page.locator("#run-state")).to_contain_text("Everything is done")
            expect(page.get_by_role("button", name="Continue")).to_have_count(0)  # there is nothing to go on with
            # The frames of a finished clip are shown from its video: the work folder has them no more.
            expect(page.locator(".newest img")).to_have_count(4)
            for image in page.locator(".newest img").all():
                expect(image).to_have_js_property("naturalWidth", 48)
            assert (folder / "out" / "film.mp4").exists() and (folder / "out" / "broken.png").exists()
            follow_link(page, "Jobs")
            page.get_by_role("button", name="Plan with time and disk").click()
            expect(page.get_by_role("region", name="Plan with time and disk")).to_contain_text("✓ done")
            follow_link(page, "Results")
            page.get_by_role("button", name="film.mp4").click()
            page.get_by_role("button", name="Play", exact=True).click()
            expect(page.locator(".player output")).to_contain_text("/ 0.3 s")
            page.keyboard.press("Escape")
            page.get_by_role("button", name="street.png").click()
            expect(page.locator("#viewer .compare img").last).to_be_visible()
            page.keyboard.press("Escape")
            with context.expect_page() as opened:
                page.get_by_role("link", name="Report of").first.click()
            expect(opened.value.locator("h1")).to_be_visible()
            assert not page.problems  # type: ignore[attr-defined]
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_every_page_is_accessible(browser: Browser, folder: Path, width: int, scheme: str) -> None:
    write_pipeline(folder, {"name": "street", "input": "street.png", "output": "out/street.png", "sizee": 3})
    with open_window(folder) as window, context_of(browser, color_scheme=scheme) as context:
        page = entered(context, window.address)
        page.set_viewport_size({"width": width, "height": 844})
        found = {}
        for path in ("", "jobs", "night", "results"):
            if path == "night":  # the other pages are shown with a job that is right
                write_pipeline(folder, {"name": "street", "input": "street.png", "output": "out/street.png"})
            page.goto(f"http://127.0.0.1:{window.port}/{path}")
            found[path] = violations(page)
            overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, path
        page.goto(f"http://127.0.0.1:{window.port}/")
        page.get_by_role("button", name="Browse folders").first.click()
        expect(page.get_by_role("button", name="film.mp4").last).to_be_visible()
        found["dialog"] = violations(page)
        assert not {path: problems for path, problems in found.items() if problems}
        # The dialog takes the focus, gives it back, and chooses by the keyboard.
        page.keyboard.press("Escape")
        assert focused(page) == "Browse folders"
        page.set_input_files("[data-upload=input]", folder / "street.png")
        expect(page.locator("#input-chosen")).to_contain_text("uploads/street.png: a picture of 72x54 pixels")
        expect(page.locator("#status")).to_have_text("")
        # Of two files that are dropped one is wrong: it is said, also when the other one is chosen.
        (folder / "letter.png").write_text("Dear reader")
        page.set_input_files("[data-upload=input]", [folder / "street.png", folder / "letter.png"])
        expect(page.locator("#input-chosen")).to_contain_text(": 1 picture, 72x54 pixels")
        expect(page.locator("#problem")).to_contain_text("letter.png is no picture or video by its content")
        page.evaluate("fetch = async () => Response.json({path: 'a.png', folder: 'uploads'})")
        page.set_input_files("[data-upload=input]", 501 * [folder / "street.png"])
        expect(page.locator("#problem")).to_contain_text("Only the first 500 files were uploaded.")
        assert not page.problems  # type: ignore[attr-defined]
