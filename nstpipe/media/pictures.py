"""Folders of pictures: read with all their metadata, written with all their metadata."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from nstpipe.errors import ItemError
from nstpipe.files import completed, nearest
from nstpipe.media.deep import DEEP_FORMATS, deep_pixels, encoded_png, encoded_tiff, is_deep
from nstpipe.media.formats import opened
from nstpipe.media.frame import Frame, PictureMetadata, Pixels, in_eight_bits, in_sixteen_bits, resized, working_size
from nstpipe.media.metadata import (
    ORIENTATION_TAG,
    UPRIGHT,
    MakeThumbnail,
    adapted_xmp,
    resized_exif,
    upright_exif,
    with_xmp_extensions,
    xmp_extensions,
)
from nstpipe.media.profiles import deep_in_srgb, in_srgb

JPEG_QUALITY = 95
"""Above it files grow fast and nothing visible is gained."""

AVIF_QUALITY = 90
"""Of AVIF and HEIC, whose scale is finer at the top than JPEG's."""

_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".jfif": "JPEG",
    ".bmp": "BMP",
}
"""Pillow's format for each suffix: a result is what its name says, whatever the original was."""

DEFAULT_MEGAPIXELS = 500
"""A picture may have so many; a 360° panorama has some hundred, and a file that claims more is likely an attack."""

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


def limit_megapixels(megapixels: float) -> None:
    """Refuse pictures that are larger, from now on and in this process, whoever opens them with Pillow."""
    # Pillow warns from its limit on, and refuses twice as much.
    Image.MAX_IMAGE_PIXELS = round(megapixels * 500_000)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


limit_megapixels(DEFAULT_MEGAPIXELS)


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, upright, from the file's head.

    Raises:
        ItemError: the file is missing or no picture.
    """
    try:
        with opened(path) as image:
            width, height = image.size
            return (height, width) if _orientation(image) in (5, 6, 7, 8) else (width, height)
    except UnidentifiedImageError as error:
        floats = _read_floats(path)
        if floats is not None:
            return floats[0].shape[1], floats[0].shape[0]
        raise _unreadable(path, error) from error
    except PILLOW_ERRORS as error:
        raise _unreadable(path, error) from error


def read_picture(path: Path) -> tuple[Pixels, PictureMetadata]:
    """A picture's pixels, upright and in sRGB, and its metadata.

    Raises:
        ItemError: the file is missing, damaged or no picture.
    """
    try:
        with opened(path) as image:
            if is_deep(path, image):
                return _read_deep(path, image)
            return _read(path, image)
    except UnidentifiedImageError as error:
        floats = _read_floats(path)
        if floats is not None:
            return floats
        raise _unreadable(path, error) from error
    except PILLOW_ERRORS as error:
        raise _unreadable(path, error) from error


def _read(path: Path, image: Image.Image) -> tuple[Pixels, PictureMetadata]:
    image.load()
    turn = _TURNS.get(_orientation(image))
    upright: Image.Image = image if turn is None else image.transpose(turn)
    alpha = np.asarray(upright.convert("RGBA").getchannel("A")) if upright.has_transparency_data else None
    pixels, icc = in_srgb(_without_alpha(upright), image.info.get("icc_profile") or None)
    return np.asarray(pixels), _metadata(path, image, icc, alpha)


def _read_deep(path: Path, image: Image.Image) -> tuple[Pixels, PictureMetadata]:
    pixels, alpha = deep_pixels(path)
    orientation = _stored_orientation(image)
    exif_turn = _TURNS_OF_ARRAYS.get(orientation)
    if exif_turn is not None:
        pixels = np.ascontiguousarray(exif_turn(pixels))
        alpha = None if alpha is None else np.ascontiguousarray(exif_turn(alpha))
    pixels, icc = deep_in_srgb(pixels, image.info.get("icc_profile") or None)
    return pixels, _metadata(path, image, icc, alpha)


def _read_floats(path: Path) -> tuple[Pixels, PictureMetadata] | None:
    """A TIFF of three floating-point values a pixel, which Pillow does not know; None if it is something else."""
    try:
        if path.stat().st_size == 0 or not is_deep(path, None):
            return None
        pixels, alpha = deep_pixels(path)
    except (OSError, ValueError):
        return None
    return pixels, PictureMetadata("TIFF", alpha=alpha)


def _metadata(path: Path, image: Image.Image, icc: bytes | None, alpha: NDArray[Any] | None) -> PictureMetadata:
    exif, xmp = image.info.get("exif") or _tiff_exif(image), image.info.get("xmp")
    file_format = image.format or "PNG"
    return PictureMetadata(
        format=file_format,
        exif=upright_exif(exif) if exif else None,
        icc=icc,
        xmp=xmp if isinstance(xmp, bytes) else None,
        dots_per_inch=_dots_per_inch(image),
        alpha=alpha,
        xmp_extensions=xmp_extensions(path.read_bytes()) if xmp and file_format in ("JPEG", "MPO") else (),
    )


def _dots_per_inch(image: Image.Image) -> tuple[float, float] | None:
    """Across and down; None if the file does not say."""
    # Of a TIFF without one Pillow says 1.
    if isinstance(image, TiffImagePlugin.TiffImageFile) and TiffImagePlugin.X_RESOLUTION not in image.tag_v2:
        return None
    found: tuple[float, float] | None = image.info.get("dpi")
    return found


_TURNS_OF_ARRAYS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}
"""The same for pixels that Pillow has not decoded."""


def _stored_orientation(image: Image.Image) -> int:
    """Of pixels that Pillow has not decoded: it would have turned those of a TIFF."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, UPRIGHT))
    except PILLOW_ERRORS:
        return UPRIGHT


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


