"""Computes fingerprints: hashes of everything that decides the frames of a clip, or a whole output."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nstpipe.config.engines import DEFAULT_ENGINE
from nstpipe.config.models import Job, StyleImage
from nstpipe.planning.input_info import InputInfo
from nstpipe.style import ALGORITHM_VERSION

_KEYS_OF_THE_OUTPUT = frozenset({"encode", "audio", "metadata", "rate"})
"""Keys of a job that change the file, but not the stylized frames in it. Only `metadata` changes the file of a picture."""

_KEYS_THAT_CHANGE_NO_FRAME = frozenset({"name", "input", "output", "include", "exclude", "shots", "link"})
"""Keys of a job that decide no frame by themselves. `shots` is covered by the bounds of the clips, and `link` by the
fingerprint of the picture that a linked picture starts from."""


class Fingerprinter:
    """Describes everything that decides the outputs of a job, in a readable form that can be hashed and compared.

    Args:
        job: The job.
        picture_sha256: The hashes of the style pictures, of the picture given for `init`, of the weights given for
            `temporal.flow`, and of the files of `engine`, by path.
        weights_sha256: The hash of VGG19's weights.
        seed: The pipeline's seed.
        precision: The pipeline's precision. `auto` depends on the machine, so it is not part of a fingerprint.

    Attributes:
        job: The job.
    """

    def __init__(self, job: Job, picture_sha256: Mapping[Path, str], weights_sha256: str, seed: int, precision: str) -> None:
        self.job = job
        self._settings = _Settings(_frame_settings(job, picture_sha256))
        self._alone = _Settings(_settings_of_a_single_picture(self._settings))
        self._output_settings = job.model_dump(mode="json", include=set(_KEYS_OF_THE_OUTPUT))
        self._of_picture_file = _Settings({"metadata": self._output_settings["metadata"]})
        self._weights_sha256 = weights_sha256
        self._seed = seed
        self._precision = precision

    @property
    def of_pipeline(self) -> tuple[str, int, str]:
        """What of the pipeline decides each output: the hash of VGG19's weights, the seed and the precision."""
        return self._weights_sha256, self._seed, self._precision

    def inputs_of(self, item: InputInfo, follows: str | None) -> dict[str, Any]:
        """Describe everything that decides the output of one input.

        Args:
            item: The input.
            follows: The fingerprint of the picture that it starts from; None if it is not linked.
        """
        frames = self._settings if item.video is not None or item.is_linked else self._alone
        bits = bits_waiting(self.job, item)
        bounds = _clip_bounds(self.job, item)
        return {
            "algorithm": ALGORITHM_VERSION,
            "input": item.sha256,
            **({"masks": list(item.masks_sha256)} if item.masks else {}),
            "settings": frames,
            "seed": self._seed,
            "weights": self._weights_sha256,
            **({"precision": self._precision} if self._precision != "auto" else {}),
            # A 360° video is painted without a seam.
            **({"wrapped": True} if _is_wrapped(self.job, item) else {}),
            # The hidden colors of a transparent video are replaced.
            **({"transparent": True} if item.video is not None and item.video.is_transparent else {}),
            # The bits per value of frames that wait on disk.
            **({"bits": bits} if bits > 8 else {}),
            # Whatever changes the previous picture changes this one.
            **({"follows": follows} if follows is not None else {}),
            # For people: its content is among the settings.
            **({"painting": self.job.style.painting} if self.job.style.painting else {}),
            "output": self._settings_of_the_file(item),
            "clips": [list(bound) for bound in bounds] if item.video is not None else _ONE_FRAME,
        }

    def _settings_of_the_file(self, item: InputInfo) -> dict[str, Any]:
        if item.video is None:
            return self._of_picture_file
        codec = self.job.encode.codec_for(item.file.output.suffix)
        return {**self._output_settings, "encode": {**self._output_settings["encode"], "codec": codec}}


_ONE_FRAME = [[0, 1]]
"""The bounds of a picture's clip. All pictures share the list, which nobody changes."""


PART_FRAMES = 500
"""About how many frames of a shot are one clip, if no frame needs the one before it."""

MOST_PARTS = 64
"""The most clips of such a shot. Where a video cannot be sought in, each is decoded from the beginning."""


def _clip_bounds(job: Job, item: InputInfo) -> list[tuple[int, int]]:
    """Return the first frame index of each clip of an input, and the index after its last frame.

    A clip is a shot. A network that has learned one look paints each frame by itself, so its shots are divided among workers.
    Where colors are adapted to the first frame of a shot, or the video is damaged, they are not.
    """
    shots = list(itertools.pairwise((*item.shot_starts, item.frame_count)))
    is_divided = job.engine.frames_are_independent and job.color == "style"
    if not is_divided or item.video is None or item.video.loss is not None:
        return shots
    return [part for first, end in shots for part in _parts(first, end)]


