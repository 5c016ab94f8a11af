"""nstpipe repaints videos and folders of pictures in the style of a painting.

import nstpipe
result = nstpipe.run("pipeline.yaml")
picture = nstpipe.stylize(content, style, size=512)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nstpipe.version import __version__

if TYPE_CHECKING:
    from nstpipe.api import run, stylize
    from nstpipe.running.outcome import RunResult

__all__ = ["RunResult", "__version__", "run", "stylize"]


def __getattr__(name: str) -> Any:
    # Imported when first used: `import nstpipe.config` must not wait for torch.
    if name == "RunResult":
        from nstpipe.running.outcome import RunResult

        return RunResult
    if name in __all__:
        from nstpipe import api

        return getattr(api, name)
    raise AttributeError(f"module 'nstpipe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
