"""Fingerprints and reasons, without reading a file."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from nstpipe.config.engines import ENGINE_TRAITS, EngineTraits
from nstpipe.config.models import Job
from nstpipe.journal.records import Record, State
from nstpipe.media.video.info import MissingFrames, VideoColor, VideoInfo
from nstpipe.planning.fingerprints import MOST_PARTS, Fingerprinter
from nstpipe.planning.input_info import InputInfo
from nstpipe.planning.inputs import InputFile
from nstpipe.planning.outputs import Output, plan_job

STYLE, INPUT, OUTPUT = Path("/style.jpg"), Path("/in.mp4"), Path("/out.mp4")


def job(**keys: object) -> Job:
    content = {"name": "film", "input": str(INPUT), "output": str(OUTPUT), "style": {"images": [str(STYLE)]}, **keys}
    return Job.model_validate(content, context={"folder": Path("/")})


def video(frames: int = 10) -> VideoInfo:
    return VideoInfo(
        path=INPUT,
        width=640,
        height=360,
        time_base=Fraction(1, 25),
        ticks=tuple(range(frames)),
        average_rate=Fraction(25),
        color=VideoColor("bt709", True, False, None, None),
    )


FOUND = InputInfo(InputFile(INPUT, OUTPUT, is_video=True), "a" * 64, (640, 360), video(), (0, 4))


def planned(
    a_job: Job,
    found: InputInfo = FOUND,
    finished: Record | None = None,
    weights: str = "w",
    style: str = "s",
    seed: int = 0,
    stored: int = 0,
) -> Output:
    known = {OUTPUT: finished} if finished is not None else {}
    [output] = plan_job(
        Fingerprinter(a_job, {STYLE: style}, weights, seed, "auto"),
        [found],
        known,
        frames_stored=lambda clip: min(stored, clip.end_frame_index) - min(stored, clip.first_frame_index),
    )
    return output


def test_clips_cover_all_frames_without_gap_or_overlap() -> None:
    clips = planned(job()).clips
    assert [(clip.first_frame_index, clip.end_frame_index, clip.frame_count) for clip in clips] == [(0, 4, 4), (4, 10, 6)]


def test_a_shot_is_divided_if_its_frames_are_independent_and_only_then() -> None:
    def bounds(found: InputInfo, **keys: object) -> list[tuple[int, int]]:
        return [(clip.first_frame_index, clip.end_frame_index) for clip in planned(job(**keys), found).clips]

    film = replace(FOUND, video=video(1300), shot_starts=(0, 100))
    whole = [(0, 100), (100, 1300)]
    parts = [(0, 100), (100, 500), (500, 900), (900, 1300)]
    assert bounds(film, engine="network") == parts
    assert bounds(film) == whole
    assert bounds(film, engine={"name": "network", "refine": 1}) == whole
    assert bounds(film, engine={"name": "network", "blend": True}) == whole
    assert bounds(film, engine="network", color="content") == bounds(film, engine="network", color="matched") == whole
    damaged = replace(film, video=replace(video(1300), loss=MissingFrames(Fraction(1), 1, "it ends early")))
    assert bounds(damaged, engine="network") == whole
    # Were a video without an index in a hundred parts, it would be decoded fifty times.
    assert len(bounds(replace(film, video=video(100_000), shot_starts=(0,)), engine="network")) == MOST_PARTS


def test_size_is_even_for_a_video() -> None:
    assert planned(job(size=103)).size == (104, 58)


def test_a_picture_is_one_clip_of_one_frame() -> None:
    [clip] = planned(job(), InputInfo(InputFile(Path("/a.jpg"), OUTPUT, is_video=False), "b", (33, 99))).clips
    assert clip.frame_count == 1


def test_first_frames_of_clips_cost_more_than_later_ones() -> None:
    output = planned(job(optimizer={"first": 100, "next": 10}))
    first, second = output.clips
    assert output.max_iterations(first, frames_done=0) == 100 + 3 * 10
    assert output.max_iterations(second, frames_done=2) == 4 * 10
    assert output.max_iterations(second, frames_done=6) == 0


def as_recorded(state: State, output: Output, **fields: object) -> Record:
    fingerprint_inputs = json.loads(json.dumps(output.fingerprint_inputs))
    return replace(Record(state, output.fingerprint, fingerprint_inputs), **fields)  # type: ignore[arg-type]


def test_reasons_of_an_output_that_has_its_settings_still() -> None:
    plain = planned(job())
    assert plain.reason == "new"
    done = planned(job(), finished=as_recorded("done", plain))
    assert (done.is_done, done.reason) == (True, "")
    assert planned(job(), finished=as_recorded("done", plain, damage="missing")).reason == "output missing"
    assert planned(job(), finished=as_recorded("done", plain, damage="changed")).reason == "output changed"
    assert planned(job(), finished=as_recorded("planned", plain)).reason == "new"
    assert planned(job(), finished=as_recorded("started", plain), stored=7).reason == "unfinished (frame 8 of 10)"
    assert planned(job(), finished=as_recorded("started", plain), stored=10).reason == "unfinished (all 10 frames done)"
    assert planned(job(), stored=3).reason == "unfinished (frame 4 of 10)", "also when the journal was lost"


def test_what_failed_before_says_why_and_is_held_back() -> None:
    failed = planned(job(), finished=as_recorded("failed", planned(job()), attempts=2, reason="no sound"))
    assert failed.reason == "failed before (2 tries): no sound"
    assert failed.failed_before is not None
    changed = planned(job(size=64), finished=as_recorded("failed", planned(job()), attempts=2, reason="no sound"))
    assert (changed.reason, changed.failed_before) == ("size changed from 512 to 64", None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": 300}, "size changed from 512 to 300"),
        ({"style": {"images": [str(STYLE)], "strength": 2.0}}, "style.strength changed from 1.0 to 2.0"),
        ({"style": {"images": [{"path": str(STYLE), "weight": 2.0}]}}, "style.images[0].weight changed from 1.0 to 2.0"),
        ({"content": {"layers": {"relu4_2": 2}}}, "content.layers.relu4_2 changed from 1.0 to 2.0"),
        ({"encode": {"crf": 30}}, "encode.crf changed from None to 30"),
        ({"audio": "none"}, "audio changed from copy to none"),
        ({"size": 300, "audio": "none"}, "audio changed from copy to none, size changed from 512 to 300"),
        (
            {"size": 300, "audio": "none", "metadata": "strip", "pooling": "average", "init": "noise"},
            "audio changed from copy to none, metadata changed from keep to strip, init changed and 2 more",
        ),
    ],
    ids=str,
)
def test_a_changed_setting_is_named_with_both_values(change: dict[str, object], reason: str) -> None:
    assert planned(job(**change), finished=as_recorded("done", planned(job()))).reason == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"weights": "x"}, "weights changed"),
        ({"style": "t"}, "style.images[0] changed"),
        ({"seed": 1}, "seed changed from 0 to 1"),
        ({"found": replace(FOUND, sha256="c")}, "input changed"),
        ({"found": replace(FOUND, shot_starts=(0, 5))}, "cuts changed"),
    ],
    ids=str,
)
def test_other_changes_are_named(change: dict[str, object], reason: str) -> None:
    recorded = as_recorded("done", planned(job()))
    assert planned(job(), finished=recorded, **change).reason == reason  # type: ignore[arg-type]


def test_a_record_of_before_settings_were_recorded_says_what_is_known() -> None:
    assert planned(job(), finished=Record("done", "other")).reason == "settings changed since it was made"


CHANGES_OF_FRAMES = [
    {"size": 300},
    {"style": {"images": [str(STYLE)], "strength": 2.0}},
    {"style": {"images": [{"path": str(STYLE), "weight": 2.0}]}},
    {"content": {"layers": {"relu3_2": 1}}},
    {"init": "noise"},
    {"pooling": "average"},
    {"padding": "zeros"},
    {"total_variation": 0.0},
    {"optimizer": {"next": 31}},
    {"temporal": {"weight": 0.5}},
]


@pytest.mark.parametrize("change", CHANGES_OF_FRAMES, ids=str)
def test_settings_that_change_frames_change_both_fingerprints(change: dict[str, object]) -> None:
    plain, other = planned(job()), planned(job(**change))
    assert plain.fingerprint != other.fingerprint
    assert all(one.fingerprint != two.fingerprint for one, two in zip(plain.clips, other.clips, strict=True))


@pytest.mark.parametrize("change", [{"encode": {"crf": 30}}, {"audio": "none"}, {"metadata": "strip"}], ids=str)
def test_settings_of_the_file_leave_the_frames_alone(change: dict[str, object]) -> None:
    plain, other = planned(job()), planned(job(**change))
    assert plain.fingerprint != other.fingerprint
    assert plain.clips == other.clips


def test_an_engine_decides_the_frames_and_the_first_one_leaves_older_results_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ENGINE_TRAITS, "network", EngineTraits(iterates=False))
    plain, named, network = (planned(job(**keys)) for keys in ({}, {"engine": "optimizer"}, {"engine": "network"}))
    assert plain.fingerprint == named.fingerprint
    assert "engine" not in plain.fingerprint_inputs["settings"], "results of before the key have none"
    assert {clip.fingerprint for clip in plain.clips}.isdisjoint(clip.fingerprint for clip in network.clips)
    before = as_recorded("done", plain)
    assert planned(job(engine="network"), finished=before).reason == "engine changed from optimizer to network"


def test_each_frame_of_an_engine_without_iterations_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINE_TRAITS, "network", EngineTraits(iterates=False))
    first, last = (output := planned(job(engine="network", temporal={"passes": 2}))).clips
    assert [output.max_iterations(first, done) for done in (0, 3, 4)] == [8, 1, 0]
    assert output.max_iterations(last, 0) == 12


def test_names_and_places_change_nothing() -> None:
    assert planned(job()).fingerprint == planned(job(name="other", include=["*.jpg"], exclude=["b"])).fingerprint


def test_shots_act_through_the_clips_alone() -> None:
    whole = replace(FOUND, shot_starts=(0,))
    assert planned(job(shots="none"), whole).fingerprint == planned(job(shots="auto"), whole).fingerprint
    assert planned(job(), whole).fingerprint != planned(job()).fingerprint


@pytest.mark.parametrize(
    "change", [{"weights": "x"}, {"style": "t"}, {"seed": 1}, {"found": replace(FOUND, sha256="c")}], ids=str
)
def test_content_weights_and_seed_change_the_fingerprint(change: dict[str, object]) -> None:
    assert planned(job()).fingerprint != planned(job(), **change).fingerprint  # type: ignore[arg-type]


def test_fingerprints_stay_the_same_from_run_to_run() -> None:
    assert planned(job()) == planned(job())


PICTURE = InputInfo(InputFile(Path("/a.jpg"), OUTPUT, is_video=False), "b" * 64, (640, 360))


@pytest.mark.parametrize(
    "change",
    [
        {"encode": {"crf": 30}},
        {"audio": "none"},
        {"rate": 12},
        {"temporal": {"weight": 2.0}},
        {"optimizer": {"next": 7}},
    ],
    ids=str,
)
def test_what_only_films_have_paints_no_picture_again(change: dict[str, object]) -> None:
    before = planned(job(), PICTURE)
    assert planned(job(**change), PICTURE, as_recorded("done", before)).is_done
    assert not planned(job(**change), FOUND, as_recorded("done", planned(job()))).is_done


def test_a_precision_that_was_asked_for_decides_the_result() -> None:
    def at(precision: str) -> Output:
        fingerprinter = Fingerprinter(job(), {STYLE: "s"}, "w", 0, precision)
        [output] = plan_job(fingerprinter, [FOUND], {}, frames_stored=lambda clip: 0)
        return output

    assert len({at(precision).clips[0].fingerprint for precision in ("auto", "bfloat16", "float32")}) == 3
