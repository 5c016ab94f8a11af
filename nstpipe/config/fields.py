"""What the models of pipeline.yaml are built of: their base class, paths, and numbers with bounds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError


class Model(BaseModel):
    """A mapping of the file. It is frozen, checks its values strictly, and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


def absolute(value: Any, info: Any) -> Any:
    """Make a path absolute. Paths in the YAML are relative to the YAML file."""
    if isinstance(value, Path):
        return value  # `keyword_or_path` has already made it absolute
    if not isinstance(value, str):
        raise PydanticCustomError("path_type", "should be a path, in quotes if it looks like a number")
    if not value.strip():
        raise PydanticCustomError("path_empty", "should be a path, but is empty")
    folder: Path = (info.context or {}).get("folder", Path())
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:
        said = "should be a path that this system's locale can write; set LC_ALL=C.UTF-8, or PYTHONUTF8=1"
        raise PydanticCustomError("path_characters", said) from error
    try:
        return folder / Path(value).expanduser()
    except RuntimeError as error:
        raise PydanticCustomError("path_home", "should be a path; one that starts with ~ needs a user's home") from error


FilePath = Annotated[
    Path,
    BeforeValidator(absolute),
    WithJsonSchema({"type": "string", "minLength": 1, "description": "relative to the YAML file"}),
]

PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def keyword_or_path(*keywords: str | None) -> Any:
    """Return a check that lets some words through, and makes a path of anything else."""

    def check(value: Any, info: Any) -> Any:
        return value if value in keywords else absolute(value, info)

    return BeforeValidator(check)
