"""Reads and writes pictures with all their metadata."""

from __future__ import annotations

import functools
import importlib
import io
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from nstpipe.errors import ItemError
from nstpipe.media.frame import Frame, PictureMetadata, Pixels, in_eight_bits, in_sixteen_bits, resized
from nstpipe.media.pictures.deep import deep_pixels, is_deep, tiff_size
from nstpipe.media.pictures.formats import PictureFormat, format_named, format_of
from nstpipe.media.pictures.metadata import (
    IPTC_RESOURCE,
    turned_behind_pixels,
    upright_exif,
    with_segments,
    xmp_extensions,
)
from nstpipe.media.pictures.orientation import TURNS, UPRIGHT, stored_orientation
from nstpipe.media.pictures.output_metadata import (
    IPTC_TAG,
    TIFF_LAYOUT_TAGS,
    OutputMetadata,
    is_taken,
    kept_of,
    largest_part,
)
from nstpipe.media.pictures.pillow import PILLOW_ERRORS, check_pixels, megapixel_limit, missing_plugin, opened, pillow_settings
from nstpipe.media.pictures.profiles import deep_in_srgb, in_srgb
from nstpipe.system.files import atomic_write, suggest_path


def picture_size(path: Path) -> tuple[int, int]:
    """The width and height of an upright picture in pixels, from the file's head.

    Raises:
        ItemError: The file is missing, or it is not a picture.
    """
    try:
        with opened(path) as image:
            width, height = image.size
            from_head = image.format == "PNG" and not turned_behind_pixels(path)
            turn = TURNS.get(_orientation(image, from_head=from_head))
            return (height, width) if turn is not None and turn.swaps_sides else (width, height)
    except UnidentifiedImageError as error:
        size = _tiff_size(path)
        if size is not None:
            return size
        raise _unreadable(path, error) from error
    except PILLOW_ERRORS as error:
        raise _unreadable(path, error) from error


def picture_bits(path: Path) -> int:
    """The bits of a color value with which a picture is read, 8 or 16, from the file's head.

    Raises:
        ItemError: The file is missing, or it is not a picture.
    """
    try:
        with opened(path) as image:
            return 16 if is_deep(path, image) else 8
    except UnidentifiedImageError as error:
        if _tiff_size(path) is not None:
            return 16
        raise _unreadable(path, error) from error
    except PILLOW_ERRORS as error:
        raise _unreadable(path, error) from error


def read_picture(path: Path) -> tuple[Pixels, PictureMetadata]:
    """A picture's pixels, upright and in sRGB, and its metadata.

    Raises:
        ItemError: The file is missing or damaged, or it is not a picture.
    """
    try:
        with opened(path) as image:
            if is_deep(path, image):
                return _read_deep(path, image)
            return _read(path, image)
    except UnidentifiedImageError as error:
        read = _read_tiff(path)
        if read is not None:
            return read
        raise _unreadable(path, error) from error
    except PILLOW_ERRORS as error:
        raise _unreadable(path, error) from error


def _read(path: Path, image: Image.Image) -> tuple[Pixels, PictureMetadata]:
    image.load()
    turn = TURNS.get(_orientation(image))
    upright: Image.Image = image if turn is None else image.transpose(turn.of_image)
    alpha = np.asarray(upright.convert("RGBA").getchannel("A")) if upright.has_transparency_data else None
    pixels, icc = in_srgb(_without_alpha(upright), image.info.get("icc_profile") or None)
    return np.asarray(pixels), _metadata(path, image, icc, alpha)


def _read_deep(path: Path, image: Image.Image) -> tuple[Pixels, PictureMetadata]:
    pixels, alpha = deep_pixels(path)
    turn = TURNS.get(stored_orientation(image))
    if turn is not None:
        pixels = np.ascontiguousarray(turn.of_array(pixels))
        alpha = None if alpha is None else np.ascontiguousarray(turn.of_array(alpha))
    pixels, icc = deep_in_srgb(pixels, image.info.get("icc_profile") or None)
    return pixels, _metadata(path, image, icc, alpha)


def _read_tiff(path: Path) -> tuple[Pixels, PictureMetadata] | None:
    """A TIFF that Pillow cannot read, such as one with three floating-point values per pixel; None for any other file."""
    if _tiff_size(path) is None:
        return None
    try:
        pixels, alpha = deep_pixels(path)
    except PILLOW_ERRORS:
        return None
    return pixels, PictureMetadata("TIFF", alpha=alpha)


def _tiff_size(path: Path) -> tuple[int, int] | None:
    """The size of a TIFF that Pillow cannot read, from its head; None for any other file.

    Raises:
        ItemError: It has more pixels than are allowed.
    """
    try:
        size = tiff_size(path)
    except PILLOW_ERRORS:
        return None
    try:
        if size is not None:
            check_pixels(size)
    except Image.DecompressionBombError as error:
        raise _unreadable(path, error) from error
    return size


