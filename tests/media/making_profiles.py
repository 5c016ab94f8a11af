"""Color profiles written by hand, number for number known: ICC.1:2001-04 (version 2)."""

from __future__ import annotations

import struct
from itertools import product

ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""XYZ of Adobe RGB (1998)'s red, green and blue, adapted to D50."""

ADOBE_GAMMA = 563 / 256
"""As its specification gives it: 2.19921875."""

CYAN_LAB = (60, -30, -40)
"""What a solid cyan looks like in the CMYK profile here, which no formula without a profile would guess."""


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _profile(space: bytes, pcs: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    white = b"XYZ " + bytes(4) + _fixed(0.9642, 1.0, 0.8249)
    words = b"text" + bytes(4) + b"made for a test\x00"
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"made\x00" + bytes(78)
    tags = {b"desc": name, b"cprt": words, b"wtpt": white, **tags}
    place = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", tag, place + len(body), len(content))
        body += padded
    header = struct.pack(">I4sI4s4s4s", place + len(body), bytes(4), 0x02400000, kind, space, pcs)
    header += bytes(12) + b"acsp" + bytes(28) + _fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\x00") + table + body


def _gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256))


def rgb_profile(primaries: tuple[tuple[float, float, float], ...] = ADOBE_RGB, gamma: float = ADOBE_GAMMA) -> bytes:
    tags = {name: b"XYZ " + bytes(4) + _fixed(*xyz) for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    return _profile(b"RGB ", b"XYZ ", b"mntr", {**tags, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _gamma(gamma))})


def table_profile() -> bytes:
    """Adobe RGB as a table, with nothing of it in primaries and curves: its gamma, then a cube of eight sums of light."""
    gamma = struct.pack(">256H", *(round((level / 255) ** ADOBE_GAMMA * 65535) for level in range(256)))
    nodes = b""
    for levels in product((0, 1), repeat=3):
        for axis in range(3):
            light = sum(level * primary[axis] for level, primary in zip(levels, ADOBE_RGB, strict=True))
            nodes += struct.pack(">H", round(light * 32768))
    identity = _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    straight = struct.pack(">2H", 0, 65535)
    lut = b"mft2" + bytes(4) + bytes((3, 3, 2, 0)) + identity + struct.pack(">2H", 256, 2) + gamma * 3 + nodes + straight * 3
    return _profile(b"RGB ", b"XYZ ", b"scnr", {b"A2B0": lut, b"A2B1": lut})


def gray_profile(gamma: float) -> bytes:
    return _profile(b"GRAY", b"XYZ ", b"mntr", {b"kTRC": _gamma(gamma)})


def cmyk_profile() -> bytes:
    """Paper is white, any black ink is black, cyan alone is `CYAN_LAB`, and all other inks together are a dark gray."""
    ramp = bytes(range(256))
    nodes = b""
    for cyan, magenta, yellow, black in product((0, 1), repeat=4):
        lightness, a, b = (100, 0, 0) if not (cyan or magenta or yellow) else (30, 0, 0)
        if (cyan, magenta, yellow) == (1, 0, 0):
            lightness, a, b = CYAN_LAB
        if black:
            lightness, a, b = 0, 0, 0
        nodes += bytes((round(lightness * 2.55), a + 128, b + 128))
    identity = _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity + ramp * 4 + nodes + ramp * 3
    return _profile(b"CMYK", b"Lab ", b"prtr", {b"A2B0": lut, b"A2B1": lut, b"A2B2": lut})
