"""Networks that learn a job's look: what they learn from, how a training ends and goes on, and what a run makes of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nstpipe
from nstpipe import api
from nstpipe.cli import exit_code
from nstpipe.config import load_pipeline
from nstpipe.config.engines import LookEngine
from nstpipe.errors import MachineError
from nstpipe.events import Event, FrameDone, ItemFailed, Noticed, TrainingProgressed, TrainingSaved
from nstpipe.media.tensors import tensor_of
from nstpipe.media.video.decode import VideoSource
from nstpipe.media.video.probe import probe
from nstpipe.motion.motion import Motion
from nstpipe.style.engine import MinimizeOptions
from nstpipe.style.engines import make_engine
from nstpipe.style.engines.transformation import painter_of
from nstpipe.style.networks.files import read_tensors
from nstpipe.style.networks.looks import load_look, saved_look
from nstpipe.style.networks.transformation import GRAIN_WAVELENGTHS, GRID_PIXELS, made, made_grain, places_in_tile
from nstpipe.style.objective import TemporalTarget
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture
from nstpipe.system.stop import Stop, StopReason
from nstpipe.training import looks as training
from nstpipe.training.looks import LookOptions, learn_look, part_of, trained_size
from nstpipe.training.material import TrainingFrame, spread
from nstpipe.training.state import state_path
from tests.making import make_picture, make_video, write_pipeline
from tests.style.networks.making import look_file
from tests.style.test_engine import SETTINGS


@pytest.mark.parametrize(
    ("counts", "wanted", "expected"),
    [
        ([5], 5, [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)]),
        ([1, 1], 4, [(0, 0), (1, 0)]),  # no frame twice
        ([100, 2], 3, [(0, 50), (1, 1)]),  # of the one that is left, no shot has a whole share
        ([9, 9, 9, 9], 2, [(1, 4), (3, 4)]),
    ],
)
def test_frames_are_spread_over_all_shots(counts: list[int], wanted: int, expected: list[tuple[int, int]]) -> None:
    assert spread(counts, wanted) == expected


def test_every_shot_has_a_frame_and_long_ones_have_more() -> None:
    chosen = spread([1000, 10, 1], 50)
    by_shot = [[index for shot, index in chosen if shot == number] for number in range(3)]
    assert [len(indices) for indices in by_shot] == [47, 1, 1]
    assert np.ptp(np.diff(by_shot[0])) <= 1, "evenly"


@pytest.mark.parametrize("size", [(64, 48), (1920, 1080), (400, 3000)])
def test_parts_lie_in_the_frame_and_all_but_one_have_its_scale(size: tuple[int, int]) -> None:
    wanted = trained_size(size)
    assert wanted[0] * wanted[1] <= 1.01 * training.TRAINED_PIXELS
    for variant in range(training.VARIANTS):
        part = part_of(size, variant, np.random.default_rng(variant))
        assert 0 <= part.top <= size[1] - part.height
        assert 0 <= part.left <= size[0] - part.width
        assert part.of(torch.zeros(1, 3, size[1], size[0])).shape == (1, 3, wanted[1], wanted[0])
        if variant != training.RESCALED:
            assert (part.width, part.height) == wanted
        assert part.mirrored == (variant == training.MIRRORED)


def test_a_mirrored_part_is_the_mirror_image() -> None:
    picture = torch.rand(1, 3, 20, 30)
    part = part_of((30, 20), training.MIRRORED, np.random.default_rng(0))
    assert torch.equal(part.of(picture), picture.flip(3))


@pytest.fixture(scope="module")
def style(samples: Path) -> StylePicture:
    with Image.open(samples / "styles" / "van_gogh_starry_night.jpg") as image:
        return StylePicture(np.asarray(image.convert("RGB").resize((80, 64))), 1.0)


def frames(count: int = 3) -> list[TrainingFrame]:
    """Frames of noise in blocks, each one pixel further to the right than the one before it."""
    blocks = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    wide = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
    backward = np.zeros((48, 48, 2), np.float32)
    backward[..., 0] = 1
    motion = Motion(backward, np.ones((48, 48), np.float32))
    cut = [np.ascontiguousarray(wide[:, left : left + 48]) for left in range(count + 1)]
    return [TrainingFrame(cut[index + 1], before=cut[index], motion=motion) for index in range(count)]


Learn = Callable[..., tuple[Path, list[Event]]]


@pytest.fixture
def learn(tmp_path: Path, style: StylePicture) -> Learn:
    """Train for some steps; return the file and the events."""

    def learn(
        name: str = "look",
        *,
        steps: int = 3,
        stop: Stop | None = None,
        settings: EngineSettings = SETTINGS,
        regions: tuple[RegionPaint, ...] = (),
        material: list[TrainingFrame] | None = None,
        **options: object,
    ) -> tuple[Path, list[Event]]:
        events: list[Event] = []
        output = tmp_path / f"{name}.safetensors"
        given = LookOptions(replace(settings, temporal=1.0), "identity", output, 1.0, 0.0, most_steps=steps)
        given = replace(given, **options)  # type: ignore[arg-type]
        learn_look(material or frames(), [style], regions, given, stop=stop or Stop(), emit=events.append)
        return output, events

    return learn


def test_a_stopped_training_goes_on_as_if_it_had_not_been_stopped(learn: Learn, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = learn("whole")
    steps, stop = training._Training._step, Stop()

    def two(self: training._Training) -> bool:
        if self._progress.step == 1:
            stop.ask(StopReason.INTERRUPTED)
        return steps(self)

    with monkeypatch.context() as patch:
        patch.setattr(training._Training, "_step", two)
        stopped, events = learn("stopped", stop=stop)
    assert not stopped.exists()
    assert state_path(stopped).exists()
    assert not any(isinstance(event, TrainingSaved) for event in events)
    learn("stopped")
    assert not state_path(stopped).exists()
    one, other = load_look(whole, 0).state_dict(), load_look(stopped, 0).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_held_out_frames_improve_and_are_not_learned_from(learn: Learn, style: StylePicture, tmp_path: Path) -> None:
    """Nine frames: one of eight is held out. In a few steps the loss of its result falls below that of the plain start."""
    material = frames(9)
    path, _ = learn(steps=12, material=material)
    card = read_tensors("weights", path).metadata
    assert (card["frames"], card["held_out"], card["step"]) == (8, 1, 12)
    engine = make_engine(SETTINGS, [style])
    stylizer = engine.stylizer(None)
    content = tensor_of(material[4].pixels)
    objective = stylizer.objective(content)  # type: ignore[attr-defined]
    base = stylizer.first_start(content, "matched", 0)
    with torch.no_grad():
        painted = load_look(path, 0)(content, base).clamp(0, 1)
        assert float(objective(painted).total) < 0.95 * float(objective(base).total)
        assert float(objective(painted).total) == pytest.approx(card["curve"][-1][1], rel=0.02)  # type: ignore[index]


@pytest.mark.parametrize("color", ["content", "matched"])
def test_colors_and_regions_of_the_job_are_learned(learn: Learn, style: StylePicture, color: str, tmp_path: Path) -> None:
    masks = np.zeros((2, 48, 48), np.float32)
    masks[0, :, :16], masks[1, :, 32:] = 1, 1
    regions = (RegionPaint(), RegionPaint((style,), 2.0, 0.5))
    material = [replace(frame, masks=masks, first=frame.pixels) for frame in frames(2)]
    settings = replace(SETTINGS, color=color)
    path, _ = learn(steps=2, settings=settings, regions=regions, material=material)
    assert load_look(path, 1).regions == 1, "what stays as it is needs no place of its own"
    with pytest.raises(MachineError, match="trained for 1 regions with paintings of their own, and this job has 0"):
        load_look(path, 0)


def test_a_bad_loss_goes_back_and_ends_at_last(learn: Learn, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, calls = training._Training._losses, []

    def broken_once(self: training._Training, *arguments: object) -> object:
        found, total = losses(self, *arguments)  # type: ignore[arg-type]
        calls.append(total)
        return (replace(found, total=found.total * math.nan), total) if len(calls) == 2 else (found, total)

    monkeypatch.setattr(training._Training, "_losses", broken_once)
    path, events = learn(steps=3)
    assert path.exists()
    assert any(isinstance(event, Noticed) and "going back to step 0" in event.message for event in events)
    monkeypatch.setattr(training, "MOST_RETURNS", 0)
    calls.clear()
    with pytest.raises(MachineError, match="gone back 0 times already"):
        learn("other", steps=3)


def test_black_frames_cost_nothing(learn: Learn) -> None:
    """A film that begins in black has frames whose normalized activations have no finite gradient."""
    black = TrainingFrame(np.zeros((48, 48, 3), np.uint8))
    path, events = learn(steps=4, material=[black, *frames(2)])
    weights = load_look(path, 0).state_dict().values()
    assert all(bool(tensor.isfinite().all()) for tensor in weights)
    assert any(bool(tensor.abs().max() > 0) for tensor in load_look(path, 0).last.state_dict().values()), "it has learned"
    assert not any(isinstance(event, Noticed) for event in events), "nothing had to be taken back"


def test_a_training_ends_when_held_out_frames_no_longer_improve(learn: Learn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECK_EVERY", 1)
    monkeypatch.setattr(training._Training, "held_out_loss", lambda self: 1.0)
    path, _ = learn(steps=1000, tolerance=0.01)
    # Five checks after five steps; the learning rate falls until these are 65 % of all.
    assert b'step\\": 8,' in path.read_bytes()


def test_bands_and_panoramas_are_painted_without_seams() -> None:
    network = made(seed=0)
    torch.nn.init.normal_(network.last.weight, std=0.02)
    frame, base = torch.rand(2, 1, 3, 70, 93)
    with torch.no_grad():
        whole = network(frame, base)
        assert torch.allclose(network(frame, base, rows=2 * GRID_PIXELS), whole, atol=1e-5)
        # A panorama that is turned, with the grain, gives the turned result: its edges are no edges.
        frame, base = torch.rand(2, 1, 3, 16, 256)
        network.grain = made_grain(16, 256)
        results = []
        for turn in (0, 64):
            network.grain = network.grain.roll(turn, dims=3)
            turned = [picture.roll(turn, dims=3) for picture in (frame, base)]
            strips = [torch.cat([picture[..., -128:], picture, picture[..., :128]], dim=3) for picture in turned]
            results.append(network(*strips, wrap=128)[..., 128:-128])
        assert torch.allclose(results[0].roll(64, dims=3), results[1], atol=2e-3)


@pytest.mark.parametrize("size", [(64, 96), (90, 161), (1, 1), (3, 500)])
def test_the_grain_is_the_same_each_time_and_continues_over_the_edges(size: tuple[int, int]) -> None:
    found = made_grain(*size)
    assert found.shape == (1, 3, *size)
    assert bool(found.isfinite().all())
    assert torch.equal(found, made_grain(*size))
    if min(size) < 64:
        return
    assert found.square().mean((0, 2, 3)).tolist() == pytest.approx([1, 1, 1], rel=1e-4)
    assert found.mean((0, 2, 3)).abs().max() < 1e-4
    for channel, wavelength in zip(found[0], GRAIN_WAVELENGTHS, strict=True):
        # Neighbors differ about as much as those of a wave of this length, also over the edges.
        expected = math.sqrt(2) * math.sin(math.pi / wavelength)
        inside = float((channel[:, 1:] - channel[:, :-1]).square().mean().sqrt())
        across = float((channel[:, 0] - channel[:, -1]).square().mean().sqrt())
        assert inside == pytest.approx(expected, rel=0.3)
        assert across == pytest.approx(expected, rel=0.6)


def test_places_in_the_tile() -> None:
    assert places_in_tile(7, 3, 0, 0).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert places_in_tile(4, 3, 2, 0).tolist() == [2, 0, 1, 2], "a part begins where it lies in its frame"
    # A panorama of 7, with one more on each side: two tiles of three go around, so one column is there twice.
    assert places_in_tile(9, 3, 0, 1).tolist() == [2, 0, 0, 1, 2, 0, 1, 2, 0]
    # Two around a tile of eight: it is compressed.
    assert places_in_tile(4, 8, 0, 1).tolist() == [4, 0, 4, 0]


def test_a_part_is_painted_with_the_grain_of_its_place_and_a_file_keeps_its_grain(tmp_path: Path) -> None:
    network = made(0, tile=(20, 28))
    torch.nn.init.normal_(network.last.weight, std=0.02)
    whole = network._grain_of(50, 70, 0, (0, 0))
    assert torch.equal(network._grain_of(30, 40, 0, (8, 16)), whole[..., 8:38, 16:56])
    path = tmp_path / "look.safetensors"
    path.write_bytes(saved_look(network, {}))
    assert torch.allclose(load_look(path, 0).grain, network.grain, atol=2e-3)


def test_a_frame_of_the_trained_size_has_a_grain_of_its_own_for_each_place() -> None:
    sizes = [(320, 180), (180, 320), (1920, 1080)]
    tile = training.tile_of([TrainingFrame(np.zeros((height, width, 3), np.uint8)) for width, height in sizes])
    assert tile == (320, trained_size((1920, 1080))[0])


@pytest.mark.parametrize(("size", "wrapped"), [((45, 61), False), ((40, 140), True), ((41, 133), True)])
def test_any_size_is_painted_in_bfloat16_about_as_in_float32(size: tuple[int, int], *, wrapped: bool) -> None:
    network = made(0)
    torch.nn.init.normal_(network.last.weight, std=0.02)
    frame, base = torch.rand(2, 1, 3, *size)
    exact, found = (
        painter_of(network, torch.device("cpu"), precision).paint(frame, base, None, wrapped=wrapped)
        for precision in (torch.float32, torch.bfloat16)
    )
    assert found.shape == frame.shape
    # bfloat16 has 8 bits, and fifteen convolutions follow each other.
    assert float((found - exact).abs().mean()) < 0.02


def test_frames_of_any_width_are_learned_from(learn: Learn) -> None:
    narrow = [TrainingFrame(np.ascontiguousarray(frame.pixels[:, :43])) for frame in frames(2)]
    path, _ = learn(steps=2, material=narrow, settings=replace(SETTINGS, precision="bfloat16"))
    assert load_look(path, 0).grain.shape == (1, 3, 48, 43)


def test_a_sky_is_not_painted_evenly() -> None:
    """Where the frame is the same everywhere, the grain tells one place from another."""
    network = made(seed=0)
    torch.nn.init.normal_(network.last.weight, std=0.02)
    sky = torch.full((1, 3, 64, 96), 0.3)
    with torch.no_grad():
        strokes = network(sky, sky) - sky
    assert float(strokes[..., 16:-16, 16:-16].std(dim=(2, 3)).min()) > 0.01


def job(name: str, engine: object = "network", **settings: object) -> dict[str, object]:
    return {"name": name, "engine": engine, "size": 48, **settings}


FAST = {"name": "network", "train_minutes": 0.001}


def test_a_run_trains_once_for_all_jobs_of_a_look_and_paints(tmp_path: Path) -> None:
    make_video(tmp_path / "in.mp4", frames=3, pan_pixels=2, audio=False)
    for seed in range(2):
        make_picture(tmp_path / "pictures" / f"{seed}.png", seed=seed)
    jobs = [job("film", FAST, input="in.mp4", output="film.mp4"), job("street", FAST, input="pictures", output="street")]
    path = write_pipeline(tmp_path, *jobs, workers=1)
    planned = api.estimated(path, calibrate=False)
    [look] = planned.training
    assert (look.jobs, look.frames, look.seconds_left) == (("film", "street"), 5, pytest.approx(0.06))
    events: list[Event] = []
    assert nstpipe.run(path, on_event=events.append).exit_code == 0
    kinds = [type(event) for event in events]
    assert kinds.count(TrainingSaved) == 1
    assert kinds.count(FrameDone) == 5
    assert kinds.index(TrainingSaved) < kinds.index(FrameDone)
    assert next(event for event in events if isinstance(event, TrainingProgressed)).job == "film"
    # Nothing is trained or painted again, also when a picture is added that is one of three.
    assert not api.plan(path).looks[0].seconds_left
    assert all(output.is_done for output in api.plan(path).outputs)
    make_picture(tmp_path / "pictures" / "2.png", seed=2)
    events.clear()
    result = nstpipe.run(path, on_event=events.append)
    assert [Path(output.output).name for output in result.outputs] == ["2.png"]
    assert not any(isinstance(event, TrainingSaved) for event in events)
    # A frame that is too small for the loss is found before the training, and costs itself alone.
    make_picture(tmp_path / "pictures" / "small.png", size=(96, 2))
    with_small = api.plan(path)
    [failure] = with_small.failures
    assert "small.png: the frame is 48x1 pixels when stylized; the layers asked for need" in failure.reason
    assert with_small.looks[0].is_trained
    (tmp_path / "pictures" / "small.png").unlink()
    # Another strength is another look.
    [look] = api.plan(path, overrides=["jobs.street.style.strength=2"]).looks[1:]
    assert look.jobs == ("street",)
    assert not look.is_trained


def test_a_stopped_run_goes_on_with_the_training_and_a_failed_one_costs_its_job_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_picture(tmp_path / "in.png")
    jobs = [job("look", {"name": "network", "train_minutes": 60}, input="in.png", output="a.png")]
    jobs += [job("plain", "optimizer", input="in.png", output="b.png", optimizer={"first": 1})]
    path = write_pipeline(tmp_path, *jobs, workers=1)
    stop = Stop()

    def on_event(event: Event) -> None:
        if isinstance(event, TrainingProgressed):
            stop.ask(StopReason.INTERRUPTED)

    monkeypatch.setattr(training, "PROGRESS_SECONDS", 0.0)
    assert nstpipe.run(path, stop=stop, on_event=on_event).exit_code == 130
    [look] = api.plan(path).looks
    assert look.is_begun
    assert look.progress is not None
    assert not (tmp_path / "b.png").exists()
    monkeypatch.setattr(training, "MOST_RETURNS", 0)
    monkeypatch.setattr(training.LookProgress, "takes", lambda self, losses: False)
    events: list[Event] = []
    result = nstpipe.run(path, on_event=events.append)
    assert result.exit_code == 2
    [failure] = [event for event in events if isinstance(event, ItemFailed)]
    assert failure.reason.startswith("its network cannot be trained: the loss was")
    assert (tmp_path / "b.png").exists()


def test_weights_are_used_without_a_training_and_checked(tmp_path: Path) -> None:
    make_picture(tmp_path / "in.png")
    look_file(tmp_path / "my.safetensors")
    engine = {"name": "network", "weights": "my.safetensors", "refine": 1}
    path = write_pipeline(tmp_path, job("look", engine, input="in.png", output="a.png"), workers=1)
    assert not api.plan(path).looks
    events: list[Event] = []
    assert nstpipe.run(path, on_event=events.append).exit_code == 0
    assert [event.evaluations for event in events if isinstance(event, FrameDone)] == [1]
    [output] = api.plan(path).outputs
    assert output.is_done
    look_file(tmp_path / "my.safetensors", seed=1)
    assert api.plan(path).outputs[0].reason == "engine.weights changed"
    (tmp_path / "my.safetensors").write_bytes(saved_look(made(0, regions=1), {}))
    with pytest.raises(MachineError, match=r"engine\.weights: .* was trained for 1 regions"):
        nstpipe.run(path)


def test_a_divided_shot_has_the_same_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_video(tmp_path / "in.mp4", frames=5, pan_pixels=2, audio=False)
    look_file(tmp_path / "my.safetensors")
    engine = {"name": "network", "weights": "my.safetensors"}
    encode = {"codec": "ffv1", "pix_fmt": "bgr0"}

    def painted(output: str) -> tuple[int, list[bytes]]:
        path = write_pipeline(tmp_path, job("look", engine, input="in.mp4", output=output, encode=encode), workers=1)
        clips = len(api.plan(path).outputs[0].clips)
        assert nstpipe.run(path).exit_code == 0
        return clips, [frame.pixels.tobytes() for frame in VideoSource(probe(tmp_path / output)).read(0, 5)]

    whole, frames = painted("whole.mkv")
    monkeypatch.setattr("nstpipe.planning.fingerprints.PART_FRAMES", 2)
    assert painted("divided.mkv") == (3, frames)
    assert whole == 1


@pytest.mark.parametrize("blend", [False, True])
def test_frames_are_held_to_the_earlier_result_if_they_are_blended(tmp_path: Path, style: StylePicture, blend: bool) -> None:
    engine = LookEngine(name="network", weights=look_file(tmp_path / "my.safetensors"), blend=blend)
    settings = replace(SETTINGS, engine=engine, temporal=1.0)
    stylizer = make_engine(settings, [style]).stylizer(None)
    content = tensor_of(frames(1)[0].pixels)
    reliability = torch.zeros(48, 48)
    reliability[:, 24:] = 1
    target = TemporalTarget(torch.full((1, 3, 48, 48), 0.25), reliability)
    [own] = stylizer.stylize(content, content, MinimizeOptions(1))
    [held] = stylizer.stylize(content, content, MinimizeOptions(1), temporal_target=target)
    # The weight is 2 where the flow is fully reliable (docs/engines.md, Steadiness).
    expected = torch.where(reliability > 0, (own.image + 2 * 0.25) / 3, own.image) if blend else own.image
    assert torch.allclose(held.image, expected, atol=1e-5)


@pytest.mark.parametrize(("frames", "engine"), [(2, "optimizer"), (3, "network")])
def test_auto_chooses_by_the_number_of_frames_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int, engine: str
) -> None:
    monkeypatch.setattr("nstpipe.planning.looks.AUTO_FRAMES", 3)
    for seed in range(frames):
        make_picture(tmp_path / "in" / f"{seed}.png", seed=seed)
    path = write_pipeline(tmp_path, job("look", "auto", input="in", output="out", link="none"), workers=1)
    planned = api.estimated(path, calibrate=False)
    assert {output.job.engine.name for output in planned.plan.outputs} == {engine}
    assert bool(planned.training) == (engine == "network")
    [notice] = planned.plan.engines
    assert notice.message.startswith(f"engine: auto takes {engine}: {frames} frames are ")
    assert load_pipeline(path).jobs[0].engine.name == "auto"


def test_the_command_trains_a_network_that_another_job_uses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_picture(tmp_path / "in.png")
    jobs = [job("look", "optimizer", input="in.png", output="a.png"), job("other", FAST, input="in.png", output="b.png")]
    path, output = write_pipeline(tmp_path, *jobs, workers=1), tmp_path / "my.safetensors"
    assert exit_code(["train", str(path), "-o", str(output)]) == 64
    assert "--job: the file has 2 jobs; give the name of one: look, other." in capsys.readouterr().err
    assert exit_code(["train", str(path), "--job", "other", "-o", str(output), "--json"]) == 0
    *events, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (summary["output"], summary["is_done"]) == (str(output), True)
    assert "TrainingSaved" in {event["event"] for event in events}
    # It is not made twice, and nothing else is replaced.
    assert exit_code(["train", str(path), "--job", "other", "-o", str(output)]) == 64
    assert exit_code(["train", str(path), "--job", "other", "-o", str(tmp_path / "in.png"), "--restart"]) == 64
    assert exit_code(["train", str(path), "--content", str(tmp_path), "-o", str(tmp_path / "c.safetensors")]) == 64
    assert exit_code(["train", "adain", "--job", "other", "-o", str(tmp_path / "c.safetensors")]) == 64
    assert not (tmp_path / "a.png").exists()
    use = ["jobs.look.engine={name: network, weights: my.safetensors}"]
    assert not api.plan(path, jobs=["look"], overrides=use).looks
    assert nstpipe.run(path, jobs=["look"], overrides=use).exit_code == 0
