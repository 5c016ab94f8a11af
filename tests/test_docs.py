"""What the documents say is tried, or at least held against the code."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel

import nstpipe.api
from nstpipe.cli import exit_code
from nstpipe.config import load_pipeline
from nstpipe.config.engines import LookEngine
from nstpipe.config.models import Job, Notify, Pipeline, Track
from nstpipe.errors import ConfigError
from nstpipe.media.pictures.formats import PICTURE_SUFFIXES
from nstpipe.media.video.containers import VIDEO_SUFFIXES
from nstpipe.storage.remotes import Remotes
from tests.making import make_picture, make_video
from tests.style.networks.making import own_file
from tests.test_house import ROOMS

REPOSITORY = Path(__file__).parent.parent
DOCUMENTS = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])


def yaml_examples() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        blocks = re.findall(r"```yaml\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
        for number, block in enumerate(blocks, start=1):
            yield f"{document.stem}-{number}", block


def settings(value: object, prefix: str = "") -> Iterator[str]:
    """What an example says: each key with the keys above it, and the kind or the word that it is given."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from settings(child, f"{prefix}.{key}")
    elif isinstance(value, list):
        for child in value:
            yield from settings(child, f"{prefix}[]")
    else:
        # Numbers and paths are many, and what is done with one is done with another; a word such as `content` is a choice.
        is_word = isinstance(value, str) and re.fullmatch(r"[a-z]+[0-9]*", value) is not None
        suffix = Path(value).suffix if isinstance(value, str) else ""
        yield f"{prefix} = {value if is_word else type(value).__name__ + suffix}"


def one_a_setting(examples: list[tuple[str, str]]) -> set[str]:
    """Names of as few examples as hold every setting that any of them holds, the longest first."""
    held: set[str] = set()
    chosen = set()
    for name, block in sorted(examples, key=lambda example: -len(set(settings(yaml.safe_load(example[1]))))):
        new = set(settings(yaml.safe_load(block))) - held
        if new:
            held |= new
            chosen.add(name)
    return chosen


EXAMPLES = list(yaml_examples())
RUN = one_a_setting(EXAMPLES)