def _parts(first: int, end: int) -> Iterator[tuple[int, int]]:
    count = min(MOST_PARTS, math.ceil((end - first) / PART_FRAMES))
    yield from itertools.pairwise(first + (end - first) * number // count for number in range(count + 1))


def _frame_settings(job: Job, picture_sha256: Mapping[Path, str]) -> dict[str, Any]:
    """Return the settings that decide a job's frames, with hashes of files in place of their paths."""
    settings = job.model_dump(mode="json", exclude=set(_KEYS_THAT_CHANGE_NO_FRAME | _KEYS_OF_THE_OUTPUT))
    if job.engine.name == DEFAULT_ENGINE:
        del settings["engine"]  # results that were made before there was a choice stay as they are
    elif job.engine.files:
        settings["engine"] |= {key: picture_sha256[path] for key, path in job.engine.files.items()}
        for key in job.engine.training_keys:
            del settings["engine"][key]  # the weights say how they were trained
    _identify(job.style.images, settings["style"], picture_sha256)
    for region, dumped in zip(job.regions, settings["regions"], strict=True):
        del dumped["mask"]  # each input has its own masks, and is described with them
        if region.style is not None:
            _identify(region.style.images, dumped["style"], picture_sha256)
    if isinstance(job.init, Path):
        settings["init"] = picture_sha256[job.init]
    for key in job.engine.unread_keys:
        name, _, nested = key.partition(".")
        regions = [region["style"] for region in settings["regions"] if region["style"] is not None]
        for owner in [settings[name], *regions] if nested else [settings]:
            owner.pop(nested or name, None)
    if isinstance(job.temporal.flow, Path):
        settings["temporal"]["flow"] = picture_sha256[job.temporal.flow]
    return settings


_KEYS_OF_A_LOOK = frozenset({"style", "size", "content", "color", "total_variation", "pooling", "padding"})
"""Keys of a job that decide what its network learns, beside its regions and the weight of the temporal loss."""


def look_settings(job: Job, picture_sha256: Mapping[Path, str]) -> dict[str, Any]:
    """Return the settings that decide what a job's network learns, with hashes of files in place of their paths.

    Args:
        job: The job, with engine `network`.
        picture_sha256: The hashes of its paintings, by path.
    """
    settings = job.model_dump(mode="json", include=set(_KEYS_OF_A_LOOK))
    _identify(job.style.images, settings["style"], picture_sha256)
    settings["temporal"] = job.temporal.weight
    settings["engine"] = job.engine.model_dump(mode="json", include=set(job.engine.training_keys))
    settings["regions"] = []
    for region in job.regions:
        style = region.style.model_dump(mode="json") if region.style is not None else None
        if region.style is not None and style is not None:
            _identify(region.style.images, style, picture_sha256)
        settings["regions"].append(style)
    return settings


def _settings_of_a_single_picture(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide a picture which is not linked."""
    alone = {key: value for key, value in settings.items() if key != "temporal"}
    if "optimizer" in alone:
        alone["optimizer"] = {key: value for key, value in alone["optimizer"].items() if key != "next"}
    return alone


def bits_waiting(job: Job, item: InputInfo) -> int:
    """Return the bits per value of the frames that wait on disk until a video is encoded; 8 for a picture."""
    if item.video is None:
        return 8
    from nstpipe.media.video.encoding import bits_of

    return bits_of(job.encode, item.video, item.file.output)


def _is_wrapped(job: Job, item: InputInfo) -> bool:
    return item.video is not None and job.panorama == "auto" and item.video.is_panorama


def _identify(images: Iterable[StyleImage], style: dict[str, Any], sha256: Mapping[Path, str]) -> None:
    """Put the hashes of paintings in place of their paths."""
    for image, dumped in zip(images, style["images"], strict=True):
        dumped["path"] = sha256[image.path]


def output_fingerprint(fingerprint_inputs: Mapping[str, Any], clips: Sequence[str] | None = None) -> str:
    """Hash everything that decides a whole output.

    Args:
        fingerprint_inputs: The values that `Fingerprinter.inputs_of` returns.
        clips: What `clip_fingerprints` returns for them, if that is known.
    """
    clips = clips if clips is not None else clip_fingerprints(fingerprint_inputs)
    return fingerprint_of(clips=list(clips), output=fingerprint_inputs["output"])


def clip_fingerprints(fingerprint_inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """Hash everything that decides the stylized frames of each clip of an output.

    Args:
        fingerprint_inputs: As in `Output`, also after it was read back from JSON.
    """
    of_all_clips = {name: part for name, part in fingerprint_inputs.items() if name not in ("clips", "output", "painting")}
    return tuple(fingerprint_of(frames=list(bounds), **of_all_clips) for bounds in fingerprint_inputs.get("clips", ()))


def fingerprint_of(**parts: object) -> str:
    """Return the sha256 of values that JSON can hold, in hexadecimal digits."""
    # The text is that of the whole mapping. Most of it is settings, which all pictures of a job share.
    text = ",".join(f'"{name}":{_as_text(value)}' for name, value in sorted(parts.items()))
    return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()


class _Settings(dict[str, Any]):
    """Settings that do not change, with their text."""

    @functools.cached_property
    def text(self) -> str:
        """The settings as JSON."""
        return _as_text(dict(self))


_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def _as_text(value: object) -> str:
    """Return a value as JSON. The encoder takes longer for lists and whole numbers, which each picture has."""
    if isinstance(value, _Settings):
        return value.text
    if isinstance(value, list):
        return f"[{','.join(map(_as_text, value))}]"
    return str(value) if type(value) is int else _encoder.encode(value)
