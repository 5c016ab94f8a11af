"""The encoders of videos: one row each, with the pixel formats that it is given and what it needs.

What depends on an encoder is in its row. The module imports no decoder, so the configuration can read it at no cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class VideoCodec:
    """An encoder.

    Attributes:
        name: The name in pipeline.yaml; ffmpeg's name of the encoder, unless `encoder` is another one.
        formats: The pixel formats by default: of a video with 8 bits per color value, and of one with more.
        alpha_formats: The same for a transparent video; None if the codec cannot hold transparency.
        encoder: ffmpeg's name of the encoder.
        crf: The constant rate factor by default; None if the encoder has none.
        options: Options of ffmpeg that it always needs.
        alpha_options: Options of ffmpeg that it needs for a transparent video.
    """

    name: str
    formats: tuple[str, str]
    alpha_formats: tuple[str, str] | None = None
    encoder: str = ""
    crf: int | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    alpha_options: Mapping[str, object] = field(default_factory=dict)


VIDEO_CODECS: dict[str, VideoCodec] = {
    row.name: row
    for row in (
        # Most players do not show H.264 with 10 bits.
        VideoCodec("libx264", ("yuv420p", "yuv420p"), crf=18),
        VideoCodec("libx265", ("yuv420p", "yuv420p10le"), crf=18),
        VideoCodec("libsvtav1", ("yuv420p", "yuv420p10le"), crf=25),
        VideoCodec(
            "libvpx-vp9",
            ("yuv420p", "yuv420p"),
            ("yuva420p", "yuva420p"),
            crf=24,
            # Without this rate, the constant rate factor would only be a limit.
            options={"video_bitrate": 0, "row-mt": 1},
            # Frames of reference that are never shown have no transparency.
            alpha_options={"auto-alt-ref": 0},
        ),
        VideoCodec("ffv1", ("yuv420p", "yuv420p10le"), ("yuva420p", "yuva420p10le")),
        # Of ffmpeg's ProRes encoders, the one that keeps 10 bits and alpha.
        VideoCodec("prores", ("yuv422p10le", "yuv422p10le"), ("yuva444p10le", "yuva444p10le"), encoder="prores_ks"),
        VideoCodec("qtrle", ("rgb24", "rgb24"), ("argb", "argb")),
        VideoCodec("png", ("rgb24", "rgb48be"), ("rgba", "rgba64be")),
    )
}
"""Every encoder of videos, by its name in pipeline.yaml."""
