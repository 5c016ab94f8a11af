"""How urgent a thread is."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from nstpipe.system.threads import NICENESS, lower_priority


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of single threads")
def test_what_a_less_urgent_thread_starts_is_less_urgent_and_nothing_else_is() -> None:
    def niceness_of_a_child() -> int:
        return int(subprocess.run(["nice"], capture_output=True, check=True).stdout)

    own = os.nice(0)
    with ThreadPoolExecutor(1, initializer=lower_priority) as pool:
        assert pool.submit(niceness_of_a_child).result() == min(own + NICENESS, 19)
    assert niceness_of_a_child() == own
