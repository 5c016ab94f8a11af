"""Plans a job one folder after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from nstpipe.config import Job
from nstpipe.journal.journal import Journal
from nstpipe.planning.ahead import inspect_ahead
from nstpipe.planning.input_info import picture_kind
from nstpipe.planning.input_tree import InputFolder, InputTree
from nstpipe.planning.inputs import FolderListing, InputFile, check_is_for_folder, find_inputs
from nstpipe.planning.job_notice import JobNotice
from nstpipe.planning.known_folders import KnownFolders
from nstpipe.planning.outputs import Output
from nstpipe.planning.places import Places
from nstpipe.planning.planned import PictureFolder

Part = Output | PictureFolder
"""What a plan is made of."""


class FolderPlanner:
    """Plans the folders of a job. Where nothing has changed, the plan that the journal has kept holds.

    Args:
        job: The job.
        tree: Its inputs.
        known: What was planned of its folders before.
        journal: Knows what earlier runs did, and keeps what is measured of the inputs.
        places: Knows where outputs go.
        plan_files: Plans some inputs, given how many have been inspected before them.
        failures: Those of the plan so far. `plan_files` adds to them.
        progress: Called with the number of inputs that have been inspected, and one of them. If it raises, the planning ends.
    """

    def __init__(
        self,
        job: Job,
        tree: InputTree,
        known: KnownFolders,
        journal: Journal,
        places: Places,
        plan_files: Callable[[Sequence[InputFile], int], list[Output]],
        failures: Sequence[object],
        progress: Callable[[int, Path], None],
    ) -> None:
        self._job = job
        self._tree = tree
        self._known = known
        self._journal = journal
        self._places = places
        self._plan_files = plan_files
        self._failures = failures
        self._progress = progress
        self._listing = FolderListing(job)
        self._inspected = 0

    @property
    def ignored(self) -> tuple[JobNotice, ...]:
        """The files that are passed over, as far as folders have been planned."""
        return self._listing.ignored()

    def parts(self) -> list[Part]:
        """Plan all folders.

        Raises:
            ItemError: There are no inputs, or they do not fit the job's output.
        """
        check_is_for_folder(self._job)
        recalled = {folder: same for folder in self._tree.folders if (same := self._recalled(folder)) is not None}
        changed = [folder for folder in self._tree.folders if folder not in recalled]
        by_name = (pair for folder in changed for pair in self._listing.pictures_in(folder.path))
        inspect_ahead(self._job, by_name, self._tree.files, self._journal, self._progress)
        parts: list[Part] = []
        loose: list[InputFile] = []  # inputs that lie beside folders, up to the next folder with a picture
        for place in self._in_order(changed):
            if isinstance(place, InputFile):
                loose.append(place)
            elif planned := recalled[place] if place in recalled else self._planned(place):
                parts += self._plan_loose(loose)
                parts += [planned] if isinstance(planned, PictureFolder) else planned
                loose = []
        parts += self._plan_loose(loose)
        if not parts and not self._listing.has_found:
            find_inputs(self._job)  # says what there is instead
        return parts

    def _recalled(self, folder: InputFolder) -> PictureFolder | None:
        same = self._known.recall(folder)
        if same is not None:
            self._inspected += folder.files
            self._progress(self._inspected, folder.path)
        return same

    def _in_order(self, changed: Iterable[InputFolder]) -> list[InputFolder | InputFile]:
        """Return the folders whose pictures lie together in the order of the job, and the inputs in all other folders."""
        places: list[tuple[str, InputFolder | InputFile]]
        places = [(folder.order, folder) for folder in self._tree.folders if folder.is_block]
        loose = (file for folder in changed if not folder.is_block for file in self._listing.inputs_in(folder.path))
        places += ((self._listing.order(file), file) for file in loose)
        return [place for _, place in sorted(places, key=lambda pair: pair[0])]

    def _plan_loose(self, files: Sequence[InputFile]) -> list[Output]:
        outputs = self._plan_files(files, self._inspected)
        self._inspected += len(files)
        return outputs

    def _planned(self, folder: InputFolder) -> PictureFolder | list[Output]:
        """Plan the inputs in a folder. The result is empty if none can be used."""
        watched = self._known.watch(folder)
        can_take, checked_before = self._places.can_take(watched.outputs), self._places.checked
        failed_before = len(self._failures)
        files = self._listing.inputs_in(folder.path)
        with self._journal.at_hand(picture_kind(), folder.path, watched.outputs):
            outputs = self._plan_files(files, self._inspected)
        self._inspected += len(files)
        has_failures = len(self._failures) > failed_before
        has_more = has_failures or self._listing.tells_of(folder.path)
        planned = self._known.planned(watched, outputs, has_more=has_more) if can_take else None
        if planned is None:
            return outputs
        # What failed has no output in the folder, but its place stays taken.
        self._places.take(planned, self._places.checked if has_failures else checked_before)
        return planned
