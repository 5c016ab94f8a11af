"""Writes a pipeline as YAML again."""

from __future__ import annotations

from typing import Any

import yaml

from nstpipe.config import Pipeline
from nstpipe.config.models import KEYS_THAT_CHANGE_NO_RESULT


def as_yaml(pipeline: Pipeline) -> str:
    """A pipeline.yaml that gives the same pipeline again; every default is written out, and no secret."""
    settings = pipeline.model_dump(mode="json", exclude=set(KEYS_THAT_CHANGE_NO_RESULT), exclude_none=True)
    return yaml_of(_without_placeholders(settings))


def yaml_of(settings: dict[str, Any]) -> str:
    """Values as YAML, in their order."""
    text: str = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100)
    return text


def _without_placeholders(value: Any) -> Any:
    """Texts as they must be written, so that nothing in them is filled in again."""
    if isinstance(value, dict):
        return {name: _without_placeholders(child) for name, child in value.items()}
    if isinstance(value, list):
        return [_without_placeholders(child) for child in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
