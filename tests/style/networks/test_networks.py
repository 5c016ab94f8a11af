"""AdaIN and IEContraAST with files like the published ones, layer by layer against the papers written down again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nstpipe.config.engines import AdainEngine, IEContrastEngine, NetworkEngine
from nstpipe.errors import ItemError, MachineError
from nstpipe.media.frame import resized
from nstpipe.media.tensors import tensor_of, tensor_of_floats
from nstpipe.style.color import luminance
from nstpipe.style.engine import MinimizeOptions
from nstpipe.style.engines import make_engine
from nstpipe.style.engines.networks import OnePassEngine, held
from nstpipe.style.networks import attention
from nstpipe.style.networks.encoders import LEAST_MEAN, encoder_shapes, folded
from nstpipe.style.networks.layers import Encoder, decode, encoder_convolutions
from nstpipe.style.networks.load import load_network
from nstpipe.style.objective import TemporalTarget
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture
from nstpipe.style.weights import load_weights
from tests.style.networks import plain
from tests.style.networks.making import (
    own_file,
    random_decoder,
    random_encoder,
    random_transformer,
    saved,
    tensorflow_file,
)
from tests.style.test_engine import SETTINGS

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
"""float32 adds up in another order."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NetworkEngine]:
    """The engines with files of the published names, shapes and form."""
    folder = tmp_path_factory.mktemp("published")
    decoder = saved(folder / "decoder.pth", random_decoder())
    encoder = saved(folder / "vgg_normalised.pth", random_encoder())
    transformer = saved(folder / "transformer_iter_160000.pth", random_transformer())
    return {
        "adain": AdainEngine(name="adain", weights=decoder, encoder=encoder),
        "iecontrast": IEContrastEngine(name="iecontrast", weights=decoder, encoder=encoder, transformer=transformer),
    }


@pytest.fixture(params=["adain", "iecontrast"])
def settings(request: pytest.FixtureRequest, published: dict[str, NetworkEngine]) -> EngineSettings:
    return replace(SETTINGS, engine=published[request.param])


def changed(settings: EngineSettings, **keys: Any) -> EngineSettings:
    return replace(settings, engine=settings.engine.model_copy(update=keys))


def picture(seed: int, size: tuple[int, int] = (64, 48)) -> StylePicture:
    rough = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return StylePicture(resized(rough, size), 1.0)


@pytest.fixture(scope="module")
def content() -> Tensor:
    return tensor_of(picture(1, (72, 52)).pixels)


def seen(style: StylePicture, longest: float = 72) -> Tensor:
    """A painting at the size at which a frame with this longest side sees it."""
    height, width = style.pixels.shape[:2]
    scale = longest / max(height, width)
    pixels = resized(tensor_of(style.pixels)[0].permute(1, 2, 0).numpy(), (round(width * scale), round(height * scale)))
    return tensor_of_floats(pixels.clip(0, 1))


def painted(
    settings: EngineSettings,
    content: Tensor,
    *styles: StylePicture,
    masks: Tensor | None = None,
    regions: Any = (),
    **keys: Any,
) -> Tensor:
    stylizer = make_engine(settings, styles, regions).stylizer(content).masked(masks)
    *_, last = stylizer.stylize(stylizer.seen(content), content, MinimizeOptions(1), **keys)
    return last.image


def expected(settings: EngineSettings, content: Tensor, *styles: tuple[float, Tensor], alpha: float = 1.0) -> Tensor:
    """The result by the papers, in one piece."""
    encoder, decoder, transformer = random_encoder(), random_decoder(), random_transformer()
    found = plain.encoded(encoder, content)
    near, far = found["relu4_1"], found["relu5_1"]
    if settings.engine.name == "adain":
        mixed = sum(share * plain.adain(near, plain.encoded(encoder, style)["relu4_1"]) for share, style in styles)
        mixed = alpha * mixed + (1 - alpha) * near
    else:
        several = [(alpha * share, plain.encoded(encoder, style)) for share, style in styles]
        several += [(1 - alpha, found)] if alpha < 1 else []
        attended = [
            sum(share * plain.sanet(transformer, name, own, style[layer]) for share, style in several)
            for name, layer, own in (("sanet4_1", "relu4_1", near), ("sanet5_1", "relu5_1", far))
        ]
        mixed = plain.merged(transformer, *attended)  # type: ignore[arg-type]
    result = plain.decoded(decoder, mixed)  # type: ignore[arg-type]
    return result[..., : content.shape[2], : content.shape[3]].clamp(0, 1)


