"""Decides whether the plan that was made of a folder holds, and keeps it for the next time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nstpipe.config import Job, Pipeline
from nstpipe.journal.journal import Journal
from nstpipe.media.pictures.omissions import OMISSIONS_VERSION
from nstpipe.planning.fingerprints import Fingerprinter
from nstpipe.planning.input_info import picture_kind
from nstpipe.planning.input_tree import InputFolder
from nstpipe.planning.links import LINK_VERSION
from nstpipe.planning.outputs import Output
from nstpipe.planning.places import Places
from nstpipe.planning.planned import PictureFolder, packed
from nstpipe.style import ALGORITHM_VERSION
from nstpipe.system.files import Resolver
from nstpipe.system.folder_state import folder_state
from nstpipe.version import __version__

FOLDER_PLAN_VERSION = 1
"""Part of the state of each folder. Raise it if a plan is packed in another way, or would be another one."""


def is_planned_by_folder(job: Job) -> bool:
    """Return whether the plan of a picture depends on nothing outside of its folders but the settings of its job.

    It does where paintings are picked for each, and where regions have masks. A network that learns from all pictures is among
    the settings, once it is known.
    """
    return job.style.collection is None and not job.regions


@dataclass(frozen=True, slots=True)
class Watched:
    """A folder of inputs and that of its outputs, as they were before anything of them was read.

    Attributes:
        inputs: The folder of the inputs.
        outputs: The folder of the outputs.
        state: A hash of everything that the plan depends on, except for the records of the outputs; empty if it does not tell.
        there: The names of the files in the folder of the outputs.
        since: See `Journal.keep_folder`.
    """

    inputs: InputFolder
    outputs: Path
    state: str
    there: frozenset[str]
    since: int


class KnownFolders:
    """What was planned of the folders of one job.

    Args:
        pipeline: The pipeline.
        job: The job.
        fingerprinter: That of the job.
        files: The hashes of the files that its settings name, by path.
        journal: Keeps the plans.
        places: Knows where outputs go.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        job: Job,
        fingerprinter: Fingerprinter,
        files: Mapping[Path, str],
        journal: Journal,
        places: Places,
    ) -> None:
        self._pipeline = pipeline
        self._job = job
        self._fingerprinter = fingerprinter
        self._files = files
        self._journal = journal
        self._places = places
        self._resolved = Resolver()

    @cached_property
    def _settings(self) -> str:
        """A hash of the settings, versions and rights that the plan of each folder depends on."""
        pipeline = self._pipeline
        of_process = [os.geteuid(), os.getegid(), sorted(os.getgroups())] if hasattr(os, "geteuid") else []
        versions = (FOLDER_PLAN_VERSION, __version__, ALGORITHM_VERSION, OMISSIONS_VERSION, LINK_VERSION, picture_kind())
        settings = [
            *versions, self._job.model_dump(mode="json"), sorted((str(path), sha256) for path, sha256 in self._files.items()),
            self._fingerprinter.of_pipeline, str(pipeline.file), str(pipeline.weights), pipeline.overwrite, of_process,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode(errors="surrogateescape")).hexdigest()

    def watch(self, folder: InputFolder) -> Watched:
        """Return the state of a folder and of that of its outputs."""
        outputs, since = self._outputs_of(folder), self._journal.changes_elsewhere()
        there: tuple[str, ...] = ()
        found = "missing"
        try:
            state = folder_state(str(outputs))
            there, found = state.names, state.digest if state.has_settled and not state.has_links else ""
        except FileNotFoundError:
            pass
        except OSError:
            found = ""
        is_own = self._resolved.folder(outputs) != self._resolved.folder(folder.path)
        parts = (self._settings, str(folder.path), folder.state, str(outputs), found)
        # No path holds a zero.
        text = (
            "\0".join(parts).encode(errors="surrogateescape") if found and folder.state and folder.is_block and is_own else b""
        )
        return Watched(folder, outputs, hashlib.sha256(text).hexdigest() if text else "", frozenset(there), since)

    def _outputs_of(self, folder: InputFolder) -> Path:
        return self._job.output / folder.below

    def recall(self, folder: InputFolder) -> PictureFolder | None:
        """Return what was planned of a folder; None if anything has changed since, or if it was not kept."""
        outputs = self._outputs_of(folder)
        plan = self._journal.planned_folder(outputs)
        if plan is None or plan.state != self.watch(folder).state or not self._places.can_take(outputs):
            return None
        planned = PictureFolder(self._job, self._fingerprinter, folder.path, outputs, plan)
        self._places.take(planned, self._places.checked)
        return planned

    def planned(self, watched: Watched, outputs: Sequence[Output], *, has_more: bool) -> PictureFolder | None:
        """Pack what was planned of a folder, and keep it if it holds until something changes; None if it cannot be packed.

        Args:
            watched: The folder.
            outputs: All its outputs.
            has_more: Whether the plan of the folder has something beside the outputs, such as failures or notices.
        """
        plan = packed(outputs, watched.inputs.path, watched.outputs, watched.state)
        if plan is None or not watched.inputs.is_block:
            return None
        # What stands at the place of an output to make may be of another pipeline, which may be gone next time.
        is_free = all(output.is_done or output.path.name not in watched.there for output in outputs)
        if watched.state and is_free and not has_more:
            self._journal.keep_folder(watched.outputs, plan, watched.since)
        return PictureFolder(self._job, self._fingerprinter, watched.inputs.path, watched.outputs, plan)
