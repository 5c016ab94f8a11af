"""The load of the machine, beside processes that really compute."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from nstpipe.system.load import Load, LoadMeter, load_now


def test_what_this_process_and_its_children_compute_is_no_load() -> None:
    """Whatever else the machine does, the load is not larger with them than the machine has cores, and they are not in it."""
    meter = LoadMeter()
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        pass
    before = meter.read()
    child.kill()
    child.wait()
    after = meter.read()
    assert 0 <= before.busy_cores <= before.cores - 0.2, "this process alone has used some of a core"
    assert after.busy_cores <= after.cores - 0.2, "and what it has used is not forgotten when the child has ended"
    assert load_now(0.05).cores == before.cores


@pytest.mark.parametrize(
    ("busy_cores", "is_busy", "slowdown"), [(0.0, False, 1.0), (0.2, False, 1 / 0.9), (1.0, True, 2.0), (2.0, True, 2.0)]
)
def test_a_machine_is_busy_if_others_take_a_share_of_it(busy_cores: float, is_busy: bool, slowdown: float) -> None:
    load = Load(2, busy_cores)
    assert (load.is_busy, load.slowdown) == (is_busy, pytest.approx(slowdown))
    assert load.is_alike(load)
    assert load.is_alike(Load(2)) == (not is_busy)
