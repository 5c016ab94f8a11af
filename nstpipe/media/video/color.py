"""The colors of a video, as the tags of its frames describe them."""

from __future__ import annotations

import struct

import av
from av.buffer import Buffer

from nstpipe.media.video.info import Matrix, VideoColor

_MATRICES: dict[int, Matrix] = {1: "bt709", 5: "smpte170m", 6: "smpte170m", 9: "bt2020nc"}
"""ITU-T H.273 numbers of matrix coefficients; 5 and 6 are the two namings of BT.601's one matrix."""

_PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    9: "bt2020",
    11: "smpte431",
    12: "smpte432",
}
_TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    18: "arib-std-b67",
}
HD_HEIGHT = 720
"""An untagged picture of this height or more is taken for BT.709, a smaller one for BT.601, as players do."""

H273_FULL_RANGE = 2
"""FFmpeg's number for color values that use all of 0 to 255."""


def color_of(frame: av.VideoFrame) -> VideoColor:
    """The colors of a video, by its first decoded frame."""
    matrix = _MATRICES.get(int(frame.colorspace))
    is_rgb = frame.format.is_rgb
    return VideoColor(
        matrix=matrix or ("bt709" if frame.height >= HD_HEIGHT else "smpte170m"),
        matrix_is_tagged=matrix is not None or is_rgb,
        full_range=int(frame.color_range) == H273_FULL_RANGE or is_rgb,
        primaries=_PRIMARIES.get(int(frame.color_primaries)),
        transfer=_TRANSFERS.get(int(frame.color_trc)),
        mastering=_mastering(frame),
    )


def side_data(frame: av.VideoFrame, kind: str) -> bytes:
    """The data of one kind that comes with a frame, by FFmpeg's name of the kind; empty if there is none."""
    try:
        found: Buffer | None = frame.side_data.get(kind)  # type: ignore[assignment]  # it is typed as of text
    except ValueError:
        return b""  # PyAV gives none of it where one is of a kind that it does not know
    return bytes(found) if found is not None else b""


_MASTERING = struct.Struct("=22i")
"""FFmpeg's AVMasteringDisplayMetadata: eight fractions of primaries and white, darkest, brightest, and what is set."""

_LIGHT = struct.Struct("=2I")
"""FFmpeg's AVContentLightMetadata: MaxCLL and MaxFALL."""


def _mastering(frame: av.VideoFrame) -> str:
    """For which light HDR was made (SMPTE ST 2086) and how bright it becomes (CTA-861.3), in words."""
    said = []
    display, light = side_data(frame, "MASTERING_DISPLAY_METADATA"), side_data(frame, "CONTENT_LIGHT_LEVEL")
    if len(display) == _MASTERING.size:
        *_, darkest, darkest_parts, brightest, brightest_parts, _, has_light = _MASTERING.unpack(display)
        if has_light and darkest_parts and brightest_parts:
            said.append(f"mastered from {darkest / darkest_parts:g} to {brightest / brightest_parts:g} nits")
    if len(light) >= _LIGHT.size:
        pixel, average = _LIGHT.unpack_from(light)
        said.append(f"brightest pixel {pixel} nits, brightest frame {average} nits")
    return ", ".join(said)
