"""Changes the text of a pipeline.yaml as its author would: one key at a time. Everything else stays to the letter.

PyYAML tells where each key and value stands, and only that part of the text is replaced. A library that writes the whole
document again would move comments and change the layout; docs/decisions/2026-11-29-window.md has the comparison.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from nstpipe.config.document import DEEPEST, MOST_CHARACTERS, MOST_VALUES
from nstpipe.errors import UsageError
from nstpipe.window.jobs.forms import INSTEAD, SHORT_FORMS, Field

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What ends a line in YAML."""


@dataclass(frozen=True)
class _Item:
    """A key of a mapping with its value."""

    key: ScalarNode
    value: Any

    @property
    def is_alias(self) -> bool:
        """Whether the value stands elsewhere, at an anchor."""
        return (self.value.start_mark.line, self.value.start_mark.column) < (self.key.end_mark.line, self.key.end_mark.column)


class Draft:
    """A text that is being edited.

    Args:
        text: YAML.

    Attributes:
        text: The text as it is now.

    Raises:
        UsageError: It is no YAML, or not a mapping with a list of jobs.
    """

    def __init__(self, text: str) -> None:
        if len(text) > MOST_CHARACTERS:
            raise UsageError("The text is too long to be edited here.", "See the problems below it.")
        self.text = text
        self._read()
        _count(self._document)

    def _read(self) -> None:
        self._starts = [0, *(match.end() for match in _BREAK.finditer(self.text))]
        try:
            document = yaml.compose(self.text, Loader=_Loader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise UsageError("The text is no YAML that can be edited here yet.", "See the problems below it.") from error
        jobs = _child(document, "jobs") if isinstance(document, MappingNode) else None
        if not isinstance(document, MappingNode) or jobs is None or not isinstance(jobs.value, SequenceNode):
            raise UsageError("The text has no list of jobs yet.", "See the problems below it.")
        self._document = document
        self._jobs = jobs.value

    def _read_again(self) -> None:
        try:
            self._read()
        except UsageError as error:
            raise UsageError("This cannot be changed here: other lines refer to it.", "Edit the text.") from error

    def _at(self, mark: Any) -> int:
        return int(self._starts[mark.line] + mark.column)

    @property
    def names(self) -> list[str]:
        """The names of the jobs as they are written; a number for one that has none."""
        found = [_child(job, "name") if isinstance(job, MappingNode) else None for job in self._jobs.value]
        return [str(item.value.value) if item is not None else str(number) for number, item in enumerate(found, start=1)]

    def values(self, index: int) -> dict[str, str]:
        """Return what a job itself says: the text of each key, by its path."""
        return dict(self._texts(self._job(index), ""))

    def defaults(self) -> dict[str, str]:
        """Return what `defaults` says for all jobs."""
        found = _child(self._document, "defaults")
        return dict(self._texts(found.value, "")) if found is not None and isinstance(found.value, MappingNode) else {}

    def _job(self, index: int) -> MappingNode:
        if not 0 <= index < len(self._jobs.value) or not isinstance(self._jobs.value[index], MappingNode):
            raise UsageError("There is no such job in the text any more.", "Choose another one.")
        job: MappingNode = self._jobs.value[index]
        return job

    def _texts(self, place: MappingNode, prefix: str) -> Iterator[tuple[str, str]]:
        for item in _items(place):
            key = f"{prefix}{item.key.value}"
            if item.key.value == "<<":
                continue
            if key in SHORT_FORMS and isinstance(item.value, ScalarNode):
                whole = f"[{_scalar_text(item.value)}]" if key == "style" else str(item.value.value)
                yield f"{key}.{SHORT_FORMS[key]}", whole
            elif isinstance(item.value, MappingNode) and item.key.value not in ("layers", "matrix"):
                yield from self._texts(item.value, f"{key}.")
            else:
                yield key, str(item.value.value) if isinstance(item.value, ScalarNode) else _flow_text(item.value)

    def set(self, index: int, field: Field, text: str) -> None:
        """Write a key of a job; an empty text removes it.

        Raises:
            UsageError: The text is no value in YAML, or other lines refer to what it would replace.
        """
        steps = field.key.split(".")
        if text == "":
            # Without its name, an engine is nothing.
            self._remove(self._job(index), ["engine"] if field.key == "engine.name" else steps)
        elif field.key == "engine.name":
            # The keys of an engine are its own, so they go with it.
            self._write(self._job(index), ["engine"], _value_text(field, text))
        else:
            self._write(self._job(index), steps, _value_text(field, text))
        self._read_again()
        for other in INSTEAD.get(field.key, ()) if text else ():
            self._remove(self._job(index), other.split("."))
            self._read_again()

    def _write(self, place: MappingNode, steps: list[str], value: str) -> None:
        step, rest = steps[0], steps[1:]
        found = _child(place, step)
        if found is None:
            for above in reversed(rest):
                value = f"{{{above}: {value}}}"
            self._add(place, step, value)
        elif not rest:
            self._replace(found, value)
        elif isinstance(found.value, MappingNode) and not found.is_alias:
            self._write(found.value, rest, value)
        elif step == "engine" and isinstance(found.value, ScalarNode):
            self._replace(found, f"{{name: {_scalar_text(found.value)}, {rest[0]}: {value}}}")
        elif step == "style" and isinstance(found.value, ScalarNode):
            # The short form gives way to the long one, unless it can stay as short as it was.
            painting = _scalar_text(found.value)
            single = re.fullmatch(r"\[([^\[\]{},]+)\]", value)
            if rest == ["images"]:
                self._replace(found, single[1].strip() if single else f"{{images: {value}}}")
            else:
                self._replace(found, f"{{images: [{painting}], {rest[0]}: {value}}}")
        else:
            self._replace(found, f"{{{rest[0]}: {value}}}")

    def _replace(self, item: _Item, value: str) -> None:
        begin, end = self._span(item)
        if not item.is_alias and item.value.start_mark.line > item.key.end_mark.line:
            begin = self.text.index(":", self._at(item.key.end_mark)) + 1  # a block is replaced by one line
        space = "" if self.text[begin - 1 : begin].isspace() else " "
        self.text = f"{self.text[:begin]}{space}{value}{self.text[end:]}"

    def _span(self, item: _Item) -> tuple[int, int]:
        """Return where a value begins and ends."""
        if item.is_alias:
            found = re.compile(r"[ \t]*:[ \t]*(\*[^\s,\]}]+)").match(self.text, self._at(item.key.end_mark))
            assert found is not None
            return found.span(1)
        begin, end = self._at(item.value.start_mark), self._end(item.value)
        if begin == end:  # nothing stands there
            begin = end = self.text.index(":", self._at(item.key.end_mark)) + 1
        return begin, end

    def _end(self, node: Any) -> int:
        """Return where a value ends. That of a block ends with its last part, before the comments below it."""
        if isinstance(node, ScalarNode) or node.flow_style or not node.value:
            end = self._at(node.end_mark)
            return len(self.text[:end].rstrip()) if isinstance(node, ScalarNode) and node.style in ("|", ">") else end
        last = node.value[-1]
        return self._span(_Item(*last))[1] if isinstance(node, MappingNode) else self._end(last)

    def _line_end(self, place: int) -> int:
        """Return the end of a line, behind a comment."""
        found = _BREAK.search(self.text, place)
        return len(self.text) if found is None else found.start()

    def _add(self, place: MappingNode, key: str, value: str) -> None:
        if place.flow_style:
            end = self._at(place.end_mark) - 1
            before = self.text[:end].rstrip()
            comma = ", " if place.value and not before.endswith(",") else " " if place.value else ""
            self.text = f"{before}{comma}{key}: {value}{self.text[end:]}"
            return
        first = _items(place)[0].key
        end = self._line_end(self._end(place))
        self.text = f"{self.text[:end]}\n{' ' * first.start_mark.column}{key}: {value}{self.text[end:]}"

    def _remove(self, place: MappingNode, steps: list[str]) -> None:
        found = _child(place, steps[0])
        if found is None:
            return
        if len(steps) > 1:
            inner = found.value
            if not isinstance(inner, MappingNode) or found.is_alias:
                return
            if len(inner.value) > 1 or _child(inner, steps[1]) is None:
                self._remove(inner, steps[1:])
                return
        if len(place.value) == 1:
            raise UsageError(f"{steps[0]} is the only key here.", "Change it, or remove the whole job.")
        self._cut(place, found)

    def _cut(self, place: MappingNode, item: _Item) -> None:
        """Take a key out with its value: its lines, or in a flow mapping its part of the line."""
        begin, end = self._at(item.key.start_mark), self._span(item)[1]
        if place.flow_style:
            after = re.compile(r"\s*,\s*").match(self.text, end)
            if after is not None:
                end = after.end()
            else:
                begin = self.text.rindex(",", 0, begin)
        else:
            end = min(self._line_end(end) + 1, len(self.text))
            line = self._starts[item.key.start_mark.line]
            if self.text[line:begin].isspace() or line == begin:
                begin = line
            else:  # it stands beside the dash of its job: the next key moves there
                following = _items(place)[1].key
                end = self._at(following.start_mark)
        self.text = self.text[:begin] + self.text[end:]

    def add(self, job: Mapping[str, Any]) -> int:
        """Append a job, and return its index."""
        count = len(self._jobs.value)
        lines = [f"{key}: {_plain_text(value)}" for key, value in job.items()]
        if not count or self._jobs.flow_style:
            if count:
                raise UsageError("The list of jobs stands in brackets.", "Write one job a line, each with a dash.")
            found = _child(self._document, "jobs")
            assert found is not None
            begin, end = self._at(found.key.end_mark), self._line_end(self._span(found)[1])
            column, self.text = 2, f"{self.text[:begin]}:{self.text[end:]}"
            place = begin + 1
        else:
            column = self._jobs.start_mark.column
            place = self._line_end(self._end(self._jobs.value[-1]))
        dash = "\n" * (2 if count else 1) + " " * column + "- "
        self.text = self.text[:place] + dash + f"\n{' ' * (column + 2)}".join(lines) + (self.text[place:] or "\n")
        self._read()
        return count

    def remove(self, index: int) -> None:
        """Remove a job with the lines that it stands on.

        Raises:
            UsageError: The jobs stand in one line, this is the last one, or others refer to it.
        """
        job = self._job(index)
        if self._jobs.flow_style or len(self._jobs.value) == 1:
            raise UsageError("This job cannot be removed here.", "Edit the text.")
        line = job.start_mark.line
        end = min(self._line_end(self._end(job)) + 1, len(self.text))
        self.text = self.text[: self._starts[line]] + self.text[end:]
        self._read_again()


def _count(document: Any) -> None:
    """Check that a document can be walked: aliases can repeat values exponentially, and within themselves.

    Raises:
        UsageError: It has too many values once its aliases are filled in, or too many levels.
    """
    waiting, values = [(document, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        values += 1
        if values > MOST_VALUES or depth > DEEPEST:
            raise UsageError("The text has too many values or levels to be edited here.", "See the problems below it.")
        if isinstance(node, MappingNode):
            waiting += [(child, depth + 1) for pair in node.value for child in pair]
        elif isinstance(node, SequenceNode):
            waiting += [(child, depth + 1) for child in node.value]


def _items(place: MappingNode) -> list[_Item]:
    return [_Item(key, value) for key, value in place.value if isinstance(key, ScalarNode)]


def _child(place: MappingNode, name: str) -> _Item | None:
    return next((item for item in _items(place) if item.key.value == name), None)


def _scalar_text(node: ScalarNode) -> str:
    return str(node.value) if not node.style else json.dumps(node.value, ensure_ascii=False)


def _flow_text(node: Any) -> str:
    """Return a value in one line."""
    if isinstance(node, ScalarNode):
        return _scalar_text(node)
    if isinstance(node, SequenceNode):
        return f"[{', '.join(map(_flow_text, node.value))}]"
    return "{" + ", ".join(f"{_flow_text(key)}: {_flow_text(value)}" for key, value in node.value) + "}"


def _value_text(field: Field, text: str) -> str:
    """Return a value as it is to be written, in quotes where YAML would take it for something else.

    Raises:
        UsageError: It is no value in YAML.
    """
    may_be_number = field.kind not in ("choice", "text") or (field.allowed and re.fullmatch(r"\d+", text))
    if not may_be_number:
        return _plain_text(text)
    try:
        value = yaml.load(f"[{text}]" if field.kind != "yaml" else text, Loader=_Loader)  # a safe loader
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{field.key}: {text} is no value in YAML.", "Quote texts that have brackets or colons.") from error
    if field.kind == "yaml" and isinstance(value, str):
        return f"[{_plain_text(value)}]"
    return " ".join(text.split()) if isinstance(value, (list, dict)) else _plain_text(text)


def _plain_text(value: Any) -> str:
    """Return a value in one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
