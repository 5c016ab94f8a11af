"""Trainings of a few steps on tiny crops, with the real networks, losses and files."""

from __future__ import annotations

import errno
import itertools
import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nstpipe.cli import exit_code
from nstpipe.config.engines import ENGINES_WITH_KEYS
from nstpipe.errors import DiskFullError, InputError, MachineError, UsageError
from nstpipe.events import Event, Noticed, TrainingProgressed, TrainingSaved
from nstpipe.style.networks.encoders import encoder_shapes
from nstpipe.style.networks.files import read_tensors
from nstpipe.style.networks.layers import Encoder, decode, decoder_layers
from nstpipe.style.networks.load import LAST_LAYERS, load_network
from nstpipe.system.stop import Stop, StopReason
from nstpipe.training import train as room
from nstpipe.training.fitted import fit_decoder
from nstpipe.training.losses import Discriminator, Projection, contrastive_loss, normalized_content_loss, style_loss
from nstpipe.training.options import TrainingOptions, paper_options
from nstpipe.training.recipes import MUON_FACTOR, RECIPES, AdainRecipe, share_rates
from nstpipe.training.state import Progress, state_path
from nstpipe.training.train import train
from tests.making import make_picture
from tests.style.networks import plain
from tests.style.networks.making import random_encoder, saved


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(5):
        make_picture(folder / "content" / "deep" / f"{number}.png", number, (90, 70))
        make_picture(folder / "styles" / f"{number}.jpg", 50 + number, (80, 96))
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vgg_normalised.pth with random weights, as far as the networks need it. Trainings that make their own take longer."""
    state = random_encoder()
    return saved(tmp_path_factory.mktemp("encoder") / "vgg_normalised.pth", {name: state[name] for name in encoder_shapes()})


def options_of(network: str, pictures: Path, output: Path, **changed: Any) -> TrainingOptions:
    # The smallest that both take.
    tiny = {"steps": 2, "batch": 2, "resize": 32, "crop": 32, "save_every": 2, "held_out": 1, "device": "cpu"}
    places = {"content": pictures / "content", "styles": pictures / "styles", "output": output}
    return TrainingOptions(network=network, **{**paper_options(network), **tiny, **places, **changed})


def run(options: TrainingOptions, emit: Callable[[Event], None] = lambda _: None, **keys: Any) -> room.Trained:
    return train(options, **{"stop": Stop(), "emit": emit, **keys})


def weights_of(path: Path) -> dict[str, Tensor]:
    return dict(read_tensors("weights", path).tensors)


@pytest.mark.parametrize(("network", "optimizer"), [("adain", "adam"), ("iecontrast", "muon")])
def test_a_training_that_is_interrupted_makes_the_same_network(
    network: str, optimizer: str, pictures: Path, encoder: Path, tmp_path: Path
) -> None:
    """Interrupted before the last step, between two checkpoints; and the engine takes what it made."""
    # adain makes its own encoder of VGG19.
    changed: dict[str, Any] = {"optimizer": optimizer} | ({"encoder": encoder} if network == "iecontrast" else {})
    whole = run(options_of(network, pictures, tmp_path / "whole.safetensors", **changed))
    assert (whole.step, whole.is_done) == (2, True)
    stop, events = Stop(), []

    def interrupt(event: Event) -> None:
        events.append(event)
        if isinstance(event, TrainingProgressed) and event.step == 1:
            stop.ask(StopReason.INTERRUPTED)

    options = options_of(network, pictures, tmp_path / "parts.safetensors", **changed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "PROGRESS_SECONDS", -1.0)
        part = run(options, interrupt, stop=stop)
    assert (part.step, part.is_done) == (1, False)
    rest = run(options, events.append)
    assert [event.step for event in events if isinstance(event, TrainingSaved)] == [1, 2]
    assert rest.losses == whole.losses
    one, other = weights_of(whole.output), weights_of(rest.output)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    engine = ENGINES_WITH_KEYS[network](name=network, weights=rest.output, encoder=changed.get("encoder"))
    loaded = load_network(engine, "bundled").decoder.state_dict()
    assert all(torch.equal(tensor, other[f"decoder.{name}"].float()) for name, tensor in loaded.items())
    assert whole.sheet is not None
    assert whole.sheet.is_file()
    if network == "adain":
        assert run(replace(options, steps=3)).step == 3, "more steps go on"


@pytest.mark.parametrize(
    ("network", "optimizer", "steps"), [("adain", "adam", 4), ("adain", "muon", 4), ("iecontrast", "adam", 2)]
)
def test_the_sum_of_all_losses_falls(network: str, optimizer: str, steps: int, pictures: Path, tmp_path: Path) -> None:
    """On the same crops in every step."""
    options = options_of(
        network,
        pictures,
        tmp_path / "a.safetensors",
        optimizer=optimizer,
        learning_rate=1e-3 if network == "adain" else 1e-4,
    )
    encoder = Encoder(random_encoder(), LAST_LAYERS[network])
    recipe = RECIPES[network](encoder, options, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    content, styles = (functional.interpolate(torch.rand(2, 3, 8, 8, generator=generator), options.crop) for _ in range(2))
    found = [recipe.step(content, styles) for _ in range(steps)]
    names = {"content", "style"}
    if network == "iecontrast":
        names |= {"identity", "identity_features", "style_contrastive", "content_contrastive", "adversarial"}
    for losses in found:
        assert losses.keys() - {"total", "discriminator"} == names
        assert losses["total"] == pytest.approx(sum(losses[name] for name in names), rel=1e-4)
        assert min(losses.values()) > 0
    assert found[-1]["total"] < found[0]["total"]


def test_the_style_loss_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    found, wanted = ({layer: torch.rand(2, 5, 6, 7) for layer in ("relu1_1", "relu2_1")} for _ in range(2))
    expected = torch.zeros(())
    for layer in found:
        for own, other in zip(plain.mean_and_deviation(found[layer]), plain.mean_and_deviation(wanted[layer]), strict=True):
            expected = expected + ((own - other) ** 2).mean()
    torch.testing.assert_close(style_loss(found, wanted, ("relu1_1", "relu2_1")), expected)
    apart = ((plain.normalized(found["relu1_1"]) - plain.normalized(wanted["relu1_1"])) ** 2).mean()
    torch.testing.assert_close(normalized_content_loss(found, wanted, ("relu1_1",)), apart)
    scaled = {"relu1_1": 3 * found["relu1_1"] + 2}
    assert normalized_content_loss(scaled, found, ("relu1_1",)) < 1e-4, "means and deviations do not count"


def test_the_contrastive_loss_is_that_of_the_paper() -> None:
    """Equation 8: the partner's share among itself and the results of another style and another content."""
    torch.manual_seed(0)
    styles, contents = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 1, 2, 1, 2, 0])
    projections = Projection(6, 5)(torch.rand(6, 6, 2, 2)).detach()
    assert projections.norm(dim=1).tolist() == pytest.approx([1.0] * 6)
    expected = 0.0
    for one in range(6):
        [partner] = [other for other in range(6) if other != one and styles[other] == styles[one]]
        apart = [other for other in range(6) if styles[other] != styles[one] and contents[other] != contents[one]]
        assert len(apart) == 3
        scores = [float(((projections[one] @ projections[other]) / 0.2).exp()) for other in (partner, *apart)]
        expected -= float(torch.tensor(scores[0] / sum(scores)).log())
    assert float(contrastive_loss(projections, styles, contents)) == pytest.approx(expected, rel=1e-5)


