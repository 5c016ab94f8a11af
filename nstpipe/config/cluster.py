"""The settings of a cluster: where its scheduler is, or what starts its workers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from nstpipe.config.fields import FilePath, Model, absolute
from nstpipe.errors import UsageError

Kind = Literal["local", "slurm", "pbs", "sge", "lsf", "oar", "moab", "htcondor"]

KINDS: tuple[str, ...] = get_args(Kind)
"""What can start workers: this machine itself, and the batch systems that dask-jobqueue knows."""

_ADDRESS = re.compile(r"^(tcp|tls|ws|wss)://[^/\s]+$")


def _address_or_path(value: Any, info: Any) -> Any:
    if isinstance(value, str) and "://" in value:
        if not _ADDRESS.match(value):
            raise PydanticCustomError(
                "cluster_address", "should be an address such as tcp://scheduler:8786 or tls://scheduler:8786"
            )
        return value
    return absolute(value, info)


class Tls(Model):
    """The files by which the machines of a cluster know each other."""

    ca: FilePath = Field(description="Certificate of the authority that signed the others, in PEM.")
    cert: FilePath = Field(description="Certificate of this user, in PEM.")
    key: FilePath = Field(description="Private key of the certificate, in PEM.")


class Cluster(Model):
    """A Dask cluster that paints the clips. Any other key is handed to dask-jobqueue."""

    model_config = ConfigDict(extra="allow")

    kind: Kind | None = Field(
        default=None,
        description="What starts the workers: local (this machine), or a batch system of dask-jobqueue. `workers` of the "
        "pipeline says how many.",
    )
    address: Annotated[str | FilePath | None, Field(union_mode="left_to_right")] = Field(
        default=None, description="Address of a running scheduler, such as tcp://scheduler:8786, or path of its scheduler file."
    )
    tls: Tls | None = Field(default=None, description="Certificates. Default: what Dask's own configuration says.")
    lost_after: Annotated[float, Field(ge=1, le=86400)] = Field(
        default=60.0,
        description="Seconds without a sign of life after which a worker counts as lost, and its clip goes on elsewhere.",
    )
    hung_after: Annotated[float, Field(ge=1, le=604800)] = Field(
        default=3600.0, description="Seconds without progress after which a painting process is ended and started again."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any, info: Any) -> Any:
        if isinstance(value, str):
            value = {"kind" if value in KINDS else "address": value}
        if isinstance(value, dict) and value.get("address") is not None:
            value = {**value, "address": _address_or_path(value["address"], info)}
        return value

    @model_validator(mode="after")
    def _one_of_both(self) -> Cluster:
        if (self.kind is None) == (self.address is None):
            raise PydanticCustomError(
                "cluster_which",
                "should be a mapping with an address, such as tcp://scheduler:8786, or else with a kind, such as slurm",
            )
        if self.options and self.kind in (None, "local"):
            names = ", ".join(self.options)
            raise PydanticCustomError(
                "cluster_options", "should be a mapping without {names}, which only a batch system takes", {"names": names}
            )
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The keys for dask-jobqueue."""
        return dict(self.model_extra or {})

    @property
    def is_here(self) -> bool:
        """Whether its workers run on this machine."""
        return self.kind == "local"

    def __str__(self) -> str:
        return str(self.address) if self.address is not None else str(self.kind)

    @property
    def scheduler_file(self) -> Path | None:
        """The path of the scheduler file, if that is how the scheduler is found."""
        return self.address if isinstance(self.address, Path) else None


def cluster_of(text: str) -> Cluster:
    """Return the cluster that a command line names. A relative path is relative to the current folder.

    Raises:
        UsageError: It is neither an address, nor a path, nor a kind.
    """
    try:
        return Cluster.model_validate(text, context={"folder": Path.cwd()})
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"]
        raise UsageError(f"--cluster: found {text or 'nothing'}; {said[:1].lower()}{said[1:]}.") from error
