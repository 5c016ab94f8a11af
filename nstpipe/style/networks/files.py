"""Files of network weights: nstpipe's own, and those that the authors of the papers and others have published.

Nothing in a file is executed: safetensors and NumPy's arrays hold no code, and torch loads with ``weights_only=True``.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from nstpipe.errors import MachineError
from nstpipe.system.files import check_is_no_special_file

METADATA_KEY = "nstpipe"
"""The key of safetensors' metadata under which nstpipe says in JSON what a file holds."""

OWN_FILES = "`nstpipe train adain` and `nstpipe train iecontrast` make such files."


@dataclass(frozen=True, eq=False)
class TensorFile:
    """The content of a file of weights.

    Attributes:
        path: the file.
        tensors: by name.
        metadata: what nstpipe has written about a file of its own; empty for others.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, object] = field(default_factory=dict)

    def taken(self, key: str, shapes: Mapping[str, tuple[int, ...]], prefix: str = "") -> dict[str, Tensor]:
        """Return tensors by their names without a prefix, in float32.

        Args:
            key: the key of pipeline.yaml that names the file, for messages.
            shapes: the shape of each, by its name without the prefix.
            prefix: what their names begin with in the file.

        Raises:
            MachineError: naming the first tensor that is missing, or has another shape or values that are no numbers.
        """
        taken: dict[str, Tensor] = {}
        for name, shape in shapes.items():
            tensor = self.tensors.get(prefix + name)
            found = tuple(tensor.shape) if tensor is not None else None
            if tensor is None or found != tuple(shape):
                what = f"has the shape {found}" if found is not None else "is missing"
                raise MachineError(
                    f"{key}: {self.path}: {prefix}{name} {what}; expected the shape {tuple(shape)} there.",
                    f"The file holds {self._described()}. {OWN_FILES}",
                )
            if not bool(torch.isfinite(tensor).all()):
                raise MachineError(f"{key}: {self.path}: {prefix}{name} has values that are no finite numbers.", OWN_FILES)
            taken[name] = tensor.float()
        return taken

    def _described(self) -> str:
        names = list(self.tensors)
        shown = ", ".join(names[:4])
        return f"{len(names)} tensors: {shown}{' …' if len(names) > 4 else ''}" if names else "no tensors"


def read_tensors(key: str, path: Path) -> TensorFile:
    """Read a file of tensors: safetensors, a state dict that torch saved, or NumPy's .npz.

    Args:
        key: the key of pipeline.yaml that names the file, for messages.
        path: the file.

    Raises:
        MachineError: it cannot be read, or is none of these.
    """
    try:
        check_is_no_special_file(path)
        raw = path.read_bytes()
    except OSError as error:
        raise MachineError(
            f"{key}: {path} cannot be read: {error.strerror}.", f"Give the path of a file of weights. {OWN_FILES}"
        ) from error
    if _is_safetensors(raw):
        return _read_safetensors(key, path, raw)
    try:
        if _is_npz(raw):
            return TensorFile(path, _read_npz(raw))
        content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception as error:  # torch takes the bytes of a foreign file for a pickle, and fails in any way
        # torch's own words recommend to load the file unsafely.
        raise MachineError(
            f"{key}: {path} holds no tensors that can be loaded safely. It is of another kind, damaged, or holds code.",
            f"Give a file of safetensors, or a state dict that torch.save wrote. {OWN_FILES}",
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise MachineError(
            f"{key}: {path} holds a {type(content).__name__} that is no state dict.",
            f"Save the network's state_dict() with torch.save, and give that file. {OWN_FILES}",
        )
    return TensorFile(path, content)


def _is_safetensors(raw: bytes) -> bool:
    # The length of a header in JSON comes first.
    return len(raw) > 8 and raw[8:9] == b"{" and int.from_bytes(raw[:8], "little") <= len(raw) - 8


def _read_safetensors(key: str, path: Path, raw: bytes) -> TensorFile:
    try:
        tensors = safetensors.torch.load(raw)
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        metadata = json.loads(header.get("__metadata__", {}).get(METADATA_KEY, "{}"))
    except (safetensors.SafetensorError, ValueError, KeyError, AttributeError) as error:
        raise MachineError(f"{key}: {path} is a damaged file of safetensors: {error}.", OWN_FILES) from error
    return TensorFile(path, tensors, metadata if isinstance(metadata, dict) else {})


def _is_npz(raw: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _read_npz(raw: bytes) -> dict[str, Tensor]:
    with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
        return {name: torch.from_numpy(np.asarray(arrays[name], dtype=np.float32)) for name in arrays.files}


def serialized(tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> bytes:
    """Return the content of a file of nstpipe's own.

    Args:
        tensors: by name.
        metadata: values that JSON can hold.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content: bytes = safetensors.torch.save(contiguous, {METADATA_KEY: json.dumps(metadata, sort_keys=True)})
    return content
