"""The models of pipeline.yaml: every key, its default, its range and its meaning, in one place.

Values are checked strictly (``"512"`` is not a number), and the models are frozen.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from nstpipe.config.cluster import Cluster
from nstpipe.config.engines import OPTIMIZER, EngineChoice
from nstpipe.config.fields import (
    FilePath,
    Model,
    PositiveNumber,
    RemoteOutput,
    RemotePath,
    Share,
    WorkFolder,
    absolute_or_mirrored,
    keyword_or_path,
)
from nstpipe.media.video.containers import CODECS, VIDEO_CODECS_BY_SUFFIX
from nstpipe.motion.flow.methods import ALLOWED_FLOWS, FLOW_METHODS
from nstpipe.storage.remotes import Remotes
from nstpipe.storage.store import Policy
from nstpipe.system.devices import DEVICE_PATTERN

SMALLEST_SIZE = 32
"""The smallest longest side in pixels. Below it, relu5_1 has no pixel left for a common aspect ratio."""

LARGEST_SIZE = 16384
"""The largest longest side in pixels. It is the largest that common decoders of JPEG and WebP accept."""

MOST_WORKERS = 1024
"""The most worker processes on one machine. More are a mistake."""

LONGEST_LAG = 100
"""The longest lag in frames. The results of that many frames are kept in memory, and on disk for resuming."""

LAYER_NAMES: tuple[str, ...] = tuple(
    name
    for block, convolutions in enumerate((2, 2, 4, 4, 4), start=1)
    for name in (
        *(f"{kind}{block}_{number}" for number in range(1, convolutions + 1) for kind in ("conv", "relu")),
        f"pool{block}",
    )
)
"""The layers of VGG19, in order. `nstpipe.style.vgg` has their shapes."""

Color = Literal["style", "content", "matched"]
StyleDistance = Literal["gram", "wasserstein"]
Pooling = Literal["max", "average"]
Padding = Literal["replicate", "zeros"]


def _layer_weights(value: dict[str, float]) -> dict[str, float]:
    if not value:
        raise PydanticCustomError("layers_empty", "should be a mapping of at least one layer, such as relu4_2: 1")
    return value


def _whole_number(value: Any) -> Any:
    """Check that a value is a whole number. Python, and so a `Literal`, takes true and 1.0 for 1."""
    if type(value) is not int:
        raise PydanticCustomError("version_type", "should be the whole number 1")
    return value


def _yes_or_no(value: Any) -> Any:
    """Take the words for true and false that YAML 1.1 has besides."""
    words = {"yes": True, "on": True, "no": False, "off": False}
    return words.get(value.lower(), value) if isinstance(value, str) else value


def _one_of(*allowed: str) -> Any:
    """Return a check with the message of a `Literal`, for allowed values that are computed."""

    def check(value: str) -> str:
        if value not in allowed:
            raise PydanticCustomError("one_of", "should be one of {allowed}", {"allowed": list(allowed)})
        return value

    return AfterValidator(check)


LayerName = Annotated[str, _one_of(*LAYER_NAMES), WithJsonSchema({"type": "string", "enum": list(LAYER_NAMES)})]
FlowName = Annotated[str, _one_of(*FLOW_METHODS), WithJsonSchema({"type": "string", "enum": list(FLOW_METHODS)})]
LayerWeights = Annotated[dict[LayerName, PositiveNumber], AfterValidator(_layer_weights)]


class StyleImage(Model):
    """One painting of a style."""

    path: RemotePath = Field(description="The painting.")
    weight: PositiveNumber = Field(default=1.0, description="Its weight relative to the other paintings.")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


COLLECTION_KEYS = ("collection", "artists", "genres", "pick", "seed")
"""The keys of a style that pick its painting from a collection. They exclude `images`."""

Pick = Literal["one", "each", "cycle", "random"]

_PICKED = object()
"""Stands for the images of a style that are picked from its collection, in the plan."""


def _images_or_picked(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    return () if value is _PICKED else check(value)


def _instead_of_images(value: Path | None, info: ValidationInfo) -> Path | None:
    if value is not None and info.data.get("images"):
        raise PydanticCustomError("collection_and_images", "should be alone: give images or a collection, not both")
    return value


def _of_a_collection(value: Any, info: ValidationInfo) -> Any:
    if info.data.get("collection", value) is None:
        raise PydanticCustomError("no_collection", "should be beside a collection, from which it picks; this style has none")
    return value


Words = Annotated[str, Field(pattern=r"\w")]


class Style(Model):
    """The style to paint in."""

    images: Annotated[tuple[StyleImage, ...], Field(strict=False, min_length=1), WrapValidator(_images_or_picked)] = Field(
        description="One or more paintings: paths, or path and weight."
    )
    collection: Annotated[FilePath | None, AfterValidator(_instead_of_images)] = Field(
        default=None,
        description="Instead of images: a folder of many paintings, as artist/title.jpg or genre/artist_title.jpg. One is "
        "picked for each input when the run is planned.",
    )
    artists: Annotated[tuple[Words, ...], Field(strict=False), AfterValidator(_of_a_collection)] = Field(
        default=(),
        description="Artists of the collection to pick from, by name or by a part of it in whole words, such as monet. "
        "Default: all.",
    )
    genres: Annotated[tuple[Words, ...], Field(strict=False), AfterValidator(_of_a_collection)] = Field(
        default=(),
        description="Genres of the collection to pick from: names of its folders, or globs such as *impressionism. "
        "Default: all.",
    )
    pick: Annotated[Pick, AfterValidator(_of_a_collection)] = Field(
        default="one",
        description="Which painting an input gets. one: all inputs get the same. each: every input is painted once with each. "
        "cycle: none is used again until every other one has been used as often. random: each input gets its own.",
    )
    seed: Annotated[Annotated[int, Field(ge=0, lt=2**63)] | None, AfterValidator(_of_a_collection)] = Field(
        default=None, description="Seed of the pick. Default: the pipeline's seed."
    )
    strength: PositiveNumber = Field(
        default=1.0, description="Strength of the style. 1.0 is the tuned default; more is more style."
    )
    scale: Annotated[float, Field(ge=0.1, le=4)] = Field(
        default=1.0, description="Size of the brush strokes relative to the frame."
    )
    distance: StyleDistance = Field(
        default="gram",
        description="How styles are compared: gram, as in the paper, or wasserstein, which compares means and covariances.",
    )
    layers: LayerWeights = Field(
        default={"relu1_1": 1, "relu2_1": 1, "relu3_1": 1, "relu4_1": 1, "relu5_1": 1},
        description="VGG19's layers whose Gram matrices describe the style, each with its weight.",
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("collection") is not None and "images" not in value:
            return {**value, "images": _PICKED}
        return {"images": [value]} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _without_other_source(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A picked painting decides the result, however it was picked.
        unused = COLLECTION_KEYS if self.images else ("images",)
        return {name: value for name, value in dump(self).items() if name not in unused}

    @property
    def painting(self) -> str:
        """The painting that was picked, by its path in the collection; empty if none is picked, or there is no collection."""
        return self.images[0].path.relative_to(self.collection).as_posix() if self.collection and self.images else ""


class RegionStyle(Model):
    """The style of a region. Its layers and distance are those of the job's style."""

    images: Annotated[tuple[StyleImage, ...], Field(strict=False, min_length=1)] = Field(
        description="One or more paintings: paths, or path and weight."
    )
    strength: PositiveNumber = Field(
        default=1.0, description="Strength of the style. 1.0 is the tuned default; more is more style."
    )
    scale: Annotated[float, Field(ge=0.1, le=4)] = Field(
        default=1.0, description="Size of the brush strokes relative to the frame."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, dict) and "collection" in value:
            raise PydanticCustomError(
                "region_collection", "should be one with images: only the job's own style can be picked from a collection"
            )
        return {"images": [value]} if isinstance(value, str) else value


