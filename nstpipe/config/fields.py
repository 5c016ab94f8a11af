"""What the models of pipeline.yaml are built of: their base class, paths, and numbers with bounds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from nstpipe.storage.address import PROTOCOLS, Address, AddressError, is_address, parse_address, protocol_of
from nstpipe.storage.remotes import LivePlace, mirrored


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
    if is_address(value):
        said = "should be a path on this machine; {protocol}:// is for input, output, paintings and masks"
        raise PydanticCustomError("path_address", said, {"protocol": protocol_of(value)})
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


def absolute_or_mirrored(value: Any, info: Any) -> Any:
    """Make a path absolute, and turn an address into the path in the work folder that stands for it.

    The addresses are noted in the context, by their paths: they may hold secrets, and the models hold none.
    """
    if not isinstance(value, str) or not is_address(value):
        return absolute(value, info)
    context = info.context or {}
    try:
        path, address = mirrored(value, context.get("work", Path()))
    except AddressError as error:
        raise PydanticCustomError("address", "{said}", {"said": str(error)}) from None
    context.get("addresses", {})[path] = address
    return path


def check_writable(address: Address) -> None:
    """Check that an address can be written to.

    Raises:
        AddressError: It cannot.
    """
    if not address.kind.is_writable:
        others = ", ".join(f"{name}://" for name, row in PROTOCOLS.items() if row.is_writable)
        raise AddressError(f"should be a path or begin with one of {others}")


def _writable(value: Path, info: Any) -> Path:
    address = (info.context or {}).get("addresses", {}).get(value)
    if address is not None:
        try:
            check_writable(address)
        except AddressError as error:
            raise PydanticCustomError("address_read_only", "{said}", {"said": str(error)}) from None
        info.context["outputs"].add(value)
    return value


RemotePath = Annotated[
    Path,
    BeforeValidator(absolute_or_mirrored),
    WithJsonSchema({"type": "string", "minLength": 1, "description": "relative to the YAML file, or an address"}),
]
"""A path, or an address such as s3://bucket/folder."""

RemoteOutput = Annotated[RemotePath, AfterValidator(_writable)]
"""A path, or an address that can be written to."""


def work_folder(value: Any, info: Any) -> Any:
    """Make the path of the work folder absolute. That of a remote one is the folder in which it lives on this machine."""
    if not isinstance(value, str) or not is_address(value):
        return absolute(value, info)
    try:
        check_writable(parse_address(value))
    except AddressError as error:
        raise PydanticCustomError("address", "{said}", {"said": str(error)}) from None
    live: LivePlace | None = (info.context or {}).get("live")
    if live is None:
        said = "needs a home of the user for its copy on this machine; give storage.live, a folder here"
        raise PydanticCustomError("work_home", said)
    return live.work


WorkFolder = Annotated[
    Path,
    BeforeValidator(work_folder),
    WithJsonSchema({"type": "string", "minLength": 1, "description": "relative to the YAML file, or an address"}),
]
"""The path of the work folder, or its address."""

PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def keyword_or_path(*keywords: str | None, make: Callable[[Any, Any], Any] = absolute) -> Any:
    """Return a check that lets some words through, and makes a path of anything else."""

    def check(value: Any, info: Any) -> Any:
        return value if value in keywords else make(value, info)

    return BeforeValidator(check)
