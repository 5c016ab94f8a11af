"""XMP says nothing of what a painted picture does not hold, and keeps everything else byte for byte."""

from __future__ import annotations

import pytest

from nstpipe.media.pictures.metadata import extension_segments
from nstpipe.media.pictures.xmp_promises import (
    DamagedXmpError,
    Property,
    digest_of,
    extension_of,
    in_utf8,
    joined,
    properties_of,
    semantics_of,
    with_digest,
    without_extension,
    without_untrue,
)

CAMERA, HDR, DUBLIN = "http://ns.google.com/photos/1.0/camera/", "http://ns.adobe.com/hdr-gain-map/1.0/", "urn:dc"
CONTAINER = "http://ns.google.com/photos/1.0/container/"
ITEM = f"{CONTAINER}item/"


def packet(attributes: str = "", content: str = "") -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        f'  <rdf:Description rdf:about="" xmlns:dc="{DUBLIN}" xmlns:GCamera="{CAMERA}" xmlns:c="{CONTAINER}"\n'
        f'   xmlns:Item="{ITEM}" xmlns:h="{HDR}"{attributes}>{content}</rdf:Description>\n'
        '</rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()


DIRECTORY = (
    '<c:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><c:Item Item:Mime="image/jpeg" Item:Semantic="Primary"/></rdf:li>'
    '<rdf:li rdf:parseType="Resource"><c:Item Item:Semantic="GainMap" Item:Length="403"/></rdf:li>'
    "<rdf:li><c:Item><Item:Semantic>MotionPhoto</Item:Semantic></c:Item></rdf:li></rdf:Seq></c:Directory>"
)


QUOTED = ' dc:title="a > b"'
OF_CAMERA = " GCamera:MotionPhoto=\"1\"\n  GCamera:MicroVideoOffset='12'"
ANOTHERS = '<z:MotionPhoto xmlns:z="urn:z">1</z:MotionPhoto>'
GAMMA = "<h:Gamma><rdf:Seq><rdf:li>1</rdf:li></rdf:Seq></h:Gamma>"
COMMENT = '<!-- GCamera:MotionPhoto="1" -->'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (packet(f'{QUOTED}{OF_CAMERA} dc:x="1"'), packet(f'{QUOTED} dc:x="1"')),
        (packet("", "<dc:a/><GCamera:MicroVideo>1</GCamera:MicroVideo><dc:b>é</dc:b>"), packet("", "<dc:a/><dc:b>é</dc:b>")),
        (packet(' h:Version="1.0"', DIRECTORY + GAMMA), packet()),
        (packet("", ANOTHERS), packet("", ANOTHERS)),
        (packet("", f'<q:MotionPhoto xmlns:q="{CAMERA}">1</q:MotionPhoto >'), packet()),
        (packet("", f"<hdrgm:Version>1</hdrgm:Version>{COMMENT}"), packet("", COMMENT)),
        (packet(' GCamera:HdrPlusMakernote="AA"', "<dc:n/>"), packet(' GCamera:HdrPlusMakernote="AA"', "<dc:n/>")),
    ],
    ids=["attributes", "elements", "container and gain map", "another's word", "another prefix", "undeclared", "nothing"],
)
def test_untrue_properties_are_removed_and_no_other_byte(before: bytes, after: bytes) -> None:
    assert without_untrue(before) == after


PROMISING = packet(' GCamera:MotionPhoto="1"')


def test_pictures_of_the_original_within_the_packet_are_removed() -> None:
    image = '<i:Data xmlns:i="http://ns.google.com/photos/1.0/image/">AAAA</i:Data>'
    thumbnails = '<xmp:Thumbnails xmlns:xmp="http://ns.adobe.com/xap/1.0/"><rdf:Alt/></xmp:Thumbnails>'
    depth = '<GDepth:Data xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/">AAAA</GDepth:Data>'
    assert without_untrue(packet(content=image + depth + thumbnails)) == packet(content=depth)


def test_what_is_listed_is_known() -> None:
    assert semantics_of(packet(content=DIRECTORY)) == {"GainMap", "MotionPhoto"}
    assert semantics_of(b"no XML") == frozenset()
    assert Property(CAMERA, "MotionPhoto") in properties_of(PROMISING)


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + packet('GCamera:MotionPhoto="1"')


@pytest.mark.parametrize(
    "damaged", [packet('GCamera:MotionPhoto="1"')[:-60], BOMB, b"<a>" + HDR.encode()], ids=["cut", "bomb", "open"]
)
def test_a_damaged_packet_that_may_promise_something_is_not_kept(damaged: bytes) -> None:
    assert without_untrue(damaged) is None


def test_a_damaged_packet_that_promises_nothing_stays() -> None:
    assert without_untrue(b"x" * 1000) == b"x" * 1000
    assert without_untrue(packet() + bytes(100)) == packet() + bytes(100), "padding"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8"])
def test_other_encodings_become_utf_8(encoding: str) -> None:
    assert in_utf8(packet().decode().encode(encoding)) == packet()


# Extensions.

NOTE = ' xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%s"'


def test_an_extension_is_put_together_from_its_segments() -> None:
    extension = packet(content=f"<dc:long>{'x' * 200_000}</dc:long>")
    segments = extension_segments(extension)
    assert len(segments) == 4
    assert extension_of(segments[::-1]) == extension
    assert extension_of(segments[1:]) is None
    assert extension_of(()) is None


def test_an_extension_is_joined_where_none_is_needed() -> None:
    declared = b'xmlns:dc="urn:dc" '  # by an element around the one that is joined
    extension = packet(' dc:e="1"', "<dc:f/>").replace(declared, b"").replace(b"<rdf:RDF ", b"<rdf:RDF " + declared)
    both = joined(packet(NOTE % ("A" * 32), "<dc:a/>"), extension)
    assert {Property(DUBLIN, name) for name in "aef"} <= properties_of(both)
    assert b"HasExtendedXMP" not in both
    assert both.count(b"<rdf:Description") == 2
    with pytest.raises(DamagedXmpError):
        joined(packet(), b"<x>")


def test_the_name_of_an_extension_is_renewed_or_removed() -> None:
    named = packet(NOTE % ("A" * 32))
    assert with_digest(named, digest_of(b"")) == packet(NOTE % digest_of(b"").decode())
    assert b"HasExtendedXMP" not in without_extension(named)
    assert without_extension(packet()) == packet()
