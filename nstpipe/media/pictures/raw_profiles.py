"""Metadata that ImageMagick stores as hexadecimal texts of a PNG."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

_RESOURCE = b"8BIM"


def raw_profile(info: Mapping[str | tuple[int, int], Any], *names: str) -> bytes | None:
    """The bytes of the first of several profiles that a PNG has; None if it has none that can be read.

    Args:
        info: What Pillow found in the file.
        names: Of the profiles, such as ``xmp``.
    """
    for name in names:
        text = info.get(f"Raw profile type {name}")
        if isinstance(text, str):
            # The name and the length stand before the digits.
            try:
                return bytes.fromhex("".join(text.split()[2:]))
            except ValueError:
                continue
    return None


def iptc_of_resources(resources: bytes, wanted: int) -> bytes | None:
    """The IPTC records within Photoshop's image resources; records that are not in resources are given as they are.

    Args:
        resources: The bytes.
        wanted: The number of the resource.
    """
    if not resources.startswith(_RESOURCE):
        return resources or None
    place = 0
    while resources[place : place + 4] == _RESOURCE:
        number, name = struct.unpack_from(">HB", resources, place + 4)
        begin = place + 6 + (1 + name + 1 & ~1)
        (length,) = struct.unpack_from(">I", resources, begin)
        if number == wanted:
            return resources[begin + 4 : begin + 4 + length]
        place = begin + 4 + length + length % 2
    return None
