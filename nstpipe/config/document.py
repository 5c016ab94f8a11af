"""Parses YAML into values that know their place in the file, and fills in environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import yaml

from nstpipe.errors import Problem

MOST_CHARACTERS = 1_000_000
"""The longest text that is read. No pipeline is longer."""

MOST_VALUES = 200_000
"""The most keys and values of a document, with its aliases filled in. Nested aliases can repeat values exponentially."""

LONGEST_NUMBER = 1_000
"""The most bits of a whole number. Python refuses to print much longer ones."""

DEEPEST = 50
"""The most levels of nesting. The format needs 6."""


class Unread:
    """Stands for a value whose problem has been reported. Every check rejects it, and none reports it again."""


UNREAD: Final = Unread()


@dataclass(frozen=True)
class Located:
    """A value and its place.

    Attributes:
        value: A scalar, a list of Located, a dict of Located by key, or `UNREAD`.
        key: The path of the key as written, such as ``defaults.size``.
        line: The number of the line, from 1; None for a value from the command line.
    """

    value: Any
    key: str
    line: int | None

    @classmethod
    def of(cls, value: Any, key: str = "") -> Located:
        """Wrap a Python value. NumPy's numbers become Python's own."""
        if isinstance(value, dict):
            return cls({name: cls.of(child, below(key, name)) for name, child in value.items()}, key, None)
        if isinstance(value, list):
            return cls([cls.of(child, below(key, index)) for index, child in enumerate(value)], key, None)
        return cls(value.item() if hasattr(value, "dtype") else value, key, None)

    def plain(self) -> Any:
        """Return the value without places."""
        if isinstance(self.value, dict):
            return {name: child.plain() for name, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def children(self) -> Iterator[tuple[str | int, Located]]:
        """Yield the direct children, each with its name or index."""
        if isinstance(self.value, dict):
            yield from self.value.items()
        elif isinstance(self.value, list):
            yield from enumerate(self.value)

    def child(self, step: str | int) -> Located | None:
        """Return the direct child with a name or index; None if there is none."""
        if isinstance(self.value, dict):
            return self.value.get(step)
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            child: Located = self.value[step]
            return child
        return None


def below(key: str, child: str | int) -> str:
    """Return a key's path with one more step, such as ``jobs[0]`` or ``jobs[0].size``."""
    if isinstance(child, int):
        return f"{key}[{child}]"
    return f"{key}.{child}" if key else child


class _Resolver(yaml.resolver.Resolver):
    """Knows the plain scalars of YAML 1.2.

    What only YAML 1.1 takes for something else is text, as it was written: ``yes`` and ``off``, dates, the minutes and seconds
    of ``10:40``, and digits behind a zero, such as the folder ``0123``. 1e-3 is a number, as in Python.
    """


_Resolver.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in (
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", "[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", "~|null|Null|NULL|", ("~", "n", "N", "")),
    ("merge", "<<", "<"),
):
    _Resolver.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), list(_first))


class _Loader(_Resolver, yaml.SafeLoader):
    """PyYAML's own parser. Its errors know the text around them."""


