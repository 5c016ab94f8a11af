"""Finds, removes and joins the properties of XMP packets, and leaves every other byte as it was."""

from __future__ import annotations

import hashlib
import html
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.parsers import expat

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NOTE = "http://ns.adobe.com/xmp/note/"
_CAMERA = "http://ns.google.com/photos/1.0/camera/"
_CONTAINER = "http://ns.google.com/photos/1.0/container/"
_CONTAINER_ITEM = "http://ns.google.com/photos/1.0/container/item/"
_IMAGE = "http://ns.google.com/photos/1.0/image/"
_AUDIO = "http://ns.google.com/photos/1.0/audio/"
_DEPTH = "http://ns.google.com/photos/1.0/depthmap/"
_DEVICE = "http://ns.google.com/photos/dd/1.0/device/"
_GAIN_MAP = "http://ns.adobe.com/hdr-gain-map/1.0/"
_BASIC = "http://ns.adobe.com/xap/1.0/"

_USUAL_PREFIXES = {
    "rdf": _RDF,
    "xmpNote": _NOTE,
    "GCamera": _CAMERA,
    "Container": _CONTAINER,
    "GContainer": _CONTAINER,
    "Item": _CONTAINER_ITEM,
    "GContainerItem": _CONTAINER_ITEM,
    "GImage": _IMAGE,
    "GAudio": _AUDIO,
    "GDepth": _DEPTH,
    "Device": _DEVICE,
    "hdrgm": _GAIN_MAP,
    "xmp": _BASIC,
    "xap": _BASIC,
}
"""What prefixes stand for in packets that do not declare them."""


class Property(NamedTuple):
    """The name of a property: the address of its namespace, and its name there."""

    namespace: str
    name: str


_ALL = re.compile("")
_UNTRUE: dict[str, re.Pattern[str]] = {
    # The film behind the picture, the pictures behind it, and the list of them.
    _CAMERA: re.compile("MotionPhoto|MicroVideo"),
    _CONTAINER: _ALL,
    _CONTAINER_ITEM: _ALL,
    "http://ns.google.com/photos/dd/1.0/container/": _ALL,
    "http://ns.google.com/photos/dd/1.0/item/": _ALL,
    _DEVICE: re.compile("Container$|Profiles$|Cameras$"),
    "http://ns.oplus.com/photos/1.0/camera/": re.compile("MotionPhoto|VideoLength$|OLivePhotoVersion$"),
    "http://ns.xiaomi.com/photos/1.0/camera/": re.compile("XMPMeta$"),
    _GAIN_MAP: _ALL,
    "http://ns.apple.com/HDRGainMap/1.0/": _ALL,
    "http://ns.apple.com/HDRToneMap/1.0/": _ALL,
    "http://ns.apple.com/pixeldatainfo/1.0/": _ALL,
    "http://ns.apple.com/depthData/1.0/": _ALL,
    "http://ns.apple.com/depthBlurEffect/1.0/": _ALL,
    "http://ns.apple.com/portraitEffectsMatte/1.0/": _ALL,
    "http://ns.apple.com/semanticSegmentationMatte/1.0/": _ALL,
    # Pictures within the packet, which show the scene before it was painted.
    _IMAGE: _ALL,
    _BASIC: re.compile("Thumbnails$"),
}
"""Properties that would be untrue in a result, by namespace and by how their names begin: they describe other pictures in the
file, a film or a gain map that a painted picture does not have, or contain pictures of the original."""


def is_untrue(one: Property) -> bool:
    """Whether a property promises something that a painted picture does not hold."""
    names = _UNTRUE.get(one.namespace)
    return names is not None and names.match(one.name) is not None


SECOND_PICTURE = Property(_IMAGE, "Data")
THUMBNAILS = Property(_BASIC, "Thumbnails")
_EXTENSION_NOTE = Property(_NOTE, "HasExtendedXMP")


class DamagedXmpError(ValueError):
    """A packet is not well-formed XML, or declares a document type, which XMP never does."""