def _style_or_keep(value: Any) -> Any:
    if value is None:
        raise PydanticCustomError("region_style", "should be a painting's path, images with their settings, or keep")
    return None if value == "keep" else value


class Region(Model):
    """A part of the frame with a style of its own."""

    mask: RemotePath = Field(
        description="A picture that is white where the region is, or a folder of such pictures: one for each frame of a video, "
        "in natural order, or one for each picture, with the same name."
    )
    style: Annotated[RegionStyle | None, BeforeValidator(_style_or_keep)] = Field(
        description="A painting's path, or images, strength and scale. `keep` leaves the region as it is."
    )


class Content(Model):
    """How the content of the input is described."""

    layers: LayerWeights = Field(
        default={"relu4_2": 1}, description="VGG19's layers that describe the content, each with its weight."
    )


class Optimizer(Model):
    """How the picture is optimized."""

    name: Literal["lbfgs", "adam"] = Field(default="lbfgs", description="L-BFGS needs far fewer iterations than Adam.")
    first: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=200, description="Maximum number of iterations for the first frame of a clip, and for a picture of a folder."
    )
    next: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=30,
        description="Maximum number of iterations for each later frame of a clip. A frame with new areas may take more: if a "
        "third of it is new, up to a third of `first`.",
    )
    tolerance: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.001,
        description="Stop when the loss falls by less than this share in an iteration. Later frames stop at 2.5 times this "
        "value, because the next frame continues from them. 0 never stops early.",
    )


