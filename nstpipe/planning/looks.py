"""The networks that jobs need which learn their own look: which there are, and which must be trained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nstpipe.config.engines import AUTO_FRAMES, OPTIMIZER, AutoEngine, LookEngine
from nstpipe.config.models import Job
from nstpipe.errors import ItemError
from nstpipe.events import TrainingProgressed
from nstpipe.planning.fingerprints import fingerprint_of, look_settings
from nstpipe.planning.job_notice import JobNotice
from nstpipe.style import ALGORITHM_VERSION
from nstpipe.system.files import atomic_write

TRAINING_VERSION = 3
"""Part of every network's identity: raised when networks are trained in another way."""

KNOWN_SHARE = 0.5
"""A network serves inputs of which it has seen so large a share, counted in frames. So a folder may grow without a new
training, and its finished pictures stay."""


@dataclass(frozen=True)
class LookProgress:
    """How far the training of a network is.

    Attributes:
        step: the number of steps that are done.
        loss: the loss of frames that it does not learn from; None if it has not been measured yet.
        seconds_left: the most that is left of its time.
        seconds: what its steps took.
        curve: steps, each with the loss of those frames after it. A loss is noted shortly after its step.
    """

    step: int
    loss: float | None
    seconds_left: float
    seconds: float = 0.0
    curve: tuple[tuple[int, float], ...] = ()

    def after(self, event: TrainingProgressed) -> LookProgress:
        """Return the progress after an event. A training that went back, or was killed, has lost the steps after its state."""
        loss = event.losses.get("held_out")
        curve = tuple(point for point in self.curve if point[0] <= event.step)
        if loss is not None and (not curve or curve[-1][1] != loss):
            curve = (*curve, (event.step, loss))
        return LookProgress(event.step, loss, event.seconds_left, event.step * event.seconds_a_step, curve)


@dataclass(frozen=True)
class Look:
    """A network that has learned a look, or will.

    Attributes:
        settings: the hash of the settings that decide the training.
        material: the hashes of the inputs that it learns from, sorted.
        minutes: the most that the training takes.
        path: the file of the network.
        jobs: the jobs that use it.
        frames: how many frames these have.
        progress: how far its training is; None before its first step.
    """

    settings: str
    material: tuple[str, ...]
    minutes: float
    path: Path
    jobs: tuple[str, ...]
    frames: int
    progress: LookProgress | None = None

    @property
    def seconds_left(self) -> float:
        """Seconds that the training takes at most from now on."""
        if self.is_trained:
            return 0.0
        return 60 * self.minutes if self.progress is None else self.progress.seconds_left

    @property
    def identity(self) -> str:
        """The hash of everything that decides the training."""
        return identity_of(self.settings, self.material)

    @property
    def is_trained(self) -> bool:
        """Whether the network is there."""
        return self.path.is_file()

    @property
    def is_begun(self) -> bool:
        """Whether a training waits to be continued."""
        return self.path.with_name(f"{self.path.name}.training").is_file()


def identity_of(settings: str, material: Sequence[str]) -> str:
    """Return the hash of everything that decides a training."""
    return fingerprint_of(settings=settings, material=list(material))


def looks_folder(work: Path) -> Path:
    """Return the folder of the networks that runs have trained."""
    return work / "networks"


def settings_hash(job: Job, pictures: Mapping[Path, str], *, seed: int, weights_sha256: str, precision: str) -> str:
    """Return the hash of the settings that decide how a job's network is trained.

    Args:
        job: the job, with engine `network`.
        pictures: the hashes of its paintings, by path.
        seed: the pipeline's seed.
        weights_sha256: the hash of VGG19's weights.
        precision: the pipeline's precision.
    """
    return fingerprint_of(
        algorithm=ALGORITHM_VERSION,
        training=TRAINING_VERSION,
        seed=seed,
        weights=weights_sha256,
        precision=precision if precision != "auto" else "",
        **look_settings(job, pictures),
    )


def chosen_engine(job: Job, frames: int) -> tuple[Job, JobNotice | None]:
    """Return a job with the engine that `auto` stands for, and a sentence that says why; None if it says which it is.

    Args:
        job: The job.
        frames: How many frames its inputs have.
    """
    if not isinstance(job.engine, AutoEngine):
        return job, None
    many = frames >= AUTO_FRAMES
    engine = LookEngine(name="network") if many else OPTIMIZER
    why = f"{frames:,} frames are {'at least' if many else 'fewer than'} {AUTO_FRAMES:,}"
    said = "a network is trained first, and paints each in one pass" if many else "each is optimized"
    return job.model_copy(update={"engine": engine}), JobNotice(job.name, f"engine: auto takes {engine.name}: {why}, so {said}")


