"""Examples of the documents, as modules that a test can use."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

REPOSITORY = Path(__file__).parent.parent


def example_of(document: str) -> ModuleType:
    """The first Python block of a document whose first line names a file, such as ``# nstpipe/running/thread_pool.py``."""
    path = REPOSITORY / "docs" / document
    block = re.search(r"```python\n# (\S+)\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None, f"{document} has no example"
    module = ModuleType(Path(block[1]).stem)
    exec(compile(block[2], str(path), "exec"), module.__dict__)
    return module