def _rising(value: tuple[int, ...]) -> tuple[int, ...]:
    if value[0] != 1 or any(later <= earlier for earlier, later in itertools.pairwise(value)):
        raise PydanticCustomError("lags_order", "should be numbers that rise and begin with 1, such as [1, 10, 20]")
    return value


Lag = Annotated[int, Field(ge=1, le=LONGEST_LAG)]


class Temporal(Model):
    """How the frames of a clip are held together."""

    init: Literal["warped", "previous", "content"] = Field(
        default="warped",
        description="Start of a later frame: warped, from the previous result warped along the optical flow; previous, from "
        "the previous result as it is; content, like a first frame.",
    )
    weight: Share = Field(
        default=1.0,
        description="Weight of the temporal loss, which holds a frame to the warped previous result. 0 is off.",
    )
    lags: Annotated[tuple[Lag, ...], Field(strict=False, min_length=1, max_length=8), AfterValidator(_rising)] = Field(
        default=(1,),
        description="How many frames back the results are that a frame is held to, in rising order and beginning with 1. A "
        "longer lag counts where the nearer frames cannot be seen.",
    )
    passes: Annotated[int, Field(ge=1, le=16)] = Field(
        default=1, description="How often a clip is painted over. The direction alternates, and the last pass runs forwards."
    )
    flow: Annotated[FlowName | FilePath, Field(union_mode="left_to_right"), keyword_or_path(*FLOW_METHODS)] = Field(
        default="dis", description=f"Optical flow method: {ALLOWED_FLOWS}."
    )

    @property
    def follows_motion(self) -> bool:
        """Whether optical flow is needed."""
        return self.init == "warped" or self.weight > 0


class Encode(Model):
    """How a video is encoded."""

    codec: Annotated[str, _one_of(*CODECS), WithJsonSchema({"type": "string", "enum": list(CODECS)})] | None = Field(
        default=None, description="Encoder, by its ffmpeg name. Default: libx264, or libsvtav1 for .webm."
    )
    crf: Annotated[int, Field(ge=0, le=63)] | None = Field(
        default=None,
        description="Constant rate factor: lower is better and larger. Default: 18, 25 for libsvtav1, 24 for libvpx-vp9.",
    )
    preset: str | None = Field(default=None, pattern=r"^[a-z0-9]+$", description="Preset of the encoder.")
    pix_fmt: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9]+$",
        description="Pixel format. Default: that of the codec, with 10 bits or alpha if the input has them.",
    )

    def codec_for(self, suffix: str) -> str:
        """Return the codec for a file with this suffix: the configured one, or else the container's default."""
        return self.codec or VIDEO_CODECS_BY_SUFFIX.get(suffix.lower(), CODECS)[0]


