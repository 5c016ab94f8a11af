"""Compares what a picture file holds with what its result will hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from nstpipe.media.losses import Omission
from nstpipe.media.pictures.color_spaces import told_color_space
from nstpipe.media.pictures.contents import PictureContents, contents_of
from nstpipe.media.pictures.deep import is_deep
from nstpipe.media.pictures.files import metadata_of
from nstpipe.media.pictures.formats import NEVER_CARRIED, PICTURE_FORMATS, Content, PictureFormat, format_of
from nstpipe.media.pictures.images import alpha_of, without_alpha
from nstpipe.media.pictures.orientation import UPRIGHT
from nstpipe.media.pictures.output_metadata import kept_of
from nstpipe.media.pictures.pillow import PILLOW_ERRORS, opened
from nstpipe.media.pictures.profiles import deep_in_srgb, in_srgb

OMISSIONS_VERSION = 3
"""Changes when the same file and format have other omissions, so that those in the journal are found anew."""

METADATA: frozenset[Content] = frozenset(
    {
        "EXIF",
        "color profile",
        "XMP",
        "IPTC",
        "resolution",
        "comment",
        "texts",
        "thumbnail in XMP",
        "Photoshop data",
        "content credentials",
        "maker's data",
    }
)
"""What `metadata: strip` removes, so that nobody misses it."""

_TRIAL_PIXELS = np.zeros((32, 48, 3), np.uint8)
"""Stands for the result when its metadata is tried."""


def omissions_of_picture(path: Path, output: Path, *, keep_metadata: bool) -> tuple[Omission, ...]:
    """What the result of a picture will not hold of it, or not as it is. A picture that cannot be read has none.

    Args:
        path: The picture.
        output: The result; its suffix decides the format.
        keep_metadata: Whether the result keeps the metadata. If not, that is not named.
    """
    contents = contents_of(path)
    result = format_of(output, contents.format)
    found = dict.fromkeys((*_by_kind(path, contents, result), *_of_pixels(path, contents)))
    if keep_metadata:
        found |= dict.fromkeys(_untaken(path, result))
    return tuple(one for one in found if keep_metadata or one.kind not in METADATA)


def _by_kind(path: Path, contents: PictureContents, result: PictureFormat) -> Iterator[Omission]:
    for content, words in contents.held.items():
        name = f"{content} ({words})" if words else content
        if content in NEVER_CARRIED:
            never = NEVER_CARRIED[content]
            yield Omission(content, f"the {name} {_verb(content)} dropped: {never.reason}", never.remedy)
        elif content == "transparency":
            yield from _of_transparency(path, result)
        elif result.holds(content):
            continue
        elif content == "depth of color":
            yield Omission(content, f"16 bits of a color value become 8: {result.name} holds no more", holders_of(content))
        else:
            pronoun = "them" if content.endswith("s") else "it"
            detail = f"the {name} {_verb(content)} dropped: {result.name} cannot hold {pronoun}"
            yield Omission(content, detail, holders_of(content))


def _of_pixels(path: Path, contents: PictureContents) -> Iterator[Omission]:
    """What becomes of light above white, for which a result has no place; and of a profile that cannot be used."""
    if "color profile" in contents.held and not _has_usable_profile(path):
        reason = "it is damaged, or does not fit the colors of the picture"
        yield Omission("color profile", f"the color profile is dropped: {reason}")
    if contents.format not in ("PNG", "AVIF", "HEIF"):
        return
    try:
        with opened(path) as image:
            space = told_color_space(image, image.info.get("icc_profile"), path)
    except PILLOW_ERRORS:
        return
    if space is not None and space.hdr:
        yield Omission("high dynamic range", f"the high dynamic range ({space.hdr}) is brought to that of a standard picture")


_COLORS_OF_PROFILE = slice(16, 20)
"""Where a profile names the space of its colors (ICC.1:2022, 7.2.6)."""


def _has_usable_profile(path: Path) -> bool:
    try:
        with opened(path) as image:
            icc = image.info.get("icc_profile")
            if icc is None:
                return True
            if is_deep(path):
                inks = icc[_COLORS_OF_PROFILE] == b"CMYK"
                return deep_in_srgb(np.zeros((1, 1, 4 if inks else 3), np.uint16), icc)[1] is not None
            return in_srgb(without_alpha(Image.new(image.mode, (1, 1))), icc)[1] is not None
    except PILLOW_ERRORS:
        return True  # it is said elsewhere that the picture cannot be read


def _verb(content: Content) -> str:
    return "are" if content.endswith("s") else "is"


def _of_transparency(path: Path, result: PictureFormat) -> Iterator[Omission]:
    if result.holds("partial transparency"):
        return
    levels = _alpha_levels(path)
    if levels == {255}:
        return  # many programs write an alpha channel that hides nothing
    if not result.holds("transparency"):
        detail = f"the transparency is dropped: {result.name} cannot hold it"
        yield Omission("transparency", detail, holders_of("transparency"))
    elif levels - {0, 255}:
        detail = f"the partial transparency becomes all or nothing: {result.name} holds nothing between"
        yield Omission("partial transparency", detail, holders_of("partial transparency"))


def _alpha_levels(path: Path) -> set[int]:
    try:
        with opened(path) as image:
            alpha = alpha_of(image)
            return {255} if alpha is None else set(map(int, np.unique(alpha)))
    except PILLOW_ERRORS:
        return {255}


def _untaken(path: Path, result: PictureFormat) -> Iterator[Omission]:
    """What the format could hold, but not of this size or kind."""
    try:
        with opened(path) as image:
            metadata = metadata_of(path, image, image.info.get("icc_profile"), None, UPRIGHT, from_head=True)
            kept = kept_of(metadata, image.size, _TRIAL_PIXELS, result)
    except PILLOW_ERRORS:
        return
    for untrue in kept.untrue:
        yield Omission(untrue, f"the {untrue} is dropped: it is true of the original only")
    for dropped in kept.dropped:
        yield Omission(dropped, f"the {dropped} is dropped: {result.name} cannot hold it as it is")


def holders_of(content: Content) -> str:
    """A sentence that names the formats that can hold a thing."""
    names = [row.name for row in PICTURE_FORMATS.values() if row.holds(content)]
    if not names:
        return ""
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{listed} can hold {'them' if content.endswith('s') else 'it'}."