def test_the_discriminator_judges_at_three_sizes_and_at_fewer_for_small_crops() -> None:
    assert [len(Discriminator(crop).judges) for crop in (32, 64, 128, 256)] == [1, 2, 3, 3]
    judge = Discriminator(128)
    names = [tuple(tensor.shape) for tensor in judge.judges[0].state_dict().values() if tensor.dim() == 4]
    assert names == [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4), (1, 512, 3, 3)]
    x = torch.rand(1, 3, 128, 128)
    smaller = functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    smallest = functional.avg_pool2d(smaller, 3, 2, 1, count_include_pad=False)
    sizes = (x, smaller, smallest)
    expected = sum(((one(size) - 1) ** 2).mean() for one, size in zip(judge.judges, sizes, strict=True))
    torch.testing.assert_close(judge.loss(x, 1.0), expected)


@pytest.mark.parametrize("bad", [torch.nan, 1e9], ids=["no number", "explosion"])
def test_a_bad_step_is_taken_back(
    bad: float, pictures: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes back to the last good state, says so, and ends with other crops and half the learning rate."""
    monkeypatch.setattr(room, "GOOD_EVERY", 2)
    steps, rates = itertools.count(1), []
    whole = AdainRecipe.step

    def step(self: AdainRecipe, content: Tensor, styles: Tensor) -> dict[str, float]:
        losses = whole(self, content, styles)
        rates.append(self.optimizers["adam"].param_groups[0]["lr"])
        if next(steps) == 4:
            for parameter in self.shipped["decoder"].parameters():
                parameter.data.fill_(torch.nan)
            return {**losses, "total": bad}
        return losses

    monkeypatch.setattr(AdainRecipe, "step", step)
    events: list[Event] = []
    options = options_of("adain", pictures, tmp_path / "a.safetensors", steps=4, decay=0.0, save_every=10, encoder=encoder)
    trained = run(options, events.append)
    assert (trained.step, trained.is_done) == (4, True)
    [notice] = [event.message for event in events if isinstance(event, Noticed)]
    assert "in step 4; going back to step 2" in notice
    assert rates == [1e-4] * 4 + [5e-5] * 2
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights_of(trained.output).values())


def test_an_explosion_in_the_second_step_goes_back_to_the_start() -> None:
    progress = Progress()
    assert progress.takes({"total": 1.0})
    assert not progress.takes({"total": 101.0})
    assert progress.takes({"total": 99.0})


def test_the_learning_rate_rises_and_follows_its_schedule(pictures: Path, tmp_path: Path) -> None:
    """From reasoning: a quarter of the way along a cosine, (1 + cos(π/4)) / 2 of the rate is left."""
    options = options_of("adain", pictures, tmp_path / "a", steps=8, learning_rate=1.0, decay=0.5, warmup=1)
    assert [options.rate(step) for step in range(4)] == pytest.approx([1 / 2, 1 / 1.5, 1 / 2, 1 / 2.5])
    cosine = replace(options, schedule="cosine")
    assert [cosine.rate(step) for step in (0, 2, 4, 8)] == pytest.approx([0.5, 0.5 + 0.5**1.5, 0.5, 0.0])


def test_a_fitted_decoder_rebuilds_pictures(pictures: Path) -> None:
    """Better than the best of all pictures without content, the mean color; and random weights rebuild nothing."""
    torch.manual_seed(0)
    encoder, decoder = Encoder(random_encoder(), "relu4_1"), decoder_layers()
    seen = [functional.interpolate(torch.rand(1, 3, 6, 6), 64, mode="bicubic").clamp(0, 1) for _ in range(12)]

    def error(picture: Tensor) -> float:
        return float(functional.mse_loss(decode(decoder, encoder(picture)["relu4_1"]), picture))

    picture = functional.interpolate(torch.rand(1, 3, 6, 6), 64, mode="bicubic").clamp(0, 1)
    spread = float((picture - picture.mean(dim=(2, 3), keepdim=True)).square().mean())
    with torch.no_grad():
        assert error(picture) > spread
        fit_decoder(decoder, encoder, seen, seed=0)
        assert error(picture) < 0.5 * spread


def test_a_training_goes_on_from_a_trained_network(pictures: Path, encoder: Path, tmp_path: Path) -> None:
    """With its weights and means. Small weights learn slower, also after an interruption."""
    first = run(options_of("adain", pictures, tmp_path / "a.safetensors", steps=1)).output
    options = options_of("adain", pictures, tmp_path / "b.safetensors", steps=1, start=first, learning_rate=0.0)
    run(options)
    one, other = weights_of(first), weights_of(options.output)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert run(replace(options, steps=2)).step == 2
    card = read_tensors("weights", options.output).metadata
    assert card["options"]["start"] == "a.safetensors"  # type: ignore[index]
    with pytest.raises(UsageError, match=r"--start: .*a\.safetensors was trained with another encoder"):
        run(replace(options, encoder=encoder, output=tmp_path / "c.safetensors"))


def test_small_weights_learn_slower() -> None:
    large, small, bias = (
        torch.nn.Parameter(torch.full(size, value)) for size, value in [((2, 2), 0.3), ((2, 2), 0.003), ((2,), 0.0)]
    )
    adam = torch.optim.Adam([{"params": [one]} for one in (large, small, bias)], lr=1.0)
    share_rates(adam)
    assert [group.get("share", 1.0) for group in adam.param_groups] == pytest.approx([1.0, 0.1, 1.0])


def test_muon_trains_the_convolutions_that_make_no_colors_at_its_own_rate(pictures: Path, tmp_path: Path) -> None:
    options = options_of("adain", pictures, tmp_path / "a.safetensors", optimizer="muon", learning_rate=1e-4)
    recipe = RECIPES["adain"](Encoder(random_encoder(), LAST_LAYERS["adain"]), options, torch.device("cpu"))
    shapes = {
        name: [tuple(weight.shape) for group in optimizer.param_groups for weight in group["params"]]
        for name, optimizer in recipe.optimizers.items()
    }
    # The decoder mirrors the encoder to relu4_1: nine convolutions, whose last makes three colors.
    assert len(shapes["muon"]) == 8
    assert all(shape[0] > 3 for shape in shapes["muon"])
    assert len(shapes["adam"]) == 10
    assert (3, 64, 3, 3) in shapes["adam"]
    assert [group["factor"] for group in recipe.optimizers["muon"].param_groups] == [MUON_FACTOR]


def test_a_changed_encoder_is_noticed_when_a_training_goes_on(pictures: Path, encoder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.pth"
    own.write_bytes(encoder.read_bytes())
    options = options_of("adain", pictures, tmp_path / "a.safetensors", steps=1, encoder=own)
    run(options)
    saved(own, {name: tensor * 1.5 for name, tensor in torch.load(own, weights_only=True).items()})
    with pytest.raises(UsageError, match=r"--encoder: .*own\.pth has changed since the training began"):
        run(replace(options, steps=2))
    assert run(replace(options, steps=2), restart=True).step == 2


def test_losses_that_are_never_numbers_end_the_training(
    pictures: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AdainRecipe, "step", lambda *_: {"total": float("inf")})
    with pytest.raises(MachineError, match="gone back 8 times already"):
        run(options_of("adain", pictures, tmp_path / "a.safetensors", encoder=encoder))


def test_a_full_disk_keeps_the_last_checkpoint_and_the_training_goes_on(
    pictures: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the checkpoint after step 2 of 4, and has room again at the one after step 3."""
    saves, whole = itertools.count(1), Path.write_bytes

    def write_bytes(self: Path, data: Any) -> int:
        if self.name.endswith(".training") and next(saves) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    events: list[Event] = []
    options = options_of("adain", pictures, tmp_path / "a.safetensors", steps=4, save_every=1, encoder=encoder)
    assert run(options, events.append).step == 4
    assert [event.step for event in events if isinstance(event, TrainingSaved)] == [1, 3, 4]
    [notice] = [event.message for event in events if isinstance(event, Noticed)]
    assert "No space left on device" in notice
    assert "The last checkpoint is kept" in notice
    kept = state_path(options.output).read_bytes()

    def full(self: Path, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFullError):
        run(replace(options, steps=5))
    assert state_path(options.output).read_bytes() == kept


def test_what_cannot_be_trained_is_refused(pictures: Path, encoder: Path, tmp_path: Path) -> None:
    options = options_of("adain", pictures, tmp_path / "a.safetensors", steps=1, encoder=encoder)

    def refused(error: type[Exception], match: str, **changed: Any) -> None:
        with pytest.raises(error, match=match):
            run(replace(options, **changed))

    refused(UsageError, "--crop: found 80; should be at most --resize", crop=80)
    refused(UsageError, "--batch: found 1", network="iecontrast", batch=1)
    refused(UsageError, "--content: .* is not a folder", content=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    refused(InputError, "has no pictures", styles=tmp_path / "empty")
    refused(MachineError, "--encoder: .* cannot be read", encoder=tmp_path / "none.pth")
    make_picture(tmp_path / "broken" / "a.png")
    (tmp_path / "broken" / "a.png").write_bytes(b"no picture")
    refused(InputError, "none of its 1 pictures can be read", styles=tmp_path / "broken")
    run(options)
    refused(UsageError, "--style-weight: found 3.0; the training whose state is .* has 10.0", style_weight=3.0)
    refused(UsageError, "--weights: found torchvision; .* has bundled", vgg_weights="torchvision")
    refused(UsageError, "--encoder: found none; .* has .*pth", encoder=None)
    refused(UsageError, "NETWORK: found iecontrast; .* has adain", network="iecontrast")
    state_path(options.output).write_bytes(b"no state")
    refused(UsageError, "is no state of a training")
    state_path(options.output).unlink()
    refused(UsageError, "is there already, and no training beside it")
    assert run(options, restart=True).step == 1
    state_path(options.output).unlink()
    options.output.write_bytes(b"the user's own")
    refused(UsageError, "no training has made it")
    with pytest.raises(UsageError, match="no training has made it"):
        run(options, restart=True)
    assert options.output.read_bytes() == b"the user's own"


def test_a_broken_picture_costs_nothing_else(pictures: Path, encoder: Path, tmp_path: Path) -> None:
    for path in (pictures / "content").rglob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "0.png").write_bytes(b"no picture")
    events: list[Event] = []
    changed: dict[str, Any] = {"content": tmp_path, "held_out": 0, "steps": 2, "batch": 6, "encoder": encoder}
    assert run(options_of("adain", pictures, tmp_path / "a.st", **changed), events.append).is_done
    assert [
        event.message
        for event in events
        if isinstance(event, Noticed) and "left out:" in event.message and "0.png" in event.message
    ]


def test_the_command_prints_events_and_draws_curves(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "a.safetensors"
    line = f"train adain --content {pictures / 'content'} --styles {pictures / 'styles'} -o {output} --steps 2 --batch 1"
    arguments = [*line.split(), "--resize", "40", "--crop", "32", "--device", "cpu", "--tensorboard", str(tmp_path / "curves")]
    assert exit_code([*arguments, "--json"]) == 0
    *events, result = map(json.loads, capsys.readouterr().out.splitlines())
    # On a slow machine, each step has an event.
    assert [event["event"] for event in events][-2:] == ["TrainingProgressed", "TrainingSaved"]
    assert events[-2]["step"] == 2
    assert events[0]["losses"].keys() == {"total", "content", "style"}
    assert (result["step"], result["is_done"], result["output"]) == (2, True, str(output))
    assert list((tmp_path / "curves").rglob("events.out.*"))
    assert exit_code([*arguments, "--max-runtime", "1s", "--steps", "100000"]) == 75
    assert "The same command continues" in " ".join(capsys.readouterr().out.split())

    def interrupted(self: AdainRecipe, *crops: Tensor) -> dict[str, float]:
        signal.raise_signal(signal.SIGINT)
        return step(self, *crops)

    step = AdainRecipe.step
    monkeypatch.setattr(AdainRecipe, "step", interrupted)
    assert exit_code([*arguments, "--steps", "100000"]) == 130
    assert "finishing the current step; press again to stop at once" in capsys.readouterr().err