def _metadata(path: Path, image: Image.Image, icc: bytes | None, alpha: NDArray[Any] | None) -> PictureMetadata:
    iptc = _iptc(image)
    exif, xmp, comment = image.info.get("exif") or _exif_elsewhere(image), image.info.get("xmp"), image.info.get("comment")
    file_format = image.format or "PNG"
    return PictureMetadata(
        format=file_format,
        exif=upright_exif(exif) if exif else None,
        icc=icc,
        xmp=xmp if isinstance(xmp, bytes) else None,
        dots_per_inch=_dots_per_inch(image),
        alpha=alpha,
        xmp_extensions=xmp_extensions(path.read_bytes())
        if xmp and format_named(file_format).metadata_place == "segments"
        else (),
        iptc=iptc,
        comment=comment if isinstance(comment, bytes) else None,
        texts=_texts(image),
    )


def _dots_per_inch(image: Image.Image) -> tuple[float, float] | None:
    """The horizontal and vertical resolution; None if the file has none."""
    # Pillow gives 1 for a TIFF without a resolution.
    if isinstance(image, TiffImagePlugin.TiffImageFile) and TiffImagePlugin.X_RESOLUTION not in image.tag_v2:
        return None
    found: tuple[float, float] | None = image.info.get("dpi")
    return found


def _orientation(image: Image.Image, *, from_head: bool = False) -> int:
    if image.format == "TIFF":
        return UPRIGHT  # Pillow itself turns a TIFF upright, and gives the size after that
    return stored_orientation(image, from_head=from_head)


def _exif_elsewhere(image: Image.Image) -> bytes | None:
    """The EXIF block of a TIFF, which has it among the tags of its pixels, or of an old PNG, which has it in a text."""
    if image.format != "TIFF" and "Raw profile type exif" not in image.info:
        return None
    exif = image.getexif()
    for tag in TIFF_LAYOUT_TAGS.intersection(exif):
        del exif[tag]
    try:
        return exif.tobytes() if len(exif) else None
    except PILLOW_ERRORS:
        return largest_part(exif, bool)[0] or None


def _iptc(image: Image.Image) -> bytes | None:
    if image.format == "TIFF":
        exif = image.getexif()
        found = exif.get(IPTC_TAG)
        if isinstance(found, tuple):  # some programs store its bytes as numbers
            found = struct.pack(f"{exif.endian}{len(found)}I", *found)
    else:
        photoshop = image.info.get("photoshop")
        found = photoshop.get(IPTC_RESOURCE) if isinstance(photoshop, dict) else None
    return found if isinstance(found, bytes) else None


def _texts(image: Image.Image) -> dict[str, str]:
    """The texts of a PNG, without those that are kept in another way or would become untrue."""
    texts: dict[str, str] = getattr(image, "text", {})
    return {
        name: text for name, text in texts.items() if name != "XML:com.adobe.xmp" and not name.startswith("Raw profile type")
    }


def _without_alpha(image: Image.Image) -> Image.Image:
    """The picture in a mode that color profiles describe: gray, RGB or CMYK."""
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow would clip 16 bits at 255 instead of scaling them.
        levels = (np.asarray(image).astype(np.float32) / 257).round().clip(0, 255)
        return Image.fromarray(levels.astype(np.uint8))
    if image.mode in ("L", "CMYK"):
        return image
    return image.convert("L" if image.mode in ("LA", "1") else "RGB")


def _unreadable(path: Path, error: BaseException) -> ItemError:
    if isinstance(error, FileNotFoundError):
        return ItemError(f"{path} does not exist.", suggest_path(path))
    try:
        if path.stat().st_size == 0:
            return ItemError(f"{path} is empty (0 bytes).", "Copy the picture again.")
    except OSError:
        pass
    if isinstance(error, Image.DecompressionBombError):
        return ItemError(
            f"{path} is too large: it claims more than the {megapixel_limit():g} megapixels that max_megapixels allows.",
            "Make it smaller, or raise max_megapixels if you trust it.",
        )
    if isinstance(error, UnidentifiedImageError):
        if (missing := missing_plugin(path)) is not None:
            return ItemError(
                f"{path} is {missing.name}, which this installation cannot read.",
                f"Install what reads it: pip install '{missing.install}'.",
            )
        return ItemError(f"{path} is not a picture in a supported format.", "Open it in a viewer to see what it is.")
    reason = getattr(error, "strerror", None) or error
    return ItemError(f"{path} cannot be read: {reason}.", "Copy the picture again, or open it in a viewer and save it anew.")


