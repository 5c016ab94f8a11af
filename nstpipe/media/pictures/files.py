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
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from nstpipe.errors import ItemError
from nstpipe.media.frame import Frame, PictureMetadata, Pixels, in_eight_bits, in_sixteen_bits, resized
from nstpipe.media.gif import xmp_of_gif
from nstpipe.media.pictures import tiff_pixels
from nstpipe.media.pictures.color_spaces import told_color_space
from nstpipe.media.pictures.deep import deep_png, is_deep
from nstpipe.media.pictures.formats import PictureFormat, format_named, format_of
from nstpipe.media.pictures.images import alpha_of, is_wide, wide_levels, without_alpha
from nstpipe.media.pictures.metadata import (
    IPTC_RESOURCE,
    srgb_exif,
    turned_behind_pixels,
    upright_exif,
    with_segments,
    xmp_extensions,
)
from nstpipe.media.pictures.orientation import ORIENTATION_TAG, TURNS, UPRIGHT, stored_orientation
from nstpipe.media.pictures.output_metadata import (
    ICC_TAG,
    IPTC_TAG,
    TIFF_LAYOUT_TAGS,
    XMP_TAG,
    OutputMetadata,
    is_taken,
    kept_of,
    largest_part,
)
from nstpipe.media.pictures.pillow import PILLOW_ERRORS, check_pixels, megapixel_limit, missing_plugin, opened, pillow_settings
from nstpipe.media.pictures.profiles import deep_in_srgb, in_srgb, lab_in_srgb, srgb_profile
from nstpipe.media.pictures.raw import DEVELOP_FIRST, RAW_SUFFIXES, is_raw, picture_behind_preview
from nstpipe.media.pictures.raw_profiles import iptc_of_resources, raw_profile
from nstpipe.media.pictures.tiff_tags import FileContent, TagDirectory, exif_of, first_tags
from nstpipe.media.pictures.xmp import srgb_xmp
from nstpipe.system.files import SpecialFileError, atomic_write, check_is_no_special_file, suggest_path
from nstpipe.system.retry import is_transient


def picture_size(path: Path) -> tuple[int, int]:
    """The width and height of an upright picture in pixels, from the file's head.

    Raises:
        ItemError: The file is missing, or it is not a picture.
    """
    _refuse_raw(path)
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
        with opened(path):
            return 16 if is_deep(path) else 8
    except UnidentifiedImageError as error:
        if _tiff_size(path) is not None:
            return 16 if is_deep(path) else 8
        raise _unreadable(path, error) from error
    except PILLOW_ERRORS as error:
        raise _unreadable(path, error) from error


def read_picture(path: Path) -> tuple[Pixels, PictureMetadata]:
    """A picture's pixels, upright and in sRGB, and its metadata.

    Raises:
        ItemError: The file is missing or damaged, or it is not a picture.
    """
    _refuse_raw(path)
    try:
        with opened(path) as image:
            if is_deep(path):
                return _read_deep(path, image)
            return _read(path, image)
    except UnidentifiedImageError as error:
        read = _read_tiff(path)
        if read is not None:
            return read
        raise _unreadable(path, error) from error
    except PILLOW_ERRORS as error:
        raise _unreadable(path, error) from error


def is_damaged(path: Path) -> bool:
    """Whether a picture cannot be decoded.

    One that is only refused, such as for its size, or that a disk does not give now, may well be whole.
    """
    try:
        read_picture(path)
    except ItemError as error:
        # A refusal has no cause, since nothing went wrong.
        is_refused = error.__cause__ is None or isinstance(error.__cause__, Image.DecompressionBombError)
        return not is_refused and not is_transient(error)
    return False


def _refuse_raw(path: Path) -> None:
    """Refuse a camera's raw file: a reader of TIFF takes the small preview in it for the picture.

    Raises:
        ItemError: The file is one, or another TIFF that begins with a preview.
    """
    if is_raw(path):
        raise ItemError(f"{path} is a camera's raw file: it holds no finished picture but a small preview.", DEVELOP_FIRST)
    behind = picture_behind_preview(path)
    if behind is not None:
        width, height = behind
        problem = f"{path} begins with a reduced copy of its picture, which has {width}x{height} pixels and stands behind it."
        raise ItemError(problem, "Save that picture as a file of its own, in the program that wrote this one.")


