"""The report of real runs, read as HTML and in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

import nstpipe
from nstpipe.cli import exit_code
from nstpipe.config import load_pipeline
from nstpipe.config.dump import as_yaml
from nstpipe.errors import InputError
from nstpipe.events import Event, FrameDone, Noticed, RunFinished, TrainingProgressed
from nstpipe.journal.journal import Journal
from nstpipe.report import page as report_page
from nstpipe.report.data import gather
from nstpipe.report.page import as_html
from nstpipe.running.outcome import RunResult
from tests.making import make_picture, make_video, write_pipeline

HOSTILE = "<img src=x onerror=alert(1)>\"'&amp;{{7*7}}.png"
"""A file's name that would run a script if it were taken for HTML."""


def a_night(folder: Path) -> Path:
    """A film of two frames more than a loop has, three pictures, one of them of a hostile name, and one failure."""
    make_video(folder / "in.mp4", frames=18)
    for number, name in enumerate(("a.jpg", "b.jpg", HOSTILE)):
        make_picture(folder / "in" / name, seed=number)
    (folder / "in" / "<b>broken.jpg").write_text("no picture")
    return write_pipeline(
        folder,
        {"name": "film", "input": "in.mp4", "output": "out/film.mp4", "optimizer": {"first": 2, "next": 1}},
        {"name": "street", "input": "in", "output": "out/street"},
        {"name": "gone", "input": "<script>alert(1)<script>.mp4", "output": "out/gone.mp4"},
    )


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult, list[Event]]:
    """The report, the result and the events of one run."""
    folder = tmp_path_factory.mktemp("night")
    events: list[Event] = []
    result = nstpipe.run(a_night(folder), on_event=events.append)
    return folder / ".nstpipe" / "report.html", result, events


