"""Worked examples of the documentation, loaded so that tests can run them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

EXTENDING = Path(__file__).parent.parent / "docs" / "extending"


def example(page: str, name: str) -> Any:
    """What the first Python example of a page calls by a name."""
    text = (EXTENDING / page).read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None, page
    names: dict[str, Any] = {"__name__": page}
    exec(compile(found[1], page, "exec"), names)
    return names[name]
