"""What of an engine decides a result, and what a plan says about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nstpipe
from nstpipe import api
from nstpipe.cli import exit_code
from nstpipe.config.engines import ENGINE_TRAITS
from nstpipe.errors import ConfigError, MachineError
from nstpipe.events import Event, ItemFailed
from nstpipe.system.files import sha256_of
from tests.making import make_picture, write_pipeline
from tests.style.networks.making import own_file


def job(**changed: Any) -> dict[str, Any]:
    return {"name": "one", "input": "in.png", "output": "out.png", **changed}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_picture(tmp_path / "in.png")
    own_file(tmp_path / "a.safetensors", "adain")
    return tmp_path


def planned(folder: Path, **changed: Any) -> tuple[str, str]:
    """The fingerprint of the only output, and why it would be made."""
    [output] = api.plan(write_pipeline(folder, job(**changed), workers=1)).outputs
    return output.fingerprint, output.reason


def test_the_optimizers_fingerprints_are_as_they_were(folder: Path) -> None:
    """Whichever way it is written, no result of an older version is made again."""
    plain = planned(folder)
    [output] = api.plan(write_pipeline(folder, job())).outputs
    assert "engine" not in output.fingerprint_inputs["settings"]
    assert {planned(folder, engine=engine) for engine in ("optimizer", {"name": "optimizer"})} == {plain}


def test_what_a_network_reads_decides_its_result_and_nothing_else_does(folder: Path) -> None:
    network = {"name": "adain", "weights": "a.safetensors"}
    assert nstpipe.run(write_pipeline(folder, job(engine=network), workers=1)).exit_code == 0
    assert "<dt>engine</dt><dd>adain, a.safetensors</dd>" in (folder / ".nstpipe" / "report.html").read_text()
    own, reason = planned(folder, engine=network)
    assert reason == ""
    unread = {"optimizer": {"first": 9, "next": 9}, "init": "noise", "scales": 2, "total_variation": 0.5, "pooling": "average"}
    style = {"images": ["style.png"], "layers": {"relu1_1": 1}, "strength": 2.0}
    assert planned(folder, engine=network, style=style, **unread) == (own, "")
    for changed, said in [
        ({"engine": {**network, "alpha": 0.5}}, "engine.alpha changed from 1.0 to 0.5"),
        ({"engine": network, "style": {"images": ["style.png"], "scale": 2.0}}, "style.scale changed from 1.0 to 2.0"),
        ({"engine": "optimizer"}, "engine changed from adain to optimizer"),
    ]:
        assert planned(folder, **changed)[1] == said
    assert planned(folder, engine={**network, "refine": 1})[0] != own
    own_file(folder / "other.safetensors", "adain", seed=7).rename(folder / "a.safetensors")
    assert planned(folder, engine=network)[1] == "engine.weights changed"


def test_adain_needs_no_weights_of_the_users(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its decoder comes with nstpipe. Where it is, decides nothing; what it holds, does. A damaged one is refused."""
    fingerprint, _ = planned(folder, engine="adain")
    assert planned(folder, engine={"name": "adain", "weights": "bundled"})[0] == fingerprint
    bundled = ENGINE_TRAITS["adain"].bundled
    assert bundled is not None
    assert sha256_of(bundled.path) == bundled.sha256
    (folder / "copy.safetensors").write_bytes(bundled.path.read_bytes())
    assert planned(folder, engine={"name": "adain", "weights": "copy.safetensors"})[0] == fingerprint
    assert nstpipe.run(write_pipeline(folder, job(engine="adain"), workers=1)).exit_code == 0
    damaged = replace(bundled, path=own_file(folder / "damaged.safetensors", "adain"))
    monkeypatch.setitem(ENGINE_TRAITS, "adain", replace(ENGINE_TRAITS["adain"], bundled=damaged))
    with pytest.raises(MachineError, match=r"engine\.weights: bundled: .*damaged\.safetensors has sha256 .*; expected sha256"):
        nstpipe.run(write_pipeline(folder, job(engine="adain")))


