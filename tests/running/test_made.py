"""The packed list of the outputs that a run has made."""

from __future__ import annotations

from pathlib import Path

import pytest

from nstpipe.events import OutputDone
from nstpipe.running import made
from nstpipe.running.made import Made


def done(number: int) -> OutputDone:
    name = f"out/{number} \udcff é.png"  # a name need not be UTF-8
    return OutputDone(
        job="job", path=str(Path("in") / name), output=name, frames=1, encode_seconds=0.1, fingerprint="f", sha256="5", at=2.5
    )


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_what_comes_out_is_what_went_in(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "PACKED_TOGETHER", 3)
    outputs = [done(number) for number in range(count)]
    packed = Made()
    for output in outputs:
        packed.add(output)
    assert (list(packed), len(packed), packed == tuple(outputs)) == (outputs, count, True)
    assert packed[:2] == tuple(outputs[:2])
    assert not count or packed[-1] == outputs[-1]


def test_an_output_that_is_withdrawn_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "PACKED_TOGETHER", 2)
    packed = Made()
    for number in range(5):
        packed.add(done(number))
    packed.withdraw(done(1))
    packed.withdraw(done(4))
    assert (list(packed), len(packed)) == ([done(0), done(2), done(3)], 3)