@torch.no_grad()
def test_each_layer_is_that_of_the_papers(published: dict[str, NetworkEngine], content: Tensor) -> None:
    """Also where sides are odd, so that pooling rounds up: 72 x 52 has 9 x 7 positions in relu4_1 and 5 x 4 in relu5_1."""
    network = load_network(published["iecontrast"], "bundled")
    found, wanted = network.encoder(content), plain.encoded(random_encoder(), content)
    assert list(found) == list(wanted) == ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]
    for layer, activation in wanted.items():
        torch.testing.assert_close(found[layer], activation, **CLOSE)
    assert found["relu4_1"].shape == (1, 512, 7, 9)
    assert found["relu5_1"].shape == (1, 512, 4, 5)
    style = plain.encoded(random_encoder(), seen(picture(2)))
    assert network.transformer is not None
    torch.testing.assert_close(
        network.transformer(found, style), plain.transformed(random_transformer(), wanted, style), **CLOSE
    )
    torch.testing.assert_close(
        decode(network.decoder, found["relu4_1"]), plain.decoded(random_decoder(), wanted["relu4_1"]), **CLOSE
    )


@pytest.mark.parametrize("alpha", [1.0, 0.25])
def test_a_frame_is_that_of_the_papers(settings: EngineSettings, content: Tensor, alpha: float) -> None:
    """With two paintings of different weight, each at its own size."""
    one, other = picture(2), replace(picture(3, (48, 60)), weight=3.0)
    found = painted(changed(settings, alpha=alpha), content, one, other)
    wanted = expected(settings, content, (0.25, seen(one)), (0.75, seen(other)), alpha=alpha)
    torch.testing.assert_close(found, wanted, **CLOSE)
    assert found.std() > 0.02, "there is something in the picture"
    assert ((found > 0) & (found < 1)).float().mean() > 0.9, "clamping hides little"