@dataclass
class _Element:
    """An element of a packet.

    Attributes:
        name: Of the element.
        parent: Of the element around it; None for the outermost one.
        begin: Where its start tag begins.
        tag_end: Where its start tag ends.
        end: Where it ends.
        attributes: The place of each attribute with the space before it, by its name.
        namespaces: The address of each prefix that holds in it.
        declared: The prefixes that its start tag declares.
        values: The text of each attribute.
    """

    name: Property
    parent: Property | None
    begin: int
    tag_end: int
    end: int
    attributes: list[tuple[Property, int, int]]
    namespaces: Mapping[str, str]
    declared: frozenset[str]
    values: Mapping[Property, str] = field(default_factory=dict)


_START_TAG = re.compile(rb"<[^\s/>]+(?:\s+[^\s=/>]+\s*=\s*(?:\"[^\"]*\"|'[^']*'))*\s*/?>")
_ATTRIBUTE = re.compile(rb"\s+([^\s=/>]+)\s*=\s*(?:\"[^\"]*\"|'[^']*')")


def _elements(packet: bytes) -> list[_Element]:
    """The elements of a packet, in the order of their start tags.

    Raises:
        DamagedXmpError: It is not well-formed, or declares a document type.
    """
    found: list[_Element] = []
    open_elements: list[_Element] = []
    parser = expat.ParserCreate("UTF-8")

    def refuse(*_: object) -> None:
        raise DamagedXmpError("the packet declares a document type")

    def begin(tag: str, attributes: dict[str, str]) -> None:
        place = parser.CurrentByteIndex
        match = _START_TAG.match(packet, place)
        if match is None:
            raise DamagedXmpError(f"a tag at byte {place}")
        above = open_elements[-1] if open_elements else None
        declared = {name[6:]: value for name, value in attributes.items() if name.startswith("xmlns:")}
        namespaces = {**(above.namespaces if above is not None else _USUAL_PREFIXES), **declared}
        places = [(_named(one[1].decode(), namespaces), *one.span()) for one in _ATTRIBUTE.finditer(packet, place, match.end())]
        values = {_named(name, namespaces): value for name, value in attributes.items()}
        element = _Element(
            _named(tag, namespaces),
            None if above is None else above.name,
            place,
            match.end(),
            match.end(),
            places,
            namespaces,
            frozenset(declared),
            values,
        )
        found.append(element)
        open_elements.append(element)

    def end(_: str) -> None:
        element = open_elements.pop()
        if packet[element.tag_end - 2 : element.tag_end] != b"/>":
            element.end = packet.index(b">", parser.CurrentByteIndex) + 1

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    try:
        parser.Parse(packet.rstrip(b"\0 \r\n\t"), True)
    except (expat.ExpatError, UnicodeDecodeError, ValueError) as error:
        raise DamagedXmpError(str(error)) from error
    return found


def _named(name: str, namespaces: Mapping[str, str]) -> Property:
    prefix, colon, local = name.rpartition(":")
    return Property(namespaces.get(prefix, prefix) if colon else "", local)


def in_utf8(packet: bytes) -> bytes:
    """A packet in UTF-8, which is what files hold but for some old ones."""
    for mark, encoding in _MARKS.items():
        if packet.startswith(mark):
            return packet.decode(encoding, "replace").encode()
    return packet


_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def properties_of(packet: bytes) -> frozenset[Property]:
    """The names of all elements and attributes in a packet; empty if it is damaged."""
    try:
        elements = _elements(packet)
    except DamagedXmpError:
        return frozenset()
    return frozenset(name for element in elements for name in (element.name, *(one[0] for one in element.attributes)))


def semantics_of(packet: bytes) -> frozenset[str]:
    """What the pictures and films are that a packet lists behind the picture, such as ``GainMap`` or ``MotionPhoto``."""
    try:
        elements = _elements(packet)
    except DamagedXmpError:
        return frozenset()
    found = set[str]()
    for element in elements:
        attribute = element.values.get(Property(_CONTAINER_ITEM, "Semantic"))
        if attribute is not None:
            found.add(attribute)
        if element.name == Property(_CONTAINER_ITEM, "Semantic"):
            found.add(packet[element.tag_end : packet.find(b"<", element.tag_end)].strip().decode(errors="replace"))
    return frozenset(found - {"Primary"})