class Elements(HTMLParser):
    """All elements with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_the_training_of_a_network_and_the_choice_of_an_engine_are_told(tmp_path: Path) -> None:
    make_picture(tmp_path / "in.png")
    network = {"name": "network", "train_minutes": 0.001}
    path = write_pipeline(
        tmp_path,
        {"name": "look", "input": "in.png", "output": "a.png", "engine": network},
        {"name": "same", "input": "in.png", "output": "b.png", "engine": network},
        {"name": "few", "input": "in.png", "output": "c.png", "engine": "auto"},
        workers=1,
    )
    events: list[Event] = []
    nstpipe.run(path, on_event=events.append)
    last = [event for event in events if isinstance(event, TrainingProgressed)][-1]
    pipeline = load_pipeline(path)
    with closing(Journal(pipeline.work, pipeline=path, read_only=True)) as journal:
        look, same, few = gather(pipeline, journal).jobs
    assert look.training is not None and same.training is not None and look.training.curve is not None
    assert (look.training.steps, look.training.loss) == (last.step, last.losses["held_out"])
    assert look.training.seconds == pytest.approx(last.step * last.seconds_a_step)
    assert (look.training.is_done, look.training.shared_with, same.training.shared_with) == (True, ("same",), ("look",))
    assert (look.engine, few.engine, few.training) == ("network", "optimizer", None)
    html = (tmp_path / ".nstpipe" / "report.html").read_text()
    assert html.count("engine: auto takes optimizer: 1 frames are fewer than 1,000, so each is optimized") == 1
    assert html.count("Network: trained") == 2


def test_a_run_says_where_its_report_is_and_the_report_says_what_came_of_it(
    night: tuple[Path, RunResult, list[Event]],
) -> None:
    path, result, events = night
    assert result.exit_code == 2
    assert isinstance(events[-1], RunFinished)
    assert events[-1].report == str(path)
    elements = Elements(path.read_text(encoding="utf-8"))
    text = " ".join(elements.text.split())
    assert "Finished, but 2 could not be done" in text
    for failure in result.failures:
        assert failure.reason in text
        assert failure.next_step in text
    # One film and three pictures before and after, and one loop.
    assert len(elements.all("img")) == 2 * 4 + 1
    assert len([slider for slider in elements.all("input") if slider["type"] == "range"]) == 4
    # Loss and flicker of the film, and the losses of the pictures.
    assert len(elements.all("svg")) == 3
    names = [attributes.get("aria-labelledby") for tag, attributes in elements.found if tag in ("svg", "section")]
    identified = {attributes.get("id") for _, attributes in elements.found}
    assert all(name is not None and identified.issuperset(name.split()) for name in names), "a screen reader names each"
    for version in (nstpipe.__version__, "c34748d2a8b1ad0a", "cpu, float32"):
        assert version in text


def test_nothing_in_it_comes_from_elsewhere_and_nothing_given_is_taken_for_html(
    night: tuple[Path, RunResult, list[Event]],
) -> None:
    text = night[0].read_text(encoding="utf-8")
    elements = Elements(text)
    for tag, attributes in elements.found:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = attributes.get(name)
            # What leads to a result is a relative address, in which everything but letters is escaped.
            is_link = tag == "a" and name == "href" and re.fullmatch(r"(\.\./)+[\w/.%~-]+", value or "")
            assert value is None or value.startswith(("data:", "#")) or is_link, (tag, value)
        assert not [name for name in attributes if name.startswith("on")], tag
    assert not re.search(r"url\(|@import|https?://", text)
    assert len(elements.all("script")) == 1
    assert HOSTILE in elements.text
    assert f"Before: {HOSTILE}" in [image["alt"] for image in elements.all("img")]
    assert "<script>alert(1)<script>.mp4" in elements.text


def test_its_yaml_gives_the_same_pipeline_again(tmp_path: Path) -> None:
    make_picture(tmp_path / "style.png")
    job = {"name": "film", "input": "a $${HOME} $$ b.mp4", "output": "out.mp4", "color": "content", "rate": 12.5}
    pipeline = load_pipeline(write_pipeline(tmp_path, job, seed=7))
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "pipeline.yaml").write_text(as_yaml(pipeline))
    assert load_pipeline(tmp_path / "again" / "pipeline.yaml").model_dump() == pipeline.model_dump()
    assert "a ${HOME} $ b.mp4" in str(pipeline.jobs[0].input)


def test_flicker_is_measured_where_a_frame_follows_another(tmp_path: Path) -> None:
    """A still film, whose frames are held to the one before, flickers less than one that starts anew at each frame."""
    make_picture(tmp_path / "still.png", size=(64, 48))
    still = np.asarray(Image.open(tmp_path / "still.png").convert("RGB"))
    for number in range(4):
        # One pixel in the corner: a frame that equals the one before would keep its paint to the bit.
        frame = still.copy()
        frame[0, 0] = 10 * number
        Image.fromarray(frame).save(tmp_path / f"still_{number}.png")
    job = {"name": "film", "input": "still_%d.png", "output": "out/%d.png", "optimizer": {"first": 10, "next": 4}}
    pipeline = load_pipeline(write_pipeline(tmp_path, job))
    nstpipe.run(pipeline)
    journal = Journal(pipeline.work)
    frames = journal.frames("film")
    assert frames[0].warping_error is None
    errors = [frame.warping_error for frame in frames[1:]]
    assert all(error is not None and 0 < error < 1e-3 for error in errors)
    [facts] = gather(pipeline, journal).jobs
    assert facts.flicker == pytest.approx(255 * np.sqrt(np.mean(np.array(errors, dtype=float))))
    assert facts.frames_done == 4
    journal.close()


def test_it_is_made_again_from_the_journal(night: tuple[Path, RunResult, list[Event]]) -> None:
    path, _, _ = night
    pipeline = path.parent.parent / "pipeline.yaml"
    first = path.read_text(encoding="utf-8")
    out = path.with_name("again.html")  # the same links lead to the results from there
    assert exit_code(["report", str(pipeline), "-o", str(out)]) == 0
    again = out.read_text(encoding="utf-8")
    without_time = re.compile(r"Written [-0-9: ]+\.")
    assert without_time.sub("", again) == without_time.sub("", first)


def test_the_command_as_json_and_without_a_run(
    night: tuple[Path, RunResult, list[Event]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _, _ = night
    out = tmp_path / "one.html"
    pipeline = str(path.parent.parent / "pipeline.yaml")
    assert exit_code(["report", pipeline, "--job", "street", "--json", "-o", str(out)]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(out), "bytes": out.stat().st_size}
    assert "job-film" not in out.read_text(encoding="utf-8")
    fresh = write_pipeline(tmp_path, {"name": "one", "input": "in", "output": "out"})
    assert exit_code(["report", str(fresh)]) == InputError.exit_code
    assert "knows of no run yet" in capsys.readouterr().err


def test_a_run_that_ends_in_an_error_leaves_a_report_too(tmp_path: Path) -> None:
    pipeline = write_pipeline(tmp_path, {"name": "gone", "input": "nowhere.mp4", "output": "out.mp4"})
    with pytest.raises(InputError):
        nstpipe.run(pipeline)
    text = (tmp_path / ".nstpipe" / "report.html").read_text(encoding="utf-8")
    assert "Ended early, with exit code 65" in text
    assert "nowhere.mp4 does not exist" in text


def test_an_interrupted_film_shows_how_far_it_is(tmp_path: Path) -> None:
    make_video(tmp_path / "in.mp4", frames=4)
    pipeline = write_pipeline(tmp_path, {"name": "film", "input": "in.mp4", "output": "out/film.mp4"})

    class Killed(BaseException):
        pass

    def kill(event: Event) -> None:
        if isinstance(event, FrameDone) and event.frame_index == 2:
            raise Killed

    with pytest.raises(Killed):
        nstpipe.run(pipeline, on_event=kill)
    out = tmp_path / "report.html"
    assert exit_code(["report", str(pipeline), "-o", str(out)]) == 0
    text = " ".join(Elements(out.read_text(encoding="utf-8")).text.split())
    assert "Not finished: still running, or killed" in text
    assert "in.mp4: not finished, 3 of 4 frames" in text


def test_an_original_that_is_gone_is_said(tmp_path: Path) -> None:
    make_picture(tmp_path / "in" / "a.png")
    pipeline = write_pipeline(tmp_path, {"name": "one", "input": "in", "output": "out"})
    nstpipe.run(pipeline)
    (tmp_path / "in" / "a.png").unlink()
    assert exit_code(["report", str(pipeline)]) == 0
    elements = Elements((tmp_path / ".nstpipe" / "report.html").read_text(encoding="utf-8"))
    assert [image["alt"] for image in elements.all("img")] == ["After: a.png"]
    assert "a.png does not exist" in elements.text


def test_a_report_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    make_picture(tmp_path / "in" / "a.png")
    pipeline = write_pipeline(tmp_path, {"name": "one", "input": "in", "output": "out"})
    (tmp_path / ".nstpipe" / "report.html" / "in the way").mkdir(parents=True)
    events: list[Event] = []
    result = nstpipe.run(pipeline, on_event=events.append)
    assert result.exit_code == 0
    assert (tmp_path / "out" / "a.png").exists()
    [notice] = [event for event in events if isinstance(event, Noticed)]
    assert "the report could not be written: " in notice.message
    assert isinstance(events[-1], RunFinished)
    assert events[-1].report == ""


def test_many_pictures_are_spread_evenly_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        make_picture(tmp_path / "in" / f"{number}.png", seed=number)
    pipeline = load_pipeline(write_pipeline(tmp_path, {"name": "one", "input": "in", "output": "out"}))
    nstpipe.run(pipeline)
    monkeypatch.setattr("nstpipe.report.data.MOST_COMPARISONS", 3)
    journal = Journal(pipeline.work, read_only=True)
    [job] = gather(pipeline, journal).jobs
    assert [shown.name for shown in job.shown] == ["0.png", "2.png", "4.png"]
    assert job.not_shown == 2
    [late] = gather(pipeline, journal, picture_seconds=-1).jobs
    assert (late.shown, late.not_shown) == ((), 5)
    assert "5 more are finished" in as_html(gather(pipeline, journal, picture_seconds=-1))
    journal.close()


def test_a_very_large_job_is_summed_up_by_the_journal_as_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        make_picture(tmp_path / "in" / f"{number}.png", seed=number)
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    path = write_pipeline(tmp_path, {"name": "one", "input": "in", "output": "out", "link": "none"})
    nstpipe.run(path, overrides=["jobs.one.exclude=[0.png]"])
    nstpipe.run(path)
    pipeline = load_pipeline(path)
    journal = Journal(pipeline.work, read_only=True)
    listed = gather(pipeline, journal)
    monkeypatch.setattr("nstpipe.planning.status.MANY_OUTPUTS", 4)
    monkeypatch.setattr("nstpipe.report.data.job_progress", None)  # no input is listed
    summed = gather(pipeline, journal)
    [job], [expected] = summed.jobs, listed.jobs
    assert (expected.made, expected.before, expected.failed, expected.frames_done) == (1, 3, 1, 4)
    assert summed.failures == listed.failures
    assert {shown.name for shown in job.shown} == {shown.name for shown in expected.shown}
    assert len(job.plots) == len(expected.plots) == 1
    # A picture that cannot be read has no frame in the plan.
    alike = {"shown": (), "plots": (), "frames": 4}
    assert replace(job, **alike) == replace(expected, **alike)
    monkeypatch.setattr("nstpipe.report.data.LEAST_DOTS", 2)
    monkeypatch.setattr("nstpipe.report.data.MOST_DOTS", 3)
    [fewer] = gather(pipeline, journal).jobs
    assert "1 of 2" in str(fewer.plots)
    journal.close()


def test_a_thumbnail_is_upright_in_its_own_colors_and_on_white(tmp_path: Path) -> None:
    from nstpipe.report.thumbnails import small_picture

    upper_left_red = np.zeros((300, 800, 3), np.uint8)
    upper_left_red[:150, :400] = (250, 10, 10)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(upper_left_red).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    pixels = small_picture(tmp_path / "turned.jpg")
    assert pixels.shape == (560, 210, 3)
    assert np.abs(pixels[100, 180].astype(int) - (250, 10, 10)).max() < 12
    assert pixels[100, 40].max() < 12
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (small_picture(tmp_path / "clear.png") == 255).all()
    Image.fromarray(np.full((8, 8), 257 * 128, np.uint16)).save(tmp_path / "deep.png")
    assert (small_picture(tmp_path / "deep.png") == 128).all()


@contextmanager
def shown(browser: Browser, report: Path, *, width: int, height: int, **preferences: Any) -> Iterator[Page]:
    """The report in a window as wide as a phone or a desktop, for somebody with these preferences."""
    with browser.new_page(viewport={"width": width, "height": height}, is_mobile=width < 600, **preferences) as page:
        page.goto(report.absolute().as_uri())
        yield page


WIDE_AND_NARROW = [pytest.param(390, 844, id="phone"), pytest.param(1280, 900, id="desktop")]


@pytest.mark.parametrize(("width", "height"), WIDE_AND_NARROW)
def test_a_browser_shows_it_whole_and_asks_nobody(
    night: tuple[Path, RunResult, list[Event]], browser: Browser, tmp_path: Path, width: int, height: int
) -> None:
    requested, complaints = [], []
    with browser.new_page(viewport={"width": width, "height": height}, is_mobile=width < 600) as page:
        page.on("request", lambda request: requested.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        address = night[0].absolute().as_uri()
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        beyond = "[...document.body.querySelectorAll('*')].filter(e => !e.closest('.window, .frames, pre, svg')"
        cut_off = f"{beyond} && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
        assert page.evaluate(cut_off) == []
        decoded = "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth > 0)))"
        assert page.evaluate(decoded) == [True] * 9
        assert address in requested
        assert [url for url in requested if not url.startswith(("data:", address))] == []
        assert complaints == []
        page.screenshot(path=tmp_path / "report.png", full_page=True)
    seen = Image.open(tmp_path / "report.png")
    assert (seen.width, seen.height > height) == (width, True)


def test_the_slider_works_by_keyboard_and_says_so(night: tuple[Path, RunResult, list[Event]], browser: Browser) -> None:
    cut = "getComputedStyle(document.querySelector('.frames')).getPropertyValue('--cut')"
    with shown(browser, night[0], width=390, height=844) as page:
        page.focus(".frames input")
        page.keyboard.press("Home")
        assert page.evaluate(cut) == "0%"
        page.keyboard.press("ArrowRight")
        assert page.evaluate(cut) == "1%"
        page.keyboard.press("End")
        assert page.evaluate(cut) == "100%"
        clipped = "getComputedStyle(document.querySelector('.frames .after')).clipPath"
        assert page.evaluate(clipped) == "inset(0px 0px 0px 100%)"
        elements = "[...document.querySelectorAll('input, button, svg, img')]"
        assert page.evaluate(f"{elements}.every(e => e.ariaLabel || e.alt || e.textContent.trim())") is True


def test_nothing_moves_for_those_who_asked_for_stillness(night: tuple[Path, RunResult, list[Event]], browser: Browser) -> None:
    playing = "getComputedStyle(document.querySelector('.window img')).animationPlayState"
    press = "document.querySelector('.loop button').click()"
    with shown(browser, night[0], width=1280, height=900) as page:
        assert page.evaluate(playing) == "running"
        page.evaluate(press)
        assert page.evaluate(playing) == "paused"
    with shown(browser, night[0], width=1280, height=900, reduced_motion="reduce") as page:
        assert page.evaluate(playing) == "paused"
        page.evaluate(press)
        assert page.evaluate(playing) == "running"


CONTRAST = """
(() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (c) => {
    const [r, g, b] = parts(c).slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const [, , , alpha = 1] = parts(getComputedStyle(e).backgroundColor);
      if (alpha > 0.5) return getComputedStyle(e).backgroundColor;
    }
    return "rgb(255, 255, 255)";
  };
  let lowest = 99;
  for (const e of document.body.querySelectorAll("*")) {
    const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!text || !e.checkVisibility() || ["SCRIPT", "STYLE"].includes(e.tagName)) continue;
    const style = getComputedStyle(e);
    const [a, b] = [luminance(e.closest("svg") ? style.fill : style.color), luminance(ground(e))];
    lowest = Math.min(lowest, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return lowest;
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_by_day_and_by_night(night: tuple[Path, RunResult, list[Event]], browser: Browser, scheme: str) -> None:
    with shown(browser, night[0], width=1280, height=900, color_scheme=scheme) as page:
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (dark == "rgb(20, 22, 27)") is (scheme == "dark")
        # WCAG 2.2, 1.4.3: at least 4.5 to 1.
        assert 4.5 <= page.evaluate(CONTRAST) <= 21


def test_its_template_is_part_of_the_package() -> None:
    assert "script" in report_page._template("report.html")


def test_a_run_with_nothing_to_do_leaves_the_report_of_the_night(tmp_path: Path) -> None:
    make_picture(tmp_path / "in" / "a b" / "\u00fc#1%.png")
    path = write_pipeline(tmp_path, {"name": "one", "input": "in", "output": "out"})
    work = tmp_path / ".nstpipe"
    ended: list[RunFinished] = []

    def follow(event: Event) -> None:
        if isinstance(event, RunFinished):
            ended.append(event)

    for settings in ([], [], ["jobs.one.size=32"], ["jobs.one.size=32"]):
        nstpipe.run(path, overrides=settings, on_event=follow)
    assert {(event.report, event.results) for event in ended} == {(str(work / "report.html"), (str(tmp_path / "out"),))}
    first, second = sorted((work / "reports").glob("*.html"))
    newest = work / "report.html"
    for page, others in ((newest, {first}), (second, {first}), (first, set())):
        text = page.read_text(encoding="utf-8")
        assert "All done" in text
        links = [a["href"] or "" for a in Elements(text).all("a")]
        targets = {(page.parent / unquote(link)).resolve() for link in links}
        assert targets == {tmp_path / "out", tmp_path / "out" / "a b" / "\u00fc#1%.png", *others}
    before = newest.read_text(encoding="utf-8")
    assert exit_code(["report", str(path)]) == 0
    assert newest.read_text(encoding="utf-8").split("Written")[0] == before.split("Written")[0]


def test_old_reports_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_picture(tmp_path / "in" / "a.png")
    monkeypatch.setattr("nstpipe.report.page.REPORTS_KEPT", 2)
    kept = tmp_path / ".nstpipe" / "reports"
    kept.mkdir(parents=True)
    for day in (1, 2):
        (kept / f"2020010{day}-000000-1.html").touch()
    nstpipe.run(write_pipeline(tmp_path, {"name": "one", "input": "in", "output": "out"}))
    assert len(list(kept.iterdir())) == 2
    assert (kept / "20200102-000000-1.html").exists()
