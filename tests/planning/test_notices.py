"""What results will not hold is said once a job, before the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from nstpipe import api
from nstpipe.planning import notices
from tests.making import make_picture, write_pipeline
from tests.media.making_contents import google_film, stereo_pair, written


def test_pictures_that_lose_the_same_are_named_together_and_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_picture(tmp_path / "in" / "plain.png")
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        written(tmp_path / "in" / name, google_film)
    written(tmp_path / "in" / "stereo.jpg", stereo_pair)
    pipeline = write_pipeline(tmp_path, {"name": "street", "input": "in", "output": "out"})
    film, second = api.validate(pipeline).notices
    assert film == (
        "street: a.jpg, b.jpg and 1 more: the film is dropped: a painted picture does not move. "
        "To paint it, save it as a video, and give it to a job of its own."
    )
    assert second.startswith("street: stereo.jpg: the second picture is dropped: a result holds one picture. To paint it too,")
    assert api.plan(pipeline).notices == (film, second)

    def look(*_: object, **__: object) -> None:
        raise AssertionError("the journal knows what these pictures hold")

    monkeypatch.setattr(notices, "omissions_of_picture", look)
    assert api.plan(pipeline).notices == (film, second)
