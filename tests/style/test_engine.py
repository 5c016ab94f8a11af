"""The engine with its real weights, on pictures small enough for any machine."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nstpipe.errors import ItemError, MachineError, UsageError
from nstpipe.media.frame import resized
from nstpipe.media.tensors import pixels_of, tensor_of, tensor_of_floats
from nstpipe.style import precision
from nstpipe.style.color import color_statistics, luminance
from nstpipe.style.engine import MinimizeOptions
from nstpipe.style.engines.optimizer import OptimizerEngine, OptimizerStylizer
from nstpipe.style.layers import pixels_a_position
from nstpipe.style.objective import TemporalTarget
from nstpipe.style.objective_builder import NEW_STYLE_WEIGHT
from nstpipe.style.precision import bfloat16_speedup, choose_precision, has_native_bfloat16
from nstpipe.style.regions import partition_masks
from nstpipe.style.scales import cost, scale_count
from nstpipe.style.settings import EngineSettings, RegionPaint, StylePicture
from nstpipe.system.devices import choose_device

SETTINGS = EngineSettings(
    weights="bundled",
    device="cpu",
    precision="float32",
    pooling="max",
    padding="replicate",
    content_layers=(("relu4_2", 1.0),),
    style_layers=(("relu1_1", 1.0), ("relu2_1", 1.0), ("relu3_1", 1.0), ("relu4_1", 1.0), ("relu5_1", 1.0)),
    strength=1.0,
    style_scale=1.0,
    total_variation=1.0,
)

BFLOAT16_LOSS = 0.03
"""Relative: how much worse a picture optimized in bfloat16 may be, its loss measured in float32."""


@pytest.fixture(scope="module")
def content(samples: Path) -> torch.Tensor:
    with Image.open(samples / "streetview" / "street_03.jpg") as image:
        return tensor_of(resized(np.asarray(image), (96, 54)))


@pytest.fixture(scope="module")
def style(samples: Path) -> StylePicture:
    with Image.open(samples / "styles" / "van_gogh_starry_night.jpg") as image:
        return StylePicture(np.asarray(image.convert("RGB")), 1.0)


@pytest.fixture(scope="module")
def engine(style: StylePicture) -> OptimizerEngine:
    return OptimizerEngine(SETTINGS, [style])


def stylized_by(
    stylizer: OptimizerStylizer, content: torch.Tensor, start: torch.Tensor, max_iterations: int = 20
) -> torch.Tensor:
    *_, last = stylizer.stylize(content, start, MinimizeOptions(max_iterations))
    return last.image


def stylized(engine: OptimizerEngine, content: torch.Tensor, start: torch.Tensor, max_iterations: int = 20) -> torch.Tensor:
    return stylized_by(engine.stylizer(content), content, start, max_iterations)


def test_loss_falls_and_the_picture_takes_on_style_and_keeps_content(engine: OptimizerEngine, content: torch.Tensor) -> None:
    objective = engine.stylizer(content).objective(content)
    result = stylized(engine, content, content)
    with torch.no_grad():
        before, after = objective(content), objective(result)
    assert after.total < before.total / 4
    assert after.style < before.style / 4
    # 1 would be a picture without any of the content's activations.
    assert 0.05 < after.content < 0.9


def test_the_content_has_no_content_loss_and_the_style_no_style_loss(engine: OptimizerEngine, style: StylePicture) -> None:
    height, width, _ = style.pixels.shape
    exact = style.pixels.astype(np.float32) / np.float32(255)
    painting = tensor_of_floats(resized(exact, (96, round(96 * height / width))))
    with torch.no_grad():
        losses = engine.stylizer(painting).objective(painting)(painting)
    assert losses.content.item() == 0
    assert losses.style.item() < 1e-6


def test_the_same_run_gives_the_same_bytes(engine: OptimizerEngine, content: torch.Tensor) -> None:
    start = engine.stylizer(content).first_start(content, "noise", seed=3)
    assert torch.equal(stylized(engine, content, start, 4), stylized(engine, content, start, 4))


def test_matched_start_has_the_styles_colors(engine: OptimizerEngine, content: torch.Tensor, style: StylePicture) -> None:
    wanted = color_statistics(tensor_of(style.pixels)).mean
    found = color_statistics(engine.stylizer(content).first_start(content, "matched", 0)).mean
    # Colors beyond white and black are held back, so the mean is met to a few levels only.
    assert torch.allclose(found, wanted, atol=0.03)


def test_other_starts(engine: OptimizerEngine, content: torch.Tensor) -> None:
    assert torch.equal(engine.stylizer(content).first_start(content, "content", 0), content)
    noise = engine.stylizer(content).first_start(content, "noise", 1)
    assert torch.equal(noise, engine.stylizer(content).first_start(content, "noise", 1))
    assert not torch.equal(noise, engine.stylizer(content).first_start(content, "noise", 2))
    blank = engine.stylizer(content).first_start(content, "blank", 0)
    assert torch.equal(blank, blank[:, :, :1, :1].expand_as(blank))
    assert all(start.shape == content.shape for start in (noise, blank))


def test_matched_start_gets_further_than_plain_content(engine: OptimizerEngine, content: torch.Tensor) -> None:
    objective = engine.stylizer(content).objective(content)
    with torch.no_grad():
        start = engine.stylizer(content).first_start(content, "matched", 0)
        from_matched = objective(stylized(engine, content, start, 8)).total
        from_content = objective(stylized(engine, content, content, 8)).total
    assert from_matched < from_content


def test_bfloat16_gets_as_far_as_float32(engine: OptimizerEngine, content: torch.Tensor, style: StylePicture) -> None:
    rounded = OptimizerEngine(replace(SETTINGS, precision="bfloat16"), [style])
    start = engine.stylizer(content).first_start(content, "matched", 0)
    objective = engine.stylizer(content).objective(content)
    with torch.no_grad():
        exact = objective(stylized(engine, content, start, 30)).total.item()
        other = objective(stylized(rounded, content, start, 30)).total.item()
    assert other < exact * (1 + BFLOAT16_LOSS)


def target(engine: OptimizerEngine, content: torch.Tensor) -> torch.Tensor:
    """A Gram matrix that the style asks for."""
    return engine.stylizer(content).objective(content).style_targets[0].targets["relu3_1"].gram


def test_two_styles_have_the_weighted_mean_of_their_grams(samples: Path, style: StylePicture, content: torch.Tensor) -> None:
    with Image.open(samples / "styles" / "van_gogh_night_cafe.jpg") as image:
        other = StylePicture(np.asarray(image.convert("RGB")), 3.0)
    alone = [
        OptimizerEngine(SETTINGS, [picture]).stylizer(content).objective(content).style_targets[0].targets["relu3_1"].gram
        for picture in (style, other)
    ]
    both = (
        OptimizerEngine(SETTINGS, [style, other]).stylizer(content).objective(content).style_targets[0].targets["relu3_1"].gram
    )
    assert torch.allclose(both, (alone[0] + 3 * alone[1]) / 4, rtol=1e-4, atol=1e-6 * alone[0].max())


def test_style_targets_follow_the_scale(style: StylePicture, content: torch.Tensor) -> None:
    large = (
        OptimizerEngine(replace(SETTINGS, style_scale=2.0), [style])
        .stylizer(content)
        .objective(content)
        .style_targets[0]
        .targets["relu3_1"]
        .gram
    )
    small = OptimizerEngine(SETTINGS, [style]).stylizer(content).objective(content).style_targets[0].targets["relu3_1"].gram
    assert (large - small).norm() / small.norm() > 0.05


def test_content_colors_are_kept_and_its_luminance_is_painted(content: torch.Tensor, style: StylePicture) -> None:
    stylizer = OptimizerEngine(replace(SETTINGS, color="content"), [style]).stylizer(content)
    seen = stylizer.seen(content)
    assert torch.equal(seen[:, 0], seen[:, 2])
    *_, last = stylizer.stylize(seen, stylizer.first_start(seen, "matched", 0), MinimizeOptions(20))
    shown = stylizer.shown(last.image, content)
    assert torch.allclose(luminance(shown), luminance(last.image), atol=1e-5)
    # What was optimized is what is shown: nothing of its loss is in colors that the luminance does not have.
    assert float(stylizer.objective(seen)(luminance(shown).expand_as(content)).total) == pytest.approx(last.loss, rel=0.001)
    hues = content - luminance(content), shown - luminance(shown)
    # Colors are only paled, never turned: the two point the same way.
    agreement = torch.nn.functional.cosine_similarity(*hues, dim=1)[hues[0].norm(dim=1) > 0.05]
    assert agreement.quantile(0.05) > 0.99
    assert (luminance(shown) - luminance(content)).abs().mean() > 0.02
    # The painting's luminance was brought to the frame's, so a dark painting does not darken the frame.
    assert abs(float(luminance(shown).mean() - luminance(content).mean())) < 0.06


def test_matched_paintings_have_the_contents_colors(content: torch.Tensor, style: StylePicture) -> None:
    stylizer = OptimizerEngine(replace(SETTINGS, color="matched"), [style]).stylizer(content)
    result = stylized_by(stylizer, content, stylizer.first_start(content, "matched", 0))
    wanted, found = color_statistics(content).mean, color_statistics(stylizer.shown(result, content)).mean
    assert torch.allclose(found, wanted, atol=0.06)


def seam_and_neighbors(image: torch.Tensor) -> tuple[float, float]:
    """Mean step between right and left edge, and between neighboring columns elsewhere."""
    across = (image[..., 0] - image[..., -1]).abs().mean()
    elsewhere = (image[..., 1:] - image[..., :-1]).abs().mean()
    return float(across), float(elsewhere)


def test_a_panorama_has_no_seam_and_a_flat_picture_has_one(samples: Path, engine: OptimizerEngine) -> None:
    with Image.open(samples / "streetview" / "street_08_360.jpg") as image:
        panorama = tensor_of(resized(np.asarray(image), (128, 64)))
    stylizer = engine.stylizer(panorama)
    start = stylizer.first_start(panorama, "matched", 0)
    seams = {}
    for wrapped in (True, False):
        *_, last = stylizer.stylize(panorama, start, MinimizeOptions(40), wrapped=wrapped)
        across, elsewhere = seam_and_neighbors(last.image)
        seams[wrapped] = across / elsewhere
    # Wrapped, the seam is a pair of columns like any other.
    assert seams[True] < 1.25
    assert seams[False] > seams[True] * 1.2


def test_turning_a_panorama_turns_its_result(samples: Path, engine: OptimizerEngine) -> None:
    with Image.open(samples / "streetview" / "street_08_360.jpg") as image:
        panorama = tensor_of(resized(np.asarray(image), (128, 64)))
    stylizer = engine.stylizer(panorama)
    objective = stylizer.objective(panorama, wrapped=True)
    # By a multiple of 16 pixels, so that pooling cuts the picture at the same places.
    turned = stylizer.objective(panorama.roll(32, dims=3), wrapped=True)
    start = stylizer.first_start(panorama, "noise", 1)
    with torch.no_grad():
        here, there = objective(start), turned(start.roll(32, dims=3))
    # What lies further away than the continuation reaches is seen through another edge: a little differs.
    assert there.total.item() == pytest.approx(here.total.item(), rel=0.01)


def test_a_frame_too_small_for_its_layers_says_what_is_needed(engine: OptimizerEngine) -> None:
    with pytest.raises(ItemError, match="the frame is 64x15 pixels when stylized; the layers asked for need 16"):
        engine.stylizer(torch.rand(1, 3, 15, 64)).objective(torch.rand(1, 3, 15, 64))


def test_pixels_are_rounded_and_not_cut_off() -> None:
    image = torch.tensor([0.4 / 255, 0.6 / 255, 1.2]).reshape(1, 3, 1, 1)
    assert pixels_of(image).flatten().tolist() == [0, 1, 255]
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.array_equal(pixels_of(tensor_of(levels)), levels)


def test_device_that_is_not_there_is_named() -> None:
    with pytest.raises(
        MachineError, match=r"found cuda:77, but this machine has \d+ usable CUDA devices; allowed here: auto, cpu"
    ):
        choose_device("cuda:77")


def test_precision_is_what_was_asked_for_or_what_the_device_does_well() -> None:
    cpu = torch.device("cpu")
    assert choose_precision("float32", cpu) == torch.float32
    assert choose_precision("bfloat16", cpu) == torch.bfloat16
    is_faster = has_native_bfloat16(cpu) and bfloat16_speedup() >= 1
    assert (choose_precision("auto", cpu) == torch.bfloat16) == is_faster


@pytest.mark.parametrize(
    ("native", "speedup", "chosen"), [(True, 0.5, "float32"), (True, 2.0, "bfloat16"), (False, 2.0, "float32")]
)
def test_bfloat16_is_taken_only_where_it_is_native_and_no_slower(
    native: bool, speedup: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nstpipe.style.precision.has_native_bfloat16", lambda device: native)
    monkeypatch.setattr("nstpipe.style.precision.bfloat16_speedup", lambda: speedup)
    assert choose_precision("auto", torch.device("cpu")) == getattr(torch, chosen)


def test_work_beside_it_does_not_change_which_precision_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when several workers start at once: they would not paint alike."""
    # Seconds of each convolution, float32 and bfloat16 in turn. Others' work made two of them slow.
    seconds = [3.0, 1.0, 60.0, 1.5, 4.0, 20.0, 3.5, 1.0, 3.0, 1.25, 3.0, 1.0]
    readings = iter([reading for one in seconds for reading in (0.0, one)])
    threads_then: list[int] = []

    def clock() -> float:
        threads_then.append(torch.get_num_threads())
        return next(readings)

    assert precision._clock_seconds is (time.perf_counter if os.name == "nt" else time.thread_time)
    monkeypatch.setattr(precision, "_clock_seconds", clock)
    threads = torch.get_num_threads()
    assert bfloat16_speedup.__wrapped__() == 3.0
    assert set(threads_then) == {1}
    assert torch.get_num_threads() == threads


