"""How the picture of a 360° or stereoscopic video is to be shown, and how MP4, MOV and Matroska say so."""

from __future__ import annotations

import dataclasses
import re
import struct
from dataclasses import dataclass

from nstpipe.media.video.iso_media import Box
from nstpipe.media.video.matroska import Element

EQUIRECTANGULAR, CUBEMAP = "equirectangular", "cubemap"

_KINDS = (EQUIRECTANGULAR, CUBEMAP, EQUIRECTANGULAR, "half equirectangular", "rectilinear", "fisheye")
"""Of FFmpeg's AVSphericalProjection, by its numbers. The third one is the first, of which a part is there."""

_MAPPING = struct.Struct("=i3i4II")
"""FFmpeg's AVSphericalMapping: projection, pose, bounds, padding."""

_STEREO = struct.Struct("=iI")
"""FFmpeg's AVStereo3D: layout and flags."""

MONO, SIDE_BY_SIDE, TOP_AND_BOTTOM = "one view", "side by side", "top and bottom"

_LAYOUTS = {0: MONO, 1: SIDE_BY_SIDE, 2: TOP_AND_BOTTOM, 3: "frame by frame", 4: "checkerboard", 6: "rows", 7: "columns"}
"""Of FFmpeg's AVStereo3DType, by its numbers."""

_MATROSKA_MODES = {(MONO, False): 0, (SIDE_BY_SIDE, False): 1, (TOP_AND_BOTTOM, True): 2, (TOP_AND_BOTTOM, False): 3} | {
    ("checkerboard", True): 4,
    ("checkerboard", False): 5,
    ("rows", True): 6,
    ("rows", False): 7,
    ("columns", True): 8,
    ("columns", False): 9,
    (SIDE_BY_SIDE, True): 11,
}
"""Matroska's StereoMode of a layout, and whether the right eye comes first."""

_ISO_MODES = {(MONO, False): 0, (TOP_AND_BOTTOM, False): 1, (SIDE_BY_SIDE, False): 2}
"""The mode of a box of type st3d."""

_FIXED = 1 << 16
"""One degree, as FFmpeg and MP4 store it."""

GOOGLE_UUID = bytes.fromhex("ffcc8263f8554a938814587a02521fdd")
"""Of the older description of a 360° video in MP4, in XML (Spherical Video V1)."""


@dataclass(frozen=True)
class Projection:
    """How the picture of a 360° video is laid out.

    Attributes:
        kind: ``equirectangular``, ``cubemap``, or another one of FFmpeg's.
        pose: Yaw, pitch and roll, in degrees times 65536.
        bounds: What of the sphere is missing at the left, the top, the right and the bottom, in parts of 2³².
        padding: Of the faces of a cube, in pixels.
    """

    kind: str
    pose: tuple[int, int, int] = (0, 0, 0)
    bounds: tuple[int, int, int, int] = (0, 0, 0, 0)
    padding: int = 0

    @property
    def is_held(self) -> bool:
        """Whether MP4, MOV and Matroska have a way to say it that ffmpeg and players read."""
        return self.kind in (EQUIRECTANGULAR, CUBEMAP)

    def resized(self, scale: float) -> Projection:
        """The projection after the picture was resized.

        Args:
            scale: The new width over the old one.
        """
        return dataclasses.replace(self, padding=round(self.padding * scale))


@dataclass(frozen=True)
class Stereo:
    """How the views of two eyes are laid out in a picture.

    Attributes:
        layout: Such as ``side by side``.
        right_first: Whether the right eye's view comes first.
    """

    layout: str
    right_first: bool = False

    @property
    def is_flat(self) -> bool:
        """Whether there is one view only."""
        return self.layout == MONO


def projection_of(data: bytes) -> Projection | None:
    """The projection in the side data of a frame (SPHERICAL); None for a flat picture."""
    if len(data) < _MAPPING.size:
        return None
    kind, yaw, pitch, roll, left, top, right, bottom, padding = _MAPPING.unpack_from(data)
    name = _KINDS[kind] if 0 <= kind < len(_KINDS) else "unknown"
    return Projection(name, (yaw, pitch, roll), (left, top, right, bottom), padding)