def without_untrue(packet: bytes) -> bytes | None:
    """A packet without the properties that a painted picture makes untrue; see `is_untrue`.

    Returns:
        The packet, byte for byte the same if nothing in it is untrue; None if it is damaged and may hold such a property.
    """
    try:
        return _without(packet, is_untrue)
    except DamagedXmpError:
        return None if any(namespace.encode() in packet for namespace in _UNTRUE if namespace != _BASIC) else packet


def _without(packet: bytes, is_removed: Callable[[Property], bool]) -> bytes:
    """A packet without some properties, as elements and as attributes."""
    removed: list[tuple[int, int]] = []
    for element in _elements(packet):
        if is_removed(element.name):
            removed.append((element.begin, element.end))
        else:
            removed += [(begin, end) for name, begin, end in element.attributes if is_removed(name)]
    kept, place = [], 0
    for begin, end in removed:
        if begin >= place:  # or else it lies in an element that is removed already
            kept.append(packet[place:begin])
            place = end
    return b"".join([*kept, packet[place:]])


EXTENSION_HEAD = b"http://ns.adobe.com/xmp/extension/\x00"
"""How a segment of a JPEG begins that continues the packet."""

_MARKER_AND_LENGTH = 4
_DIGEST_BYTES = 32


def extension_of(segments: tuple[bytes, ...]) -> bytes | None:
    """The packet that the extension segments of a JPEG contain together; None if a part of it is missing.

    Args:
        segments: Whole segments, with their markers (XMP specification, part 3, 1.1.3.1).
    """
    parts: dict[int, bytes] = {}
    length, place = 0, 0
    begin = _MARKER_AND_LENGTH + len(EXTENSION_HEAD)
    try:
        for segment in segments:
            if segment[begin : begin + _DIGEST_BYTES] == segments[0][begin : begin + _DIGEST_BYTES]:
                length, offset = struct.unpack_from(">II", segment, begin + _DIGEST_BYTES)
                parts[offset] = segment[begin + _DIGEST_BYTES + 8 :]
    except struct.error:
        return None
    for offset, part in sorted(parts.items()):
        if offset != place:
            return None
        place += len(part)
    return b"".join(part for _, part in sorted(parts.items())) if segments and place == length else None


def digest_of(extension: bytes) -> bytes:
    """The name of an extension, which the packet of the picture states."""
    return hashlib.md5(extension, usedforsecurity=False).hexdigest().upper().encode()


def with_digest(packet: bytes, digest: bytes) -> bytes:
    """A packet that names another extension."""
    note = rb"(HasExtendedXMP(?:\s*=\s*[\"']|>\s*))[0-9A-Fa-f]{32}"
    return re.sub(note, lambda match: match[1] + digest, packet)


def without_extension(packet: bytes) -> bytes:
    """A packet that names no extension. A damaged one stays as it is."""
    try:
        return _without(packet, lambda name: name == _EXTENSION_NOTE)
    except DamagedXmpError:
        return packet


def joined(packet: bytes, extension: bytes) -> bytes:
    """A packet with the properties of its extension, for formats that need no extension.

    Raises:
        DamagedXmpError: One of the two is damaged.
    """
    added = b"".join(_descriptions(extension))
    packet = _without(packet, lambda name: name == _EXTENSION_NOTE)
    for element in _elements(packet):
        if element.name == Property(_RDF, "RDF") and element.end > element.tag_end:
            place = packet.rindex(b"</", element.begin, element.end)
            return packet[:place] + added + packet[place:]
    raise DamagedXmpError("the packet has no properties")


def _descriptions(packet: bytes) -> Iterator[bytes]:
    """The groups of properties of a packet, each with the prefixes that it needs."""
    for element in _elements(packet):
        if element.name == Property(_RDF, "Description") and element.parent == Property(_RDF, "RDF"):
            content = packet[element.begin : element.end]
            needed = (
                (prefix, address)
                for prefix, address in element.namespaces.items()
                if prefix not in element.declared and f"{prefix}:".encode() in content
            )
            declarations = "".join(f' xmlns:{prefix}="{html.escape(address)}"' for prefix, address in needed).encode()
            name = re.match(rb"<[^\s/>]+", packet[element.begin : element.tag_end])
            assert name is not None
            place = element.begin + name.end()
            yield packet[element.begin : place] + declarations + packet[place : element.end]