@dataclass(frozen=True, eq=False)
class _Wanted:
    """The network that the inputs of a job want.

    Attributes:
        job: its name.
        minutes: the most that the training takes.
        settings: see `Look`.
        counts: the frames of each input, by its hash.
    """

    job: str
    minutes: float
    settings: str
    counts: Mapping[str, int]


class Looks:
    """The networks of a work folder, and those that jobs want.

    Args:
        work: the work folder.
    """

    def __init__(self, work: Path) -> None:
        self._work = work
        self._wanted: list[_Wanted] = []

    def want(self, job: Job, settings: str, counts: Mapping[str, int]) -> None:
        """Note that a job needs a network with these settings for inputs of so many frames, given by their hashes."""
        assert isinstance(job.engine, LookEngine)
        self._wanted.append(_Wanted(job.name, job.engine.train_minutes, settings, counts))

    def looks(self) -> tuple[Look, ...]:
        """Return the networks that are wanted. Jobs with equal settings share one, unless they have their own already."""
        known = list(known_looks(self._work))
        looks: dict[str, Look] = {}
        untrained: dict[str, list[_Wanted]] = {}
        for wanted in self._wanted:
            alike = [one for one in known if one.settings == wanted.settings]
            serving = max(alike, key=lambda one: _seen(one, wanted), default=None)
            if serving is None or _seen(serving, wanted) < KNOWN_SHARE:
                untrained.setdefault(wanted.settings, []).append(wanted)
                continue
            look = looks.get(serving.identity, replace(serving, minutes=wanted.minutes, jobs=()))
            looks[look.identity] = _shared(look, wanted)
        for settings, together in untrained.items():
            material = tuple(sorted({sha256 for wanted in together for sha256 in wanted.counts}))
            look = Look(settings, material, together[0].minutes, self._path(identity_of(settings, material)), (), 0)
            for wanted in together:
                look = _shared(look, wanted)
            looks[look.identity] = look
        return tuple(looks.values())

    def _path(self, identity: str) -> Path:
        return looks_folder(self._work) / f"{identity[:16]}.safetensors"


def known_looks(work: Path) -> Iterator[Look]:
    """Yield the networks that are there, or whose training can be continued."""
    return (look for look in remembered_looks(work) if look.is_trained or look.is_begun)


def remembered_looks(work: Path) -> Iterator[Look]:
    """Yield all networks of a work folder, also those whose training has just begun and has no saved state yet."""
    for path in sorted(looks_folder(work).glob("*.json")):
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            progress = _progress_of(kept["progress"]) if kept.get("progress") is not None else None
            network = path.with_suffix(".safetensors")
            yield Look(kept["settings"], tuple(kept["material"]), 0.0, network, tuple(kept["jobs"]), 0, progress)
        except (OSError, ValueError, KeyError, TypeError):
            continue


def _progress_of(kept: Mapping[str, Any]) -> LookProgress:
    curve = tuple((int(step), float(loss)) for step, loss in kept.get("curve", ()))
    return LookProgress(**{**kept, "curve": curve})


def _seen(look: Look, wanted: _Wanted) -> float:
    """Return the share of frames that a network learns from."""
    material = frozenset(look.material)
    seen = sum(count for sha256, count in wanted.counts.items() if sha256 in material)
    return seen / max(1, sum(wanted.counts.values()))


def _shared(look: Look, wanted: _Wanted) -> Look:
    frames = look.frames + sum(wanted.counts.values())
    return replace(look, jobs=(*look.jobs, wanted.job), frames=frames)


def remember(look: Look) -> None:
    """Write beside a network what it learns from, so that later plans know.

    Raises:
        OutputError: it cannot be written.
    """
    content: dict[str, Any] = {"settings": look.settings, "material": list(look.material), "jobs": list(look.jobs)}
    if look.progress is not None:
        content["progress"] = asdict(look.progress)
    with atomic_write(look.path.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


def check_one_look(job: Job) -> None:
    """Check that all inputs of a job have the same painting, for a network learns one look.

    Raises:
        ItemError: they may have several.
    """
    if job.engine.learns and job.style.collection is not None and job.style.pick != "one":
        raise ItemError(
            f"engine: a network learns one look, and style.pick is {job.style.pick}.",
            "Give `pick: one`, or an engine that knows any painting, such as adain.",
        )


def trained_network(settings: str, work: Path) -> Path | None:
    """Return the file of a network that a run has trained with these settings; None if there is none.

    Args:
        settings: see `settings_hash`.
        work: the work folder.
    """
    return next((look.path for look in known_looks(work) if look.settings == settings and look.is_trained), None)
