"""The contract of every row of the table of picture formats: what it says is what its files hold."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from nstpipe.errors import ItemError
from nstpipe.media.detect import is_moving
from nstpipe.media.frame import Frame, PictureMetadata
from nstpipe.media.pictures.files import PictureSink, check_output, picture_bits, picture_size, read_picture
from nstpipe.media.pictures.formats import PICTURE_FORMATS, PICTURE_SUFFIXES, PictureFormat, format_named, format_of
from nstpipe.media.pictures.profiles import srgb_profile
from tests.making_examples import example

from .making import HEIGHT, WIDTH, blocks, farthest

EXAMPLE: PictureFormat = example("picture-format.md", "row")
LOSSY_LEVELS = 6
PALETTE_LEVELS = 24
"""How far a color may move in a format that compresses, and in one with 256 colors."""

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a:note xmlns:a="urn:a">a word</a:note></x:xmpmeta>'
IPTC = b"\x1c\x02\x78\x00\x06a word"


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table, with the example's row in it."""
    monkeypatch.setitem(PICTURE_FORMATS, EXAMPLE.name, EXAMPLE)


def rows() -> list[object]:
    found = []
    for row in (*PICTURE_FORMATS.values(), EXAMPLE):
        module = row.plugin.partition(":")[0]
        missing = bool(module) and importlib.util.find_spec(module) is None
        found.append(pytest.param(row, id=row.name, marks=pytest.mark.skipif(missing, reason=f"{module} is not installed")))
    return found


def suffix_of(row: PictureFormat) -> str:
    return (*row.suffixes, *row.rare_suffixes)[0]


def everything() -> PictureMetadata:
    """All that a picture file may hold next to its colors."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Streetview Inc"
    ramp = np.repeat(np.linspace(0, 255, WIDTH).astype(np.uint8)[None], HEIGHT, axis=0)
    return PictureMetadata(
        "PNG",
        exif=exif.tobytes(),
        icc=srgb_profile(),
        xmp=XMP,
        dots_per_inch=(300, 300),
        alpha=ramp,
        iptc=IPTC,
        comment=b"a comment",
        texts={"Author": "a painter"},
    )


def written(path: Path, *, deep: bool = False) -> list[str]:
    """Write a picture with everything; what is said of it."""
    said: list[str] = []
    pixels = blocks().astype(np.uint16) * 257 + 7 if deep else blocks()
    with_all = Frame(pixels, 0, metadata=everything())
    PictureSink([path], keep_metadata=True, notice=said.append).write(pixels, with_all)
    return said


@pytest.mark.parametrize("row", rows())
def test_a_file_holds_what_the_row_says(tmp_path: Path, row: PictureFormat) -> None:
    path = tmp_path / f"picture{suffix_of(row)}"
    assert written(path) == []
    pixels, metadata = read_picture(path)
    assert format_named(metadata.format) == row
    levels = PALETTE_LEVELS if row.name == "GIF" else LOSSY_LEVELS if "quality" in row.options else 0
    seen = slice(WIDTH // 2 if row.alpha_is_binary else 0, None)
    assert farthest(pixels[:, seen], blocks()[:, seen]) <= levels
    assert (metadata.alpha is not None) == row.alpha
    if metadata.alpha is not None:
        wanted = everything().alpha
        assert wanted is not None
        wanted = np.where(wanted < 128, 0, 255) if row.alpha_is_binary else wanted
        assert np.abs(metadata.alpha.astype(int) - wanted).max() <= LOSSY_LEVELS
    exif = Image.Exif()
    exif.load(metadata.exif or b"")
    held = {
        "EXIF": exif.get(ExifTags.Base.Make) == "Streetview Inc",
        "color profile": metadata.icc == srgb_profile(),
        "XMP": metadata.xmp is not None and b"a word" in metadata.xmp,
        "IPTC": metadata.iptc == IPTC,
        "resolution": metadata.dots_per_inch is not None and round(metadata.dots_per_inch[0]) == 300,
        "comment": metadata.comment == b"a comment",
        "texts": metadata.texts == {"Author": "a painter"},
    }
    assert {what for what, is_held in held.items() if is_held} == row.carries


@pytest.mark.parametrize("row", rows())
def test_a_file_has_the_depth_of_the_row(tmp_path: Path, row: PictureFormat) -> None:
    path = tmp_path / f"picture{suffix_of(row)}"
    written(path, deep=True)
    assert picture_bits(path) == row.bits
    assert read_picture(path)[0].dtype == (np.uint16 if row.bits == 16 else np.uint8)


@pytest.mark.parametrize("row", rows())
def test_a_file_is_recognized_by_its_content(tmp_path: Path, row: PictureFormat) -> None:
    path = tmp_path / f"picture{suffix_of(row)}"
    written(path)
    renamed = path.rename(tmp_path / "picture.txt")
    assert is_moving(renamed) is False
    assert picture_size(renamed) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("row", rows())
def test_a_suffix_stands_for_the_row(row: PictureFormat) -> None:
    for suffix in (*row.suffixes, *row.rare_suffixes):
        assert format_of(Path(f"A{suffix.upper()}")) == row
        assert row is EXAMPLE or suffix in PICTURE_SUFFIXES
    assert format_of(Path("a.unknown"), row.name) == row


@pytest.mark.parametrize("row", rows())
def test_the_longest_side_is_checked(tmp_path: Path, row: PictureFormat) -> None:
    path = tmp_path / f"picture{suffix_of(row)}"
    longest = row.longest_side or 100_000
    check_output(path, (longest, 1))
    if row.longest_side is not None:
        with pytest.raises(ItemError, match=f"{row.name} holds no more than {longest} a side"):
            check_output(path, (1, longest + 1))
