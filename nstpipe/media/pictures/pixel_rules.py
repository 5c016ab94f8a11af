"""The metadata that counts in pixels: one table for the tags of EXIF and TIFF, one for the properties of XMP.

Each row names values that belong together, such as a width and a height, and what becomes of them when the picture is turned
upright and resized. Everything that no row names stays as it is. docs/media.md lists the rows for users.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nstpipe.media.pictures.pixel_map import PixelMap

Numbers = Sequence[float]

Change = Callable[[PixelMap, Numbers], Numbers]
"""The new values of those of a row, in the same order."""


def size_of_result(pixel_map: PixelMap, _: Numbers) -> Numbers:
    """The result's width and height."""
    return pixel_map.size


def extent(pixel_map: PixelMap, values: Numbers) -> Numbers:
    """A width and a height; or a number of pixels in a unit of length, horizontal and vertical."""
    return pixel_map.extent(*values)


def whole_extent(pixel_map: PixelMap, values: Numbers) -> Numbers:
    """A width and a height in whole pixels."""
    return [round(value) for value in pixel_map.extent(*values)]


def swapped_extent(pixel_map: PixelMap, values: Numbers) -> Numbers:
    """A horizontal and a vertical value that do not depend on the number of pixels."""
    return values[::-1] if pixel_map.swaps_sides else values


def place(pixel_map: PixelMap, values: Numbers) -> Numbers:
    """One place, or several one after the other: x and y of each."""
    return [value for x, y in zip(values[::2], values[1::2], strict=True) for value in pixel_map.place(x, y)]


def subject_area(pixel_map: PixelMap, values: Numbers) -> Numbers:
    """A point; or the center and the diameter of a circle; or the center, the width and the height of a box (Exif 2.32)."""
    lengths = [values[2] * pixel_map.scale] if len(values) == 3 else pixel_map.extent(*values[2:]) if values[2:] else ()
    return [*pixel_map.place(*values[:2]), *lengths]


def box(pixel_map: PixelMap, values: Numbers) -> Numbers:
    """The left and the top edge, the width and the height of a box."""
    left, top, width, height = values
    corners = pixel_map.place(left, top), pixel_map.place(left + width, top + height)
    return [*map(min, zip(*corners, strict=True)), *pixel_map.extent(width, height)]


def edges(pixel_map: PixelMap, values: Numbers) -> Numbers:
    """The top, left, bottom and right edge of a box."""
    top, left, bottom, right = values
    new_left, new_top, width, height = box(pixel_map, (left, top, right - left, bottom - top))
    return [new_top, new_left, new_top + height, new_left + width]


def lengths(pixel_map: PixelMap, values: Numbers) -> Numbers:
    """Lengths without a direction."""
    return [value * pixel_map.scale for value in values]


def falloff(pixel_map: PixelMap, values: Numbers) -> Numbers:
    """The coefficients of a polynomial of a distance, from the first power on."""
    return [value / pixel_map.scale**power for power, value in enumerate(values, start=1)]


def dewarping(pixel_map: PixelMap, values: Numbers) -> Numbers:
    """Two focal lengths, the center's distance from the middle, and coefficients that do not depend on the size."""
    return [*pixel_map.extent(*values[:2]), *pixel_map.offset(*values[2:4]), *values[4:]]


FIRST, EXIF, INTEROPERABILITY = 0, 0x8769, 0xA005
"""Directories, by the tag that points to them; 0 is the first one. Interoperability is within EXIF."""


@dataclass(frozen=True)
class TagRule:
    """What becomes of the values of tags.

    Attributes:
        directory: The directory that the tags are in.
        tags: One tag with several values, or several tags with one value each.
        change: The new values.
    """

    directory: int
    tags: tuple[int, ...]
    change: Change


