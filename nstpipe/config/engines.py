"""The engines as settings and plans know them, without loading torch. The engines themselves are in `nstpipe.style.engines`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_serializer
from pydantic_core import PydanticCustomError

from nstpipe.config.fields import FilePath, Model, keyword_or_path

DEFAULT_ENGINE = "optimizer"


@dataclass(frozen=True)
class EngineTraits:
    """What must be known of an engine before it paints.

    Attributes:
        iterates: whether it optimizes each frame in iterations. An engine that does not, such as a network, paints a frame in
            one pass, which counts as one unit of work.
        last_layer: the last layer of VGG19 that the network of an engine needs; None if it has no network of its own.
        bundled: the trained weights that come with nstpipe; None if there are none.
    """

    iterates: bool
    last_layer: str | None = None
    bundled: BundledWeights | None = None


@dataclass(frozen=True)
class BundledWeights:
    """A file of trained weights that comes with nstpipe.

    Attributes:
        path: the file.
        sha256: of its content.
    """

    path: Path
    sha256: str


BUNDLED: Final = "bundled"
"""Names the weights that come with nstpipe."""

_FOLDER = Path(__file__).parents[1] / "style" / "networks" / "bundled"


ENGINE_TRAITS: dict[str, EngineTraits] = {
    DEFAULT_ENGINE: EngineTraits(iterates=True),
    "adain": EngineTraits(
        iterates=False,
        last_layer="relu4_1",
        bundled=BundledWeights(
            _FOLDER / "adain.safetensors", "f07b98e4eaae09948e56bae7b2dbdefdb42d855df5c49604a5743e48748273d6"
        ),
    ),
    "iecontrast": EngineTraits(iterates=False, last_layer="relu5_1"),
    "network": EngineTraits(iterates=False),
}
"""By the name that `engine` has in a pipeline.yaml. The names are those of `nstpipe.style.engines.ENGINES`."""

OPTIMIZER_KEYS = frozenset(
    {"content", "init", "total_variation", "scales", "pooling", "padding", "optimizer"}
    | {"style.strength", "style.distance", "style.layers"}
)
"""Keys of a job that only the optimizer reads. Without it they decide no frame."""


def _engine_name(value: str) -> str:
    # The table is read at each check: an engine may be added to it later.
    if value not in ENGINE_TRAITS:
        raise PydanticCustomError("one_of", "should be one of {allowed}", {"allowed": [*ENGINE_TRAITS, "auto"]})
    return value


class Engine(Model):
    """What all engines have in common, whatever keys of their own they have."""

    name: str

    @property
    def iterates(self) -> bool:
        """Whether a frame is painted in iterations."""
        return ENGINE_TRAITS[self.name].iterates

    @property
    def last_layer(self) -> str | None:
        """See `EngineTraits`."""
        return ENGINE_TRAITS[self.name].last_layer

    @property
    def files(self) -> Mapping[str, Path]:
        """The files whose content decides the result, by the key that names each."""
        return {}

    @property
    def unread_keys(self) -> frozenset[str]:
        """The keys of the job that decide no frame with this engine."""
        return frozenset()

    @property
    def refinement(self) -> int:
        """The number of the optimizer's iterations that follow the engine's own result."""
        return 0

    @property
    def follows_motion(self) -> bool:
        """Whether the frames of a clip are held to each other along the optical flow."""
        return True

    @property
    def frames_are_independent(self) -> bool:
        """Whether a frame is the same whatever was painted before it, so that a shot can be divided."""
        return False

    @property
    def learns(self) -> bool:
        """Whether it must be trained on the frames of the job, by the loss that the optimizer minimizes."""
        return False

    @property
    def may_learn(self) -> bool:
        """Whether it may turn out to learn, once the frames are known."""
        return self.learns

    @property
    def training_keys(self) -> frozenset[str]:
        """The engine's own keys that decide how it is trained, and nothing else."""
        return frozenset()


class PlainEngine(Engine):
    """An engine without keys of its own."""

    name: Annotated[str, AfterValidator(_engine_name)] = Field(default=DEFAULT_ENGINE, description="Name of the engine.")

    @model_serializer
    def _as_name(self) -> str:
        return self.name


OPTIMIZER = PlainEngine()
"""The engine of a job that names none."""


class OnePass(Engine):
    """A network that paints a frame in one pass. The optimizer may go on with its result."""

    refine: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=0,
        description="Number of the optimizer's iterations that follow, with the job's layers, strength and temporal loss.",
    )

    @property
    def iterates(self) -> bool:
        """Whether iterations follow."""
        return self.refine > 0

    @property
    def refinement(self) -> int:
        """See `Engine.refinement`."""
        return self.refine

    @property
    def unread_keys(self) -> frozenset[str]:
        """The keys that only the optimizer reads, unless it follows."""
        return frozenset() if self.refine else OPTIMIZER_KEYS