def test_tiles_and_chunks_change_nothing(settings: EngineSettings, content: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    large = tensor_of(picture(1, (210, 150)).pixels)
    whole = OnePassEngine(settings, [picture(2)])
    assert whole.painter.tile_side(150, 210) is None
    one_piece = painted_by(whole, large)
    tiled = OnePassEngine(settings, [picture(2)])
    tiled.painter.memory.share = 0.0
    assert tiled.painter.tile_side(150, 210) == 128
    monkeypatch.setattr(attention, "SCORES_AT_ONCE", 5000)
    torch.testing.assert_close(painted_by(tiled, large), one_piece, **CLOSE)


def painted_by(engine: OnePassEngine, content: Tensor, **keys: Any) -> Tensor:
    [only] = engine.stylizer(content).stylize(content, content, MinimizeOptions(1), **keys)
    return only.image


def test_a_panorama_has_no_seam(settings: EngineSettings) -> None:
    """Turned by half its width, a panorama gives the turned result."""
    around = tensor_of(picture(1, (160, 48)).pixels)
    engine = OnePassEngine(settings, [picture(2)])
    turned = painted_by(engine, around.roll(80, dims=3), wrapped=True)
    torch.testing.assert_close(turned, painted_by(engine, around, wrapped=True).roll(80, dims=3), **CLOSE)
    assert (painted_by(engine, around) - painted_by(engine, around, wrapped=True)).abs().max() > 0.01


def test_regions_are_painted_each_in_its_own_style_with_its_own_statistics(settings: EngineSettings) -> None:
    """Each half is normalized by its own statistics and takes its own style, before the halves are decoded together."""
    content = tensor_of(picture(1, (128, 32)).pixels)
    mask = torch.zeros(1, 32, 128)
    mask[..., 64:] = 1
    found = painted(settings, content, picture(2), masks=mask, regions=[RegionPaint((picture(3),))])
    encoder, transformer = random_encoder(), random_transformer()
    features = plain.encoded(encoder, content)
    styles = [plain.encoded(encoder, seen(picture(seed), 128)) for seed in (2, 3)]

    def painted_half(layer: str, half: int) -> Tensor:
        activation = features[layer].chunk(2, dim=3)[half]
        if settings.engine.name == "adain":
            return plain.adain(activation, styles[half][layer])
        return plain.sanet(transformer, f"sanet{layer.removeprefix('relu')}", activation, styles[half][layer])

    near, far = (torch.cat([painted_half(layer, half) for half in range(2)], dim=3) for layer in ("relu4_1", "relu5_1"))
    mixed = near if settings.engine.name == "adain" else plain.merged(transformer, near, far)
    torch.testing.assert_close(found, plain.decoded(random_decoder(), mixed).clamp(0, 1), **CLOSE)


def test_paint_that_is_not_there_has_no_style(settings: EngineSettings, content: Tensor) -> None:
    """The right half of a painting is transparent, so that only the left half counts."""
    settings, whole = replace(settings, style_scale=4.0), picture(2, (144, 96))
    opacity = np.ones((96, 144), np.float32)
    opacity[:, 72:] = 0
    half = StylePicture(np.ascontiguousarray(whole.pixels), 1.0, opacity)
    other = whole.pixels.copy()
    other[:, 96:] = 255 - other[:, 96:]
    changed_there = StylePicture(other, 1.0, opacity)
    first, second = (painted(settings, content, style) for style in (half, changed_there))
    assert (first - second).abs().mean() < 0.25 * (first - painted(settings, content, whole)).abs().mean()


def test_the_contents_colors_stay(settings: EngineSettings, content: Tensor) -> None:
    engine = make_engine(replace(settings, color="content"), [picture(2)])
    stylizer = engine.stylizer(content)
    *_, last = stylizer.stylize(stylizer.seen(content), content, MinimizeOptions(1))
    shown = stylizer.shown(last.image, content)
    torch.testing.assert_close(luminance(shown), luminance(last.image), rtol=0, atol=1e-3)
    chroma, wanted = shown - luminance(shown), content - luminance(content)
    # Colors are desaturated where they do not fit, and never turned.
    assert torch.cosine_similarity(chroma.flatten(2), wanted.flatten(2), dim=1).mean() > 0.99


def test_a_frame_is_held_to_the_warped_result_where_the_flow_is_reliable(settings: EngineSettings, content: Tensor) -> None:
    reliability = torch.zeros(content.shape[-2:])
    reliability[:, :36] = 1
    target = TemporalTarget(1 - content, reliability)
    free = painted(settings, content, picture(2))
    kept = painted(replace(settings, temporal=1.0), content, picture(2), temporal_target=target)
    assert torch.equal(kept[..., 36:], free[..., 36:])
    before, after = ((image - target.image)[..., :36].abs().mean() for image in (free, kept))
    assert after < before / 2
    assert torch.equal(painted(replace(settings, temporal=0.0), content, picture(2), temporal_target=target), free)


def test_holding_minimizes_the_weighted_squares() -> None:
    image, target = torch.tensor(0.2).reshape(1, 1, 1, 1), TemporalTarget(torch.full((1, 1, 1, 1), 0.8), torch.tensor([[0.5]]))
    # (x - 0.2)² + 2 · 0.5 (x - 0.8)² is least at the mean of the two.
    assert held(image, target, 2.0).item() == pytest.approx(0.5)


def test_refining_lowers_the_optimizers_loss(settings: EngineSettings, content: Tensor) -> None:
    """It starts from the network's result, in which the iterations are counted."""
    engine = make_engine(changed(settings, refine=4), [picture(2)])
    stylizer = engine.stylizer(content)
    iterates = list(stylizer.stylize(content, content, MinimizeOptions(4)))
    assert [iterate.iterations for iterate in iterates] == [1, 2, 3, 4]
    losses = [iterate.loss for iterate in iterates]
    assert losses[-1] < losses[0]  # type: ignore[operator]


def test_a_frame_that_is_too_small_is_an_error_of_the_item(settings: EngineSettings) -> None:
    smallest = 9 if settings.engine.name == "adain" else 17
    with pytest.raises(ItemError, match=f"64x{smallest - 1} pixels when stylized; the network needs {smallest}"):
        painted(settings, torch.rand(1, 3, smallest - 1, 64), picture(2))
    assert painted(settings, torch.rand(1, 3, smallest, 64), picture(2)).shape == (1, 3, smallest, 64)


@torch.no_grad()
def test_the_bundled_weights_in_the_authors_form_have_the_same_activations() -> None:
    """Divided by the means, each channel of the used layers has the mean 1 on the pictures whose means they are."""
    weights = load_weights("bundled")
    pictures = torch.cat([tensor_of(picture(seed).pixels) for seed in range(2)])
    state = folded(weights)
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == encoder_shapes()
    ordinary = plain.encoded(state, pictures)
    means = {}
    x = torch.nn.functional.conv2d(pictures, state["0.weight"], state["0.bias"])
    torch.testing.assert_close(x, pictures.flip(1) * 255 - torch.tensor([103.939, 116.779, 123.68])[:, None, None])
    for name, place in encoder_convolutions("relu2_1"):
        if name == "conv2_1":
            x = torch.nn.functional.max_pool2d(x, 2, ceil_mode=True)
        x = plain.convolved(state, place, x).clamp_min(0)
        means[name] = x.mean(dim=(0, 2, 3))
    normalized = Encoder(folded(weights, means), "relu3_1")(pictures)
    for layer, mean in (("relu1_1", means["conv1_1"]), ("relu2_1", means["conv2_1"])):
        torch.testing.assert_close(
            normalized[layer] * mean.clamp_min(mean.mean() * LEAST_MEAN)[:, None, None], ordinary[layer], rtol=1e-3, atol=1e-2
        )
        active = mean > mean.mean() * LEAST_MEAN
        torch.testing.assert_close(normalized[layer].mean(dim=(0, 2, 3))[active], torch.ones(int(active.sum())), **CLOSE)
    torch.testing.assert_close(normalized["relu3_1"], ordinary["relu3_1"], rtol=1e-3, atol=1e-2)


@torch.no_grad()
def test_tensorflows_decoder_makes_the_same_picture(tmp_path: Path) -> None:
    """Its pictures are BGR from 0 to 255, less the mean."""
    state = random_decoder()
    engine = AdainEngine(name="adain", weights=tensorflow_file(tmp_path / "variables.npz", state))
    network = load_network(engine, "bundled")
    features = torch.rand(1, 512, 3, 4)
    mean = torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    wanted = (plain.decoded(state, features) + mean).flip(1) / 255
    torch.testing.assert_close(decode(network.decoder, features), wanted, **CLOSE)
    assert network.encoder.layers[0].bias.tolist() == pytest.approx([-103.939, -116.779, -123.68])


def wrong(state: dict[str, Tensor], name: str, value: Tensor | None) -> dict[str, Tensor]:
    return {key: tensor if key != name else value for key, tensor in state.items() if key != name or value is not None}  # type: ignore[misc]


def test_a_wrong_file_is_refused_by_its_first_wrong_tensor(tmp_path: Path, published: dict[str, NetworkEngine]) -> None:
    adain, iecontrast = published["adain"], published["iecontrast"]

    def refused(engine: NetworkEngine, match: str) -> None:
        with pytest.raises(MachineError, match=match):
            load_network(engine, "bundled")

    decoder = random_decoder()
    for number, (name, value, said) in enumerate(
        [
            ("14.bias", None, r"14\.bias is missing; expected the shape \(128,\)"),
            (
                "28.weight",
                torch.zeros(3, 64, 1, 1),
                r"28\.weight has the shape \(3, 64, 1, 1\); expected the shape \(3, 64, 3, 3\)",
            ),
            ("5.weight", torch.full((256, 256, 3, 3), torch.nan), r"5\.weight has values that are no finite numbers"),
        ]
    ):
        path = saved(tmp_path / f"{number}.pth", wrong(decoder, name, value))
        refused(adain.model_copy(update={"weights": path}), said)
    assert adain.encoder is not None
    refused(adain.model_copy(update={"weights": adain.encoder}), r"vgg_normalised\.pth: 1\.weight is missing")
    missing = saved(tmp_path / "encoder.pth", wrong(random_encoder(), "29.bias", None))
    refused(adain.model_copy(update={"encoder": missing}), r"engine\.encoder: .*29\.bias is missing")
    attention_less = saved(tmp_path / "t.pth", wrong(random_transformer(), "sanet5_1.h.bias", None))
    refused(
        iecontrast.model_copy(update={"transformer": attention_less}), r"engine\.transformer: .*sanet5_1\.h\.bias is missing"
    )
    refused(iecontrast.model_copy(update={"transformer": None}), "holds a decoder alone")
    refused(adain.model_copy(update={"encoder": None}), r"trained with the authors' VGG19")
    refused(adain.model_copy(update={"weights": tmp_path / "none.pth"}), "cannot be read: No such file")
    refused(
        adain.model_copy(update={"weights": own_file(tmp_path / "own", "iecontrast"), "encoder": None}),
        "trained for engine iecontrast",
    )
    own = AdainEngine(name="adain", weights=own_file(tmp_path / "own.safetensors", "adain"))
    load_network(own, "bundled")
    refused(own.model_copy(update={"encoder": adain.encoder}), "trained with another encoder")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(own.weights.read_bytes()[:-100])
    refused(own.model_copy(update={"weights": cut}), "damaged file of safetensors")
    text = tmp_path / "text.pth"
    text.write_text("no weights")
    refused(own.model_copy(update={"weights": text}), "holds no tensors that can be loaded safely")


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("ran"),))  # type: ignore[return-value]


def test_no_code_of_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"1.weight": Evil()}, tmp_path / "evil.pth")
    np.savez(tmp_path / "evil.npz", np.array([Evil()], dtype=object))
    for name in ("evil.pth", "evil.npz"):
        with pytest.raises(MachineError, match="holds no tensors that can be loaded safely"):
            load_network(AdainEngine(name="adain", weights=tmp_path / name), "bundled")
    assert not (tmp_path / "ran").exists()
