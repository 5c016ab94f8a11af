"""The paintings of a collection: which there are, what is remembered of them, and what a plan makes of them."""

from __future__ import annotations

import os
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nstpipe import api
from nstpipe.config import Job, load_pipeline
from nstpipe.errors import ItemError
from nstpipe.events import Event, OutputDone
from nstpipe.planning import collection as module
from nstpipe.planning.collection import collection_of, slug_of
from nstpipe.planning.inputs import find_inputs
from nstpipe.planning.picks import with_painting_for
from nstpipe.planning.plan import Plan
from tests.making import make_picture, make_video, write_pipeline


def style_of(folder: Path, **keys: Any) -> Any:
    content = {"name": "a", "input": "in", "output": "out", "style": {"collection": "w", **keys}}
    return Job.model_validate(content, context={"folder": folder}).style


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / "w" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "w" / name).write_bytes(b"")


def names(folder: Path, **keys: Any) -> list[str]:
    return list(collection_of(style_of(folder, **keys), folder / "work").names)


def test_both_layouts_of_wikiart_are_read(tmp_path: Path) -> None:
    of_artists = ["claude-monet/a_b.jpg", "édouard-manet/c.JPG", "vincent-van-gogh/d.png"]
    of_genres = ["Impressionism/claude-monet_e.jpg", "Post_Impressionism/vincent-van-gogh_f.jpg"]
    put(tmp_path, *of_artists, *of_genres, "notes.txt", ".hidden.jpg", "@eaDir/g.jpg", "half.jpg.part")
    assert names(tmp_path) == sorted([*of_artists, *of_genres])
    assert names(tmp_path, artists=["Monet"]) == ["Impressionism/claude-monet_e.jpg", "claude-monet/a_b.jpg"]
    assert names(tmp_path, artists=["edouard manet"]) == ["édouard-manet/c.JPG"]
    assert names(tmp_path, artists=["van gogh"], genres=["post-impressionism"]) == of_genres[1:]
    assert names(tmp_path, genres=["impressionism"]) == of_genres[:1]
    assert names(tmp_path, genres=["*impressionism"]) == of_genres
    for keys, said in (
        ({"artists": ["monet", "monett"]}, "style.artists: monett fits none of the 5 paintings"),
        ({"genres": ["cubism"]}, "style.genres: cubism fits none"),
        ({"artists": ["manet"], "genres": ["impressionism"]}, "no painting of .* is by manet and of the genre impressionism"),
    ):
        with pytest.raises(ItemError, match=said):
            names(tmp_path, **keys)