def stereo_of(data: bytes) -> Stereo | None:
    """The layout of the views in the side data of a frame (STEREO3D); None if the video does not say."""
    if len(data) < _STEREO.size:
        return None
    layout, flags = _STEREO.unpack_from(data)
    return Stereo(_LAYOUTS[layout], bool(flags & 1)) if layout in _LAYOUTS else None


def is_full_sphere(projection: Projection | None, stereo: Stereo | None) -> bool:
    """Whether the right edge of a picture continues at its left edge."""
    if projection is None or projection.kind != EQUIRECTANGULAR:
        return False
    left, _, right, _ = projection.bounds
    return left == right == 0 and (stereo is None or stereo.layout in (MONO, TOP_AND_BOTTOM))


def iso_boxes(projection: Projection | None, stereo: Stereo | None) -> list[Box]:
    """The boxes that MP4 and MOV say it with (Google's Spherical Video V2 RFC)."""
    boxes = []
    mode = _ISO_MODES.get((stereo.layout, stereo.right_first)) if stereo is not None else None
    if mode is not None:
        boxes.append(Box(b"st3d", bytes(4) + bytes([mode])))
    if projection is not None and projection.is_held:
        header = Box(b"prhd", bytes(4) + struct.pack(">3i", *projection.pose))
        kind = b"cbmp" if projection.kind == CUBEMAP else b"equi"
        layout = Box(b"proj", b"", [header, Box(kind, _private(projection))])
        boxes.append(Box(b"sv3d", b"", [Box(b"svhd", bytes(4) + b"nstpipe\0"), layout]))
    return boxes


def matroska_elements(projection: Projection | None, stereo: Stereo | None) -> list[Element]:
    """The elements that Matroska says it with (RFC 9559: StereoMode, Projection)."""
    found = []
    mode = _MATROSKA_MODES.get((stereo.layout, stereo.right_first)) if stereo is not None else None
    if mode:  # 0 is the default
        found.append(Element(0x53B8, bytes([mode])))
    if projection is not None and projection.is_held:
        kind = Element(0x7671, bytes([2 if projection.kind == CUBEMAP else 1]))
        pose = [
            Element(number, struct.pack(">f", value / _FIXED))
            for number, value in zip((0x7673, 0x7674, 0x7675), projection.pose, strict=True)
            if value
        ]
        found.append(Element(0x7670, b"", [kind, Element(0x7672, _private(projection)), *pose]))
    return found


def _private(projection: Projection) -> bytes:
    """The content of a box of type equi or cbmp, which Matroska holds as ProjectionPrivate."""
    if projection.kind == CUBEMAP:
        return bytes(4) + struct.pack(">2I", 0, projection.padding)
    left, top, right, bottom = projection.bounds
    return bytes(4) + struct.pack(">4I", top, bottom, left, right)


def is_stereo_held(stereo: Stereo, *, in_matroska: bool) -> bool:
    """Whether a container can say how the views of the eyes are laid out."""
    modes = _MATROSKA_MODES if in_matroska else _ISO_MODES
    return (stereo.layout, stereo.right_first) in modes


def google_box(box: Box, scale: tuple[float, float]) -> Box:
    """The older description of a 360° video, in pixels of the resized picture.

    Args:
        box: Of type uuid, from the original.
        scale: The new width and height over the old ones.
    """

    def resized(found: re.Match[bytes]) -> bytes:
        by = scale[0] if found[2].startswith((b"Width", b"Left")) else scale[1]
        return found[1] + str(round(int(found[3]) * by)).encode()

    pixels = rb"(<GSpherical:(?:CroppedArea(?:Image)?|FullPano)(Width|Height|Left|Top)Pixels>\s*)(\d+)"
    return Box(box.kind, re.sub(pixels, resized, box.head))
