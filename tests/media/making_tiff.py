"""TIFF files of every kind, written by hand (TIFF 6.0, BigTIFF)."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DEFLATE = 8


def write_tiff(
    path: Path,
    values: NDArray[Any],
    photometric: int,
    *,
    order: str = "<",
    big: bool = False,
    apart: bool = False,
    tile: int = 0,
    rows: int = 0,
    predictor: int = 0,
    bits: int = 0,
    extra: tuple[int, ...] = (),
    tags: dict[int, tuple[int, tuple[int, ...]]] | None = None,
) -> Path:
    """Write values, height x width x samples, in their own type.

    Args:
        path: the file.
        values: the values of each pixel.
        photometric: how they are meant.
        order: of the bytes.
        big: as a BigTIFF.
        apart: with a plane for each sample.
        tile: side of the tiles; 0 for strips.
        rows: of each strip; 0 for one strip.
        predictor: 2 or 3, with deflate; 0 for neither.
        bits: of a value, if they are packed; 0 for those of the type.
        extra: the meaning of each value behind the color.
        tags: more tags: their types and values.
    """
    height, width, samples = values.shape
    blocks = []
    for plane in np.split(values, samples, axis=2) if apart else [values]:
        for top in range(0, height, tile or rows or height):
            for left in range(0, width, tile or width):
                block = plane[top : top + (tile or rows or height), left : left + (tile or width)]
                if tile:
                    block = np.pad(block, ((0, tile - block.shape[0]), (0, tile - block.shape[1]), (0, 0)))
                blocks.append(_bytes_of(block, order, predictor, bits))
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    place = 16 if big else 8
    offsets = [place + sum(map(len, blocks[:index])) for index in range(len(blocks))]
    lengths = tuple(map(len, blocks))
    entries: dict[int, tuple[int, tuple[int, ...]]] = {
        256: (3, (width,)),
        257: (3, (height,)),
        258: (3, (bits or 8 * values.itemsize,) * samples),
        259: (3, (_DEFLATE if predictor else 1,)),
        262: (3, (photometric,)),
        277: (3, (samples,)),
        284: (3, (2 if apart else 1,)),
        339: (3, (kind,) * samples),
        **({317: (3, (predictor,))} if predictor else {}),
        **({338: (3, extra)} if extra else {}),
        **(
            {322: (3, (tile,)), 323: (3, (tile,)), 324: (4, tuple(offsets)), 325: (4, lengths)}
            if tile
            else {273: (4, tuple(offsets)), 278: (3, (rows or height,)), 279: (4, lengths)}
        ),
        **(tags or {}),
    }
    content = b"".join(blocks)
    content += bytes(len(content) % 2)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    head += struct.pack(f"{order}HHQ", 8, 0, place + len(content)) if big else struct.pack(f"{order}I", place + len(content))
    path.write_bytes(head + content + _directory(entries, place + len(content), order, big))
    return path


def _bytes_of(block: NDArray[Any], order: str, predictor: int, bits: int) -> bytes:
    if bits:
        packed = block[..., None] >> np.arange(bits - 1, -1, -1) & 1
        return np.packbits(packed.astype(np.uint8).reshape(len(block), -1), axis=1).tobytes()
    if predictor == 3:
        rows, columns, samples = block.shape
        planes = block.astype(block.dtype.newbyteorder(">")).view(np.uint8).reshape(rows, columns * samples, -1).swapaxes(1, 2)
        flat = planes.reshape(rows, -1, samples)
        return zlib.compress(np.diff(flat, axis=1, prepend=np.zeros((rows, 1, samples), np.uint8)).tobytes())
    if predictor == 2:
        block = np.diff(block, axis=1, prepend=np.zeros_like(block[:, :1]))
        return zlib.compress(block.astype(block.dtype.newbyteorder(order)).tobytes())  # type: ignore[arg-type]
    return block.astype(block.dtype.newbyteorder(order)).tobytes()  # type: ignore[arg-type]


def _directory(entries: dict[int, tuple[int, tuple[int, ...]]], at: int, order: str, big: bool) -> bytes:
    word, head, inline = ("Q", "Q", 8) if big else ("I", "H", 4)
    step = 4 + 2 * inline
    values_at = at + struct.calcsize(f"={head}") + step * len(entries) + inline
    fixed, values = struct.pack(f"{order}{head}", len(entries)), b""
    for tag, (kind, numbers) in sorted(entries.items()):
        raw = struct.pack(f"{order}{len(numbers)}{ {3: 'H', 4: 'I'}[kind] }", *numbers)
        fixed += struct.pack(f"{order}HH{word}", tag, kind, len(numbers))
        if len(raw) <= inline:
            fixed += raw.ljust(inline, b"\x00")
        else:
            fixed += struct.pack(f"{order}{word}", values_at + len(values))
            values += raw
    return fixed + bytes(inline) + values
