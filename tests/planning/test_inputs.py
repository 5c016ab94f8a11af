"""Which files a job's input names, in which order, and where their results go."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from nstpipe.config.models import Job
from nstpipe.errors import ItemError
from nstpipe.media.detect import is_moving, natural_key
from nstpipe.media.pictures.files import picture_size, read_picture
from nstpipe.planning.inputs import InputFile, find_inputs, ignored_settings
from tests.making import make_picture
from tests.media.making import FFV1_RGB, blocks, films, make_video


def job(given_input: Path | str, output: Path | str, **settings: object) -> Job:
    return Job.model_validate(
        {"name": "job", "input": str(given_input), "output": str(output), "style": "style.png", **settings}
    )


def files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def names(found: tuple[InputFile, ...], folder: Path) -> list[str]:
    return [file.path.relative_to(folder).as_posix() for file in found]


# Order.


def test_numbers_sort_by_their_value(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", "frame_10.png", "frame_9.png", "frame_1.png", "frame_100.png", "Frame_2.png")
    expected = ["frame_1.png", "Frame_2.png", "frame_9.png", "frame_10.png", "frame_100.png"]
    assert names(find_inputs(job(folder, tmp_path / "out")), folder) == expected


def test_names_that_differ_in_zeros_or_case_have_one_order(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", *(f"{zeros}1{letter}.png" for zeros in ("", "0", "00") for letter in "aA"))
    expected = ["001A.png", "001a.png", "01A.png", "01a.png", "1A.png", "1a.png"]
    assert names(find_inputs(job(folder, tmp_path / "out")), folder) == expected


def test_a_superscript_is_no_number(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", "5 m².png", "².png", "10 m².png")
    assert names(find_inputs(job(folder, tmp_path / "out")), folder) == ["5 m².png", "10 m².png", "².png"]


NUMBERS = st.integers(0, 10**12)


@given(NUMBERS, NUMBERS, st.sampled_from(["frame_", "", "a1b"]))
def test_the_order_is_that_of_the_numbers(one: int, other: int, prefix: str) -> None:
    one_key, other_key = natural_key(f"{prefix}{one}.png"), natural_key(f"{prefix}{other}.png")
    assert (one_key < other_key) == (one < other)
    assert (one_key == other_key) == (one == other)


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_the_order_is_total(one: str, two: str, three: str) -> None:
    first, second, third = sorted((natural_key(one), natural_key(two), natural_key(three)))
    assert first <= second <= third
    assert first <= third
    assert (natural_key(one) < natural_key(two)) + (natural_key(one) == natural_key(two)) + (
        natural_key(one) > natural_key(two)
    ) == 1


@given(st.lists(st.text("ab01²", min_size=1, max_size=6), max_size=8), st.randoms())
def test_the_order_is_that_of_the_values_not_of_the_arrival(texts: list[str], shuffler: random.Random) -> None:
    shuffled = list(texts)
    shuffler.shuffle(shuffled)
    assert [natural_key(text) for text in sorted(texts, key=natural_key)] == [
        natural_key(text) for text in sorted(shuffled, key=natural_key)
    ]


# Folders.


def test_a_folder_is_mirrored(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", "b.jpg", "deep/er/a.png", "deep/c.webp", "a.tif")
    found = find_inputs(job(folder, tmp_path / "out"))
    assert names(found, folder) == ["a.tif", "b.jpg", "deep/c.webp", "deep/er/a.png"]
    expected = [tmp_path / "out" / name for name in ("a.tif", "b.jpg", "deep/c.webp", "deep/er/a.png")]
    assert [file.output for file in found] == expected
    assert not any(file.is_video for file in found)


def test_only_pictures_are_taken_whatever_their_case(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", "a.JPG", "b.Png", "c.TIFF", "notes.txt", "film.mp4", "jpg", "d.jpg.bak", "e.jpeg")
    assert names(find_inputs(job(folder, tmp_path / "out")), folder) == ["a.JPG", "b.Png", "c.TIFF", "e.jpeg"]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    folder = files(tmp_path / ".work" / "in", ".a.png", ".thumbs/b.png", "deep/.c.png", "d.png", ".e.partial.png")
    assert names(find_inputs(job(folder, tmp_path / "out")), folder) == ["d.png"]
    assert names(find_inputs(job(folder, tmp_path / "out", include=["**/*.png", ".a.png"])), folder) == ["d.png"]


SELECTIONS = {
    "one pattern": ({"include": ["*.png"]}, ["a1.png", "b.png"]),
    "two patterns": ({"include": ["*.png", "deep/*.jpg"]}, ["a1.png", "b.png", "deep/a2.jpg"]),
    "all below": ({"include": ["**/a*"]}, ["a1.png", "deep/a2.jpg", "deep/er/a3.png"]),
    "a folder and all below": ({"include": ["deep/**"]}, ["deep/a2.jpg", "deep/er/a3.png"]),
    "files without": ({"exclude": ["**/a*"]}, ["b.png", "c.jpg"]),
    "without a folder": ({"exclude": ["deep"]}, ["a1.png", "b.png", "c.jpg"]),
    "without a folder and all below": ({"exclude": ["deep/**"]}, ["a1.png", "b.png", "c.jpg"]),
    "without its files alone": ({"exclude": ["deep/*.*"]}, ["a1.png", "b.png", "c.jpg", "deep/er/a3.png"]),
    "both": ({"include": ["*"], "exclude": ["*.jpg"]}, ["a1.png", "b.png"]),
    "overlapping": ({"include": ["*.png", "b*", "*"], "exclude": ["c*"]}, ["a1.png", "b.png"]),
}


@pytest.mark.parametrize("selection", SELECTIONS)
def test_include_and_exclude(tmp_path: Path, selection: str) -> None:
    settings, expected = SELECTIONS[selection]
    folder = files(tmp_path / "in", "a1.png", "b.png", "c.jpg", "deep/a2.jpg", "deep/er/a3.png")
    assert names(find_inputs(job(folder, tmp_path / "out", **settings)), folder) == expected


# Content.


def holding(path: Path, content: str) -> Path:
    """A file whose name and content need not agree."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture, other = Image.fromarray(blocks()), Image.fromarray(blocks(1))
    if content == "video":
        make_video(path.parent / "made.mkv", films(2), *FFV1_RGB).rename(path)
    elif content in ("moving GIF", "moving WEBP"):
        picture.save(path, format=content.split()[1], save_all=True, append_images=[other], duration=40)
    else:
        picture.save(path, format=content)
    return path


