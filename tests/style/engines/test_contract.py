"""What every engine must do: those of the table, and the one that docs/extending/engine.md adds to them."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import nstpipe
from nstpipe import api
from nstpipe.config import load_pipeline
from nstpipe.config.engines import ENGINE_TRAITS, ENGINES_WITH_KEYS, EngineTraits, PlainEngine
from nstpipe.config.engines import Engine as AnyEngine
from nstpipe.events import Event, FrameDone, FrameProgressed
from nstpipe.media.frame import resized
from nstpipe.media.tensors import tensor_of
from nstpipe.running import trial
from nstpipe.style.engine import Engine, Iterate, MinimizeOptions, Stylizer
from nstpipe.style.engines import ENGINES, EngineFactory
from nstpipe.style.objective import TemporalTarget
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture
from tests.conftest import REPOSITORY
from tests.making import make_picture, make_video, write_pipeline
from tests.style.networks.making import own_file
from tests.style.test_engine import SETTINGS

EXAMPLE = "color-match"
"""The engine of the documentation, by the name that it gives its row."""

OPTIONS = MinimizeOptions(max_iterations=3)


def documented_engine() -> EngineFactory:
    """The engine of the documentation, from its text, as a module of the name that it is to be saved under."""
    text = (REPOSITORY / "docs" / "extending" / "engine.md").read_text(encoding="utf-8")
    [code] = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    [(name, class_name)] = re.findall(rf'^    "({EXAMPLE})": (\w+),$', text, re.MULTILINE)
    assert name not in ENGINES, "the example is a newcomer"
    module = ModuleType("nstpipe.style.engines.color_match")
    sys.modules[module.__name__] = module
    exec(compile(code, module.__name__, "exec"), vars(module))
    factory: EngineFactory = getattr(module, class_name)
    return factory


@pytest.fixture(params=[*ENGINES, EXAMPLE])
def engine_name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An engine's name. The one of the documentation has its two rows, as the page says."""
    name: str = request.param
    if name == EXAMPLE:
        monkeypatch.setitem(ENGINES, name, documented_engine())
        monkeypatch.setitem(ENGINE_TRAITS, name, EngineTraits(iterates=False))
    return name


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of random weights for each engine that needs one."""
    folder = tmp_path_factory.mktemp("weights")
    return {name: own_file(folder / f"{name}.safetensors", name) for name in ENGINES_WITH_KEYS}


@pytest.fixture
def engine(engine_name: str, weights: dict[str, Path]) -> str | dict[str, str]:
    """The engine as a pipeline.yaml names it."""
    return {"name": engine_name, "weights": str(weights[engine_name])} if engine_name in weights else engine_name


@pytest.fixture
def factory(engine_name: str, weights: dict[str, Path]) -> EngineFactory:
    """Makes the engine, with its own settings beside those that it is given."""
    own: AnyEngine = PlainEngine(name=engine_name)
    if engine_name in weights:
        own = ENGINES_WITH_KEYS[engine_name](name=engine_name, weights=weights[engine_name])

    def make(settings: EngineSettings, styles: Sequence[StylePicture], regions: Sequence[RegionPaint] = ()) -> Engine:
        return ENGINES[engine_name](replace(settings, engine=own), styles, regions)

    return make


@pytest.fixture(scope="module")
def content(samples: Path) -> Tensor:
    with Image.open(samples / "streetview" / "street_03.jpg") as image:
        return tensor_of(resized(np.asarray(image), (64, 48)))


@pytest.fixture(scope="module")
def style(samples: Path) -> StylePicture:
    with Image.open(samples / "styles" / "van_gogh_starry_night.jpg") as image:
        return StylePicture(np.asarray(image.convert("RGB").resize((80, 64))), 1.0)


def stylizer_of(engine: Engine, content: Tensor) -> Stylizer:
    return engine.stylizer(content if engine.needs_first_frame else None)


def painted(stylizer: Stylizer, content: Tensor, options: MinimizeOptions = OPTIONS) -> list[Iterate]:
    """All iterates, each with a copy of its picture."""
    seen = stylizer.seen(content)
    start = stylizer.first_start(seen, "matched", 0)
    return [replace(iterate, image=iterate.image.cpu().clone()) for iterate in stylizer.stylize(seen, start, options)]


def is_picture(image: Tensor, content: Tensor) -> bool:
    in_range = bool((image >= 0).all()) and bool((image <= 1).all())
    return image.shape == content.shape and image.dtype == torch.float32 and in_range


@pytest.mark.parametrize("color", ["style", "content", "matched"])
def test_the_last_iterate_is_a_picture_of_the_frames_size(
    factory: EngineFactory, content: Tensor, style: StylePicture, color: str
) -> None:
    stylizer = stylizer_of(factory(replace(SETTINGS, color=color), [style], []), content)
    image = painted(stylizer, content)[-1].image
    assert is_picture(image, content)
    assert is_picture(stylizer.shown(image, content), content)
    assert (stylizer.shown(image, content) - content).abs().mean() > 0.01, "something is painted"


def test_both_tables_have_the_same_engines() -> None:
    assert list(ENGINE_TRAITS) == list(ENGINES)


def test_losses_are_numbers_or_none_and_iterations_are_counted(
    engine_name: str, factory: EngineFactory, content: Tensor, style: StylePicture
) -> None:
    iterates = painted(stylizer_of(factory(SETTINGS, [style], []), content), content)
    counts = [iterate.iterations for iterate in iterates]
    assert counts == sorted(counts)
    assert counts[-1] <= OPTIONS.max_iterations
    assert (counts[-1] > 0) == ENGINE_TRAITS[engine_name].iterates
    for iterate in iterates:
        losses = (iterate.loss, iterate.content_loss, iterate.style_loss)
        if iterate.loss is None:
            assert losses == (None, None, None)
        else:
            assert all(loss is not None and math.isfinite(loss) for loss in losses)
            assert iterate.iterations > 0


def test_the_same_frame_gives_the_same_bytes_and_stays_as_it_is(
    factory: EngineFactory, content: Tensor, style: StylePicture
) -> None:
    engine = factory(SETTINGS, [style], [])
    given, start = content.clone(), content.flip(3).contiguous()
    results = []
    for _ in range(2):
        *_, last = stylizer_of(engine, given).stylize(given, start, OPTIONS)
        results.append(last.image.cpu().clone())
    assert torch.equal(*results)
    assert torch.equal(given, content)
    assert torch.equal(start, content.flip(3))


@pytest.mark.parametrize("init", ["matched", "content", "noise", "blank"])
def test_each_first_start_is_a_picture_that_the_seed_decides(
    factory: EngineFactory, content: Tensor, style: StylePicture, init: str
) -> None:
    stylizer = stylizer_of(factory(SETTINGS, [style], []), content)
    start = stylizer.first_start(stylizer.seen(content), init, 1)
    assert is_picture(start, content)
    assert torch.equal(start, stylizer.first_start(stylizer.seen(content), init, 1))


def test_a_region_without_a_painting_stays_and_the_frame_without_masks_has_none(
    factory: EngineFactory, content: Tensor, style: StylePicture
) -> None:
    whole = stylizer_of(factory(SETTINGS, [style], [RegionPaint()]), content)
    mask = torch.zeros(1, *content.shape[-2:])
    mask[..., :32] = 1
    stylizer = whole.masked(mask)
    shown = stylizer.shown(painted(stylizer, content)[-1].image, content)
    assert torch.equal(shown[..., :32], content[..., :32])
    assert (shown[..., 32:] - content[..., 32:]).abs().mean() > 0.01
    for unmasked in (whole, stylizer.masked(None)):
        everywhere = unmasked.shown(painted(unmasked, content)[-1].image, content)
        assert (everywhere[..., :32] - content[..., :32]).abs().mean() > 0.01


@pytest.mark.parametrize("wrapped", [False, True], ids=["flat", "panorama"])
def test_a_temporal_target_and_a_panorama_are_taken(
    factory: EngineFactory, content: Tensor, style: StylePicture, wrapped: bool
) -> None:
    stylizer = stylizer_of(factory(replace(SETTINGS, temporal=1.0), [style], []), content)
    target = TemporalTarget(content, torch.ones(content.shape[-2:]), torch.zeros(content.shape[-2:]))
    *_, last = stylizer.stylize(content, content, OPTIONS, temporal_target=target, wrapped=wrapped)
    assert is_picture(last.image.cpu(), content)


def test_an_engine_takes_less_memory_until_it_cannot_and_alone(
    factory: EngineFactory, content: Tensor, style: StylePicture
) -> None:
    engine, other = factory(SETTINGS, [style], []), factory(SETTINGS, [style], [])
    alone = painted(stylizer_of(other, content), content)[-1].image
    size = (4000, 6000)
    sides = []
    while (side := engine.take_less_memory(*size)) is not None:
        sides.append(side)
    assert sides == sorted(set(sides), reverse=True)
    assert is_picture(painted(stylizer_of(engine, content), content)[-1].image, content)
    assert torch.equal(painted(stylizer_of(other, content), content)[-1].image, alone)


def test_a_run_paints_a_video_and_a_picture_with_it(engine_name: str, engine: str | dict[str, str], tmp_path: Path) -> None:
    """A job names the engine, and what it counts is shown before, during and after the run."""
    make_video(tmp_path / "in.mp4", frames=3, pan_pixels=2, audio=False)
    make_picture(tmp_path / "in.png")
    jobs = [{"name": kind, "input": f"in.{kind}", "output": f"out/out.{kind}"} for kind in ("mp4", "png")]
    events: list[Event] = []
    path = write_pipeline(tmp_path, *({**job, "engine": engine} for job in jobs), workers=1)
    iterates = ENGINE_TRAITS[engine_name].iterates
    planned = api.estimated(path, calibrate=False)
    assert [cost.max_iterations for cost in planned.costs] == ([7, 3] if iterates else [3, 1])
    result = nstpipe.run(path, on_event=events.append)
    assert result.exit_code == 0, result.failures
    frames = [event for event in events if isinstance(event, FrameDone)]
    assert len(frames) == 4
    for frame in frames:
        assert (frame.loss is None) == (frame.evaluations == 0)
        assert frame.evaluations <= frame.most_evaluations
        assert iterates or frame.most_evaluations == 1
    assert all(event.evaluations > 0 for event in events if isinstance(event, FrameProgressed))
    assert (tmp_path / ".nstpipe" / "report.html").is_file()
    anew = write_pipeline(tmp_path, *({**job, "engine": engine} for job in jobs), seed=1, workers=1)
    pace = api.estimated(anew, calibrate=False)
    assert pace.sources == ("an earlier run",)


def test_one_picture_and_the_estimate_work_with_it(
    engine_name: str, engine: str | dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, style: StylePicture
) -> None:
    picture = Image.open(make_picture(tmp_path / "in.png"))
    result = nstpipe.stylize(picture, Image.fromarray(style.pixels), size=48, engine=engine, iterations=3, device="cpu")
    assert result.size == (48, 36)
    assert np.abs(np.asarray(result).astype(int) - np.asarray(picture.resize((48, 36))).astype(int)).mean() > 2
    path = write_pipeline(tmp_path, {"name": "one", "input": "in.png", "output": "out.png", "engine": engine}, workers=1)
    pipeline = load_pipeline(path)
    monkeypatch.setattr(trial, "SIDES", {"cpu": (32, 48)})
    timed = trial.timed(pipeline, pipeline.jobs[0], isolated=False, has_videos=False)
    passes = [1] * 4 + ([4] if ENGINE_TRAITS[engine_name].iterates else [1]) * 4
    assert [frame.passes for frame in timed.frames] == passes
    assert all(frame.optimizing_seconds and frame.optimizing_seconds <= frame.seconds for frame in timed.frames)
