"""What an output does not hold of its input, named before the work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MOST_FILES_NAMED = 2
"""Files whose names stand in a sentence; the others are counted."""

MOST_DETAILS_NAMED = 3
"""Different details of one kind that stand in a sentence; the others are counted."""


@dataclass(frozen=True)
class Omission:
    """Something that an input holds, and that its output will not hold or will hold in another form.

    Attributes:
        kind: What it is, as the user calls it and without anything of a single file: ``transparency``, ``chapters``,
            ``data streams``. Omissions of one kind in several files of a job become one sentence.
        detail: A clause that names the thing and the reason, in the words of `kind` or more exact ones: ``the transparency is
            dropped: libx264 cannot hold it``. It has no name of a file and no period at its end.
        remedy: A sentence with the next step, such as ``Set `encode: {codec: prores}`.``; empty if there is none.
    """

    kind: str
    detail: str
    remedy: str = ""


def sentences_of(found: Iterable[tuple[str, Omission]]) -> tuple[str, ...]:
    """Say what the outputs of a job will not hold, one sentence for each kind of thing and next step.

    Args:
        found: The names of the inputs, each with one of its omissions. A name may occur several times.
    """
    groups: dict[tuple[str, str], dict[str, list[str]]] = {}
    for name, omission in found:
        names = groups.setdefault((omission.kind, omission.remedy), {}).setdefault(omission.detail, [])
        if name not in names[-1:]:
            names.append(name)
    said = []
    for (_, remedy), details in groups.items():
        files = dict.fromkeys(name for names in details.values() for name in names)
        named = _listed(list(files), MOST_FILES_NAMED)
        sentence = f"{named}: {'; '.join(_first(list(details), MOST_DETAILS_NAMED))}"
        said.append(f"{sentence}. {remedy}" if remedy else sentence)
    return tuple(said)


def _listed(names: list[str], most: int) -> str:
    first = _first(names, most)
    return first[0] if len(first) == 1 else f"{', '.join(first[:-1])} and {first[-1]}"


def _first(words: list[str], most: int) -> list[str]:
    more = len(words) - most
    return words if more <= 0 else [*words[:most], f"{more} more"]