def _without_alpha(image: Image.Image) -> Image.Image:
    """In a mode that colour profiles are made for: grey, RGB or CMYK."""
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow would cut 16 bits off at 255 instead of scaling them.
        levels = (np.asarray(image).astype(np.float32) / 257).round().clip(0, 255)
        return Image.fromarray(levels.astype(np.uint8))
    if image.mode in ("L", "CMYK"):
        return image
    return image.convert("L" if image.mode in ("LA", "1") else "RGB")


def _unreadable(path: Path, error: BaseException) -> ItemError:
    if isinstance(error, FileNotFoundError):
        return ItemError(f"{path} does not exist.", nearest(path))
    try:
        if path.stat().st_size == 0:
            return ItemError(f"{path} is empty (0 bytes).", "Copy the picture again.")
    except OSError:
        pass
    if isinstance(error, Image.DecompressionBombError):
        allowed = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1_000_000
        return ItemError(
            f"{path} is too large: it claims more than the {allowed:g} megapixels that max_megapixels allows.",
            "Make it smaller, or raise max_megapixels if you trust it.",
        )
    if isinstance(error, UnidentifiedImageError):
        return ItemError(f"{path} is no picture in a format that can be read.", "Open it in a viewer to see what it is.")
    reason = getattr(error, "strerror", None) or error
    return ItemError(f"{path} cannot be read: {reason}.", "Copy the picture again, or open it in a viewer and save it anew.")


