"""Folders of pictures: read with all their metadata, written with all their metadata."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from nstpipe.errors import ItemError
from nstpipe.files import completed
from nstpipe.media.frame import Frame, PictureMetadata, Pixels, resized
from nstpipe.media.metadata import ORIENTATION_TAG, UPRIGHT, adapted_xmp, upright_exif

JPEG_QUALITY = 95
"""Above it files grow fast and nothing visible is gained."""

_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"}
"""Pillow's format for each suffix: a result is what its name says, whatever the original was."""

PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""All that Pillow raises for damaged files; SyntaxError is what its PNG and TIFF readers use."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture of each EXIF orientation upright."""

_XMP_TAG = 700
_TIFF_LAYOUT_TAGS = frozenset(
    {*range(254, 267), 273, 274, 277, 278, 279, 284, 290, 291, 292, 293, 301, 317, *range(320, 326), 330, *range(332, 343)}
    | {347, *range(512, 522), 529, 530, 531, 532, 37724, 282, 283, 296, _XMP_TAG, 34675}
)
"""Tags of a TIFF that say how its pixels are stored (TIFF 6.0), or that are kept in another way (resolution, XMP, ICC)."""


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, upright, from the file's head.

    Raises:
        ItemError: the file is missing or no picture.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            return (height, width) if _orientation(image) in (5, 6, 7, 8) else (width, height)
    except PILLOW_ERRORS as error:
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
            exif, xmp = image.info.get("exif") or _tiff_exif(image), image.info.get("xmp")
            turn = _TURNS.get(_orientation(image))
            upright: Image.Image = image if turn is None else image.transpose(turn)
            alpha = upright.convert("RGBA").getchannel("A") if upright.has_transparency_data else None
            metadata = PictureMetadata(
                format=file_format,
                exif=upright_exif(exif) if exif else None,
                icc=_icc(image),
                xmp=xmp if isinstance(xmp, bytes) else None,
                dots_per_inch=image.info.get("dpi"),
                alpha=np.asarray(alpha) if alpha is not None else None,
            )
            return np.asarray(_as_rgb(upright)), metadata
    except PILLOW_ERRORS as error:
        raise _unreadable(path, error) from error


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return UPRIGHT  # Pillow turns it by itself, and gives its size as it is then
    try:
        return int(image.getexif().get(ORIENTATION_TAG, UPRIGHT))
    except PILLOW_ERRORS:
        return UPRIGHT  # a damaged EXIF block is no reason to refuse the picture


def _tiff_exif(image: Image.Image) -> bytes | None:
    """A TIFF has no EXIF block: what would be in it stands among the tags of its pixels."""
    if image.format != "TIFF":
        return None
    exif = image.getexif()
    for tag in _TIFF_LAYOUT_TAGS.intersection(exif):
        del exif[tag]
    return exif.tobytes() if len(exif) else None


def _icc(image: Image.Image) -> bytes | None:
    icc: bytes | None = image.info.get("icc_profile")
    # A profile of CMYK or grey would be wrong beside the RGB that is written; bytes 16 to 19 say of what it is.
    return icc if icc and icc[16:20] == b"RGB " else None


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow would cut 16 bits off at 255 instead of scaling them.
        levels = (np.asarray(image).astype(np.float32) / 257).round().clip(0, 255)
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _unreadable(path: Path, error: BaseException) -> ItemError:
    if isinstance(error, FileNotFoundError):
        return ItemError(f"{path} does not exist.")
    try:
        if path.stat().st_size == 0:
            return ItemError(f"{path} is empty (0 bytes).", "Copy the picture again.")
    except OSError:
        pass
    if isinstance(error, Image.DecompressionBombError):
        return ItemError(f"{path} is too large: {error}", "Make it smaller.")
    if isinstance(error, UnidentifiedImageError):
        return ItemError(f"{path} is no picture in a format that can be read.", "Open it in a viewer to see what it is.")
    reason = getattr(error, "strerror", None) or error
    return ItemError(f"{path} cannot be read: {reason}.", "Copy the picture again, or open it in a viewer and save it anew.")


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
        options: dict[str, Any] = {"format": _FORMATS.get(path.suffix.lower(), metadata.format)}
        if options["format"] in ("JPEG", "MPO"):
            # Not optimised: Pillow's buffer for that is too small for a noisy picture.
            options |= {"format": "JPEG", "quality": JPEG_QUALITY, "subsampling": "4:4:4"}
        elif metadata.alpha is not None:
            image.putalpha(Image.fromarray(resized(metadata.alpha, (width, height))))
        if options["format"] == "WEBP":
            options |= {"quality": JPEG_QUALITY, "method": 4}
        elif options["format"] == "TIFF":
            options |= {"compression": "tiff_adobe_deflate"}
        content = io.BytesIO()
        try:
            if self._keep_metadata:
                options |= _kept(metadata, options["format"], frame, (width, height))
            image.save(content, **options)
        except PILLOW_ERRORS as error:
            raise ItemError(f"{path} cannot be written as {options['format']}: {error}.") from error
        with completed(path) as partial:
            partial.write_bytes(content.getvalue())
            found = picture_size(partial)
            if found != (width, height):
                raise ItemError(f"{path}: written as {width}x{height}, read back as {found[0]}x{found[1]}.")

    def finish(self) -> None:
        """See `Sink.finish`; each picture is finished already."""

    def abandon(self) -> None:
        """See `Sink.abandon`; finished pictures stay."""


def _kept(metadata: PictureMetadata, file_format: str, frame: Frame, size: tuple[int, int]) -> dict[str, Any]:
    """Pillow's options for writing the metadata of an original beside pixels of another size."""
    height, width, _ = frame.pixels.shape
    xmp = adapted_xmp(metadata.xmp, size[0] / width, size[1] / height) if metadata.xmp else None
    exif: bytes | Image.Exif | None = metadata.exif
    compression = pnginfo = None
    if exif is not None and file_format == "TIFF":
        compression = "raw"  # libtiff, which compresses, cannot write GPS
    if xmp is not None and file_format == "PNG":
        pnginfo = PngImagePlugin.PngInfo()
        pnginfo.add_itxt("XML:com.adobe.xmp", xmp.decode(errors="replace"))
    if xmp is not None and file_format == "TIFF":
        tags = Image.Exif()
        tags.load(metadata.exif or b"")
        tags[_XMP_TAG] = xmp
        exif = tags
    options = {
        "exif": exif,
        "icc_profile": metadata.icc,
        "xmp": xmp,
        "dpi": metadata.dots_per_inch,
        "compression": compression,
        "pnginfo": pnginfo,
    }
    return {name: value for name, value in options.items() if value is not None}