def test_a_network_without_its_file_ends_before_the_work(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"engine\.weights: is required, but missing: a file of `nstpipe train iecontrast`"):
        planned(folder, engine="iecontrast")
    path = write_pipeline(folder, job(engine={"name": "adain", "weights": "none.safetensors"}))
    for command in (api.plan, nstpipe.run):
        with pytest.raises(MachineError, match=r"engine\.weights: .*none\.safetensors cannot be read: No such file"):
            command(path)
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if "none.safetensors" in text)
    for written in ("none.safetensors", "style.png"):
        path.write_text(path.read_text().replace("none.safetensors", written))
        assert exit_code(["validate", str(path)]) == 69
        said = " ".join(capsys.readouterr().out.split())
        assert f"{path}:{line}: jobs[0].engine.weights: {folder / written} " in said
        assert "nstpipe train adain" in said
        assert "weights_only" not in said, "torch's own message recommends to load it unsafely"


@pytest.mark.parametrize("content", [None, b"no weights"], ids=["missing", "foreign"])
def test_a_network_that_cannot_be_loaded_costs_its_own_job_only(folder: Path, content: bytes | None) -> None:
    if content is not None:
        (folder / "none.safetensors").write_bytes(content)
    other = job(name="two", output="two.png", engine={"name": "adain", "weights": "a.safetensors"})
    path = write_pipeline(folder, job(engine={"name": "adain", "weights": "none.safetensors"}), other, workers=1)
    events: list[Event] = []
    result = nstpipe.run(path, on_event=events.append)
    assert result.exit_code == 2
    [failure] = [event for event in events if isinstance(event, ItemFailed)]
    assert failure.job == "one"
    assert f"engine.weights: {folder / 'none.safetensors'} " in failure.reason
    assert (folder / "two.png").is_file()
    assert not (folder / "out.png").exists()
    if content is None:
        assert [failure.job for failure in api.plan(path).failures] == ["one"], "a plan opens the files, and loads none"


@pytest.mark.parametrize(("engine", "smallest"), [("adain", 9), ("iecontrast", 17), ("refined", 9)])
def test_a_plan_knows_which_frames_are_too_small(folder: Path, engine: str, smallest: int) -> None:
    """The layers of the optimizer do not count, unless it follows."""
    chosen = {"name": "adain" if engine == "refined" else engine, "weights": "a.safetensors"}
    chosen |= {"refine": 1} if engine == "refined" else {}
    for side in (smallest - 1, smallest):
        make_picture(folder / "in.png", 1, (64, side))
        planned = api.plan(write_pipeline(folder, job(engine=chosen, size=64, content={"layers": {"relu5_1": 1}})))
        reasons = [failure.reason for failure in planned.failures]
        if side < smallest:
            assert f"64x{side} pixels when stylized; the network needs {smallest} on" in " ".join(reasons)
        elif engine == "refined":
            assert "64x9 pixels when stylized; the layers asked for need 16" in " ".join(reasons)
        else:
            assert reasons == []


def test_doctor_and_preview_know_engines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_pipeline(folder, job(engine={"name": "adain", "weights": "a.safetensors"}))
    exit_code(["doctor", str(path)])
    said = capsys.readouterr().out
    assert "engine adain" in said
    assert str(folder / "a.safetensors") in said
    grid = f"engine=optimizer,{{name: adain, weights: {folder / 'a.safetensors'}}}"
    sheet = folder / "sheet.png"
    assert exit_code(["preview", str(path), "--grid", grid, "--iterations", "1", "-o", str(sheet)]) == 0
    assert "2 pictures" in capsys.readouterr().out
    assert exit_code(["preview", str(path), "--grid", "alpha=0.2,1", "-o", str(sheet)]) == 0