class PictureSource:
    """A folder's pictures as frames, in the order given.

    Args:
        folder: of the pictures.
        paths: of each.
        first_frame_index: of the first one.
    """

    def __init__(self, folder: Path, paths: Sequence[Path], first_frame_index: int = 0) -> None:
        self.folder = folder
        self.paths = tuple(paths)
        self._first_frame_index = first_frame_index

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
            pixels, metadata = read_picture(self.paths[frame_index - self._first_frame_index])
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
        file_format = _FORMATS.get(path.suffix.lower(), metadata.format)
        file_format = "JPEG" if file_format == "MPO" else file_format
        if file_format not in DEEP_FORMATS:
            pixels = in_eight_bits(pixels)
        try:
            content = _encoded(pixels, file_format, metadata, self._options(metadata, file_format, frame, pixels))
        except PILLOW_ERRORS as error:
            reason = f"this Pillow does not write {file_format}" if isinstance(error, KeyError) else error
            raise ItemError(f"{path} cannot be written as {file_format}: {reason}.") from error
        if self._keep_metadata and file_format == "JPEG":
            content = with_xmp_extensions(content, metadata.xmp_extensions)
        with completed(path) as partial:
            partial.write_bytes(content)
            found = picture_size(partial)
            if found != (width, height):
                raise ItemError(f"{path}: written as {width}x{height}, read back as {found[0]}x{found[1]}.")

    def _options(self, metadata: PictureMetadata, file_format: str, frame: Frame, pixels: Pixels) -> dict[str, Any]:
        """Pillow's options."""
        options: dict[str, Any] = {}
        if file_format == "JPEG":
            # Not optimised: Pillow's buffer for that is too small for a noisy picture.
            options |= {"quality": JPEG_QUALITY, "subsampling": "4:4:4"}
        elif file_format == "WEBP":
            options |= {"quality": JPEG_QUALITY, "method": 4}
        elif file_format in ("AVIF", "HEIF"):
            options |= {"quality": AVIF_QUALITY, **({"subsampling": "4:4:4"} if file_format == "AVIF" else {"chroma": 444})}
        elif file_format == "TIFF":
            options |= {"compression": "tiff_adobe_deflate"}
        if self._keep_metadata:
            options |= _kept(metadata, file_format, frame, pixels)
        return options

    def finish(self) -> None:
        """See `Sink.finish`; each picture is finished already."""

    def abandon(self) -> None:
        """See `Sink.abandon`; finished pictures stay."""


def _encoded(pixels: Pixels, file_format: str, metadata: PictureMetadata, options: dict[str, Any]) -> bytes:
    height, width, _ = pixels.shape
    values: NDArray[Any] = pixels
    if metadata.alpha is not None and file_format in _FORMATS_WITH_ALPHA:
        alpha = resized(metadata.alpha, (width, height))
        alpha = in_sixteen_bits(alpha) if pixels.itemsize > 1 else in_eight_bits(alpha)
        values = np.concatenate([pixels, alpha[..., None]], axis=2)
    if pixels.itemsize > 1:
        return encoded_png(values, **options) if file_format == "PNG" else encoded_tiff(values, **options)
    content = io.BytesIO()
    Image.fromarray(values).save(content, format=file_format, **options)
    return content.getvalue()


_FORMATS_WITH_ALPHA = ("PNG", "TIFF", "WEBP", "AVIF", "HEIF")
_THUMBNAIL_QUALITIES = (85, 70, 50, 30, 15)
"""The new thumbnail must not take more bytes than the old one, and brush strokes compress worse than a sky."""


def _thumbnail_of(pixels: Pixels) -> MakeThumbnail:
    def make(old: bytes) -> bytes | None:
        try:
            with Image.open(io.BytesIO(old)) as image:
                longest = max(image.size)
        except PILLOW_ERRORS:
            return None
        height, width, _ = pixels.shape
        small = Image.fromarray(in_eight_bits(resized(pixels, working_size((width, height), longest))))
        for quality in _THUMBNAIL_QUALITIES:
            content = io.BytesIO()
            small.save(content, format="JPEG", quality=quality)
            if len(content.getvalue()) <= len(old):
                return content.getvalue()
        return None

    return make


def _kept(metadata: PictureMetadata, file_format: str, frame: Frame, pixels: Pixels) -> dict[str, Any]:
    """Pillow's options for writing the metadata of an original beside its new pixels."""
    height, width, _ = frame.pixels.shape
    size = pixels.shape[1], pixels.shape[0]
    xmp = adapted_xmp(metadata.xmp, size[0] / width, size[1] / height, size) if metadata.xmp else None
    kept_exif = resized_exif(metadata.exif, size, _thumbnail_of(pixels)) if metadata.exif else None
    exif: bytes | Image.Exif | None = kept_exif
    compression = pnginfo = None
    if exif is not None and file_format == "TIFF":
        compression = "raw"  # libtiff, which compresses, cannot write GPS
    if xmp is not None and file_format == "PNG":
        pnginfo = PngImagePlugin.PngInfo()
        pnginfo.add_itxt("XML:com.adobe.xmp", xmp.decode(errors="replace"))
    if xmp is not None and file_format == "TIFF":
        tags = Image.Exif()
        tags.load(kept_exif or b"")
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
