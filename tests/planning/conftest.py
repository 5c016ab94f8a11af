"""Real pictures, the same ones that the tests of motion work with."""

from __future__ import annotations

from tests.motion.conftest import station, street

__all__ = ["station", "street"]