def _read(path: Path, image: Image.Image) -> tuple[Pixels, PictureMetadata]:
    orientation = stored_orientation(image)
    image.load()
    turn = TURNS.get(_orientation(image))
    upright: Image.Image = image if turn is None else image.transpose(turn.of_image)
    alpha = alpha_of(upright)
    if is_wide(upright):
        upright = Image.fromarray(in_eight_bits(wide_levels(upright)))
    icc = image.info.get("icc_profile") or None
    space = told_color_space(image, icc, path)
    if space is not None:
        converted = space.in_srgb(np.asarray(without_alpha(upright).convert("RGB")))
        return converted, metadata_of(path, image, srgb_profile(), alpha, orientation)
    pixels, icc = in_srgb(without_alpha(upright), icc)
    return np.asarray(pixels), metadata_of(path, image, icc, alpha, orientation)


def _read_deep(path: Path, image: Image.Image) -> tuple[Pixels, PictureMetadata]:
    orientation = stored_orientation(image)
    icc = image.info.get("icc_profile") or None
    if image.format == "TIFF":
        space = told_color_space(image, icc, path)
        pixels, alpha, icc = _tiff_in_srgb(path, icc)
        if space is not None:
            pixels, icc = np.asarray(space.in_srgb(pixels), np.uint16), srgb_profile()
    else:
        pixels, alpha = deep_png(path)
        hidden = image.info.get("transparency")
        if alpha is None and isinstance(hidden, int):  # a level of gray; OpenCV knows such colors alone
            alpha = np.where(pixels[..., 0] == hidden, 0, _OPAQUE).astype(np.uint16)
        space = told_color_space(image, icc, path)
        if space is None:
            pixels, icc = deep_in_srgb(pixels, icc)
        else:
            pixels, icc = np.asarray(space.in_srgb(pixels), np.uint16), srgb_profile()
    pixels, alpha = _turned(pixels, alpha, orientation)
    return pixels, metadata_of(path, image, icc, alpha, orientation)


def _tiff_in_srgb(path: Path, icc: bytes | None) -> tuple[NDArray[np.uint16], NDArray[np.uint16] | None, bytes | None]:
    """The pixels of a TIFF in sRGB, its alpha, both as they are stored, and the profile of its result.

    Raises:
        OSError: They cannot be decoded.
    """
    with path.open("rb") as file:
        tags = first_tags(FileContent(file))
        if tags is None:
            raise OSError("it is no TIFF any more")
        found = tiff_pixels.decoded(tags)
    if found.photometric == tiff_pixels.CIELAB:
        return lab_in_srgb(found.colors), found.alpha, srgb_profile()
    colors = found.colors
    if found.photometric == tiff_pixels.BLACK_IS_ZERO:
        colors = np.repeat(colors, 3, axis=2)
    pixels, icc = deep_in_srgb(np.ascontiguousarray(colors), icc)
    return pixels, found.alpha, icc


def _turned(
    pixels: NDArray[np.uint16], alpha: NDArray[np.uint16] | None, orientation: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint16] | None]:
    turn = TURNS.get(orientation)
    if turn is None:
        return pixels, alpha
    return np.ascontiguousarray(turn.of_array(pixels)), None if alpha is None else np.ascontiguousarray(turn.of_array(alpha))


def _read_tiff(path: Path) -> tuple[Pixels, PictureMetadata] | None:
    """A TIFF that Pillow cannot read, such as one with three floating-point values per pixel; None for any other file."""
    if _tiff_size(path) is None:
        return None
    try:
        check_is_no_special_file(path)
        with path.open("rb") as file:
            tags = first_tags(FileContent(file))
            assert tags is not None
            orientation = tags.value(ORIENTATION_TAG, UPRIGHT)
            exif, resolution = _exif_of_tags(tags), _resolution_of_tags(tags)
            icc, xmp, iptc = (tags.raw(tag) or None for tag in (ICC_TAG, XMP_TAG, IPTC_TAG))
        deep, alpha, icc = _tiff_in_srgb(path, icc)
    except PILLOW_ERRORS:
        return None
    deep, alpha = _turned(deep, alpha, orientation)
    pixels = deep if is_deep(path) else in_eight_bits(deep)
    return pixels, PictureMetadata(
        "TIFF",
        orientation=orientation,
        exif=exif,
        icc=icc,
        xmp=xmp,
        dots_per_inch=resolution,
        iptc=iptc,
        alpha=alpha,
    )