CONTENTS = {
    "video": True,
    "moving GIF": True,
    "moving WEBP": True,
    **dict.fromkeys(("JPEG", "PNG", "TIFF", "WEBP", "GIF", "AVIF", "BMP"), False),
}


@pytest.mark.parametrize("name", ["a.jpg", "a.mp4", "a.dat", "a"])
@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_is_what_it_holds_whatever_its_name(tmp_path: Path, content: str, name: str) -> None:
    path = holding(tmp_path / name, content)
    assert is_moving(path) is CONTENTS[content]
    output = tmp_path / ("out.mp4" if CONTENTS[content] else "out.png")
    assert find_inputs(job(path, output)) == (InputFile(path, output, is_video=CONTENTS[content]),)


def test_what_content_does_not_say_the_name_does(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    assert is_moving(tmp_path / "a.jpg") is None
    (tmp_path / "a.csv").write_text("BMI, weight, height")
    assert is_moving(tmp_path / "a.csv") is None
    assert is_moving(tmp_path / "none") is None
    [found] = find_inputs(job(tmp_path / "a.jpg", tmp_path / "out.jpg"))
    assert not found.is_video


def test_a_folder_s_pictures_are_found_by_what_they_hold(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name, content in {"1": "JPEG", "2.dat": "PNG", "3.mp4": "WEBP", "4.gif": "moving GIF", "5.png": "video"}.items():
        holding(folder / name, content)
    files(folder, "6.jpg", "notes.txt")
    found = find_inputs(job(folder, tmp_path / "out"))
    assert [(file.path.name, file.output.name, file.is_video) for file in found] == [
        ("1", "1", False),
        ("2.dat", "2.dat", False),
        ("3.mp4", "3.mp4", False),
        ("4.gif", "4.gif", True),
        ("5.png", "5.mp4", True),
        ("6.jpg", "6.jpg", False),
    ]


def test_numbered_pictures_are_one_video(tmp_path: Path) -> None:
    files(tmp_path / "in", "frame_0001.png", "frame_0002.png")
    pattern = tmp_path / "in" / "frame_%04d.png"
    for output in (tmp_path / "out.mp4", tmp_path / "out.gif", tmp_path / "out" / "frame_%04d.png"):
        assert find_inputs(job(pattern, output)) == (InputFile(pattern, output, is_video=True),)


# Links and folders that are closed.


def test_links_are_followed_within_the_tree_and_named_where_they_leave_it(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", "a.png", "deep/b.png")
    files(tmp_path / "elsewhere", "secret.png")
    (folder / "c.png").symlink_to(folder / "deep" / "b.png")
    (folder / "d.png").symlink_to(tmp_path / "elsewhere" / "secret.png")
    (folder / "e.png").symlink_to(tmp_path / "gone.png")
    for found in (find_inputs(job(folder, tmp_path / "out")), find_inputs(job(folder / "*.png", tmp_path / "out"))):
        problems = {file.path.name: file.problem for file in found}
        assert problems["a.png"] == problems["c.png"] == ""
        assert "a link that leaves" in problems["d.png"]
        assert "secret.png" in problems["d.png"]
    assert "a link to" in problems.get("e.png", "a link to")
    by_folder = {file.path.name: file.problem for file in find_inputs(job(folder, tmp_path / "out"))}
    assert "gone.png, which does not exist" in by_folder["e.png"]


def test_linked_folders_are_named_and_never_followed_in_a_circle(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", "a.png", "deep/b.png")
    files(tmp_path / "elsewhere", "c.png", "further/d.png")
    files(tmp_path / "words", "e.txt")
    (folder / "circle").symlink_to(folder)
    (folder / "deep" / "latest").symlink_to(folder / "deep")
    (folder / "notes").symlink_to(tmp_path / "words")
    (folder / "other").symlink_to(tmp_path / "elsewhere")
    plain = job(folder, tmp_path / "out")
    assert [file.path.name for file in find_inputs(plain)] == ["a.png", "b.png"]
    inside, outside = ignored_settings([plain])
    assert inside.message.startswith(f"{folder / 'circle'} (1 more like it) is a link to the folder {folder}, which is not")
    assert outside.message == (
        f"{folder / 'other'} is a link to the folder {tmp_path / 'elsewhere'}, which is not followed: the pictures there are "
        f"not painted. Give that folder to a job of its own, or copy it into {folder}"
    )
    left_out = job(folder, tmp_path / "out", exclude=["other", "circle", "deep/latest"])
    assert ignored_settings([left_out]) == ()
    of_folders = job(tmp_path / "i*", tmp_path / "out")
    assert [notice.message for notice in ignored_settings([of_folders])] == [inside.message, outside.message]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator can read all")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", "a.png", "b.png", "closed/c.png")
    (folder / "b.png").chmod(0)
    (folder / "closed").chmod(0)
    try:
        problems = {file.path.name: file.problem for file in find_inputs(job(folder, tmp_path / "out"))}
    finally:
        (folder / "closed").chmod(0o755)
    assert "permission denied" in problems["b.png"]
    assert "cannot be looked into" in problems["closed"]


# One file.


def test_a_picture_goes_to_a_file_or_into_a_folder(tmp_path: Path) -> None:
    picture = files(tmp_path, "picture.JPG") / "picture.JPG"
    for output, expected in (("result.png", "result.png"), ("result.JPG", "result.JPG"), ("folder", "folder/picture.JPG")):
        assert find_inputs(job(picture, tmp_path / output)) == (InputFile(picture, tmp_path / expected, is_video=False),)


@pytest.mark.parametrize("name", ["film.mp4", "film.MOV", "film.ts", "film.unknown", "film"])
@pytest.mark.parametrize("output", ["result.mp4", "result.MKV"])
def test_a_video_goes_to_a_video(tmp_path: Path, name: str, output: str) -> None:
    video = files(tmp_path, name) / name
    assert find_inputs(job(video, tmp_path / output)) == (InputFile(video, tmp_path / output, is_video=True),)


# Globs.


def test_a_glob_of_pictures(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", "a_10.png", "a_9.png", "b_1.png", "deep/a_1.png", ".a_0.png")
    found = find_inputs(job(folder / "a_*.png", tmp_path / "out"))
    assert [(file.path, file.output) for file in found] == [
        (folder / name, tmp_path / "out" / name) for name in ("a_9.png", "a_10.png")
    ]


def test_a_glob_through_folders_mirrors_from_the_first_wildcard(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", "2/x/a.png", "10/x/a.png", "10/y/a.png", "a.png")
    found = find_inputs(job(folder / "*" / "x" / "*.png", tmp_path / "out"))
    assert [file.output for file in found] == [tmp_path / "out" / "2/x/a.png", tmp_path / "out" / "10/x/a.png"]
    assert names(find_inputs(job(folder / "**" / "*.png", tmp_path / "out")), folder) == [
        *("2/x/a.png", "10/x/a.png", "10/y/a.png", "a.png"),
    ]


def test_results_beside_the_inputs_are_fine_where_the_glob_does_not_take_them(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", "a.png")
    [found] = find_inputs(job(folder / "*.png", folder / "out"))
    assert found.output == folder / "out" / "a.png"


def test_a_glob_of_videos(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", "a.mp4", "b.MKV", "c.avi", "d.txt")
    found = find_inputs(job(folder / "*", tmp_path / "out"))
    assert [(file.path.name, file.output.name, file.is_video) for file in found] == [
        ("a.mp4", "a.mp4", True),
        ("b.MKV", "b.MKV", True),
        ("c.avi", "c.mp4", True),
    ]


def test_a_name_with_wildcards_that_is_a_file_is_that_file(tmp_path: Path) -> None:
    picture = files(tmp_path / "in", "a[1].png", "a1.png") / "a[1].png"
    assert [file.path for file in find_inputs(job(picture, tmp_path / "out"))] == [picture]


def test_a_glob_of_folders_takes_their_pictures(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", "north/a.png", "north/deep/b.jpg", "north/film.mp4", "south/c.png", "south/.d.png", "e.txt")
    wanted = job(folder / "*", tmp_path / "out")
    found = find_inputs(wanted)
    assert names(found, folder) == ["north/a.png", "north/deep/b.jpg", "south/c.png"]
    assert [file.output for file in found] == [tmp_path / "out" / name for name in names(found, folder)]
    assert ignored_settings([wanted]) == ()
    chosen = find_inputs(job(folder / "*", tmp_path / "out", include=["**/*.png"], exclude=["south"]))
    assert names(chosen, folder) == ["north/a.png"]


# What is named to no effect.


def test_folders_beside_the_files_of_a_glob_are_left_aside_and_named(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", "a.png", "north/b.png", "out/a.png")
    wanted = job(folder / "*", folder / "out")
    assert names(find_inputs(wanted), folder) == ["a.png"]
    [ignored] = ignored_settings([wanted])
    assert ignored.job == "job"
    assert "matches files and a folder, north; only the files are used" in ignored.message
    assert ignored_settings([job(folder / "**" / "*", tmp_path / "out")]) == ()
    assert ignored_settings([job(folder / "*.png", tmp_path / "out")]) == ()


def test_include_and_exclude_of_a_single_file_say_nothing_and_that_is_said(tmp_path: Path) -> None:
    picture = files(tmp_path / "in", "a.png") / "a.png"
    for settings in ({"include": ["*.jpg"]}, {"exclude": ["a*"]}):
        wanted = job(picture, tmp_path / "out.png", **settings)
        assert [file.path for file in find_inputs(wanted)] == [picture]
        [ignored] = ignored_settings([wanted])
        assert "a.png is a single file" in str(ignored)
        assert ignored_settings([job(picture.parent, tmp_path / "out", **settings)]) == ()
    assert ignored_settings([job(picture, tmp_path / "out.png")]) == ()


# Refused.


def film_into_a_folder(folder: Path) -> Job:
    return job(files(folder, "film.mp4") / "film.mp4", folder / "out")


def film_into_a_picture(folder: Path) -> Job:
    return job(files(folder, "film.mp4") / "film.mp4", folder / "out.png")


def picture_into_a_film(folder: Path) -> Job:
    return job(files(folder, "a.png") / "a.png", folder / "out.mp4")


def folder_into_a_film(folder: Path) -> Job:
    return job(files(folder / "in", "a.png"), folder / "out.mp4")


def glob_into_a_film(folder: Path) -> Job:
    return job(files(folder, "a.png") / "*.png", folder / "out.mp4")


def results_into_the_inputs(folder: Path) -> Job:
    return job(files(folder / "in", "a.png") / "**" / "*.png", folder / "in" / "out")


def results_beside_the_inputs(folder: Path) -> Job:
    return job(files(folder / "in", "a.png") / "*.png", folder / "in")


def through_a_link(folder: Path) -> Job:
    files(folder / "in", "a.png", "deep/b.png")
    (folder / "link").symlink_to(folder / "in" / "deep")
    return job(folder / "in", folder / "link" / "out")


def onto_itself(folder: Path) -> Job:
    return job(files(folder / "in", "a.png") / "a.png", folder / "in")


def video_into_the_same_name(folder: Path) -> Job:
    holding(folder / "in" / "a.png", "video")
    return job(files(folder / "in", "a.mp4") / "a.*", folder / "out")


def two_into_one(folder: Path) -> Job:
    return job(files(folder / "in", "a.avi", "a.mp4") / "a.*", folder / "out")


def missing(folder: Path) -> Job:
    return job(files(folder / "in", "other.mov", "film_1.mp4") / "film_9.mp4", folder / "out.mp4")


def far(folder: Path) -> Job:
    names = (f"film_{number}.mp4" for number in range(10))
    return job(files(folder / "in", ".film.mp4", *names) / "x.mov", folder / "out.mp4")


def near_a_folder(folder: Path) -> Job:
    files(folder / "Holiday", "film.mp4")
    return job(folder / "holyday" / "film.mp4", folder / "out.mp4")


def folders_into_themselves(folder: Path) -> Job:
    return job(files(folder / "in", "north/a.png") / "*", folder / "in" / "out")


def no_folder_with_pictures(folder: Path) -> Job:
    return job(files(folder / "in", "north/a.txt", "north/.b.png") / "*", folder / "out")


def missing_folder(folder: Path) -> Job:
    return job(folder / "none" / "film.mp4", folder / "out.mp4")


def empty_folder(folder: Path) -> Job:
    (folder / "in").mkdir()
    return job(folder / "in", folder / "out")


def nothing_included(folder: Path) -> Job:
    return job(files(folder / "in", "a.png"), folder / "out", include=["*.jpg"])


def all_excluded(folder: Path) -> Job:
    return job(files(folder / "in", "a.png"), folder / "out", exclude=["*"])


def glob_of_nothing(folder: Path) -> Job:
    return job(files(folder / "in", "a.txt") / "*", folder / "out")


def outside(folder: Path) -> Job:
    return job(files(folder / "in", "a.png", "../b.png"), folder / "out", include=["../*.png"])


def absolute_pattern(folder: Path) -> Job:
    return job(files(folder / "in", "a.png"), folder / "out", include=[str(folder / "*.png")])


def empty_pattern(folder: Path) -> Job:
    return job(files(folder / "in", "a.png"), folder / "out", exclude=[""])


REFUSED: dict[Callable[[Path], Job], tuple[str, ...]] = {
    film_into_a_folder: ("output: ", "should be a video", "film.mp4", ".mp4, .mov, .mkv, .webm"),
    film_into_a_picture: ("output: ", "should be a video", "out.png"),
    picture_into_a_film: ("output: ", "should be a picture or a folder", "a.png"),
    folder_into_a_film: ("output: ", "should be a folder", "out.mp4"),
    glob_into_a_film: ("output: ", "should be a folder", "out.mp4"),
    results_into_the_inputs: ("output: ", "so results would become inputs"),
    results_beside_the_inputs: ("output: ", "so results would become inputs"),
    through_a_link: ("output: ", "lies inside the input"),
    onto_itself: ("output: ", "is the input itself"),
    video_into_the_same_name: ("output: ", "a.png", "a.mp4", "would both be written to"),
    two_into_one: ("output: ", "a.avi", "a.mp4", "would both be written to"),
    missing: ("input: ", "film_9.mp4 does not exist", "Did you mean film_1.mp4?"),
    far: ("input: ", "x.mov does not exist", "film_0.mp4, film_1.mp4", "film_7.mp4 and 2 more."),
    folders_into_themselves: ("output: ", "out/north/a.png matches the input", "so results would become inputs"),
    no_folder_with_pictures: ("input: ", "no video or picture matches"),
    missing_folder: ("input: ", "film.mp4 does not exist", "There is no folder", "none. In", "is nothing"),
    near_a_folder: ("input: ", "There is no folder", "holyday. Did you mean Holiday?"),
    empty_folder: ("input: ", "holds no picture that matches .jpg, .jpeg"),
    nothing_included: ("input: ", "holds no picture that matches *.jpg"),
    all_excluded: ("input: ", "holds no picture", "include and exclude"),
    glob_of_nothing: ("input: ", "no video or picture matches", "*"),
    outside: ("include: ", "../*.png", "should stay within"),
    absolute_pattern: ("include: ", "*.png", "is no pattern"),
    empty_pattern: ("exclude: ", "is no pattern"),
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_what_does_not_fit_is_said_in_words(tmp_path: Path, make: Callable[[Path], Job]) -> None:
    made = make(tmp_path)
    with pytest.raises(ItemError) as caught:
        find_inputs(made)
    for words in REFUSED[make]:
        assert words in str(caught.value)


def test_include_and_exclude_hold_for_a_glob_too(tmp_path: Path) -> None:
    for name in ("a/one.png", "a/private_two.png", "private/three.png", "b/four.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "in" / name)
    content = {"name": "j", "input": str(tmp_path / "in" / "*" / "*"), "output": str(tmp_path / "out"), "style": "s.png"}

    def found(**keys: object) -> list[str]:
        job = Job.model_validate({**content, "style": {"images": ["s.png"]}, **keys}, context={"folder": tmp_path})
        return [file.path.name for file in find_inputs(job)]

    assert found() == ["one.png", "private_two.png", "four.jpg", "three.png"]
    assert found(exclude=["**/private_*", "private"]) == ["one.png", "four.jpg"]
    assert found(include=["**/*.jpg"]) == ["four.jpg"]


# What is no picture.


CLUTTER = {
    "a system's folders": ["@eaDir/a.png/THUMB_M.png", "#recycle/b.png", "$RECYCLE.BIN/S-1/$R1.png", "lost+found/1.png"],
    "unfinished downloads and backups": ["c.png.crdownload", "c.png.part", "d.jpg~", "e.png.!qB", "f.jpg.download/f.jpg"],
    "files beside pictures": ["clip.THM"],
}  # fmt: skip


@pytest.mark.parametrize("kind", CLUTTER)
def test_what_systems_and_downloads_leave_is_passed_over_and_counted_once(tmp_path: Path, kind: str) -> None:
    folder = files(tmp_path / "in", *CLUTTER[kind])
    for name in CLUTTER[kind]:
        make_picture(folder / "a.png").replace(folder / name)
    make_picture(folder / "a.png")
    for whole in (folder, folder / "**" / "*"):
        wanted = job(whole, tmp_path / "out")
        assert names(find_inputs(wanted), folder) == ["a.png"]
    [notice] = ignored_settings([job(folder, tmp_path / "out")])
    assert f"not painted: {len(CLUTTER[kind])} " in str(notice) or "not painted: 1 file beside" in str(notice)
    for name in CLUTTER[kind]:
        pattern = f"**/{Path(name).parts[0].replace('c.png', '*')}{'/**' if '/' in name else ''}"
        named = job(folder, tmp_path / "out", include=["a.png", pattern])
        assert names(find_inputs(named), folder) == sorted(["a.png", name], key=natural_key)
        assert ignored_settings([named]) == ()


def raw_file(path: Path, kind: str) -> Path:
    """A camera's raw file with a preview, or the beginning of one."""
    starts = {
        "raf": b"FUJIFILMCCD-RAW 0201",
        "orf": b"IIRO\x08\x00\x00\x00",
        "rw2": b"IIU\x00\x08\x00\x00\x00",
        "cr2": b"II*\x00\x10\x00\x00\x00CR\x02\x00",
        "cr3": b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom",
        "x3f": b"FOVb\x01\x00\x02\x00",
    }
    if kind in starts:
        path.write_bytes(starts[kind] + bytes(200))
        return path
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if kind == "dng":
        tags.tagtype[50706] = 1
        tags[50706] = b"\x01\x04\x00\x00"
    else:
        tags[330] = 0
    Image.new("RGB", (64, 48)).save(path, format="TIFF", tiffinfo=tags, big_tiff=kind == "big")
    if kind != "dng":
        content = bytearray(path.read_bytes())
        content += bytes(len(content) % 2)
        place = content.index(struct.pack("<H", 330))
        size = {"nef": "I", "big": "Q"}[kind]
        struct.pack_into(f"<{size}", content, place + (8 if kind == "nef" else 12), len(content))
        entry = struct.pack(f"<HH{size}{size}", 262, 3, 1, 32803)
        content += struct.pack("<H" if kind == "nef" else "<Q", 1) + entry + bytes(8)
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["dng", "nef", "big", "raf", "orf", "rw2", "cr2", "cr3", "x3f"])
def test_the_preview_in_a_raw_file_is_never_painted(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = raw_file(folder / f"IMG_1.{kind if kind != 'big' else 'dng'}", kind)
    with pytest.raises(ItemError, match="Passed over: 1 camera's raw file to develop first, IMG_1"):
        find_inputs(job(folder, tmp_path / "out"))
    make_picture(folder / "a.png")
    assert names(find_inputs(job(folder, tmp_path / "out")), folder) == ["a.png"]
    [notice] = ignored_settings([job(folder, tmp_path / "out")])
    assert "raw file to develop first" in str(notice)
    # Asked for by its name, or called a TIFF: it fails, with what to do.
    [named] = find_inputs(job(folder, tmp_path / "out", include=[f"*{path.suffix}"]))
    [single] = find_inputs(job(path, tmp_path / "out.png"))
    renamed = path.rename(folder / "b.tif")
    for found in (named, single):
        assert not found.is_video
    for read in (picture_size, read_picture):
        with pytest.raises(ItemError, match="is a camera's raw file") as error:
            read(renamed)
        assert "Develop it" in error.value.next_step


def test_pictures_in_formats_that_are_not_read_are_named(tmp_path: Path) -> None:
    unread = ["b.jxl", "c.PSD", "deep/d.ppm"]
    folder = files(tmp_path / "in", *unread, "e.txt", "f.psd.part")
    for source in (folder, folder / "**" / "*"):
        with pytest.raises(ItemError, match="3 pictures in formats to convert first, such as b"):
            find_inputs(job(source, tmp_path / "out"))
    make_picture(folder / "a.png")
    make_picture(folder / "g.png").rename(folder / "g.tga")  # a PNG for all that
    assert names(find_inputs(job(folder, tmp_path / "out")), folder) == ["a.png", "g.tga"]
    [notice] = ignored_settings([job(folder, tmp_path / "out", exclude=["**/*.ppm"])])
    assert "not painted: 2 pictures in formats to convert first, such as b.jxl" in str(notice)
    named = job(folder, tmp_path / "out", include=["*.psd", "*.PSD"])
    assert names(find_inputs(named), folder) == ["c.PSD"], "what is named fails when it is read"


@pytest.mark.parametrize("marks", [(1, 0), (0, 1), (1, 1), (1, 4), (0, 0)])
def test_the_reduced_copy_at_the_beginning_of_a_tiff_is_not_painted(tmp_path: Path, marks: tuple[int, int]) -> None:
    path = tmp_path / "scan.tif"
    small, large = Image.new("RGB", (16, 12)), Image.new("RGB", (64, 48))
    with TiffImagePlugin.AppendingTiffWriter(path) as pages:
        for page, mark in zip((small, large), marks, strict=True):
            page.save(pages, format="TIFF", tiffinfo={254: mark, 271: "Scanner"})
            pages.newFrame()
    if marks != (1, 0):  # nothing larger is a whole picture, or the first one is
        assert picture_size(path) == (16, 12)
        return
    for read in (picture_size, read_picture):
        with pytest.raises(ItemError, match="begins with a reduced copy of its picture, which has 64x48 pixels"):
            read(path)


def test_a_picture_with_the_name_of_a_raw_file_is_a_picture(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    make_picture(tmp_path / "a.jpg").rename(tmp_path / "in" / "a.dng")
    assert names(find_inputs(job(tmp_path / "in", tmp_path / "out")), tmp_path / "in") == ["a.dng"]


def test_world_files_are_named(tmp_path: Path) -> None:
    folder = files(tmp_path / "in", "a.tif", "a.tfw", "a.tif.aux.xml", "other.tfw", "deep/b.png", "deep/b.pgw")
    [notice] = ignored_settings([job(folder, tmp_path / "out")])
    assert str(notice).startswith("job: 3 files, such as a.tfw, are not copied")
