"""The texts of the page, in each language. One file of `texts/` holds one language."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent / "texts"

LANGUAGES = {"en": "English", "ca": "Català", "es": "Español"}
"""The languages, by their code, each under its own name. The first one serves whoever reads none of them."""

COOKIE = "nstpipe_language"
"""The cookie that keeps the language that was chosen."""


@functools.cache
def texts_in(language: str) -> Mapping[str, str]:
    """Return the texts of a language, by their key."""
    texts: dict[str, str] = yaml.safe_load((FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))
    return texts


def language_of(chosen: str | None, accepted: str) -> str:
    """Return the language for a reader.

    Args:
        chosen: What the reader has chosen; None if nothing.
        accepted: The Accept-Language header, RFC 9110 section 12.5.4.
    """
    if chosen in LANGUAGES:
        return chosen
    wanted: list[tuple[float, int, str]] = []
    for position, part in enumerate(accepted.split(",")[:20]):
        name, _, quality = part.strip().partition(";")
        try:
            weight = float(quality.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        wanted.append((-weight, position, name.split("-")[0].lower()))
    return next((name for weight, _, name in sorted(wanted) if name in LANGUAGES and weight < 0), next(iter(LANGUAGES)))
