"""Folders of pictures: read with all their metadata, written with all their metadata."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nstpipe.errors import ItemError
from nstpipe.files import completed
from nstpipe.media.frame import Frame, PictureMetadata, Pixels, resized
from nstpipe.media.metadata import adapted_xmp, upright_exif

JPEG_QUALITY = 95
"""Above it files grow fast and nothing visible is gained."""

_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, UnidentifiedImageError, Image.DecompressionBombError)
"""All that Pillow raises for damaged files; SyntaxError is what its PNG and TIFF readers use."""


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, upright, from the file's head.

    Raises:
        ItemError: the file is missing or no picture.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (height, width) if turned else (width, height)
    except _PILLOW_ERRORS as error:
        raise _unreadable(path, error) from error


def read_picture(path: Path) -> tuple[Pixels, PictureMetadata]:
    """A picture's pixels, upright, and its metadata.

    Raises:
        ItemError: the file is missing, damaged or no picture.
    """
    try:
        with Image.open(path) as image:
            file_format = image.format or "PNG"
            image.load()
            exif, xmp = image.info.get("exif"), image.info.get("xmp")
            upright = ImageOps.exif_transpose(image)
            alpha = upright.convert("RGBA").getchannel("A") if upright.has_transparency_data else None
            metadata = PictureMetadata(
                format=file_format,
                exif=upright_exif(exif) if exif else None,
                icc=image.info.get("icc_profile"),
                xmp=xmp if isinstance(xmp, bytes) else None,
                dots_per_inch=image.info.get("dpi"),
                alpha=np.asarray(alpha) if alpha is not None else None,
            )
            return np.asarray(_as_rgb(upright)), metadata
    except _PILLOW_ERRORS as error:
        raise _unreadable(path, error) from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow would cut 16 bits off at 255 instead of scaling them.
        return Image.fromarray((np.asarray(image).astype(np.float32) / 257).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _unreadable(path: Path, error: BaseException) -> ItemError:
    if isinstance(error, FileNotFoundError):
        return ItemError(f"{path} does not exist.")
    try:
        if path.stat().st_size == 0:
            return ItemError(f"{path} is empty (0 bytes).", "Copy the picture again.")
    except OSError:
        pass
    if isinstance(error, UnidentifiedImageError):
        return ItemError(f"{path} is no picture in a format that can be read.", "Open it in a viewer to see what it is.")
    return ItemError(f"{path} cannot be read: {error}.", "Copy the picture again, or open it in a viewer and save it anew.")


class PictureSource:
    """A folder's pictures as frames, in the order given."""

    def __init__(self, folder: Path, paths: Sequence[Path]) -> None:
        self.folder = folder
        self.paths = tuple(paths)

    @property
    def path(self) -> Path:
        """The folder, or the picture if it is the only one."""
        return self.paths[0] if len(self.paths) == 1 else self.folder

    @property
    def frame_count(self) -> int:
        """Pictures, readable or not."""
        return len(self.paths)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the first picture, upright."""
        return picture_size(self.paths[0])

    def read(self, first_frame_index: int, end_frame_index: int) -> Iterator[Frame]:
        """See `Source.read`."""
        for frame_index in range(first_frame_index, end_frame_index):
            pixels, metadata = read_picture(self.paths[frame_index])
            yield Frame(pixels, frame_index, metadata=metadata)


class PictureSink:
    """Writes each stylised frame to its own file, which has its final name as soon as it is complete and checked.

    Args:
        outputs: where each frame goes, by frame index.
        keep_metadata: whether EXIF, ICC, XMP and resolution come along.
    """

    def __init__(self, outputs: Sequence[Path], *, keep_metadata: bool) -> None:
        self._outputs = outputs
        self._keep_metadata = keep_metadata

    def write(self, pixels: Pixels, frame: Frame) -> None:
        """See `Sink.write`.

        Raises:
            OutputError: the file cannot be written.
        """
        path = self._outputs[frame.frame_index]
        metadata = frame.metadata or PictureMetadata("PNG")
        height, width, _ = pixels.shape
        image = Image.fromarray(pixels)
        if metadata.alpha is not None:
            image.putalpha(Image.fromarray(resized(metadata.alpha, (width, height))))
        options: dict[str, Any] = {"format": metadata.format}
        if metadata.format in ("JPEG", "MPO"):
            options |= {"format": "JPEG", "quality": JPEG_QUALITY, "subsampling": "4:4:4", "optimize": True}
        elif metadata.format == "WEBP":
            options |= {"quality": JPEG_QUALITY, "method": 4}
        elif metadata.format == "TIFF":
            options |= {"compression": "tiff_adobe_deflate"}
        if self._keep_metadata:
            old_height, old_width, _ = frame.pixels.shape
            xmp = adapted_xmp(metadata.xmp, width / old_width, height / old_height) if metadata.xmp else None
            kept = {"exif": metadata.exif, "icc_profile": metadata.icc, "xmp": xmp, "dpi": metadata.dots_per_inch}
            options |= {name: value for name, value in kept.items() if value is not None}
        content = io.BytesIO()
        image.save(content, **options)
        with completed(path) as partial:
            partial.write_bytes(content.getvalue())
            found = picture_size(partial)
            if found != (width, height):
                raise ItemError(f"{path}: written as {width}x{height}, read back as {found[0]}x{found[1]}.")

    def finish(self) -> None:
        """See `Sink.finish`; each picture is finished already."""

    def abandon(self) -> None:
        """See `Sink.abandon`; finished pictures stay."""