def other_style(samples: Path) -> StylePicture:
    with Image.open(samples / "styles" / "van_gogh_night_cafe.jpg") as image:
        return StylePicture(np.asarray(image.convert("RGB")), 1.0)


def left_half(content: torch.Tensor) -> torch.Tensor:
    """A mask of one region."""
    mask = torch.zeros(1, *content.shape[-2:])
    mask[..., : content.shape[-1] // 2] = 1
    return mask


def test_what_was_not_in_view_before_counts_more_in_the_style(engine: OptimizerEngine, content: torch.Tensor) -> None:
    half = content.shape[-1] // 2 // 16 * 16  # where all layers' positions begin
    unreliable, newness = torch.zeros(content.shape[-2:]), torch.zeros(content.shape[-2:])
    newness[:, :half] = 1
    stylizer = engine.stylizer(None)
    (target,) = stylizer.objective(content, TemporalTarget(content, unreliable, newness)).style_targets
    for layer, _ in SETTINGS.style_layers:
        weight = target.weight(layer)
        assert weight is not None
        place = half // pixels_a_position(layer)
        assert (weight[..., :place] == NEW_STYLE_WEIGHT).all()
        assert (weight[..., place:] == 1).all()
    # Where the flow fails, but all was seen before, as in the noise of a night, nothing is new.
    for seen in (None, torch.zeros_like(newness)):
        (alike,) = stylizer.objective(content, TemporalTarget(content, unreliable, seen)).style_targets
        assert alike.weights is None


def test_what_was_not_in_view_before_counts_more_within_its_region(style: StylePicture, content: torch.Tensor) -> None:
    stylizer = OptimizerEngine(SETTINGS, [style], [RegionPaint((style,))]).stylizer(None).masked(left_half(content))
    temporal_target = TemporalTarget(content, torch.zeros(content.shape[-2:]), torch.ones(content.shape[-2:]))
    rest, region = stylizer.objective(content, temporal_target).style_targets
    mask = partition_masks(left_half(content))[:, None, None]
    assert rest.weights is not None
    assert region.weights is not None
    assert torch.equal(rest.weights["relu1_1"], NEW_STYLE_WEIGHT * mask[0])
    assert torch.equal(region.weights["relu1_1"], NEW_STYLE_WEIGHT * mask[1])
    assert rest.share + region.share == pytest.approx(1)


def test_a_region_takes_its_own_style_and_the_rest_keeps_the_jobs(
    samples: Path, style: StylePicture, content: torch.Tensor
) -> None:
    other = other_style(samples)
    stylizer = OptimizerEngine(SETTINGS, [style], [RegionPaint((other,))]).stylizer(None).masked(left_half(content))
    start = stylizer.first_start(content, "matched", 0)
    result = stylized_by(stylizer, content, start, max_iterations=30)
    half = content.shape[-1] // 2
    for part, near, far in ((slice(0, half), other, style), (slice(half, None), style, other)):
        # The nearer style's colors, by their means.
        found = result[..., part].mean(dim=(0, 2, 3))
        distances = [(found - tensor_of(picture.pixels).mean(dim=(0, 2, 3))).norm() for picture in (near, far)]
        assert distances[0] < distances[1] / 2


def test_a_region_that_is_kept_stays_to_the_last_bit_and_gets_no_gradient(style: StylePicture, content: torch.Tensor) -> None:
    stylizer = OptimizerEngine(SETTINGS, [style], [RegionPaint()]).stylizer(None).masked(left_half(content))
    start = stylizer.first_start(content, "matched", 0)
    half = content.shape[-1] // 2
    assert torch.equal(start[..., :half], content[..., :half])
    image = start.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(stylizer.objective(content)(image).total, image)
    assert (gradient[..., :half] == 0).all()
    assert (gradient[..., half:] != 0).any()
    shown = stylizer.shown(stylized_by(stylizer, content, start), content)
    assert torch.equal(shown[..., :half], content[..., :half])
    assert (shown[..., half:] - content[..., half:]).abs().mean() > 0.05


def test_a_region_over_all_of_the_frame_is_that_style_alone(style: StylePicture, samples: Path, content: torch.Tensor) -> None:
    other = other_style(samples)
    everywhere = torch.ones(1, *content.shape[-2:])
    stylizer = OptimizerEngine(SETTINGS, [other], [RegionPaint((style,))]).stylizer(None).masked(everywhere)
    alone = OptimizerEngine(SETTINGS, [style]).stylizer(None)
    assert torch.allclose(stylizer.first_start(content, "matched", 0), alone.first_start(content, "matched", 0), atol=1e-6)
    with torch.no_grad():
        found, expected = stylizer.objective(content)(content).total, alone.objective(content)(content).total
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_regions_of_one_style_balance_as_the_whole_does(style: StylePicture, content: torch.Tensor) -> None:
    """Two halves with the same painting count together as much as one whole: by their areas."""
    halves = OptimizerEngine(SETTINGS, [style], [RegionPaint((style,))]).stylizer(None).masked(left_half(content))
    targets = halves.objective(content).style_targets
    assert [target.share for target in targets] == pytest.approx([0.5, 0.5])


def test_a_region_that_is_nowhere_in_a_frame_does_not_count(style: StylePicture, content: torch.Tensor) -> None:
    nowhere = torch.zeros(1, *content.shape[-2:])
    stylizer = OptimizerEngine(SETTINGS, [style], [RegionPaint((style,), strength=9)]).stylizer(None).masked(nowhere)
    plain = OptimizerEngine(SETTINGS, [style]).stylizer(None)
    with torch.no_grad():
        found, expected = stylizer.objective(content)(content).total, plain.objective(content)(content).total
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_first_region_has_what_several_claim() -> None:
    masks = torch.tensor([[[1.0, 0.5, 0.0]], [[1.0, 1.0, 0.25]]])
    assert torch.equal(partition_masks(masks), torch.tensor([[[0.0, 0.0, 0.75]], [[1.0, 0.5, 0.0]], [[0.0, 0.5, 0.25]]]))


def test_wasserstein_distance_paints_too(style: StylePicture, content: torch.Tensor) -> None:
    stylizer = OptimizerEngine(replace(SETTINGS, distance="wasserstein"), [style]).stylizer(None)
    objective = stylizer.objective(content)
    result = stylized_by(stylizer, content, content)
    with torch.no_grad():
        before, after = objective(content), objective(result)
    assert after.total < before.total / 2
    assert 0.05 < after.content < 0.9


def test_scales_carry_up_what_they_change_and_cost_by_their_pixels(samples: Path, engine: OptimizerEngine) -> None:
    with Image.open(samples / "streetview" / "street_01.jpg") as image:
        content = tensor_of(resized(np.asarray(image), (192, 128)))
    stylizer = engine.stylizer(None)
    start = stylizer.first_start(content, "matched", 0)
    found = list(stylizer.stylize(content, start, MinimizeOptions(10, scales=2)))
    assert [iterate.image.shape[-1] for iterate in found] == [96] * 10 + [192] * 10
    assert found[9].iterations == 3
    assert found[-1].iterations == cost(10, 2) == 13
    alone = list(stylizer.stylize(content, start, MinimizeOptions(10)))
    # The small size has painted already what the full size begins with.
    assert found[10].loss < alone[0].loss
    # A seventh less with each kind of arithmetic; after six iterations rounding decided, as the steps are not yet to scale.
    assert found[-1].loss < alone[-1].loss


def test_scales_change_nothing_where_nothing_is_painted(engine: OptimizerEngine, content: torch.Tensor) -> None:
    """A picture in its own style is at rest: what goes up from the small size is a change, not a blurred picture."""
    wide = torch.nn.functional.interpolate(content, scale_factor=2, mode="bicubic").clamp(0, 1)
    keep = (
        OptimizerEngine(SETTINGS, engine.paints[0].styles, [RegionPaint()])
        .stylizer(None)
        .masked(torch.ones(1, *wide.shape[-2:]))
    )
    *_, last = keep.stylize(wide, wide, MinimizeOptions(2, scales=2))
    assert torch.allclose(last.image, wide, atol=1e-6)


@pytest.mark.parametrize(
    ("wanted", "size", "count"),
    [
        ("auto", (512, 288), 1),
        ("auto", (1024, 768), 2),
        ("auto", (2048, 1024), 3),
        ("auto", (64, 64), 1),
        (3, (512, 512), 3),
        (8, (256, 128), 2),
    ],
)
def test_scales_are_chosen_from_the_size(wanted: int | str, size: tuple[int, int], count: int) -> None:
    assert scale_count(wanted, size) == count


def test_a_strip_too_thin_for_half_its_size_is_painted_at_its_own(engine: OptimizerEngine) -> None:
    strip = torch.rand(1, 3, 16, 96, generator=torch.Generator().manual_seed(0))
    seen = [iterate.image.shape[-2:] for iterate in engine.stylizer(strip).stylize(strip, strip, MinimizeOptions(2, scales=2))]
    assert seen == [(16, 96)] * 2


def test_a_device_of_no_known_name_is_a_wrong_call() -> None:
    with pytest.raises(UsageError, match="device: found gpu; should be auto, cpu, cuda or cuda:N"):
        choose_device("gpu")