class _QuickLoader(_Resolver, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """That of libyaml, which takes a tenth of the time."""


def _quick_node(text: str) -> yaml.Node | None:
    """Compose a text with libyaml; None if that fails, or if it has tabs, which libyaml allows in more places."""
    if "\t" in text:
        return None
    try:
        return yaml.compose(text, Loader=_QuickLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


class DocumentError(Exception):
    """The text cannot be used as it is. `problems` says why; `rest` holds what could be read, or None."""

    def __init__(self, *problems: Problem, rest: Located | None = None) -> None:
        super().__init__(*problems)
        self.problems = problems
        self.rest = rest


def parse(text: str, environment: Mapping[str, str] = os.environ, *, key: str = "", first_line: int | None = 1) -> Located:
    """Parse one YAML document.

    Keys that start with ``x-`` are the user's own and are left out.

    Args:
        text: The document.
        environment: The environment variables that replace ``${VAR}``.
        key: The path of the key whose value the document is, if it comes from the command line.
        first_line: The number of the text's first line; None if it does not come from a file.

    Raises:
        DocumentError: The text has problems; the error holds all of them.
    """
    if len(text) > MOST_CHARACTERS:
        raise DocumentError(
            Problem(key, f"has {len(text)} characters, at most {MOST_CHARACTERS} are read; is this the right file?")
        )
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + first_line if first_line is not None else None
        column = error.position - text.rfind("\n", 0, error.position)
        message = (
            f"has a character that YAML does not allow, U+{error.character:04X}, in column {column}; is this the right file?"
        )
        raise DocumentError(Problem(key, message, line)) from error
    try:
        node = _quick_node(text) or loader.get_single_node()
        if node is None:
            raise DocumentError(Problem(key, "is empty; see `nstpipe schema` or the README for what goes in", first_line))
        builder = _Builder(loader, environment, first_line)
        located = builder.build(node, key, depth=0)
    except yaml.MarkedYAMLError as error:
        message, mark = _syntax_fault(error)
        line = mark.line + first_line if mark is not None and first_line is not None else first_line
        raise DocumentError(Problem(key, message, line)) from error
    except RecursionError as error:
        raise DocumentError(Problem(key, f"is nested more than {DEEPEST} levels deep", first_line)) from error
    finally:
        loader.dispose()
    if builder.problems:
        raise DocumentError(*builder.problems, rest=located)
    return located


_QUOTES = "put quotes around a text that has : # , { } [ or ] in it"

_SYNTAX: tuple[tuple[str, bool, str], ...] = (
    ("could not find expected ':'", True, "the line has no key and value; write `key: value`, with a space after the colon"),
    ("quoted scalar.*(unexpected end|document separator)", True, "a quote is opened here and never closed; close it"),
    ("escape", False, "in double quotes, \\ starts an escape; use / in paths, or use single quotes"),
    (r"flow.*\$\{$", False, "within { } or [ ], put quotes around ${VAR}"),
    ("flow", True, "this { or [ has no matching } or ], or a comma is missing between its entries; or " + _QUOTES),
    (r"mapping values.*: \S", False, "the line has a second colon; " + _QUOTES),
    (
        "mapping values",
        False,
        "the line does not fit the one before; indent all keys of a mapping by the same amount, with a space after each colon",
    ),
    ("found '<scalar>'", False, "there is text after the closing quote; write '' for a ' in single quotes"),
    (r"found '[]}]'", False, "a } or ] has no matching { or [; remove it, or " + _QUOTES),
    (
        "block (mapping|collection|end|mapping start)|document start",
        False,
        "the indentation differs from the lines that this line belongs to; indent all keys of a mapping, "
        "and all - of a list, by the same amount",
    ),
    ("sequence entries", False, "a list starts on a new line; put the - on the next line"),
    ("alias", False, "a * refers to a value that an & has named before; put quotes around a text that starts with *"),
    ("anchor", False, "an & gives a value a name of its own; put quotes around a text that starts with &"),
    ("tag", False, "an ! starts a type, and this one is unknown; put quotes around a text that starts with !"),
    ("cannot start|mapping keys", False, "a text cannot start with this character; put quotes around it"),
    (
        "block scalar",
        False,
        "after | or > the text starts on the next line; put quotes around a text that starts with one of them",
    ),
    ("single document", False, "a second document starts here, with ---; give each pipeline its own file"),
)
"""For each kind of syntax error: a pattern that matches PyYAML's message and the line up to the error; whether the error is
where the parser began, rather than where it gave up; and the message for people."""


def _syntax_fault(error: yaml.MarkedYAMLError) -> tuple[str, yaml.Mark | None]:
    """Explain a syntax error without the parser's terms, and return its place."""
    mark = error.problem_mark or error.context_mark
    read, beyond = "", ""
    if mark is not None and mark.buffer:
        read, beyond = mark.buffer[: mark.pointer].rpartition("\n")[2], mark.buffer[mark.pointer : mark.pointer + 1]
    said = f"{error.context or ''} {error.problem or ''}"
    if "'\\t'" in said or beyond == "\t":
        place = f" in column {mark.column + 1}" if mark is not None else ""
        return f"found a tab{place}; YAML is indented with spaces only: replace the tab with spaces", mark
    for pattern, began_there, sentence in _SYNTAX:
        if re.search(pattern, f"{said} {read}{beyond.strip()}"):
            return f"is not YAML: {sentence}", error.context_mark or mark if began_there else mark
    return f"is not YAML: {said.strip()}; look at the line, and at the one before it", mark


_VARIABLE = re.compile(
    r"\$\$|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<kind>[-?])(?P<rest>(?:(?!\$\{)[^}])*))?\}|(?P<stray>\$\{)"
)

_UNUSABLE = re.compile("[\0\ud800-\udfff]")
"""Characters that escapes can write, but that no path and no UTF-8 text can hold."""


@dataclass
class _Builder:
    loader: _Loader
    environment: Mapping[str, str]
    first_line: int | None
    problems: list[Problem] = field(default_factory=list)
    values: int = 0

    def line(self, node: yaml.Node) -> int | None:
        return node.start_mark.line + self.first_line if self.first_line is not None else None

    def count(self, node: yaml.Node, key: str, depth: int) -> None:
        self.values += 1
        if self.values > MOST_VALUES:
            raise DocumentError(
                Problem(key, f"has more than {MOST_VALUES} values once its aliases are filled in", self.line(node))
            )
        if depth > DEEPEST:
            raise DocumentError(Problem(key, f"is nested more than {DEEPEST} levels deep", self.line(node)))

    def build(self, node: yaml.Node, key: str, depth: int) -> Located:
        self.count(node, key, depth)
        if isinstance(node, yaml.MappingNode):
            return Located(self.mapping(node, key, depth), key, self.line(node))
        if isinstance(node, yaml.SequenceNode):
            children = [self.build(child, below(key, index), depth + 1) for index, child in enumerate(node.value)]
            return Located(children, key, self.line(node))
        return Located(self.scalar(node, key), key, self.line(node))

    def mapping(self, node: yaml.MappingNode, key: str, depth: int) -> dict[str, Located]:
        own: dict[str, Located] = {}
        merged: dict[str, Located] = {}
        for name_node, value_node in node.value:
            self.count(name_node, key, depth)
            if name_node.tag == "tag:yaml.org,2002:merge":
                for part in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    self.count(part, key, depth)
                    if not isinstance(part, yaml.MappingNode):
                        self.problems.append(Problem(below(key, "<<"), "should be an alias of a mapping", self.line(part)))
                        continue
                    for name, child in self.mapping(part, key, depth + 1).items():
                        merged.setdefault(name, child)
                continue
            if not isinstance(name_node, yaml.ScalarNode):
                self.problems.append(Problem(key, "has a key that is not text", self.line(name_node)))
                continue
            name = str(name_node.value)
            if _UNUSABLE.search(name):
                self.problems.append(
                    Problem(key, f"has a key with a character that is not text: {name!r}", self.line(name_node))
                )
                continue
            if name.startswith("x-"):
                continue
            child_key = below(key, name)
            if name in own:
                first = own[name].line
                said = f"is given twice, first on line {first}" if first is not None else "is given twice"
                self.problems.append(Problem(child_key, f"{said}; keep one", self.line(name_node)))
                continue
            # The key's own line is what a reader looks for; a block below it starts on a later line.
            own[name] = replace(self.build(value_node, child_key, depth + 1), line=self.line(name_node))
        return {**merged, **own}

    def scalar(self, node: yaml.Node, key: str) -> Any:
        told = len(self.problems)
        text = self.filled(str(node.value), key, node)
        if len(self.problems) > told:
            return UNREAD
        self.values += len(text) // 100  # a long text that aliases repeat costs as much as many short ones
        if _UNUSABLE.search(text):
            self.problems.append(
                Problem(key, "has a character that is not text, such as \\0 or half of a surrogate pair", self.line(node))
            )
            return UNREAD
        tag = node.tag
        if text != node.value and not node.style:  # type: ignore[attr-defined]
            # Unquoted, so ${SIZE} may become a number; in quotes it stays text.
            tag = self.loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        # Always a node of its own: to the loader one that failed before is "recursive" when an alias repeats it.
        node = yaml.ScalarNode(tag, text, node.start_mark, node.end_mark)
        try:
            value = self.loader.construct_object(node)  # type: ignore[no-untyped-call]
            usable = not isinstance(value, int) or value.bit_length() <= LONGEST_NUMBER
        except (ValueError, ArithmeticError, LookupError, AttributeError):  # what PyYAML lets through, such as !!bool maybe
            usable = False
        if not usable:
            shown = text if len(text) <= 60 else text[:57] + "..."
            self.problems.append(
                Problem(key, f"found {shown!r}, which is not a valid date, number, true or false", self.line(node))
            )
            return UNREAD
        return value

    def filled(self, text: str, key: str, node: yaml.Node) -> str:
        def value_of(match: re.Match[str]) -> str:
            if match[0] == "$$":
                return "$"
            line = self.line(node)
            if match["stray"]:
                form = "${VAR}, ${VAR:-default} or ${VAR:?message}"
                self.problems.append(Problem(key, f"has a ${{ that is not of the form {form}; write $$ for a plain $", line))
                return match[0]
            name, kind, rest = match["name"], match["kind"], match["rest"]
            value = self.environment.get(name)
            if kind == "-":
                return value or rest.replace("$$", "$")
            if kind == "?" and not value:
                self.problems.append(Problem(key, f"needs the environment variable {name}: {rest or 'it is not set'}", line))
                return match[0]
            if value is None:
                message = f"needs the environment variable {name}, which is not set; set it, or write ${{{name}:-default}}"
                self.problems.append(Problem(key, message, line))
                return match[0]
            return value

        return _VARIABLE.sub(value_of, text)