def _exif_of_tags(tags: TagDirectory) -> bytes | None:
    """The tags of a TIFF as an EXIF block, without those that describe the pixels."""
    if TIFF_LAYOUT_TAGS.issuperset(tags.entries):
        return None
    try:
        return exif_of(tags, (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop), TIFF_LAYOUT_TAGS)
    except (struct.error, RecursionError):
        return None


def _resolution_of_tags(tags: TagDirectory) -> tuple[float, float] | None:
    """The horizontal and vertical resolution in dots per inch; None if there is none."""
    across, down = tags.values(TiffImagePlugin.X_RESOLUTION), tags.values(TiffImagePlugin.Y_RESOLUTION)
    dots = {2: 1.0, 3: 2.54}.get(tags.value(TiffImagePlugin.RESOLUTION_UNIT, 2))
    if dots is None or len(across) != 2 or len(down) != 2 or 0 in (across[1], down[1]):
        return None
    return across[0] / across[1] * dots, down[0] / down[1] * dots


def _tiff_size(path: Path) -> tuple[int, int] | None:
    """The size, upright, of a TIFF that Pillow cannot read, from its head; None for any other file.

    Raises:
        ItemError: It has more pixels than are allowed.
    """
    try:
        check_is_no_special_file(path)
        with path.open("rb") as file:
            tags = first_tags(FileContent(file))
            if tags is None or not tiff_pixels.can_decode(tags):
                return None
            size, turn = tiff_pixels.size_of(tags), TURNS.get(tags.value(ORIENTATION_TAG, UPRIGHT))
    except PILLOW_ERRORS:
        return None
    try:
        check_pixels(size)
    except Image.DecompressionBombError as error:
        raise _unreadable(path, error) from error
    return size[::-1] if turn is not None and turn.swaps_sides else size


def metadata_of(
    path: Path,
    image: Image.Image,
    icc: bytes | None,
    alpha: NDArray[Any] | None,
    orientation: int,
    *,
    from_head: bool = False,
) -> PictureMetadata:
    """Everything in an opened picture but its colors.

    Args:
        path: The file.
        image: The file as Pillow has opened it.
        icc: The profile that the result gets.
        alpha: The transparency, upright.
        orientation: Of the pixels as they are stored.
        from_head: Leave the texts of a PNG out. To read those behind the pixels, Pillow decodes all of it.
    """
    iptc = _iptc(image)
    exif, comment = image.info.get("exif") or _exif_elsewhere(path, image), image.info.get("comment")
    xmp = image.info.get("xmp") or _xmp_elsewhere(path, image)
    file_format = image.format or "PNG"
    if icc == srgb_profile():  # the pixels are sRGB now, whatever they were
        exif, xmp = exif and srgb_exif(exif), xmp and srgb_xmp(xmp)
    return PictureMetadata(
        format=file_format,
        orientation=orientation,
        exif=upright_exif(exif) if exif else None,
        icc=icc,
        xmp=xmp if isinstance(xmp, bytes) else None,
        dots_per_inch=dots_per_inch_of(image),
        alpha=alpha,
        xmp_extensions=xmp_extensions(path.read_bytes())
        if xmp and format_named(file_format).metadata_place == "segments"
        else (),
        iptc=iptc,
        comment=comment if isinstance(comment, bytes) else None,
        texts={} if from_head else _texts(image),
    )


def dots_per_inch_of(image: Image.Image) -> tuple[float, float] | None:
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