class NetworkEngine(OnePass):
    """A network that paints a frame in the style of any painting, in one pass."""

    weights: Literal["bundled"] | Path
    encoder: FilePath | None = Field(
        default=None,
        description="The authors' vgg_normalised.pth, where the network was trained with it. Default: VGG19, "
        "as the `weights` of the file say.",
    )
    alpha: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0, description="How far the style is applied: 0 leaves the content as the network rebuilds it."
    )

    @property
    def bundled(self) -> BundledWeights | None:
        """The weights that come with nstpipe, if the engine paints with them."""
        return ENGINE_TRAITS[self.name].bundled if self.weights == BUNDLED else None

    @property
    def files(self) -> Mapping[str, Path]:
        """The weights, and the encoder if it is a file of its own."""
        weights = self.bundled.path if self.bundled is not None else Path(self.weights)
        given = {"weights": weights, "encoder": self.encoder}
        return {key: path for key, path in given.items() if path is not None}


class AdainEngine(NetworkEngine):
    """Adaptive instance normalization (Huang and Belongie 2017)."""

    name: Literal["adain"] = Field(description="Name of the engine.")
    weights: Annotated[Literal["bundled"] | FilePath, keyword_or_path(BUNDLED)] = Field(
        default=BUNDLED,
        description="A decoder: bundled, which comes with nstpipe, a file of `nstpipe train adain`, decoder.pth of "
        "github.com/naoto0804/pytorch-AdaIN (with its vgg_normalised.pth as `encoder`), or the variables of "
        "github.com/elleryqueenhomels/arbitrary_style_transfer as .npz.",
    )


class IEContrastEngine(NetworkEngine):
    """Internal-external learning and contrastive learning (Chen et al. 2021)."""

    name: Literal["iecontrast"] = Field(description="Name of the engine.")
    weights: FilePath = Field(
        description="A file of `nstpipe train iecontrast`, or decoder_iter_160000.pth of github.com/HalbertCH/IEContraAST "
        "(with `transformer`, and its vgg_normalised.pth as `encoder`)."
    )
    transformer: FilePath | None = Field(
        default=None, description="The authors' transformer_iter_160000.pth. A file of nstpipe holds it with the decoder."
    )

    @property
    def files(self) -> Mapping[str, Path]:
        """The weights, and the files that belong to them."""
        return {**super().files, **({"transformer": self.transformer} if self.transformer is not None else {})}


TRAIN_MINUTES = 15.0
"""The most minutes that a network is trained where a job gives no others. See docs/performance.md for what they achieve."""


class LookEngine(OnePass):
    """A network that has learned one look from the material of a job (Johnson, Alahi and Li 2016)."""

    name: Literal["network"] = Field(description="Name of the engine.")
    weights: FilePath | None = Field(
        default=None,
        description="A file of `nstpipe train pipeline.yaml --job NAME`. Default: a run trains a network on the frames of the "
        "job before it paints them.",
    )
    train_minutes: Annotated[float, Field(gt=0, le=10_000)] = Field(
        default=TRAIN_MINUTES, description="The most minutes that the training takes, without interruptions."
    )
    tolerance: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.01,
        description="The training ends sooner if the loss of frames that it does not see falls by less than this share within "
        "a fifth of its steps; 0 uses all of its time.",
    )

    blend: bool = Field(
        default=False,
        description="Whether each frame is blended with the result before it, warped along the optical flow. That is steadier, "
        "and a frame takes several times as long.",
    )

    @property
    def files(self) -> Mapping[str, Path]:
        """The weights, if there are any yet."""
        return {"weights": self.weights} if self.weights is not None else {}

    @property
    def follows_motion(self) -> bool:
        """Whether frames are blended, or the optimizer follows. The network itself paints the same thing alike."""
        return self.blend or self.refine > 0

    @property
    def frames_are_independent(self) -> bool:
        """Whether frames are not blended, and no optimizer follows."""
        return not self.follows_motion

    @property
    def learns(self) -> bool:
        """Whether it is trained by the run, which gives it its weights."""
        return self.weights is None

    @property
    def training_keys(self) -> frozenset[str]:
        """See `Engine.training_keys`."""
        return frozenset({"train_minutes", "tolerance"})


AUTO_FRAMES = 1000
"""From this number of frames on, `auto` takes the network."""


class AutoEngine(Engine):
    """Chooses between the optimizer and the network by the number of frames, when a run is planned."""

    name: Literal["auto"] = Field(description="Name of the engine.")

    @property
    def may_learn(self) -> bool:
        """Whether it may turn out to learn: yes, if there are many frames."""
        return True

    @property
    def iterates(self) -> bool:
        """Whether a frame is painted in iterations: yes, as long as nothing is chosen."""
        return True

    @property
    def last_layer(self) -> str | None:
        """See `EngineTraits`."""
        return None


PLAIN = "plain"
"""The tag of the engines that have no keys of their own."""

ENGINES_WITH_KEYS: dict[str, type[OnePass]] = {
    "adain": AdainEngine,
    "iecontrast": IEContrastEngine,
    "network": LookEngine,
}
"""The models of the engines that have keys of their own, by name."""


def _long_form(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _tag(value: Any) -> str:
    name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)
    return name if isinstance(name, str) and (name in ENGINES_WITH_KEYS or name == "auto") else PLAIN


EngineChoice = Annotated[
    Annotated[PlainEngine, Tag(PLAIN)]
    | Annotated[AdainEngine, Tag("adain")]
    | Annotated[IEContrastEngine, Tag("iecontrast")]
    | Annotated[LookEngine, Tag("network")]
    | Annotated[AutoEngine, Tag("auto")],
    Discriminator(_tag),
    BeforeValidator(_long_form),
]
"""An engine: its name, or a mapping with its name and its own keys."""