TAG_RULES = (
    TagRule(FIRST, (0x0100, 0x0101), size_of_result),  # ImageWidth, ImageLength
    TagRule(EXIF, (0xA002, 0xA003), size_of_result),  # PixelXDimension, PixelYDimension
    TagRule(INTEROPERABILITY, (0x1001, 0x1002), size_of_result),  # RelatedImageWidth, RelatedImageLength
    TagRule(FIRST, (33300, 33301), whole_extent),  # ImageFullWidth, ImageFullLength
    TagRule(FIRST, (0x011A, 0x011B), swapped_extent),  # XResolution, YResolution: of a print
    TagRule(EXIF, (0xA20E, 0xA20F), extent),  # FocalPlaneXResolution, FocalPlaneYResolution
    TagRule(FIRST, (0x920E, 0x920F), extent),  # the same in TIFF/EP
    TagRule(EXIF, (0x9214,), subject_area),  # SubjectArea
    TagRule(FIRST, (0x9214,), subject_area),  # SubjectLocation in TIFF/EP
    TagRule(EXIF, (0xA214,), place),  # SubjectLocation
)
"""Tags that count in pixels. Those that tie pixels to the ground are in `nstpipe.media.pictures.geo`."""

UNTRUE_TAGS = {
    42113: "GDAL_NODATA",  # every pixel is painted
    50718: "DefaultScale",
    50719: "DefaultCropOrigin",
    50720: "DefaultCropSize",
    50780: "BestQualityScale",
    50829: "ActiveArea",
    50830: "MaskedAreas",
    51008: "OpcodeList1",
    51009: "OpcodeList2",
    51022: "OpcodeList3",
    51089: "OriginalDefaultFinalSize",
    51090: "OriginalBestQualityFinalSize",
    51091: "OriginalDefaultCropSize",
    51125: "DefaultUserCrop",
}
"""Tags of the first directory that are removed: they say how a sensor's values become a picture, or which pixels are none."""


@dataclass(frozen=True)
class XmpRule:
    """What becomes of properties of XMP.

    Attributes:
        prefix: The usual prefix of the properties' namespace.
        names: One property with several values, or several properties with one value each.
        change: The new values.
        structure: The property, with its prefix, whose fields these are; empty if they stand alone.
        unit: The property that says whether values are pixels or shares of the picture; empty if none does.
        default_unit: The unit if nothing says it.
        of_upright: Whether the values are of the upright picture, and not of the stored one.
    """

    prefix: str
    names: tuple[str, ...]
    change: Change
    structure: str = ""
    unit: str = ""
    default_unit: str = "pixel"
    of_upright: bool = False


_PANORAMA = tuple(
    XmpRule(prefix, names, whole_extent, of_upright=True)
    for prefix in ("GPano", "GSpherical")
    for names in (
        ("FullPanoWidthPixels", "FullPanoHeightPixels"),
        ("CroppedAreaImageWidthPixels", "CroppedAreaImageHeightPixels"),
        ("CroppedAreaLeftPixels", "CroppedAreaTopPixels"),
        ("LargestValidInteriorRectWidth", "LargestValidInteriorRectHeight"),
        ("LargestValidInteriorRectLeft", "LargestValidInteriorRectTop"),
    )
)

