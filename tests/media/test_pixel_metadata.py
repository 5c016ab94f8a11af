"""Metadata that counts in pixels is true of the new picture, however the old one was turned and resized."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

from nstpipe.media.frame import resized
from nstpipe.media.pictures.files import PictureSink, PictureSource
from nstpipe.media.pictures.geo import moved_polynomials
from nstpipe.media.pictures.orientation import TURNS
from nstpipe.media.pictures.pixel_map import PixelMap
from nstpipe.media.pictures.xmp import adapted_texts, adapted_xmp, srgb_xmp

STORED = (6, 4)
"""Width and height; both sides are halved by the maps below."""

ORIENTATIONS = [1, *TURNS]


def halved(orientation: int, stored: tuple[int, int] = STORED) -> PixelMap:
    width, height = stored if orientation < 5 else stored[::-1]
    return PixelMap(stored, (width // 2, height // 2), orientation)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_place_goes_where_its_pixel_goes(orientation: int) -> None:
    pixels: NDArray[np.int_] = np.arange(24).reshape(4, 6)
    turned = pixels if orientation == 1 else TURNS[orientation].of_array(pixels)
    pixel_map = PixelMap(STORED, (turned.shape[1], turned.shape[0]), orientation)
    for y, x in np.ndindex(pixels.shape):
        new_x, new_y = pixel_map.pixel(x, y)
        assert turned[round(new_y), round(new_x)] == pixels[y, x]
    assert PixelMap.of_upright(pixel_map.size, pixel_map.size, orientation) == pixel_map  # type: ignore[arg-type]


def passed(original: Path, result: Path, size: tuple[int, int]) -> list[str]:
    """Pass a picture through at another size, and return what was said."""
    said: list[str] = []
    frame = next(PictureSource(original.parent, [original]).read(0, 1))
    PictureSink([result], keep_metadata=True, notice=said.append).write(resized(frame.pixels, size), frame)
    return said


TAGS = [
    (1, (60, 40), {0xA20E: 2219.0, 0xA20F: 1000.0, 0x9214: (15, 10, 5, 4), 0xA214: (15, 10)}, (300, 150)),
    # A quarter turn to the right: x becomes the distance from the bottom, 80 - y.
    (6, (40, 60), {0xA20E: 1000.0, 0xA20F: 2219.0, 0x9214: (30, 15, 4, 5), 0xA214: (30, 15)}, (150, 300)),
    (3, (60, 40), {0xA20E: 2219.0, 0xA20F: 1000.0, 0x9214: (45, 30, 5, 4), 0xA214: (45, 30)}, (300, 150)),
]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize(("orientation", "size", "expected", "resolution"), TAGS)
def test_exif_counts_the_new_pixels(
    tmp_path: Path, orientation: int, size: tuple[int, int], expected: dict[int, Any], resolution: tuple[int, int], suffix: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details.update({0xA20E: 4438.0, 0xA20F: 2000.0, 0xA210: 2, 0x9214: (30, 20, 10, 8), 0xA214: (30, 20)})
    details.update({0xA002: 120, 0xA003: 80, ExifTags.IFD.Interop: {1: "R98"}})
    Image.new("RGB", (120, 80), "teal").save(tmp_path / "original.jpg", exif=exif, dpi=(300, 150))
    assert passed(tmp_path / "original.jpg", tmp_path / f"result{suffix}", size) == []
    with Image.open(tmp_path / f"result{suffix}") as image:
        found = image.getexif().get_ifd(ExifTags.IFD.Exif)
        assert {tag: found[tag] for tag in expected} == expected
        assert (found[0xA002], found[0xA003]) == size
        # A TIFF has no such directory, and nothing that points to one.
        assert (ExifTags.IFD.Interop in found) == (suffix != ".tif")
        # How large it is printed is the user's own choice, and stays.
        assert tuple(round(value) for value in image.info["dpi"]) == resolution


# Maps.

KEYS = (1, 1, 0, 2, 1024, 0, 1, 1, 1025, 0, 1, 1)
"""GeoKeys: a header, a projected model, and pixels that are areas (1) or points (2)."""

GROUND: dict[str, dict[int, tuple[float, ...]]] = {
    "scale and a point": {33550: (0.5, 0.25, 0.0), 33922: (1.0, 2.0, 0.0, 440_000.0, 5_000_000.0, 0.0)},
    "matrix": {34264: (0.5, 0.1, 0, 440_000, 0.2, -0.25, 0, 5_000_000, 0, 0, 0, 0, 0, 0, 0, 1.0)},
}


def ground_of(tags: TiffImagePlugin.ImageFileDirectory_v2, x: float, y: float) -> NDArray[np.float64]:
    """Where a place of the raster lies (GeoTIFF 1.1, annex B.6)."""
    if 34264 in tags:
        return (np.array(tags[34264]).reshape(4, 4) @ (x, y, 0, 1))[:2]
    tie, scale = tags[33922], tags[33550]
    return np.array([tie[3] + (x - tie[0]) * scale[0], tie[4] - (y - tie[1]) * scale[1]])


@pytest.mark.parametrize("point", [False, True])
@pytest.mark.parametrize("kind", GROUND)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_pixel_stays_on_its_ground(tmp_path: Path, orientation: int, kind: str, point: bool) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    keys = (*KEYS[:-1], 2) if point else KEYS
    for tag, values in GROUND[kind].items():
        tags.tagtype[tag] = 12
        tags[tag] = tuple(map(float, values))
    tags[34735] = keys
    tags[0x0112] = orientation
    tags.tagtype[42113] = 2
    tags[42113] = "0"
    Image.new("RGB", (12, 8), "teal").save(tmp_path / "original.tif", tiffinfo=tags)
    pixel_map = halved(orientation, (12, 8))
    said = passed(tmp_path / "original.tif", tmp_path / "result.tif", pixel_map.size)  # type: ignore[arg-type]
    assert said == ["result.tif: dropped, since true of the original only: GDAL_NODATA"]
    with Image.open(tmp_path / "original.tif") as before, Image.open(tmp_path / "result.tif") as after:
        assert isinstance(before, TiffImagePlugin.TiffImageFile)
        assert isinstance(after, TiffImagePlugin.TiffImageFile)
        assert after.tag_v2[34735] == keys
        assert 42113 not in after.tag_v2
        place = pixel_map.pixel if point else pixel_map.place
        for x, y in ((0, 0), (12, 0), (3, 7)):
            assert ground_of(after.tag_v2, *place(x, y)) == pytest.approx(ground_of(before.tag_v2, x, y), abs=1e-6)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_polynomials_see_the_new_pixels(orientation: int) -> None:
    random = np.random.default_rng(0)
    terms = random.uniform(-0.1, 0.1, (4, 20))
    terms[1, 0] = terms[3, 0] = 1
    values = [1.0, 2.0, 200.0, 300.0, 50.0, 10.0, 100.0, 210.0, 310.0, 1.0, 1.0, 500.0, *terms.ravel()]

    def pixel_of(values: list[float], seen: NDArray[np.float64]) -> tuple[float, float]:
        terms = np.array(values[12:]).reshape(4, 20)
        line, sample = (terms[place] @ seen / (terms[place + 1] @ seen) for place in (0, 2))
        return values[3] + values[8] * sample, values[2] + values[7] * line

    pixel_map = halved(orientation, (600, 400))
    moved = moved_polynomials(values, pixel_map)
    for _ in range(3):
        seen = random.uniform(-1, 1, 20)
        assert pixel_of(moved, seen) == pytest.approx(pixel_map.pixel(*pixel_of(values, seen)))


def test_what_only_a_raw_file_needs_is_dropped_and_named(tmp_path: Path) -> None:
    entry = struct.pack("<HHII", 50720, 3, 2, 8 << 16 | 12)
    maker = struct.pack("<HHI4s", 0x010F, 2, 4, b"Ann\x00")
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x02\x00" + maker + entry + bytes(4)
    Image.new("RGB", (12, 8)).save(tmp_path / "original.jpg", exif=exif)
    said = passed(tmp_path / "original.jpg", tmp_path / "result.jpg", (6, 4))
    assert said == ["result.jpg: dropped, since true of the original only: DefaultCropSize"]
    with Image.open(tmp_path / "result.jpg") as image:
        assert dict(image.getexif()) == {0x010F: "Ann"}


# XMP: a picture of 600 x 400, halved, upright or turned to the right.

AREA = '<mwg-rs:Area stArea:x="{}" stArea:y="{}" stArea:w="{}" stArea:h="{}" stArea:unit="normalized"/>'
SIZE = (
    '<mwg-rs:AppliedToDimensions rdf:parseType="Resource"><stDim:w>{}</stDim:w><stDim:h>{}</stDim:h>'
    "</mwg-rs:AppliedToDimensions>"
)
LIST = "<exif:SubjectArea><rdf:Seq><rdf:li>{}</rdf:li><rdf:li>{}</rdf:li></rdf:Seq></exif:SubjectArea>"
RECTANGLE = (
    '<Iptc4xmpExt:RegionBoundary Iptc4xmpExt:rbUnit="{}" Iptc4xmpExt:rbX="{}" Iptc4xmpExt:rbY="{}" '
    'Iptc4xmpExt:rbW="{}" Iptc4xmpExt:rbH="{}"/>'
)
POLYGON = (
    "<Iptc4xmpExt:RegionBoundary><Iptc4xmpExt:rbUnit>pixel</Iptc4xmpExt:rbUnit><Iptc4xmpExt:rbVertices><rdf:Seq>"
    '<rdf:li Iptc4xmpExt:rbX="{}" Iptc4xmpExt:rbY="{}"/><rdf:li Iptc4xmpExt:rbX="{}" Iptc4xmpExt:rbY="{}"/>'
    "</rdf:Seq></Iptc4xmpExt:rbVertices></Iptc4xmpExt:RegionBoundary>"
)
DEWARP = 'drone-dji:DewarpData="2020-01-02;{},{},{},{},-0.1,0.2"'
CROP = 'crs:CropTop="{}" crs:CropLeft="{}" crs:CropBottom="{}" crs:CropRight="{}"'
LENS = '<a Camera:PerspectiveFocalLengthUnits="{}" Camera:PerspectiveFocalLength="{}"/>'
PACKETS: list[tuple[str, tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]] = [
    (AREA, (0.25, 0.1, 0.2, 0.4), (0.25, 0.1, 0.2, 0.4), (0.9, 0.25, 0.4, 0.2)),
    (SIZE, (600, 400), (300, 200), (200, 300)),
    # Drawn on the upright picture.
    (SIZE + AREA, (400, 600, 0.25, 0.1, 0.2, 0.4), (200, 300, 0.25, 0.1, 0.2, 0.4), (200, 300, 0.25, 0.1, 0.2, 0.4)),
    (LIST, (300, 100), (150, 50), (150, 150)),
    ('<MPReg:Rectangle>{}, {}, {}, {}</MPReg:Rectangle>', (0.1, 0.2, 0.3, 0.4), (0.1, 0.2, 0.3, 0.4), (0.4, 0.1, 0.4, 0.3)),
    (RECTANGLE, ("pixel", 300, 100, 60, 40), ("pixel", 150, 50, 30, 20), ("pixel", 130, 150, 20, 30)),
    (RECTANGLE, ("relative", 0.5, 0.25, 0.1, 0.1), ("relative", 0.5, 0.25, 0.1, 0.1), ("relative", 0.65, 0.5, 0.1, 0.1)),
    (POLYGON, (300, 100, 600, 400), (150, 50, 300, 200), (150, 150, 0, 300)),
    ('<a exif:FocalPlaneXResolution="{}/1" exif:FocalPlaneYResolution="{}/1"/>', (4438, 2000), (2219, 1000), (1000, 2219)),
    (DEWARP, (100.5, 100.5, 6, -2), (50.25, 50.25, 3, -1), (50.25, 50.25, 1, 3)),
    ('drone-dji:CalibratedOpticalCenterX="{}" drone-dji:CalibratedOpticalCenterY="{}"', (300, 100), (150, 50), (150, 150)),
    (LENS, ("pixel", 1000.0), ("pixel", 500), ("pixel", 500)),
    (LENS, ("mm", 4.5), ("mm", 4.5), ("mm", 4.5)),
    ("<Camera:VignettingPolynomial>{},{}</Camera:VignettingPolynomial>", (0.1, 0.02), (0.2, 0.08), (0.2, 0.08)),
    (CROP, (0.1, 0.2, 0.5, 0.6), (0.1, 0.2, 0.5, 0.6), (0.2, 0.5, 0.6, 0.9)),
    ('GPano:CroppedAreaLeftPixels="{}" GPano:FullPanoHeightPixels="{}"', (100, 400), (50, 200), (50, 200)),
    ('tiff:XResolution="{}/1" tiff:YResolution="{}/1"', (72, 300), (72, 300), (300, 72)),
]  # fmt: skip


@pytest.mark.parametrize(("form", "before", "smaller", "turned"), PACKETS)
def test_xmp_counts_the_new_pixels(
    form: str, before: tuple[Any, ...], smaller: tuple[Any, ...], turned: tuple[Any, ...]
) -> None:
    xmp = form.format(*before).encode()
    assert adapted_xmp(xmp, PixelMap((600, 400), (300, 200))) == form.format(*smaller).encode()
    assert adapted_xmp(xmp, PixelMap((600, 400), (200, 300), 6)) == form.format(*turned).encode()
    assert adapted_xmp(xmp, PixelMap((600, 400), (600, 400))) == xmp


def test_a_namespace_may_have_any_prefix() -> None:
    area = "<R:Area A:x='{}' A:y='0.1' A:w='{}' A:h='{}' A:unit='normalized'/>"
    form = (
        '<a xmlns:T="http://ns.adobe.com/tiff/1.0/" xmlns:R="http://www.metadataworkinggroup.com/schemas/regions/" '
        "xmlns:A = 'http://ns.adobe.com/xmp/sType/Area#' xmlns:e='http://ns.adobe.com/exif/1.0/' T:Orientation=\"{}\" "
        f'T:ImageWidth="{{}}" exif:SubjectArea="7" e:ColorSpace="{{}}">{area}</a>'
    )
    before, after = ((*head, *area) for head, area in (((6, 600, 2), (0.25, 0.2, 0.4)), ((1, 200, 2), (0.9, 0.4, 0.2))))
    # Turned to the right, the top is on the right: x becomes 1 - y, and y becomes x.
    turned = form.format(*after).replace("A:y='0.1'", "A:y='0.25'")
    assert adapted_xmp(form.format(*before).encode(), PixelMap((600, 400), (200, 300), 6)) == turned.encode()
    assert srgb_xmp(turned.encode()) == turned.replace('e:ColorSpace="2"', 'e:ColorSpace="1"').encode()


def test_texts_of_a_png_count_the_new_pixels() -> None:
    texts = {"exif:PixelXDimension": "600", "exif:SubjectArea": "300, 100", "Title": "600 x 400"}
    expected = {"exif:PixelXDimension": "300", "exif:SubjectArea": "150, 50", "Title": "600 x 400"}
    assert adapted_texts(texts, PixelMap((600, 400), (300, 200))) == expected
