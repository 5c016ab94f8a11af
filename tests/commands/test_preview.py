"""One frame at once: the same engine as a run, nothing else touched, and sheets whose cells are where their labels say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nstpipe import api
from nstpipe.cli import exit_code
from nstpipe.commands import PREVIEW_ITERATIONS
from nstpipe.commands.preview import (
    GAP_PIXELS,
    Axis,
    Preview,
    axis,
    before_and_after,
    check_writable,
    combinations,
    proof_sheet,
)
from nstpipe.errors import InputError, UsageError
from nstpipe.events import Event
from nstpipe.media.frame import resized
from tests.making import make_picture, make_video, write_pipeline


def ignore(_: Event) -> None:
    return None


def pictures(folder: Path, **job: object) -> Path:
    for number in (1, 2, 10):
        make_picture(folder / "in" / f"p{number}.png", seed=number)
    return write_pipeline(folder, {"name": "one", "input": "in", "output": "out", **job})


@pytest.mark.parametrize("job", [{}, {"regions": [{"mask": "mask.png", "style": "keep"}], "color": "content"}], ids=str)
def test_a_preview_is_what_a_run_makes_of_the_frame(tmp_path: Path, job: dict[str, object]) -> None:
    make_picture(tmp_path / "mask.png", seed=4)
    pipeline = pictures(tmp_path, **job)
    painted = Preview(pipeline, "one", 2).painted(ignore)
    assert painted.path.name == "p10.png", "pictures are counted in natural order"
    assert not (tmp_path / ".nstpipe").exists()
    assert not (tmp_path / "out").exists()
    api.run(pipeline)
    assert np.array_equal(painted.after, np.asarray(Image.open(tmp_path / "out" / "p10.png")))


def test_a_frame_of_a_video_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    make_video(tmp_path / "film.mp4", frames=8)
    pipeline = write_pipeline(tmp_path, {"name": "film", "input": "film.mp4", "output": "out/film.mp4"})
    from nstpipe.media.video.decode import VideoSource
    from nstpipe.media.video.probe import probe

    frames = list(VideoSource(probe(tmp_path / "film.mp4")).read(0, 8))
    assert np.array_equal(Preview(pipeline, "film", 5).painted(ignore).before, resized(frames[5].pixels, (48, 36)))
    assert not np.array_equal(frames[4].pixels, frames[5].pixels)
    with pytest.raises(UsageError, match="film has 8 frames, counted from 1"):
        Preview(pipeline, "film", 8).painted(ignore)


def test_frames_of_several_videos_are_counted_through(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_video(tmp_path / "in" / f"{name}.mp4", frames=3, audio=False)
    pipeline = write_pipeline(tmp_path, {"name": "films", "input": "in/*.mp4", "output": "out"})
    assert Preview(pipeline, "films", 3).painted(ignore).path.name == "b.mp4"


def test_iterations_are_fewer_unless_all_are_wanted(tmp_path: Path) -> None:
    pipeline = pictures(tmp_path, optimizer={"first": PREVIEW_ITERATIONS + 2, "tolerance": 0})
    assert Preview(pipeline).painted(ignore).iterations == PREVIEW_ITERATIONS
    assert Preview(pipeline, iterations=None).painted(ignore).iterations == PREVIEW_ITERATIONS + 2
    assert Preview(pipeline, iterations=3).painted(ignore).iterations == 3


def test_a_preview_does_not_mind_a_run_that_goes_on(tmp_path: Path) -> None:
    pipeline = pictures(tmp_path)
    seen: list[int] = []

    def look(event: Event) -> None:
        if not seen:
            seen.append(exit_code(["preview", str(pipeline), "-o", str(tmp_path / "look.png")]))

    assert api.run(pipeline, on_event=look).exit_code == 0
    assert seen == [0]
    assert (tmp_path / "look.png").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("strength=0.5,1,2", Axis("style.strength", ("0.5", "1", "2"))),
        ("style.scale = 0.7, 1", Axis("style.scale", ("0.7", "1"))),
        ("color=style,content", Axis("color", ("style", "content"))),
        ("style='a,b.jpg',c.jpg", Axis("style", ("'a,b.jpg'", "c.jpg"))),
        ("content.layers={relu3_2: 1, relu4_2: 1},x", Axis("content.layers", ("{relu3_2: 1, relu4_2: 1}", "x"))),
    ],
)
def test_an_axis_is_read(text: str, expected: Axis) -> None:
    assert axis(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("strength", "should be KEY=VALUE,VALUE"),
        ("strength=1", "give two or more"),
        ("strenght=1,2", "Did you mean strength?"),
        ("layers=1,2", "may be style.layers or content.layers"),
        ("audio=copy,none", "changes nothing of a frame"),
        ("next=1,2", "changes nothing of a frame"),
        ("style='a,b", "Quote a value"),
    ],
)
def test_an_axis_that_is_none_says_what_was_meant(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        axis(text)
    assert said in str(caught.value)


def test_a_value_that_its_key_does_not_take_is_said_before_the_first_picture(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--grid style.strength: found the text 'much'; should be a number"):
        proof_sheet(Preview(pictures(tmp_path)), [axis("strength=1,much")], ignore)


def test_a_job_of_a_matrix_is_varied_by_its_full_name_and_no_other(tmp_path: Path) -> None:
    job = {"name": "one-{v}", "matrix": {"v": [1, 2]}, "input": "in", "output": "out{v}"}
    pipeline = write_pipeline(tmp_path, job)
    varied = Preview(pipeline, "one-2", overrides=("jobs.one-2.style.strength=5",)).varied({"style.strength": "30"})
    settings, chosen = varied.settings()
    assert [(job.name, job.style.strength) for job in settings.jobs] == [("one-1", 1), ("one-2", 30)]
    assert chosen.name == "one-2"


def test_too_much_for_one_sheet() -> None:
    with pytest.raises(UsageError, match="two directions"):
        combinations([axis("strength=1,2"), axis("scale=1,2"), axis("color=style,content")])
    with pytest.raises(UsageError, match="given twice"):
        combinations([axis("strength=1,2"), axis("strength=1,2")])
    with pytest.raises(UsageError, match="makes 121 pictures"):
        combinations([axis(f"{key}={','.join(map(str, range(1, 12)))}") for key in ("strength", "total_variation")])


def test_the_cells_of_a_proof_sheet_are_where_their_labels_say(tmp_path: Path) -> None:
    preview = Preview(pictures(tmp_path), "one", 0)
    across, down = axis("strength=0.1,30"), axis("color=style,content,matched")
    sheet = np.asarray(proof_sheet(preview, [across, down], ignore).image)
    cell = preview.varied({"style.strength": "30", "color": "content"}).painted(ignore).after
    height, width = cell.shape[:2]
    right = sheet.shape[1] - GAP_PIXELS
    # The second column is the last, the second row the one above the last.
    bottom = sheet.shape[0] - GAP_PIXELS - (height + GAP_PIXELS)
    assert np.array_equal(sheet[bottom - height : bottom, right - width : right], cell)
    assert (sheet[:, :GAP_PIXELS] == 255).all()


def test_labels_stay_over_their_cells(tmp_path: Path) -> None:
    pipeline = pictures(tmp_path)
    make_picture(tmp_path / f"{'long' * 20}.png")
    sheet = proof_sheet(Preview(pipeline), [axis(f"style={'long' * 20}.png,style.png")], ignore).image
    assert sheet.width == 2 * 48 + 3 * GAP_PIXELS


def test_before_and_after_stand_side_by_side(tmp_path: Path) -> None:
    painted = Preview(pictures(tmp_path)).painted(ignore)
    both = np.asarray(before_and_after(painted))
    height, width = painted.before.shape[:2]
    assert np.array_equal(both[-GAP_PIXELS - height : -GAP_PIXELS, GAP_PIXELS : GAP_PIXELS + width], painted.before)
    assert np.array_equal(both[-GAP_PIXELS - height : -GAP_PIXELS, -GAP_PIXELS - width : -GAP_PIXELS], painted.after)


@pytest.mark.parametrize(
    "name", ["in/look.png", "out/look.png", "style.png", "pipeline.yaml", "in", "look.txt", "wild/look.jpg", "look"]
)
def test_a_preview_never_lands_on_what_the_pipeline_reads_or_makes(tmp_path: Path, name: str) -> None:
    pipeline = pictures(tmp_path)
    text = pipeline.read_text()
    text += "- {name: two, input: wild/*.jpg, output: elsewhere, style: style.png}\n"
    pipeline.write_text(text)
    settings, _ = Preview(pipeline).settings()
    check_writable(tmp_path / "wild" / "look.png", settings, pipeline)
    with pytest.raises(UsageError):
        check_writable(tmp_path / name, settings, pipeline)


def test_what_regions_and_weights_are_read_from_is_not_overwritten(tmp_path: Path) -> None:
    for name in ("masks/p1.png", "sky.png", "wave.png"):
        make_picture(tmp_path / name)
    regions = [{"mask": "masks", "style": "keep"}, {"mask": "sky.png", "style": "wave.png"}]
    pipeline = pictures(tmp_path, regions=regions)
    settings, _ = Preview(pipeline).settings()
    for name, what in (
        ("masks/p2.png", "lies inside a mask of one"),
        ("sky.png", "a mask of one"),
        ("wave.png", "a painting of one"),
    ):
        with pytest.raises(UsageError, match=what):
            check_writable(tmp_path / name, settings, pipeline)
    weights = settings.model_copy(update={"weights": tmp_path / "vgg19.png"})
    with pytest.raises(UsageError, match="is the network's weights"):
        check_writable(tmp_path / "vgg19.png", weights, pipeline)


def test_a_broken_input_or_painting_is_no_bug(tmp_path: Path) -> None:
    pipeline = pictures(tmp_path)
    (tmp_path / "in" / "p1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"one: .*p1\.png is not a picture"):
        Preview(pipeline).painted(ignore)
    (tmp_path / "style.png").unlink()
    with pytest.raises(InputError, match=r"style.images\[0\]"):
        Preview(pipeline).painted(ignore)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert exit_code(["preview", str(pipeline), "--frame", "2", "--before-after"]) == 0
    assert "preview_one_2.png: 1 picture of frame 2 of one (p2.png), 48x36, 3 of 3 iterations" in capsys.readouterr().out
    assert exit_code(["preview", str(pipeline), "--grid", "strength=1,2", "-o", "sheet.jpg", "--before-after"]) == 0
    assert Image.open("sheet.jpg").format == "JPEG"
    assert not list(tmp_path.glob(".*partial*"))
    assert exit_code(["preview", str(pipeline), "--job", "won"]) == 64
    assert "Did you mean one?" in capsys.readouterr().err
    assert exit_code(["preview", str(pipeline), "--full", "--iterations", "3"]) == 64
    assert exit_code(["preview", str(pipeline), "--frame", "4"]) == 64
    assert exit_code(["preview", str(pipeline), "--frame", "0"]) == 64