class Job(Model):
    """One input, one style, one output."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] = Field(description="Unique name: letters, digits, - and _.")
    input: RemotePath = Field(description="A video, a folder of pictures, or a glob of either.")
    output: RemoteOutput = Field(description="A video for one video, a folder for a folder or a glob.")
    style: Style = Field(description="A painting's path, or the settings in full.")
    engine: EngineChoice = Field(
        default=OPTIMIZER,
        description="What paints the frames: a name, or a mapping with the engine's own keys. optimizer minimizes a loss for "
        "each frame. network is trained on the job's own frames first, and paints each in one pass. adain and iecontrast are "
        "networks for all paintings; iecontrast needs `weights`. auto takes the network for many frames, and the optimizer for "
        "few.",
    )
    size: Annotated[int, Field(ge=SMALLEST_SIZE, le=LARGEST_SIZE)] | Literal["native"] = Field(
        default=512, description="Longest side in pixels. `native` keeps the size of the input."
    )
    include: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = Field(
        default=None, description="Files of the input folder to paint, as globs. Default: every picture in it."
    )
    exclude: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(), description="Files of the input folder to leave out, as globs."
    )
    regions: Annotated[tuple[Region, ...], Field(strict=False)] = Field(
        default=(),
        description="Parts of the frame with their own style. Where regions overlap, the first one counts. The job's style "
        "covers the rest.",
    )
    content: Content = Content()
    color: Color = Field(
        default="style",
        description="Colors of the result. style: the painting's. content: the input's own; only luminance is painted. "
        "matched: the painting is first recolored to the input's colors.",
    )
    init: Annotated[
        Literal["matched", "content", "noise", "blank"] | RemotePath,
        keyword_or_path("matched", "content", "noise", "blank", make=absolute_or_mirrored),
    ] = Field(
        default="matched",
        description="Where the first frame of a clip starts: matched (the content in the colors of the style), content, "
        "noise, blank, or the path of a picture.",
    )
    total_variation: Share = Field(
        default=1.0, description="Weight of the total variation loss, which smooths grain. 0 turns it off."
    )
    panorama: Literal["auto", "wrapped", "flat"] = Field(
        default="auto",
        description="Whether the left and right edges belong together. auto checks for a full 360°, in a picture's XMP and in "
        "how a video says it is shown.",
    )
    scales: Annotated[int, Field(ge=1, le=8)] | Literal["auto"] = Field(
        default="auto",
        description="Number of sizes at which a first frame or a picture is painted, each twice the one before. Small sizes "
        "give large strokes. auto chooses by the size; 1 paints at the full size only.",
    )
    pooling: Pooling = Field(default="max", description="Pooling of VGG19.")
    padding: Padding = Field(
        default="replicate", description="What VGG19 sees beyond the edge. zeros leaves a visible frame around the picture."
    )
    optimizer: Optimizer = Optimizer()
    temporal: Temporal = Temporal()
    shots: Literal["auto", "none"] = Field(
        default="auto", description="auto splits a video at its cuts, and each shot starts afresh. none treats it as one shot."
    )
    link: Literal["auto", "none"] = Field(
        default="auto",
        description="auto starts a picture of a folder from the one before it, where the optical flow between the two is "
        "reliable. none starts each picture afresh.",
    )
    encode: Encode = Encode()
    rate: Annotated[float, Field(ge=0.01, le=1000)] = Field(
        default=25.0, description="Frames per second of numbered pictures, such as frame_%05d.png. A video has its own rate."
    )
    audio: Literal["copy", "none"] = Field(default="copy", description="copy keeps the sound of a video; none drops it.")
    metadata: Literal["keep", "strip"] = Field(
        default="keep", description="keep writes EXIF, GPS, ICC, XMP and the tags of a video; strip writes none."
    )
    _made_of: str = PrivateAttr(default="")

    @property
    def made_of(self) -> str:
        """The name of the job in the file that this one was made of, for one painting; empty if it is in the file itself."""
        return self._made_of

    def made_from(self, job: Job, *, name: str, output: Path) -> Job:
        """Return this job with a name and an output of its own, which knows the job of the file that it was made of."""
        made = self.model_copy(update={"name": name, "output": output})
        made._made_of = job.name
        return made

    def with_painting(self, path: Path) -> Job:
        """Return the job with a painting that was picked from its collection."""
        return self.model_copy(update={"style": self.style.model_copy(update={"images": (StyleImage(path=path),)})})

    @property
    def iterates(self) -> bool:
        """Whether the engine paints a frame in iterations, rather than in one pass."""
        return self.engine.iterates

    @property
    def first_iterations(self) -> int:
        """The maximum number of iterations for the first frame of a clip, at each of its scales."""
        return self.engine.refinement or self.optimizer.first

    @property
    def next_iterations(self) -> int:
        """The maximum number of iterations for each later frame of a clip."""
        return self.engine.refinement or self.optimizer.next

    @property
    def first_scales(self) -> int | Literal["auto"]:
        """The number of sizes at which a first frame is painted. What a network has painted is refined at full size only."""
        return 1 if self.engine.refinement else self.scales

    @property
    def follows_motion(self) -> bool:
        """Whether the frames of a clip are held to each other along the optical flow."""
        return self.temporal.follows_motion and self.engine.follows_motion


def _web_address(value: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(value.get_secret_value())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not value.get_secret_value().isprintable() or " " in value.get_secret_value():
        raise PydanticCustomError("web_address", "should be an address that starts with https:// or http://")
    return value


def _prometheus_file(value: Path) -> Path:
    if value.suffix != ".prom":
        raise PydanticCustomError("prometheus_suffix", "should be a path that ends in .prom, for node_exporter reads no other")
    return value


class Track(Model):
    """Experiment trackers that receive loss curves."""

    tensorboard: FilePath | None = Field(
        default=None, description="Folder for TensorBoard. Each run gets a subfolder. Needs nstpipe[tensorboard]."
    )
    wandb: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")] | None = Field(
        default=None, description="Project in Weights & Biases. Needs nstpipe[wandb]. WANDB_MODE=offline keeps the files here."
    )


class Notify(Model):
    """The message that is sent when a run has ended."""

    webhook: Annotated[SecretStr, AfterValidator(_web_address)] | None = Field(
        default=None, description="Address that gets a POST with JSON. It may contain a secret, so it is never shown."
    )
    on: Annotated[tuple[Literal["finish", "failure"], ...], Field(strict=False, min_length=1)] = Field(
        default=("finish", "failure"),
        description="finish: a run ended without a failure. failure: an item failed, or an error ended the run.",
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = Field(default=10.0, description="Timeout of each try.")
    retries: Annotated[int, Field(ge=0, le=10)] = Field(
        default=3, description="Number of further tries if the first fails, after 1, 2, 4 … seconds."
    )
    secret: Annotated[SecretStr, Field(min_length=1)] | None = Field(
        default=None, description="Signs the message by the Standard Webhooks rules. Best set as ${VAR} from the environment."
    )


class Storage(Model):
    """How remote inputs, outputs and work folders are copied to this machine and back."""

    max_gigabytes: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        default=20.0, description="The most gigabytes of remote files that are kept in the work folder at a time."
    )
    retries: Annotated[int, Field(ge=0, le=20)] = Field(
        default=6, description="Number of further tries if a request fails, after 1, 2, 4 … seconds."
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=60.0, description="The longest time without an answer."
    )
    transfers: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="Number of files that are copied at the same time."
    )
    live: FilePath | None = Field(
        default=None,
        description="The folder on this machine in which a remote `work` lives while a run works with it. Default: a folder "
        "of the user's cache for each address.",
    )
    checkpoint_seconds: Annotated[float, Field(ge=1, le=86_400)] = Field(
        default=60.0,
        description="Seconds between two copies of the live folder to a remote `work`. The end of a clip makes one as well.",
    )
    lock_seconds: Annotated[float, Field(ge=2, le=86_400)] = Field(
        default=120.0,
        description="Seconds without a sign of life after which another machine may take over a remote `work`.",
    )

    @property
    def policy(self) -> Policy:
        """The same, as the storage takes it."""
        return Policy(
            round(self.max_gigabytes * 1e9),
            self.retries,
            self.timeout_seconds,
            self.transfers,
            self.checkpoint_seconds,
            self.lock_seconds,
        )


SECRETS = frozenset({("notify", "webhook"), ("notify", "secret")})
"""The keys whose values are never shown."""

KEYS_THAT_CHANGE_NO_RESULT = frozenset({"overwrite", "track", "notify", "prometheus", "cluster", "storage"})
"""The keys of a pipeline that protect files, configure listeners or say where the work is done, and change no result."""


def _devices(value: Any) -> Any:
    names = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    is_list = isinstance(value, (list, tuple))
    usable = all(isinstance(name, str) and re.match(DEVICE_PATTERN, name) for name in names)
    if not usable or (is_list and (len(set(names)) < len(names) or not all(name.startswith("cuda:") for name in names))):
        raise PydanticCustomError(
            "device_choice", "should be auto, cpu, cuda or cuda:N, or a list of different GPUs such as [cuda:0, cuda:1]"
        )
    return names if is_list else value


_DEVICES_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": DEVICE_PATTERN},
        {"type": "array", "items": {"type": "string", "pattern": "^cuda:[0-9]+$"}, "minItems": 1, "uniqueItems": True},
    ]
}


class _Places(dict[str, str]):
    """Where the keys of a pipeline are. Two pipelines with the same settings are equal, wherever these are."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Places)

    __hash__ = None  # type: ignore[assignment]


