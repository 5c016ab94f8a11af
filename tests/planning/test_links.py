"""Pictures of a folder that are linked to the previous one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

import nstpipe
from benchmarks.scenes import slide
from nstpipe import api
from nstpipe.events import ClipStarted, Event, FrameDone, OutputDone
from nstpipe.media.frame import Pixels, resized
from nstpipe.media.pictures.capture import Capture, capture_of
from nstpipe.painting.clip import _linked_result
from nstpipe.painting.task import LinkedPicture
from nstpipe.planning import link_reliability, looks, plan
from tests.making import write_pipeline

SIZE = (96, 64)


def save(path: Path, pixels: Pixels, *, second: int | None = None, north: float | None = None) -> Path:
    """A picture, taken so many seconds after noon and so many seconds of arc north of 48° N, 2° W."""
    exif = Image.Exif()
    if second is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"2024:05:01 12:{second // 60:02d}:{second % 60:02d}"
    if north is not None:
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(
            {
                ExifTags.GPS.GPSLatitudeRef: "N",
                ExifTags.GPS.GPSLatitude: (IFDRational(48), IFDRational(0), IFDRational(round(north * 1000), 1000)),
                ExifTags.GPS.GPSLongitudeRef: "W",
                ExifTags.GPS.GPSLongitude: (IFDRational(2), IFDRational(0), IFDRational(0)),
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.fixture(scope="module")
def walk(street: Pixels) -> list[Pixels]:
    return slide(resized(street, (240, 135)), SIZE, 4, (5, 1), (40, 30)).frames


def job(folder: Path, **keys: object) -> Path:
    return write_pipeline(
        folder,
        {"name": "walk", "input": "in", "output": "out", "size": 64, **keys},
    )


def reasons(pipeline: Path) -> list[str]:
    planned = api.plan(pipeline)
    assert not planned.failures
    return [output.reason for output in planned.outputs]


def walked(folder: Path, walk: Sequence[Pixels], **keys: object) -> Path:
    for number, pixels in enumerate(walk):
        save(folder / "in" / f"{number}.png", pixels)
    return job(folder, **keys)


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((folder / "out").iterdir())}


def test_time_and_place_are_read(tmp_path: Path, walk: list[Pixels]) -> None:
    found = capture_of(save(tmp_path / "a.jpg", walk[0], second=75, north=1.0))
    assert found.time == datetime(2024, 5, 1, 12, 1, 15)
    assert found.latitude == pytest.approx(48 + 1 / 3600)
    assert found.longitude == pytest.approx(-2)
    assert capture_of(save(tmp_path / "b.jpg", walk[0])) == Capture()
    assert capture_of(tmp_path / "missing.jpg") == Capture()


def test_distances_on_the_globe() -> None:
    # One minute of arc of a great circle is a nautical mile, 1852 m.
    one, other = Capture(latitude=0.0, longitude=10.0), Capture(latitude=0.0, longitude=10 + 1 / 60)
    assert one.meters_to(other) == pytest.approx(1852, rel=0.002)
    assert one.meters_to(one) == 0
    # At 60° north, a degree of longitude is half as long.
    assert Capture(latitude=60.0, longitude=0.0).meters_to(Capture(latitude=60.0, longitude=1 / 60)) == pytest.approx(
        926, rel=0.002
    )
    assert one.meters_to(Capture()) is None
    assert one.seconds_to(other) is None


def test_neighbors_are_linked_and_the_plan_says_by_which_figure(tmp_path: Path, walk: list[Pixels]) -> None:
    first, second, third, fourth = reasons(walked(tmp_path, walk))
    assert first == "new"
    for reason, before in ((second, "0.png"), (third, "1.png"), (fourth, "2.png")):
        assert reason.startswith(f"new; linked to {before}: ")
        assert 50 < int(reason.split(": ")[1].split("%")[0]) <= 100


def test_a_different_place_starts_afresh(tmp_path: Path, walk: list[Pixels], station: Pixels) -> None:
    save(tmp_path / "in" / "a.png", walk[0])
    save(tmp_path / "in" / "b.png", resized(station, SIZE))
    _, second = reasons(job(tmp_path))
    assert second.startswith("new; not linked: ")
    assert "of the flow from a.png is reliable" in second


@pytest.mark.parametrize(
    ("seconds", "north", "words"),
    [((0, 61), (0.0, 0.0), "61 s apart"), ((61, 0), (0.0, 0.0), "61 s apart"), ((0, 1), (0.0, 1.0), "31 m apart")],
)
def test_gaps_in_time_and_place_part_pictures(
    tmp_path: Path, walk: list[Pixels], seconds: tuple[int, int], north: tuple[float, float], words: str
) -> None:
    for number in (0, 1):
        save(tmp_path / "in" / f"{number}.jpg", walk[number], second=seconds[number], north=north[number])
    assert words in reasons(job(tmp_path))[1]


def test_small_gaps_do_not(tmp_path: Path, walk: list[Pixels]) -> None:
    for number in (0, 1):
        save(tmp_path / "in" / f"{number}.jpg", walk[number], second=number * 59, north=number * 0.9)
    assert "linked to 0.jpg" in reasons(job(tmp_path))[1]


def test_other_folders_and_shapes_start_afresh(tmp_path: Path, walk: list[Pixels]) -> None:
    save(tmp_path / "in" / "a" / "0.png", walk[0])
    save(tmp_path / "in" / "b" / "1.png", walk[1])
    save(tmp_path / "in" / "b" / "2.png", walk[2][:, :80])
    assert reasons(job(tmp_path)) == ["new", "new", "new; not linked: 1.png has a different shape"]


@pytest.mark.parametrize("keys", [{"link": "none"}, {"temporal": {"init": "content"}}, {"engine": "network"}])
def test_nothing_is_linked_unasked(tmp_path: Path, walk: list[Pixels], keys: dict[str, object]) -> None:
    assert reasons(walked(tmp_path, walk, **keys)) == ["new"] * 4


@pytest.mark.parametrize("engine", [{"name": "network", "blend": True}, {"name": "network", "refine": 3}, "adain"])
def test_engines_that_hold_pictures_to_each_other_link_them(tmp_path: Path, walk: list[Pixels], engine: object) -> None:
    assert ["linked to" in reason for reason in reasons(walked(tmp_path, walk, engine=engine))] == [False, True, True, True]


@pytest.mark.parametrize("by_folder", [True, False])
@pytest.mark.parametrize(("frames", "linked"), [(4, False), (5, True)], ids=["network", "optimizer"])
def test_whether_auto_links_depends_on_what_it_takes(
    tmp_path: Path, walk: list[Pixels], monkeypatch: pytest.MonkeyPatch, by_folder: bool, frames: int, linked: bool
) -> None:
    monkeypatch.setattr(looks, "AUTO_FRAMES", frames)
    if not by_folder:
        monkeypatch.setattr(plan, "can_list_by_folder", lambda _: False)
    found = reasons(walked(tmp_path, walk, engine="auto"))
    assert ["linked to" in reason for reason in found] == [False, *[linked] * 3]


def test_file_order_counts_as_people_read_it(tmp_path: Path, walk: list[Pixels]) -> None:
    save(tmp_path / "in" / "view_9.png", walk[0])
    save(tmp_path / "in" / "view_10.png", walk[1])
    assert "linked to view_9.png" in reasons(job(tmp_path))[1]


def test_linked_pictures_take_fewer_iterations(tmp_path: Path, walk: list[Pixels]) -> None:
    most: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, FrameDone):
            most.append(event.most_evaluations)
            assert (event.first_frame_index, event.frame_index) == (0, 0)

    assert nstpipe.run(walked(tmp_path, walk[:3], optimizer={"first": 20, "next": 2}), on_event=watch).exit_code == 0
    assert most[0] == 20
    assert all(2 <= one < 10 for one in most[1:])


def test_when_it_is_painted_does_not_matter(tmp_path: Path, walk: list[Pixels]) -> None:
    nstpipe.run(walked(tmp_path / "whole", walk[:3]))
    grown = walked(tmp_path / "grown", walk[:2])
    nstpipe.run(grown)
    walked(tmp_path / "grown", walk[:3])
    # What was there is done; what came to it goes on from it.
    assert [output.is_done for output in api.plan(grown).outputs] == [True, True, False]
    nstpipe.run(grown)
    assert hashes(tmp_path / "whole") == hashes(tmp_path / "grown")


def test_with_several_workers_each_waits_for_the_one_before_it(tmp_path: Path, walk: list[Pixels]) -> None:
    pipeline = walked(tmp_path, walk[:3])
    seen: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, (ClipStarted, OutputDone)):
            seen.append(f"{type(event).__name__} {Path(event.path).stem}")

    assert nstpipe.run(pipeline, workers=2, on_event=watch).exit_code == 0
    assert seen == [f"{what} {number}" for number in range(3) for what in ("ClipStarted", "OutputDone")]


def test_what_changes_a_picture_changes_those_after_it(tmp_path: Path, walk: list[Pixels]) -> None:
    pipeline = walked(tmp_path, walk[:3])
    nstpipe.run(pipeline)
    assert reasons(pipeline) == ["", "", ""]
    (tmp_path / "out" / "1.png").unlink()
    first, second, third = reasons(pipeline)
    assert (first, third) == ("", "")
    assert second.startswith("output missing; linked to 0.png")
    before = hashes(tmp_path)
    nstpipe.run(pipeline)
    assert hashes(tmp_path).items() >= before.items()
    changed = walk[1].copy()
    changed[:8, :8] = 255 - changed[:8, :8]
    save(tmp_path / "in" / "1.png", changed)
    first, second, third = reasons(pipeline)
    assert first == ""
    assert second.startswith("input changed; linked to 0.png")
    assert third.startswith("the previous picture changed; linked to 1.png")


def test_an_outdated_result_is_no_start(tmp_path: Path, walk: list[Pixels]) -> None:
    path = save(tmp_path / "result.png", walk[0])
    stamp = path.stat().st_size, path.stat().st_mtime_ns
    assert _linked_result(LinkedPicture(path, path), SIZE) is not None
    assert _linked_result(LinkedPicture(path, path, outdated=(stamp[0], stamp[1] - 1)), SIZE) is not None
    assert _linked_result(LinkedPicture(path, path, outdated=stamp), SIZE) is None
    assert _linked_result(LinkedPicture(path, path), (64, 48)) is None
    assert _linked_result(LinkedPicture(path, tmp_path / "missing.png"), SIZE) is None


def test_a_gap_in_time_or_place_is_seen_before_anything_is_decoded(
    tmp_path: Path, walk: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, second in enumerate((0, 61, 62)):
        save(tmp_path / "in" / f"{number}.jpg", walk[number], second=second)
    decoded: list[str] = []
    real = link_reliability.read_picture
    monkeypatch.setattr(link_reliability, "read_picture", lambda path: decoded.append(path.name) or real(path))
    _, second, third = reasons(job(tmp_path))
    assert second == "new; not linked: it and 0.jpg are 61 s apart"
    assert "linked to 1.jpg" in third
    assert decoded == ["1.jpg", "2.jpg"]
