"""Worked examples of the documentation, loaded so that tests can run them."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

REPOSITORY = Path(__file__).parent.parent


def example_of(document: str) -> ModuleType:
    """The first Python block of a document below docs/, as a module."""
    path = REPOSITORY / "docs" / document
    block = re.search(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None, f"{document} has no example"
    module = ModuleType(path.stem.replace("-", "_"))
    exec(compile(block[1], str(path), "exec"), module.__dict__)
    return module


def example(page: str, name: str) -> Any:
    """What the first Python block of a page below docs/extending/ calls by a name."""
    return getattr(example_of(f"extending/{page}"), name)
