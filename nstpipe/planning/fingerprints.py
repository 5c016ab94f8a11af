"""Fingerprints: hashes of everything that decides the frames of a clip, or a whole output."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nstpipe.config.models import Job, StyleImage
from nstpipe.planning.input_info import InputInfo
from nstpipe.style import ALGORITHM_VERSION

_KEYS_OF_THE_OUTPUT = frozenset({"encode", "audio", "metadata", "rate"})
"""Keys of a job that change the file, but not the stylized frames in it; a picture's file only `metadata`."""

_KEYS_THAT_CHANGE_NO_FRAME = frozenset({"name", "input", "output", "include", "exclude", "shots", "link"})
"""Keys of a job that only say where things are; `shots` acts through the frames that each clip begins with, and `link`
through the pictures that go on from others."""


class Fingerprinter:
    """Describes what decides the outputs of a job, in readable form, so that it can be hashed and compared.

    Args:
        job: from the pipeline.
        picture_sha256: hashes of the style pictures, of the picture given for `init`, and of the weights given for
            `temporal.flow`, by path.
        weights_sha256: identifies the weights of VGG19.
        seed: of the pipeline.
        precision: of the pipeline; `auto` leaves it to the machine, and is no part of a fingerprint.
    """

    def __init__(self, job: Job, picture_sha256: Mapping[Path, str], weights_sha256: str, seed: int, precision: str) -> None:
        self._job = job
        self._settings = _frame_settings(job, picture_sha256)
        self._output_settings = job.model_dump(mode="json", include=set(_KEYS_OF_THE_OUTPUT))
        self._weights_sha256 = weights_sha256
        self._seed = seed
        self._precision = precision

    def inputs_of(self, item: InputInfo, follows: str | None) -> dict[str, Any]:
        """Describe everything that decides the output of one input.

        Args:
            item: the input.
            follows: the fingerprint of the picture that it starts from; None if it starts afresh.
        """
        frames = self._settings if item.video is not None or item.is_linked else _settings_of_a_single_picture(self._settings)
        bits = bits_waiting(self._job, item)
        bounds = itertools.pairwise((*item.shot_starts, item.frame_count))
        return {
            "algorithm": ALGORITHM_VERSION,
            "input": item.sha256,
            **({"masks": list(item.masks_sha256)} if item.masks else {}),
            "settings": frames,
            "seed": self._seed,
            "weights": self._weights_sha256,
            **({"precision": self._precision} if self._precision != "auto" else {}),
            # A 360° video is painted without a seam.
            **({"wrapped": True} if _is_wrapped(self._job, item) else {}),
            # The hidden colors of a transparent video are replaced.
            **({"transparent": True} if item.video is not None and item.video.is_transparent else {}),
            # Of frames that wait on disk.
            **({"bits": bits} if bits > 8 else {}),
            # Whatever changes the picture before changes this one.
            **({"follows": follows} if follows is not None else {}),
            "output": self._settings_of_the_file(item),
            "clips": [list(bound) for bound in bounds],
        }

    def _settings_of_the_file(self, item: InputInfo) -> dict[str, Any]:
        if item.video is None:
            return {"metadata": self._output_settings["metadata"]}
        codec = self._job.encode.codec_for(item.file.output.suffix)
        return {**self._output_settings, "encode": {**self._output_settings["encode"], "codec": codec}}


def _frame_settings(job: Job, picture_sha256: Mapping[Path, str]) -> dict[str, Any]:
    """The settings that decide a job's frames, with the contents of files in the place of their paths."""
    settings = job.model_dump(mode="json", exclude=set(_KEYS_THAT_CHANGE_NO_FRAME | _KEYS_OF_THE_OUTPUT))
    _identify(job.style.images, settings["style"], picture_sha256)
    for region, dumped in zip(job.regions, settings["regions"], strict=True):
        del dumped["mask"]  # each input has its own masks, and is described with them
        if region.style is not None:
            _identify(region.style.images, dumped["style"], picture_sha256)
    if isinstance(job.init, Path):
        settings["init"] = picture_sha256[job.init]
    if isinstance(job.temporal.flow, Path):
        settings["temporal"]["flow"] = picture_sha256[job.temporal.flow]
    return settings


def _settings_of_a_single_picture(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide a picture which starts afresh."""
    optimizer = {key: value for key, value in settings["optimizer"].items() if key != "next"}
    return {**{key: value for key, value in settings.items() if key != "temporal"}, "optimizer": optimizer}


def bits_waiting(job: Job, item: InputInfo) -> int:
    """The bits of a color value in the frames that wait on disk until a video is encoded; 8 for a picture."""
    if item.video is None:
        return 8
    from nstpipe.media.video.encoding import bits_of

    return bits_of(job.encode, item.video, item.file.output)


def _is_wrapped(job: Job, item: InputInfo) -> bool:
    return item.video is not None and job.panorama == "auto" and item.video.is_panorama


def _identify(images: Iterable[StyleImage], style: dict[str, Any], sha256: Mapping[Path, str]) -> None:
    """Put the contents of paintings in the place of their paths."""
    for image, dumped in zip(images, style["images"], strict=True):
        dumped["path"] = sha256[image.path]


def output_fingerprint(fingerprint_inputs: Mapping[str, Any]) -> str:
    """Hash everything that decides a whole output.

    Args:
        fingerprint_inputs: as `Fingerprinter.inputs_of` returns them.
    """
    return fingerprint_of(clips=list(clip_fingerprints(fingerprint_inputs)), output=fingerprint_inputs["output"])


def clip_fingerprints(fingerprint_inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the clips of a described result: of all that decides their stylized frames.

    Args:
        fingerprint_inputs: as in `Output`, also after a way through JSON.
    """
    of_all_clips = {name: part for name, part in fingerprint_inputs.items() if name not in ("clips", "output")}
    return tuple(fingerprint_of(frames=list(bounds), **of_all_clips) for bounds in fingerprint_inputs.get("clips", ()))


def fingerprint_of(**parts: object) -> str:
    """A sha256 of values that JSON can hold, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