def check_output(path: Path, size: tuple[int, int]) -> None:
    """Check that a result can be written, before it is painted.

    Args:
        path: The result.
        size: Its width and height in pixels.

    Raises:
        ItemError: Its format cannot hold that size, or this Pillow cannot write it.
    """
    picture_format = format_of(path)
    longest, name = picture_format.longest_side, picture_format.name
    if longest is not None and max(size) > longest:
        problem = f"{path} would have {size[0]}x{size[1]} pixels; {name} holds no more than {longest} a side."
        raise ItemError(problem, "Give a smaller size, or an output in another format, such as .png.")
    if not _is_written(name):
        needed = f"Install {picture_format.install}, or give" if picture_format.install else "Give"
        raise ItemError(f"{path}: this Pillow does not write {name}.", f"{needed} an output in another format.")


@functools.cache
def _is_written(name: str) -> bool:
    return is_taken(name, {})


class PictureSource:
    """Reads the pictures of a folder as frames, in the given order.

    Args:
        folder: The folder of the pictures.
        paths: The pictures.
        first_frame_index: The index of the first one.
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
        """How many pictures there are, readable or not."""
        return len(self.paths)

    @property
    def size(self) -> tuple[int, int]:
        """The width and height of the first picture in pixels, upright."""
        return picture_size(self.paths[0])

    def read(self, first_frame_index: int, end_frame_index: int) -> Iterator[Frame]:
        """See `Source.read`."""
        for frame_index in range(first_frame_index, end_frame_index):
            pixels, metadata = read_picture(self.paths[frame_index - self._first_frame_index])
            yield Frame(pixels, frame_index, metadata=metadata)


class PictureSink:
    """Writes each stylized frame to its own file, which gets its final name as soon as it is complete and checked.

    Args:
        outputs: The file of each frame, by frame index.
        keep_metadata: Whether the result keeps the metadata.
        notice: Called with a sentence if a format cannot hold all of the metadata.
        place: Called with each complete file just before it gets its name. It may raise an error to keep it from that.
    """

    def __init__(
        self,
        outputs: Sequence[Path],
        *,
        keep_metadata: bool,
        notice: Callable[[str], None] = lambda _: None,
        place: Callable[[Path], None] = lambda _: None,
    ) -> None:
        self._outputs = outputs
        self._keep_metadata = keep_metadata
        self._notice = notice
        self._place = place

    def write(self, pixels: Pixels, frame: Frame) -> None:
        """See `Sink.write`.

        Raises:
            OutputError: The file cannot be written.
        """
        path = self._outputs[frame.frame_index]
        metadata = frame.metadata or PictureMetadata("PNG")
        height, width, _ = pixels.shape
        picture_format = format_of(path, metadata.format)
        name = picture_format.name
        if picture_format.bits == 8:
            pixels = in_eight_bits(pixels)
        size_before = frame.pixels.shape[1], frame.pixels.shape[0]
        kept = kept_of(metadata, size_before, pixels, picture_format) if self._keep_metadata else OutputMetadata()
        try:
            content = _encoded(pixels, picture_format, metadata, {**picture_format.options, **kept.options})
        except PILLOW_ERRORS as error:
            reason = f"this Pillow does not write {name}" if isinstance(error, KeyError) else error
            next_step = "Give a smaller size, or an output in another format."
            raise ItemError(f"{path} cannot be written as {name}: {reason}.", next_step) from error
        with atomic_write(path) as partial:
            partial.write_bytes(with_segments(content, kept.segments))
            found = picture_size(partial)
            if found != (width, height):
                next_step = "Run again with `metadata: strip`."
                raise ItemError(f"{path}: written as {width}x{height}, read back as {found[0]}x{found[1]}.", next_step)
            self._place(partial)
        if kept.dropped:
            self._notice(f"{path.name}: dropped, since {name} cannot hold it: {kept}")

    def finish(self) -> None:
        """See `Sink.finish`; each picture is finished already."""

    def abandon(self) -> None:
        """See `Sink.abandon`; finished pictures stay."""


def _encoded(pixels: Pixels, picture_format: PictureFormat, metadata: PictureMetadata, options: dict[str, Any]) -> bytes:
    height, width, _ = pixels.shape
    values: NDArray[Any] = pixels
    if metadata.alpha is not None and picture_format.alpha:
        alpha = resized(metadata.alpha, (width, height))
        alpha = in_sixteen_bits(alpha) if pixels.itemsize > 1 else in_eight_bits(alpha)
        values = np.concatenate([pixels, alpha[..., None]], axis=2)
    if pixels.itemsize > 1:
        module, _, function = picture_format.deep_writer.partition(":")
        write: Callable[..., bytes] = getattr(importlib.import_module(module), function)
        return write(values, **options)
    content = io.BytesIO()
    with pillow_settings():
        Image.fromarray(values).save(content, format=picture_format.name, **options)
    return content.getvalue()