def test_what_cannot_be_named_or_entered_is_left_out_with_a_notice(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é/é.jpg") for form in ("NFC", "NFD"))
    put(tmp_path, decomposed, "long/" + "x" * 251 + ".jpg")
    (tmp_path / "w" / "circle").symlink_to(tmp_path / "w")
    put(tmp_path, os.fsdecode(b"latin\xe9.jpg"))
    put(tmp_path, "work/clips/frame.jpg")
    found = collection_of(style_of(tmp_path), tmp_path / "w/work")
    assert list(found.names) == ["long/" + "x" * 251 + ".jpg", composed]
    assert all(found.path_of(name).exists() for name in found.names)
    [notice] = found.notices
    assert "1 name that is no UTF-8" in notice


@pytest.mark.parametrize("missing", ["folder", "pictures", "a file"])
def test_a_collection_without_paintings_is_an_error(tmp_path: Path, missing: str) -> None:
    if missing == "pictures":
        put(tmp_path, "readme.txt")
    elif missing == "a file":
        (tmp_path / "w").write_bytes(b"")
    with pytest.raises(ItemError, match={"folder": "does not exist", "pictures": "no picture", "a file": "is a file"}[missing]):
        names(tmp_path)


def test_only_changed_folders_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a/1.jpg", "b/2.jpg", "b/c/3.jpg")
    (tmp_path / "work").mkdir()
    read: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(module.os, "scandir", lambda path: read.append(os.path.relpath(path, tmp_path / "w")) or scandir(path))

    def look() -> tuple[list[str], list[str]]:
        read.clear()
        return names(tmp_path), sorted(read)

    three = ["a/1.jpg", "b/2.jpg", "b/c/3.jpg"]
    assert look() == (three, [".", "a", "b", "b/c"])
    # Folders that have just changed are not trusted: another file may come within the same tick of the clock.
    assert look() == (three, [".", "a", "b", "b/c"])
    monkeypatch.setattr(module, "SETTLED_SECONDS", 0.0)
    time.sleep(0.02)
    look()
    assert look() == (three, [])
    put(tmp_path, "b/c/4.jpg")
    time.sleep(0.02)
    assert look() == ([*three, "b/c/4.jpg"], ["b/c"])
    (tmp_path / "w/a/1.jpg").rename(tmp_path / "w/a/0.jpg")
    (tmp_path / "w/b/2.jpg").unlink()
    time.sleep(0.02)
    assert look() == (["a/0.jpg", "b/c/3.jpg", "b/c/4.jpg"], ["a", "b"])
    # A folder whose time was set back, as copying tools do, is read all the same.
    before = (tmp_path / "w/a").stat()
    put(tmp_path, "a/9.jpg")
    os.utime(tmp_path / "w/a", ns=(before.st_atime_ns, before.st_mtime_ns))
    time.sleep(0.02)
    assert look() == (["a/0.jpg", "a/9.jpg", "b/c/3.jpg", "b/c/4.jpg"], ["a"])
    [cache] = (tmp_path / "work/collections").iterdir()
    for damage in (b"", b"{}", cache.read_bytes().replace(b"9.jpg", b"8.jpg")):
        cache.write_bytes(damage)
        assert look() == (["a/0.jpg", "a/9.jpg", "b/c/3.jpg", "b/c/4.jpg"], [".", "a", "b", "b/c"])


def test_names_made_of_paintings_are_safe_and_differ() -> None:
    alike = ["a/b_c.jpg", "a_b/c.jpg", "a/b-c.jpg", "a/b_c.png", "A/b_c.jpg", "á/b_c.jpg", "草間/彌生.jpg", "x" * 400 + ".jpg"]
    slugs = [slug_of(name) for name in alike]
    assert len(set(slugs)) == len(alike)
    assert all(slug.isascii() and slug == slug.lower() and len(slug) <= 69 and "/" not in slug for slug in slugs)
    assert slugs[0].startswith("a_b-c-")


def prepare(folder: Path, *, paintings: int = 5, **style: Any) -> Path:
    """A pipeline of four pictures of a folder, of which the last three are a walk, and a collection with a broken painting."""
    for number in range(paintings):
        make_picture(folder / f"w/artist-{number}/title.png", number)
    (folder / "w/zz").mkdir()
    (folder / "w/zz/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and nothing else")
    Image.new("RGBA", (8, 8)).save(folder / "w/zz/transparent.png")
    make_picture(folder / "in/other/0.png", 77)
    for number in range(3):
        picture = Image.open(make_picture(folder / "big.png", 3, (90, 54)))
        (folder / "in/walk").mkdir(parents=True, exist_ok=True)
        picture.crop((2 * number, 0, 72 + 2 * number, 54)).save(folder / f"in/walk/{number}.png")
    return write_pipeline(
        folder,
        {"name": "street", "input": "in", "output": "out", "style": {"collection": "w", "layers": {"relu1_1": 1}, **style}},
    )


def paintings_of(plan: Plan) -> dict[str, str]:
    return {f"{output.path.parent.name}/{output.path.name}": output.painting for output in plan.outputs}


def test_linked_pictures_share_a_painting_and_others_have_their_own(tmp_path: Path) -> None:
    pipeline = prepare(tmp_path, pick="cycle", seed=1)
    plan = api.plan(pipeline)
    assert [output.linked_output is not None for output in plan.outputs] == [False, False, True, True]
    by_path = paintings_of(plan)
    assert by_path["walk/0.png"] == by_path["walk/1.png"] == by_path["walk/2.png"] != by_path["other/0.png"]
    # The unit is the run of pictures, so all four take their turn when they are not linked.
    alone = paintings_of(api.plan(pipeline, overrides=["jobs.street.link=none"]))
    assert len(set(alone.values())) == 4


def test_a_painting_is_in_the_fingerprint_of_its_inputs_only(tmp_path: Path) -> None:
    pipeline = prepare(tmp_path, pick="random", seed=2)
    overrides = ["jobs.street.link=none"]
    before = api.plan(pipeline, overrides=overrides)
    used = before.outputs[0].painting
    make_picture(tmp_path / "w" / used, 99)  # replaced
    after = api.plan(pipeline, overrides=overrides)
    assert paintings_of(after) == paintings_of(before)
    for one, other in zip(before.outputs, after.outputs, strict=True):
        assert (one.fingerprint != other.fingerprint) == (one.painting == used)
    # However a painting was picked, it gives the same result as if it had been named.
    named = api.plan(pipeline, overrides=[*overrides, f"jobs.street.style={{images: [w/{used}], layers: {{relu1_1: 1}}}}"])
    same = [one.fingerprint == other.fingerprint for one, other in zip(after.outputs, named.outputs, strict=True)]
    assert same == [output.painting == used for output in after.outputs]


def test_a_broken_painting_costs_nothing_else(tmp_path: Path) -> None:
    pipeline = prepare(tmp_path, paintings=1, pick="cycle")
    plan = api.plan(pipeline)
    assert not plan.failures
    assert set(paintings_of(plan).values()) == {"artist-0/title.png"}
    assert len(plan.paintings) == 2
    assert any("broken.jpg cannot be read" in str(notice) for notice in plan.paintings)
    assert any("transparent everywhere, so there is no paint; artist-0/title.png" in str(notice) for notice in plan.paintings)
    (tmp_path / "w/artist-0/title.png").unlink()
    plan = api.plan(pipeline)
    assert not plan.outputs
    assert "none of the 2 paintings" in plan.failures[0].reason


@pytest.mark.parametrize("pick", ["one", "cycle", "random"])
def test_a_preview_has_the_painting_of_the_plan(tmp_path: Path, pick: str) -> None:
    pipeline = load_pipeline(prepare(tmp_path, paintings=3, pick=pick), ["jobs.street.link=none"])
    [job] = pipeline.jobs

    def previewed() -> list[str]:
        return [with_painting_for(file, job, pipeline).style.painting for file in find_inputs(job)]

    before = previewed()  # without a journal
    assert [output.painting for output in api.plan(pipeline).outputs] == before == previewed()


def test_each_input_is_painted_with_each_painting(tmp_path: Path) -> None:
    pipeline = prepare(tmp_path, paintings=2, pick="each")
    make_video(tmp_path / "film.mp4", frames=2)
    assert sum("passed over" in notice for notice in api.plan(pipeline).notices) == 2
    assert (api.validate(pipeline).usable, [status.left for status in api.status(pipeline).jobs]) == (8, [4, 4])
    plan = api.plan(pipeline, jobs=["street"])
    folders = {output.path.relative_to(tmp_path / "out").parts[0]: output.painting for output in plan.outputs}
    assert folders == {slug_of(name): name for name in ("artist-0/title.png", "artist-1/title.png")}
    assert len(plan.outputs) == 8
    one = api.plan(pipeline, jobs=[f"street-{slug_of('artist-1/title.png')}"])
    assert {output.painting for output in one.outputs} == {"artist-1/title.png"}
    # A newcomer adds its own outputs, and renames none.
    make_picture(tmp_path / "w/aaa/title.png", 55)
    grown = api.plan(pipeline)
    assert {output.path for output in plan.outputs} < {output.path for output in grown.outputs}
    assert len(grown.outputs) == 12
    film = ["jobs.street.input=film.mp4", "jobs.street.output=out/film.mp4"]
    of_film = api.plan(pipeline, overrides=film)
    assert {output.path for output in of_film.outputs} == {
        tmp_path / "out" / slug_of(name) / "film.mp4" for name in ("aaa/title.png", "artist-0/title.png", "artist-1/title.png")
    }


def test_each_is_bounded_and_results_never_become_paintings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = prepare(tmp_path, paintings=3, pick="each")
    monkeypatch.setattr("nstpipe.planning.picks.MOST_PAINTINGS_EACH", 4)
    [failure] = api.plan(pipeline).failures
    assert "each of 5 paintings; at most 4 are allowed" in failure.reason
    (tmp_path / "link").symlink_to(tmp_path / "w")
    plan = api.plan(pipeline, overrides=["jobs.street.output=link/out", "jobs.street.style.pick=one"])
    assert not plan.outputs
    assert "so results would become paintings" in plan.failures[0].reason


def test_a_run_paints_with_what_was_planned(tmp_path: Path) -> None:
    pipeline = prepare(tmp_path, pick="cycle", artists=["artist 0", "artist 1"])
    events: list[Event] = []
    planned = {str(output.path): output.painting for output in api.plan(pipeline).outputs}
    assert api.run(pipeline, on_event=events.append).exit_code == 0
    done = [event for event in events if isinstance(event, OutputDone)]
    assert {event.output: event.painting for event in done} == planned
    assert len(set(planned.values())) == 2
    assert 'after <span class="file">artist-1/title.png</span>' in (tmp_path / ".nstpipe/report.html").read_text()
    # Another painting for one input is a reason for that one alone.
    other = {0: 1, 1: 0}[int(planned[str(tmp_path / "out/other/0.png")][7])]
    named = [f"jobs.street.style={{collection: w, artists: [artist {other}], layers: {{relu1_1: 1}}}}"]
    reasons = {str(output.path): output.reason for output in api.plan(pipeline, overrides=named).outputs}
    assert reasons[str(tmp_path / "out/walk/0.png")] == ""
    assert reasons[str(tmp_path / "out/other/0.png")].startswith(
        f"painting changed from artist-{1 - other}/title.png to artist-{other}/title.png"
    )
