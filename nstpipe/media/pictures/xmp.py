"""Adapts the properties of an XMP packet that count in pixels, and changes no other byte of it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from nstpipe.media.pictures.orientation import UPRIGHT
from nstpipe.media.pictures.pixel_map import PixelMap
from nstpipe.media.pictures.pixel_rules import (
    REGION_SIZES,
    TEXT_RULES,
    XMP_NAMESPACES,
    XMP_RULES,
    Change,
    Numbers,
    XmpRule,
    extent,
    place,
    size_of_result,
    swapped_extent,
    whole_extent,
)

_NUMBER = re.compile(rb"<[^>]*>|([+-]?\d{1,15}(?:\.\d{1,15})?(?:[eE][+-]?\d{1,2})?(?:/\d{1,15})?)(?![\d.])")
"""A tag, which is passed over, or a number; XMP writes fractions as 3/2."""

_FRACTION_LIMIT = 1_000_000

_ONE_BY_ONE = (size_of_result, extent, whole_extent, swapped_extent, place)
"""Changes whose values do not depend on each other unless the picture is turned."""

_PIXEL_UNITS = (b"pixel", b"pixels", b"px", b"0")
_SHARE_UNITS = (b"normalized", b"relative")


@dataclass(frozen=True)
class _Found:
    """A number of a packet: its value, and where it stands."""

    value: float
    begin: int
    end: int


def adapted_xmp(xmp: bytes, pixel_map: PixelMap) -> bytes:
    """The XMP packet with its orientation upright, and with all that counts in pixels true of the new picture.

    Args:
        xmp: The packet. Its values may be attributes or elements.
        pixel_map: Where the original's pixels are in the new picture.
    """
    changes: dict[tuple[int, int], bytes] = {}
    prefixes = _other_prefixes(xmp)
    for prefix in filter(None, ("tiff", prefixes.get("tiff"))):
        for orientation in _properties(xmp, (0, len(xmp)), prefix, "Orientation"):
            changes.update(_changed(xmp, orientation, [UPRIGHT]))
    of_regions = _map_of_regions(xmp, pixel_map, prefixes)
    for usual in (*REGION_SIZES, *XMP_RULES):
        rule_map = pixel_map.without_turn if usual.of_upright else of_regions if "-rs:" in usual.structure else pixel_map
        for rule in _as_written(usual, prefixes):
            for span in _structures(xmp, rule.structure):
                _apply_rule(xmp, rule, span, rule_map, changes)
    parts, done = [], 0
    for (begin, end), new in sorted(changes.items()):
        parts += [xmp[done:begin], new]
        done = end
    return b"".join([*parts, xmp[done:]])


def srgb_xmp(xmp: bytes) -> bytes:
    """The XMP packet of a picture whose pixels were converted to sRGB, with its color space true of that."""
    prefixes, spans = _other_prefixes(xmp), list[tuple[tuple[int, int], bytes]]()
    for usual, name, value in (("exif", "ColorSpace", b"1"), ("photoshop", "ICCProfile", b"sRGB")):
        for prefix in filter(None, (usual, prefixes.get(usual))):
            spans += [(span, value) for span in _properties(xmp, (0, len(xmp)), prefix, name)]
    for (begin, end), value in sorted(spans, reverse=True):
        xmp = xmp[:begin] + value + xmp[end:]
    return xmp


def adapted_texts(texts: Mapping[str, str], pixel_map: PixelMap) -> dict[str, str]:
    """The texts of a PNG with those that count in pixels true of the new picture."""
    adapted = dict(texts)
    for names, change in TEXT_RULES:
        written = {name: texts[name].encode() for name in names if name in texts}
        numbers = {name: _numbers(text, (0, len(text))) for name, text in written.items()}
        for name, new in _new_values(names, numbers, change, pixel_map).items():
            text = written[name]
            for found, value in reversed(list(zip(numbers[name], new, strict=True))):
                if value != found.value:
                    text = text[: found.begin] + _like(text[found.begin : found.end], value) + text[found.end :]
            adapted[name] = text.decode()
    return adapted


_DECLARATION = re.compile(rb"\sxmlns:([\w.-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")


def _other_prefixes(xmp: bytes) -> dict[str, str]:
    """The prefixes that a packet declares for known namespaces in place of the usual ones, by these."""
    usual = {address.encode(): prefix for prefix, address in XMP_NAMESPACES.items()}
    found = (
        (usual.get(match[2] or match[3] or b"", ""), match[1].decode(errors="replace")) for match in _DECLARATION.finditer(xmp)
    )
    return {known: declared for known, declared in found if known and known != declared}


def _as_written(rule: XmpRule, prefixes: Mapping[str, str]) -> Iterator[XmpRule]:
    """A rule with the usual prefixes, and with those of a packet if they differ."""
    yield rule
    prefix, colon, name = rule.structure.partition(":")
    structure = f"{prefixes.get(prefix, prefix)}{colon}{name}"
    written = replace(rule, prefix=prefixes.get(rule.prefix, rule.prefix), structure=structure)
    if written != rule:
        yield written


def _apply_rule(
    xmp: bytes, rule: XmpRule, span: tuple[int, int], pixel_map: PixelMap, changes: dict[tuple[int, int], bytes]
) -> None:
    """Add the changes of a rule within a part of a packet, unless an earlier rule has changed the same numbers."""
    if all(xmp.find(f"{rule.prefix}:{name}".encode(), *span) < 0 for name in rule.names):
        return
    unit = next((xmp[begin:end].strip() for begin, end in _properties_of_unit(xmp, span, rule)), rule.default_unit.encode())
    if unit.lower() in _SHARE_UNITS:
        pixel_map = pixel_map.of_shares
    elif unit.lower() not in _PIXEL_UNITS:
        return
    places = {name: list(_properties(xmp, span, rule.prefix, name)) for name in rule.names}
    for index in range(max(map(len, places.values()))):
        numbers = {name: _numbers(xmp, found[index]) for name, found in places.items() if index < len(found)}
        if any((one.begin, one.end) in changes for found in numbers.values() for one in found):
            continue
        for name, new in _new_values(rule.names, numbers, rule.change, pixel_map).items():
            for one, value in zip(numbers[name], new, strict=True):
                written = xmp[one.begin : one.end]
                changes[one.begin, one.end] = written if value == one.value else _like(written, value)


def _properties_of_unit(xmp: bytes, span: tuple[int, int], rule: XmpRule) -> Iterator[tuple[int, int]]:
    return _properties(xmp, span, rule.prefix, rule.unit) if rule.unit else iter(())


def _new_values(
    names: Sequence[str], numbers: Mapping[str, Sequence[_Found]], change: Change, pixel_map: PixelMap
) -> dict[str, Numbers]:
    """The new values of the properties of a rule; empty if they are not what the rule is about."""
    try:
        if len(names) == 1:
            [found] = numbers.values()
            new = change(pixel_map, [one.value for one in found])
            return {names[0]: new} if len(new) == len(found) else {}
        known = {name: found[0].value for name, found in numbers.items() if len(found) == 1}
        if not known or (len(known) < len(names) and (change not in _ONE_BY_ONE or (change is place and pixel_map.is_turned))):
            return {}
        # A value that is missing is taken to be equal to the other one: pixels are square.
        new = change(pixel_map, [known.get(name, next(iter(known.values()))) for name in names])
        return {name: [value] for name, value in zip(names, new, strict=True) if name in known}
    except (ValueError, TypeError, ArithmeticError):
        return {}


def _map_of_regions(xmp: bytes, pixel_map: PixelMap, prefixes: Mapping[str, str]) -> PixelMap:
    """The map of regions: without the turn if they were drawn on the picture after it was turned."""
    if not pixel_map.swaps_sides:
        return pixel_map
    for rule in (written for usual in REGION_SIZES for written in _as_written(usual, prefixes)):
        for span in _structures(xmp, rule.structure):
            sides = [
                one.value
                for name in rule.names
                for found in _properties(xmp, span, rule.prefix, name)
                for one in _numbers(xmp, found)
            ]
            if len(sides) == 2 and (sides[0] > sides[1]) != (pixel_map.before[0] > pixel_map.before[1]):
                return pixel_map.without_turn
    return pixel_map


def _structures(xmp: bytes, name: str) -> Iterator[tuple[int, int]]:
    """Where each structure of a name begins and ends; the whole packet for no name."""
    if not name:
        yield 0, len(xmp)
        return
    yield from _elements(xmp, (0, len(xmp)), name.encode(), re.compile(rb"<%b(?=[\s>/])[^<>]*>" % re.escape(name.encode())))


def _elements(xmp: bytes, span: tuple[int, int], name: bytes, tag: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
    """Where each element begins, its first tag included, and ends. Those within another one of the same name are part of it."""
    begin = span[0]
    while match := tag.search(xmp, begin, span[1]):
        begin = match.end()
        if not match[0].endswith(b"/>"):
            end = xmp.find(b"</%b" % name, begin, span[1])
            if end < 0:
                return
            begin = end
        yield match.start(), begin


def _properties(xmp: bytes, span: tuple[int, int], prefix: str, name: str) -> Iterator[tuple[int, int]]:
    """Where the value of each property of a name begins and ends, be it an attribute or an element."""
    qualified = f"{prefix}:{name}".encode()
    if xmp.find(qualified, *span) < 0:
        return
    attribute, tag = _patterns(qualified)
    found = [match.span(1 if match[1] is not None else 2) for match in attribute.finditer(xmp, *span)]
    for begin, end in _elements(xmp, span, qualified, tag):
        opening = xmp.find(b">", begin, end) + 1
        if opening and opening < end:
            found.append((opening, end))
    yield from sorted(found)


@functools.cache
def _patterns(qualified: bytes) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """What finds a property as an attribute, and as an element."""
    name = re.escape(qualified)
    return (
        re.compile(rb"(?:(?<=[\s\"'])|^)%b\s*=\s*(?:\"([^\"<>]*)\"|'([^'<>]*)')" % name),
        re.compile(rb"<%b(?=[\s>/])[^<>]*>" % name),
    )


def _numbers(xmp: bytes, span: tuple[int, int]) -> list[_Found]:
    """The numbers of a value. What stands before a semicolon is a date."""
    begin = xmp.find(b";", *span) + 1 or span[0]
    found = []
    for match in _NUMBER.finditer(xmp, begin, span[1]):
        if match[1] is None:
            continue
        try:
            value = float(Fraction(match[1].decode()))
        except (ValueError, ArithmeticError):
            continue
        found.append(_Found(value, *match.span(1)))
    return found


def _changed(xmp: bytes, span: tuple[int, int], values: Sequence[float]) -> dict[tuple[int, int], bytes]:
    numbers = _numbers(xmp, span)
    if len(numbers) != len(values):
        return {}
    return {
        (one.begin, one.end): _like(xmp[one.begin : one.end], value)
        for one, value in zip(numbers, values, strict=True)
        if value != one.value
    }


def _like(written: bytes, value: float) -> bytes:
    """A number written as another one is: whole, as a fraction, or with no fewer decimals."""
    sign = "+" if written.startswith(b"+") and value >= 0 else ""
    if b"/" in written:
        share = Fraction(value).limit_denominator(_FRACTION_LIMIT)
        text = f"{share.numerator}/{share.denominator}"
    elif not re.search(rb"[.eE]", written):
        text = str(round(value))
    elif re.search(rb"[eE]", written):
        text = f"{value:.12g}"
    else:
        decimals = len(written.partition(b".")[2])
        text = f"{value:.{max(decimals, 6)}f}".rstrip("0").rstrip(".")
    return f"{sign}{text}".encode()