XMP_RULES = (
    XmpRule("exif", ("PixelXDimension", "PixelYDimension"), size_of_result),
    XmpRule("tiff", ("ImageWidth", "ImageLength"), size_of_result),
    XmpRule("tiff", ("XResolution", "YResolution"), swapped_extent),
    XmpRule("exif", ("FocalPlaneXResolution", "FocalPlaneYResolution"), extent),
    XmpRule("exif", ("SubjectArea",), subject_area),
    XmpRule("exif", ("SubjectLocation",), place),
    *_PANORAMA,
    # Regions. Their own size is in `REGION_SIZES`.
    XmpRule("stArea", ("x", "y", "w", "h"), subject_area, "mwg-rs:Area", "unit", "normalized"),
    XmpRule("acdsee-stArea", ("x", "y", "w", "h"), subject_area, "acdsee-rs:DLYArea", default_unit="normalized"),
    XmpRule("acdsee-stArea", ("x", "y", "w", "h"), subject_area, "acdsee-rs:ALGArea", default_unit="normalized"),
    XmpRule("MPReg", ("Rectangle",), box, default_unit="normalized"),
    XmpRule("Iptc4xmpExt", ("rbX", "rbY", "rbW", "rbH"), box, "Iptc4xmpExt:RegionBoundary", "rbUnit", "relative"),
    XmpRule("Iptc4xmpExt", ("rbX", "rbY"), place, "Iptc4xmpExt:RegionBoundary", "rbUnit", "relative"),
    XmpRule("Iptc4xmpExt", ("rbRx",), lengths, "Iptc4xmpExt:RegionBoundary", "rbUnit", "relative"),
    XmpRule("stDim", ("w", "h"), extent, "xmpTPg:MaxPageSize", "unit"),
    # Cameras.
    XmpRule("crs", ("CropWidth", "CropHeight"), extent, unit="CropUnit"),
    XmpRule("crs", ("CropTop", "CropLeft", "CropBottom", "CropRight"), edges, default_unit="normalized"),
    XmpRule("GFocus", ("FocalPointX", "FocalPointY"), place, default_unit="normalized"),
    XmpRule("ImagingModel", ("ImageWidth", "ImageHeight"), whole_extent),
    XmpRule("drone-dji", ("CalibratedFocalLength",), lengths),
    XmpRule("drone-dji", ("CalibratedOpticalCenterX", "CalibratedOpticalCenterY"), place),
    XmpRule("drone-dji", ("DewarpData",), dewarping),
    XmpRule("Camera", ("PerspectiveFocalLength",), lengths, unit="PerspectiveFocalLengthUnits", default_unit="mm"),
    XmpRule("Camera", ("PrincipalPoint",), place, unit="PerspectiveFocalLengthUnits", default_unit="mm"),
    XmpRule("Camera", ("VignettingCenter",), place),
    XmpRule("Camera", ("VignettingPolynomial",), falloff),
    XmpRule("Camera", ("FisheyeAffineMatrix",), lengths),
)
"""Properties that count in pixels. MWG and IPTC place regions in the stored picture, before it is turned."""

REGION_SIZES = (
    XmpRule("stDim", ("w", "h"), extent, "mwg-rs:AppliedToDimensions", "unit"),
    XmpRule("acdsee-stDim", ("w", "h"), extent, "acdsee-rs:AppliedToDimensions", "unit"),
)
"""The size of the picture that regions were drawn on. It tells whether that picture was upright already."""

XMP_NAMESPACES = {
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "crs": "http://ns.adobe.com/camera-raw-settings/1.0/",
    "stArea": "http://ns.adobe.com/xmp/sType/Area#",
    "stDim": "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
    "xmpTPg": "http://ns.adobe.com/xap/1.0/t/pg/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "MPReg": "http://ns.microsoft.com/photo/1.2/t/Region#",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "GPano": "http://ns.google.com/photos/1.0/panorama/",
    "GSpherical": "http://ns.google.com/videos/1.0/spherical/",
    "GFocus": "http://ns.google.com/photos/1.0/focus/",
    "drone-dji": "http://www.dji.com/drone-dji/1.0/",
}
"""What prefixes stand for. A packet may declare others for the same namespaces."""

TEXT_RULES = (
    (("exif:PixelXDimension", "exif:PixelYDimension"), size_of_result),
    (("exif:ExifImageWidth", "exif:ExifImageLength"), size_of_result),
    (("tiff:ImageWidth", "tiff:ImageLength"), size_of_result),
    (("Thumb::Image::Width", "Thumb::Image::Height"), size_of_result),
    (("exif:FocalPlaneXResolution", "exif:FocalPlaneYResolution"), extent),
    (("exif:SubjectArea",), subject_area),
    (("exif:SubjectLocation",), place),
)
"""Texts of a PNG that count in pixels, as ImageMagick and thumbnailers write them."""
