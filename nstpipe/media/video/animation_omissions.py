"""What the result of an animation, or of numbered pictures, does not hold of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nstpipe.media.losses import Omission
from nstpipe.media.pictures.contents import contents_of
from nstpipe.media.pictures.omissions import METADATA
from nstpipe.media.video.containers import container_of
from nstpipe.media.video.info import VideoInfo


def omissions_of_animation(info: VideoInfo, output: Path, *, keep_metadata: bool) -> Iterator[Omission]:
    """What the result of a video does not hold of what animations and pictures hold.

    Args:
        info: The original.
        output: The result; its suffix decides the container.
        keep_metadata: Whether the metadata is wanted. If not, it is not named.
    """
    container = container_of(output)
    if info.loops is not None and info.loops != 1 and not container.is_animation:
        detail = f"the repeats are dropped: {container.suffix} cannot hold how often it is shown"
        yield Omission("repeats", detail, ".gif and .webp can hold it.")
    longest = container.longest_frame
    held = (info.end_tick - info.ticks[-1]) * info.time_base if info.end_tick is not None else 0
    if longest is not None and held > longest:
        detail = (
            f"the last frame is shown for {float(longest):g} s instead of {float(held):g} s: {container.suffix} holds no more"
        )
        yield Omission("hold of the last frame", detail)
    if keep_metadata:
        tags = {name.lower() for name, _ in info.tags}  # which are named by themselves
        # The first of numbered pictures stands for the others.
        for content in contents_of(info.picture_of(0) if info.is_sequence else info.path).held:
            if content in METADATA and content != "color profile" and content not in tags:
                verb, pronoun = ("are", "them") if content.endswith("s") else ("is", "it")
                yield Omission(content, f"the {content} {verb} dropped: frames are written without {pronoun}")
