"""What the documents say is tried, or at least held against the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

import nstpipe
from nstpipe.config import load_pipeline
from nstpipe.config.models import Job, Pipeline
from tests.test_house import ROOMS

REPOSITORY = Path(__file__).parent.parent
DOCUMENTS = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")])


def yaml_examples() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        blocks = re.findall(r"```yaml\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
        for number, block in enumerate(blocks, start=1):
            yield f"{document.name}-{number}", block


@pytest.mark.parametrize("example", [pytest.param(block, id=name) for name, block in yaml_examples()])
def test_yaml_examples_are_right(tmp_path: Path, example: str) -> None:
    (tmp_path / "pipeline.yaml").write_text(example)
    environment = {"WEBHOOK": "https://example.org/hook", "WEBHOOK_SECRET": "secret"}
    assert load_pipeline(tmp_path / "pipeline.yaml", environment=environment).jobs


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
        f"work={tmp_path / 'work'}",
        f"jobs.city-night.output={tmp_path / 'city_night.mp4'}",
        f"jobs.street.output={tmp_path / 'street'}",
    ]
    result = nstpipe.run(REPOSITORY / "pipeline.yaml", overrides=tiny)
    assert result.exit_code == 0
    assert {output.frames for output in result.outputs} == {75, 1}
    assert len(list((tmp_path / "street").glob("*.jpg"))) == 9
