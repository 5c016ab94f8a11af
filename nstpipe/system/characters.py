"""Names characters that look like others, or like nothing, in texts that people have pasted."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

_INVISIBLE = ("Cc", "Cf", "Zl", "Zp")
_QUOTES = ("Pi", "Pf")
_LOW_QUOTES = "\u201a\u201e"


def lookalikes(text: str) -> Iterator[tuple[int, str]]:
    """Yield each character that is easily taken for another one, or not seen at all.

    These are the spaces, quotes, dashes and full-width signs that word processors and web pages put in place of the plain ones,
    and characters of no width.

    Args:
        text: Any text. A tab counts as a space here.

    Yields:
        The index of the character; and what it is and what to do, such as ``U+00A0 (no-break space); write a space``.
    """
    for index, character in enumerate(text):
        category = unicodedata.category(character)
        plain = unicodedata.normalize("NFKC", character)
        if (character.isascii() and category != "Cc") or character == "\t":
            continue
        if category in _INVISIBLE:
            advice = "delete it"
        elif category == "Zs":
            advice = "write a space"
        elif category in _QUOTES or character in _LOW_QUOTES:
            advice = "write \" or '"
        elif category == "Pd":
            advice = "write -"
        elif plain.isascii() and len(plain) == 1 and not plain.isalnum():
            advice = f"write {plain}"
        else:
            continue
        name = unicodedata.name(character, "a control character").lower()
        yield index, f"U+{ord(character):04X} ({name}); {advice}"