@pytest.fixture
def pipeline_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Pipeline]:
    """Loads an example as a tiny job, whose media are there."""
    monkeypatch.setenv("NSTPIPE_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("WEBHOOK", "https://example.org/hook")
    monkeypatch.setenv("WEBHOOK_SECRET", "secret")

    def load(example: str) -> Pipeline:
        (tmp_path / "pipeline.yaml").write_text(example)
        tiny = ["device=cpu", "jobs.*.size=48", "jobs.*.optimizer.first=1", "jobs.*.optimizer.next=1"]
        pipeline = load_pipeline(tmp_path / "pipeline.yaml", tiny)
        for job in pipeline.jobs:
            furnish(job)
        pipeline = pipeline.with_jobs(tuple(map(hardly_trained, pipeline.jobs)))
        # Nothing leaves the machine; what is sent, and how, has tests of its own. So have clusters.
        here = pipeline.with_remotes(Remotes({}))  # the paths that stand for addresses are plain files
        return here.model_copy(update={"notify": Notify(), "track": Track(), "cluster": None})

    return load


@pytest.mark.parametrize("example", [pytest.param(block, id=name) for name, block in EXAMPLES])
def test_yaml_examples_are_right(pipeline_of: Callable[[str], Pipeline], example: str) -> None:
    plan = nstpipe.api.plan(pipeline_of(example))
    assert (plan.failures, bool(plan.outputs)) == ((), True)


@pytest.mark.parametrize("example", [pytest.param(block, id=name) for name, block in EXAMPLES if name in RUN])
def test_yaml_examples_run(pipeline_of: Callable[[str], Pipeline], example: str) -> None:
    result = nstpipe.run(pipeline_of(example))
    assert (result.exit_code, result.failures) == (0, ())
    assert result.outputs


def test_examples_that_run_hold_every_setting() -> None:
    held = {setting for name, block in EXAMPLES if name in RUN for setting in settings(yaml.safe_load(block))}
    assert held == {setting for _, block in EXAMPLES for setting in settings(yaml.safe_load(block))}


def hardly_trained(job: Job) -> Job:
    """Return a job whose network, if it has one of its own, learns for a second or two."""
    if not isinstance(job.engine, LookEngine):
        return job
    return job.model_copy(update={"engine": job.engine.model_copy(update={"train_minutes": 0.02})})


def furnish(job: Job) -> None:
    """Make small media for what a job reads, and random weights for its engine, unless they come with nstpipe."""
    weights = job.engine.files.get("weights")
    if weights is not None and getattr(job.engine, "bundled", None) is None:
        own_file(weights, job.engine.name)
    for image in (*job.style.images, *(image for region in job.regions if region.style for image in region.style.images)):
        make_picture(image.path)
    if job.style.collection is not None:
        for artist in job.style.artists or ("claude-monet",):
            for genre in job.style.genres or ("Impressionism",):
                make_picture(job.style.collection / genre.replace("*", "neo-") / f"{artist.replace(' ', '-')}_title.jpg")
    for region in job.regions:
        make_picture(region.mask if region.mask.suffix else region.mask / "deep" / "a.png")
    if job.input.suffix.lower() in VIDEO_SUFFIXES:
        make_video(job.input, frames=2)
    elif job.input.suffix.lower() in PICTURE_SUFFIXES:
        make_picture(job.input)
    else:
        make_picture(job.input / "deep" / "a.jpg")


def test_a_page_is_found_from_the_site_and_the_site_knows_no_other() -> None:
    class Loader(yaml.SafeLoader):
        """Like PyYAML's, but tags of mkdocs' own are left alone."""

    Loader.add_multi_constructor("tag:", lambda loader, suffix, node: None)
    site = yaml.load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"), Loader)

    def pages(place: object) -> Iterator[str]:
        if isinstance(place, str):
            yield place
        for child in place.values() if isinstance(place, dict) else place if isinstance(place, list) else ():
            yield from pages(child)

    docs = REPOSITORY / "docs"
    index = (docs / "decisions" / "index.md").read_text(encoding="utf-8")
    records = [f"decisions/{name}" for name in re.findall(r"\]\((\d[^)/]*\.md)\)", index)]
    found = sorted([*pages(site["nav"]), *records])
    assert found == sorted(page.relative_to(docs).as_posix() for page in docs.rglob("*.md"))


@pytest.mark.skipif(
    importlib.util.find_spec("material") is None, reason="mkdocs-material is not installed; `pip install .[docs]`"
)
def test_the_site_is_built_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    said = subprocess.run(build, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'<(?:script|img|link rel="(?:stylesheet|preload)")[^>]*(?:src|href)="https?:', page)


def test_the_reference_is_what_the_code_says() -> None:
    written = subprocess.run(
        [sys.executable, "-c", "import reference\nfor page, make in reference.PAGES.items(): print(page); print(make())"],
        cwd=REPOSITORY / "tools", env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=True,
        encoding="utf-8",
    ).stdout  # fmt: skip
    folder = REPOSITORY / "docs" / "reference"
    for page in ("commands.md", "keys.md", "picture-formats.md", "containers.md", "../events.md"):
        assert (folder / page).read_text(encoding="utf-8") in written, "run `python tools/reference.py`"


def shown_commands() -> Iterator[str]:
    for document in DOCUMENTS:
        for line in document.read_text(encoding="utf-8").splitlines():
            match = re.match(r"(?:    |.*`)(nstpipe [a-z]+ pipeline\.yaml[^`]*)", line)
            if match is not None:
                yield match[1]


@pytest.mark.parametrize("line", sorted(set(shown_commands())))
def test_commands_of_the_documents_are_ones_that_nstpipe_takes(line: str) -> None:
    arguments = shlex.split(line, comments=True)[1:]
    # With --help a command does nothing, but only after its arguments were understood.
    assert exit_code([*arguments, "--help"]) == 0


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from keys(annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@pytest.mark.parametrize("model", [Pipeline, Job])
def test_reference_names_every_key(model: type[BaseModel]) -> None:
    reference = (REPOSITORY / "docs" / "pipeline.md").read_text(encoding="utf-8")
    assert [key for key in keys(model) if f"`{key}`" not in reference] == []


def test_design_describes_every_room_in_its_order() -> None:
    design = (REPOSITORY / "docs" / "design.md").read_text(encoding="utf-8")
    described = re.findall(r"^\| `(\w+)/?` \|", design, re.MULTILINE)
    assert tuple(described) == ROOMS


@pytest.mark.parametrize("document", [*DOCUMENTS, REPOSITORY / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (document.parent / target).exists()]
    assert missing == []


def test_the_sample_pipeline_runs(tmp_path: Path) -> None:
    tiny = [
        "jobs.*.size=64",
        "jobs.*.optimizer.first=2",
        "jobs.*.optimizer.next=1",
        "jobs.*.style.layers={relu1_1: 1}",
        "jobs.*.content.layers={relu1_2: 1}",
        f"work={tmp_path / 'work'}",
        f"jobs.city-night.output={tmp_path / 'city_night.mp4'}",
        f"jobs.street.output={tmp_path / 'street'}",
    ]
    result = nstpipe.run(REPOSITORY / "pipeline.yaml", overrides=tiny)
    assert result.exit_code == 0
    assert {output.frames for output in result.outputs} == {75, 1}
    assert len(list((tmp_path / "street").glob("*.jpg"))) == 9


def wrong_examples() -> Iterator[tuple[str, str, str]]:
    text = (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8")
    yield from re.findall(
        r'^## ([^\n]*)\n\n```yaml title="pipeline.yaml"\n(.*?)```\n\n```text\n(.*?)```', text, re.DOTALL | re.MULTILINE
    )


@pytest.mark.parametrize(("yaml", "said"), [pytest.param(yaml, said, id=title) for title, yaml, said in wrong_examples()])
def test_wrong_files_get_the_messages_that_the_page_shows(
    tmp_path: Path, yaml: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pipeline.yaml").write_text(yaml)
    with pytest.raises(ConfigError) as caught:
        load_pipeline(Path("pipeline.yaml"), environment={})
    assert str(caught.value) == said.rstrip("\n")


def test_there_are_twelve_wrong_files_and_more() -> None:
    assert len(list(wrong_examples())) >= 12


def test_the_examples_of_arrays_are_accepted_by_what_reads_them() -> None:
    """By the schemas of Kubernetes and by bash. The job's own numbers agree: as many pods as shards, counted from 1."""
    page = (REPOSITORY / "docs" / "how-to" / "arrays.md").read_text(encoding="utf-8")
    [manifest] = re.findall(r"```yml\n(.*?)```", page, re.DOTALL)
    job = yaml.safe_load(manifest)
    kubernetes_validate.validate(job, "1.31", strict=True)
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert f"--shard $((JOB_COMPLETION_INDEX + 1))/{job['spec']['completions']} " in container["command"][-1]
    scripts = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    assert len(scripts) == 2
    for script in [*scripts, container["command"][-1]]:
        checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")
    options = re.findall(r"^#SBATCH (--[a-z-]+)=?", scripts[0], re.MULTILINE)
    assert scripts[0].startswith("#!/bin/bash\n#SBATCH"), "sbatch reads options only before the first command"
    assert len(options) == scripts[0].count("#SBATCH")