class Pipeline(Model):
    """A whole pipeline.yaml."""

    version: Annotated[Literal[1], BeforeValidator(_whole_number)] = Field(description="Version of the file format.")
    work: WorkFolder = Field(
        default=".nstpipe",
        validate_default=True,
        description="Folder for the journal and unfinished work, or an address such as s3://bucket/folder. A remote one lives "
        "in `storage.live` while a run works with it.",
    )
    device: Annotated[str | tuple[str, ...], BeforeValidator(_devices), WithJsonSchema(_DEVICES_SCHEMA)] = Field(
        default="auto",
        description="auto, cpu, cuda or cuda:N. auto uses a GPU if there is one. A list of GPUs, such as [cuda:0, cuda:1], "
        "gives each a process of its own.",
    )
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto",
        description="auto uses bfloat16 if the device supports it natively and is no slower in it; otherwise float32.",
    )
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] | Literal["auto"] = Field(
        default="auto",
        description="Number of clips that are painted at the same time: worker processes on this machine, or workers of the "
        "cluster. auto: as the cores, the GPUs or the cluster allow.",
    )
    cluster: Cluster | None = Field(
        default=None,
        description="A Dask cluster that paints the clips: the address of its scheduler, the path of its scheduler file, or a "
        "mapping such as {kind: slurm, cores: 8, memory: 16GB}. Default: worker processes on this machine. Needs "
        "nstpipe[cluster].",
    )
    weights: Annotated[Literal["bundled", "torchvision"] | FilePath, keyword_or_path("bundled", "torchvision")] = Field(
        default="bundled", description="VGG19's weights: bundled, torchvision, or the path of a state dict."
    )
    ffmpeg: Annotated[Literal["bundled", "system"] | FilePath | None, keyword_or_path(None, "bundled", "system")] = Field(
        default=None,
        description="The ffmpeg program: bundled (imageio-ffmpeg's, with which nstpipe is tested), system (the first one on "
        "the PATH), or a path. Default: what the environment variable NSTPIPE_FFMPEG names, else bundled.",
    )
    max_megapixels: Annotated[float, Field(gt=0, le=1000)] = Field(
        default=500.0, description="Pictures whose header claims more are refused, because they may be made to fill the memory."
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(default=0, description="Seed of all random numbers.")
    overwrite: Annotated[bool, BeforeValidator(_yes_or_no)] = Field(
        default=False,
        description="Whether outputs may replace files that this pipeline did not make. Its own inputs are never replaced.",
    )
    storage: Storage = Storage()
    track: Track = Track()
    notify: Notify = Notify()
    prometheus: Annotated[FilePath, AfterValidator(_prometheus_file)] | None = Field(
        default=None, description="File for the textfile collector of Prometheus' node_exporter. It must end in .prom."
    )
    jobs: Annotated[tuple[Job, ...], Field(strict=False, min_length=1)] = Field(description="A list of jobs.")
    _file: Path | None = PrivateAttr(default=None)
    _places: _Places = PrivateAttr(default_factory=_Places)
    _all_jobs: tuple[Job, ...] = PrivateAttr(default=())
    _remotes: Remotes = PrivateAttr(default=Remotes({}))

    @property
    def remotes(self) -> Remotes:
        """The addresses that its paths stand for. They are no part of the settings, as they may hold secrets."""
        return self._remotes

    @property
    def storage_policy(self) -> Policy:
        """How its remote files and folders are reached. All that works for this pipeline shares the clients."""
        return replace(self.storage.policy, clients=self._remotes.clients)

    def with_remotes(self, remotes: Remotes) -> Pipeline:
        """Return the same pipeline, some of whose paths stand for addresses."""
        pipeline = self.model_copy()
        pipeline._remotes = remotes
        return pipeline

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of this machine that the run paints on, one for each process; auto where others paint."""
        if self.cluster is not None and not self.cluster.is_here:
            return ("auto",)
        return (self.device,) if isinstance(self.device, str) else self.device

    @property
    def device_of_process(self) -> str:
        """The device as a process that paints knows it. One that is pinned to a GPU of a list sees no other."""
        if isinstance(self.device, str):
            return self.device
        return self.device[0] if len(self.device) == 1 else "cuda"

    @property
    def file(self) -> Path | None:
        """The file that it was read from; None if it was made in Python."""
        return self._file

    @property
    def all_jobs(self) -> tuple[Job, ...]:
        """The jobs of the whole file, also those that are left out of this run."""
        return self._all_jobs or self.jobs

    def read_from(self, file: Path, places: Mapping[str, str]) -> Pipeline:
        """Return the same pipeline, which knows the file that it was read from.

        Args:
            file: The file.
            places: The keys of the file, each with its place in it in words; see `place_of`.
        """
        pipeline = self.model_copy()
        pipeline._file = file.absolute()
        pipeline._places = _Places(places)
        return pipeline

    def place_of(self, key: str) -> str:
        """A key of the file, with the name of the file and the line, for messages; the key alone where that is not known."""
        return self._places.get(key, key)

    def place_in_job(self, job: Job, key: str) -> str:
        """The same for a key of a job's engine, such as ``engine.weights``. It may stand in the file's `defaults`."""
        return self._places.get(f"jobs.{job.name}.{key}", key)

    def with_expanded_jobs(self, expand: Callable[[Job], tuple[Job, ...]]) -> Pipeline:
        """Return the same pipeline with several jobs in place of some."""
        pipeline = self.model_copy(update={"jobs": tuple(made for job in self.jobs for made in expand(job))})
        pipeline._all_jobs = tuple(made for job in self.all_jobs for made in expand(job))
        return pipeline

    def with_jobs(self, jobs: tuple[Job, ...]) -> Pipeline:
        """Return the same pipeline with some of its jobs left out."""
        pipeline = self.model_copy(update={"jobs": jobs})
        pipeline._all_jobs = self.all_jobs
        return pipeline
