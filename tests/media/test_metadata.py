"""EXIF and XMP change only where the pixels did."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nstpipe.media.pictures.metadata import upright_exif
from nstpipe.media.pictures.pixel_map import PixelMap
from nstpipe.media.pictures.xmp import adapted_xmp

from .making_exif import exif_block


@pytest.mark.parametrize("header", [True, False], ids=["with header", "without"])
@pytest.mark.parametrize("wide", [True, False], ids=["LONG", "SHORT"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_only_the_orientation_changes(orientation: int, order: str, wide: bool, header: bool) -> None:
    block = exif_block(orientation, order=order, wide=wide)
    upright = exif_block(1, order=order, wide=wide)
    if not header:
        block, upright = block[6:], upright[6:]
    assert upright_exif(block) == upright


def test_a_block_without_orientation_is_unchanged() -> None:
    block = exif_block(None)
    assert upright_exif(block) == block


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_and_keep_their_length(content: bytes) -> None:
    assert len(upright_exif(content)) == len(content)


@given(
    st.sampled_from([b"", b"Exif\x00\x00"]),
    st.sampled_from([b"II*\x00", b"MM\x00*"]),
    st.integers(0, 40),
    st.integers(0, 5),
    st.binary(max_size=60),
)
def test_any_damage_within_a_block_keeps_its_length(header: bytes, order: bytes, at: int, count: int, rest: bytes) -> None:
    sign = "<" if order[:1] == b"I" else ">"
    content = header + order + struct.pack(f"{sign}I", at) + struct.pack(f"{sign}H", count) + rest
    assert len(upright_exif(content)) == len(content)


@given(st.integers(0, len(exif_block(6))), st.sampled_from("<>"))
def test_a_block_cut_anywhere_keeps_its_length(length: int, order: str) -> None:
    block = exif_block(6, order=order)[:length]
    assert len(upright_exif(block)) == len(block)


@given(st.binary(max_size=200), st.floats(0.01, 100), st.floats(0.01, 100))
def test_any_bytes_are_taken_as_xmp(content: bytes, scale_x: float, scale_y: float) -> None:
    assert isinstance(adapted_xmp(content, PixelMap((1, 1), (scale_x, scale_y))), bytes)


@given(st.text("0123456789.", max_size=400), st.floats(0.01, 100))
def test_any_number_is_taken_as_a_size(digits: str, scale: float) -> None:
    xmp = b'GPano:FullPanoWidthPixels="' + digits.encode() + b'"'
    assert isinstance(adapted_xmp(xmp, PixelMap((1, 1), (scale, scale))), bytes)


NOTHING_TO_ADAPT = (
    b'<x:xmpmeta><rdf:Description dc:title="Orientation 6" tiff:Make="GPano 4000" exif:Width="4000"/></x:xmpmeta>'
)


def test_what_is_none_of_these_stays() -> None:
    assert adapted_xmp(NOTHING_TO_ADAPT, PixelMap((2, 2), (1, 1))) == NOTHING_TO_ADAPT


WIDTHS = [
    "FullPanoWidthPixels",
    "CroppedAreaImageWidthPixels",
    "CroppedAreaLeftPixels",
    "LargestValidInteriorRectLeft",
    "LargestValidInteriorRectWidth",
]
HEIGHTS = [
    "FullPanoHeightPixels",
    "CroppedAreaImageHeightPixels",
    "CroppedAreaTopPixels",
    "LargestValidInteriorRectTop",
    "LargestValidInteriorRectHeight",
]
FORMS = {
    "attribute": '<rdf:Description GPano:{name}="{value}" GPano:PoseHeadingDegrees="350.5"/>',
    "attribute in single quotes": "<rdf:Description GPano:{name} = '{value}'/>",
    "element": "<GPano:{name}>{value}</GPano:{name}>\n<GPano:UsePanoramaViewer>True</GPano:UsePanoramaViewer>",
    "element with space": "<GPano:{name}>\n  {value}\n</GPano:{name}>",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "scaled"), [*((name, 1000) for name in WIDTHS), *((name, 2000) for name in HEIGHTS)])
def test_panorama_sizes_follow_the_resize(form: str, name: str, scaled: int) -> None:
    before = FORMS[form].format(name=name, value=4000).encode()
    after = FORMS[form].format(name=name, value=scaled).encode()
    assert adapted_xmp(before, PixelMap((4, 2), (1, 1))) == after


def test_sizes_are_rounded() -> None:
    assert adapted_xmp(b'GPano:FullPanoWidthPixels="5"', PixelMap((100, 100), (35, 100))) == b'GPano:FullPanoWidthPixels="2"'
    assert adapted_xmp(b'GPano:FullPanoWidthPixels="1000.0"', PixelMap((2, 1), (1, 1))) == b'GPano:FullPanoWidthPixels="500"'


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "form", ['<a tiff:Orientation="{}"/>', "<a tiff:Orientation='{}'/>", "<tiff:Orientation>{}</tiff:Orientation>"]
)
def test_orientation_becomes_upright(form: str, orientation: int) -> None:
    assert adapted_xmp(form.format(orientation).encode(), PixelMap((1, 1), (1, 1))) == form.format(1).encode()