def _exif_elsewhere(path: Path, image: Image.Image) -> bytes | None:
    """The EXIF block of a TIFF, which has it among the tags of its pixels, or of an old PNG, which has it in a text."""
    if image.format != "TIFF" and "Raw profile type exif" not in image.info:
        return None
    if image.format == "TIFF":
        with path.open("rb") as file:
            tags = first_tags(FileContent(file))
            if tags is not None and tags.is_big:  # of which Pillow makes no EXIF block
                return _exif_of_tags(tags)
    exif = image.getexif()
    for tag in TIFF_LAYOUT_TAGS.intersection(exif):
        del exif[tag]
    try:
        return exif.tobytes() if len(exif) else None
    except PILLOW_ERRORS:
        return largest_part(exif, bool)[0] or None


def _xmp_elsewhere(path: Path, image: Image.Image) -> bytes | None:
    """The XMP packet where Pillow does not look: behind the pixels of a GIF, or in a text of an old PNG."""
    try:
        return xmp_of_gif(path.read_bytes()) if image.format == "GIF" else raw_profile(image.info, "xmp")
    except IndexError:
        return None


def _iptc(image: Image.Image) -> bytes | None:
    if image.format == "TIFF":
        exif = image.getexif()
        found = exif.get(IPTC_TAG)
        if isinstance(found, tuple):  # some programs store its bytes as numbers
            found = struct.pack(f"{exif.endian}{len(found)}I", *found)
    else:
        photoshop, raw = image.info.get("photoshop"), raw_profile(image.info, "iptc", "8bim")
        found = photoshop.get(IPTC_RESOURCE) if isinstance(photoshop, dict) else None
        if raw is not None:
            found = iptc_of_resources(raw, IPTC_RESOURCE)
    return found if isinstance(found, bytes) else None


def _texts(image: Image.Image) -> dict[str, str]:
    """The texts of a PNG, without those that are kept in another way or would become untrue."""
    texts: dict[str, str] = getattr(image, "text", {})
    return {
        name: text for name, text in texts.items() if name != "XML:com.adobe.xmp" and not name.startswith("Raw profile type")
    }


def _unreadable(path: Path, error: BaseException) -> ItemError:
    if isinstance(error, FileNotFoundError):
        return ItemError(f"{path} does not exist.", suggest_path(path))
    if isinstance(error, SpecialFileError):
        return ItemError(f"{path} cannot be read: {error.strerror}.", "Give the path of a picture.")
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
    if path.suffix.lower() in RAW_SUFFIXES:
        return ItemError(f"{path} has the name of a camera's raw file, and is not a picture.", DEVELOP_FIRST)
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
        if kept.untrue:
            self._notice(f"{path.name}: dropped, since true of the original only: {', '.join(kept.untrue)}")
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
    image = Image.fromarray(values)
    if picture_format.alpha_is_binary and image.mode == "RGBA":
        hidden = values[..., 3] < _HALF_OPAQUE
        image = Image.fromarray(np.ascontiguousarray(values[..., :3]))
        if hidden.any():
            image, options["transparency"] = _with_hidden_color(values[..., :3].copy(), hidden)
    content = io.BytesIO()
    with pillow_settings():
        image.save(content, format=picture_format.name, **options)
    return content.getvalue()


def _with_hidden_color(pixels: NDArray[np.uint8], hidden: NDArray[np.bool_]) -> tuple[Image.Image, int]:
    """A picture in a palette, one color of which is transparent.

    Args:
        pixels: height x width x 3; what is hidden is overwritten.
        hidden: height x width, whether a pixel is transparent.

    Returns:
        The picture in mode P, and the number of that color.
    """
    # What is hidden takes no color from what is seen.
    pixels[hidden] = pixels[~hidden][0] if not hidden.all() else 0
    seen = Image.fromarray(pixels).quantize(_PALETTE_COLORS - 1, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    numbers, palette = np.array(seen), seen.getpalette() or []
    number = len(palette) // 3
    numbers[hidden] = number
    result = Image.fromarray(numbers, "P")
    result.putpalette([*palette, 0, 0, 0])
    return result, number


_PALETTE_COLORS = 256
_OPAQUE = 65535
_HALF_OPAQUE = 128
"""A level of alpha; in a format that knows nothing between, a pixel below it is transparent."""
