"""The order of the rooms, and what the façade shows."""

from __future__ import annotations

import ast
import asyncio
import locale
import logging
import os
import random
import re
import signal
import subprocess
import sys
import threading
import warnings
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageFile

import nstpipe
from nstpipe.style.network import built_network
from nstpipe.system.devices import has_gpu_driver
from tests.making import make_picture, make_video, write_pipeline

PACKAGE = Path(nstpipe.__file__).parent

ROOMS = (
    "version",
    "errors",
    "events",
    "events_schema",
    "system",
    "storage",
    "media",
    "motion",
    "config",
    "journal",
    "style",
    "training",
    "planning",
    "painting",
    "report",
    "listeners",
    "running",
    "commands",
    "api",
    "window",
    "cli",
)
"""Ground floor first; a room imports only from rooms before it. docs/design.md says what each is for."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(code: str, module: str) -> set[str]:
    """The rooms that a module's code imports, wherever it does: within functions and for type checkers as well.

    Args:
        code: The source of the module.
        module: Its dotted name, with ``.__init__`` for a package.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: -node.level] if node.level else []
            names |= {".".join([*package, *filter(None, [node.module]), alias.name]) for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # As importlib takes it, or the program of another process. Names such as nstpipe.exe are no modules.
            written = re.findall(r"(?:^|(?<=import )|(?<=from ))nstpipe\.[a-z][\w.]*(?=$|[ ;,])", node.value)
            names |= {name for name in written if name.split(".")[1] in ROOMS}
    found = {name for name in names if name.split(".")[0] == "nstpipe"} - {"nstpipe.version.__version__"}
    # The facade gives everything, and so stands above all rooms.
    return {name.split(".")[1] if name.count(".") else "api" for name in found}


def dotted_name(module: Path) -> str:
    return ".".join(module.relative_to(PACKAGE.parent).with_suffix("").parts)


def test_every_room_has_its_place_and_none_is_an_empty_shell() -> None:
    rooms = {room_of(module) for module in modules()} - {"__init__", "__main__"}
    assert rooms == set(ROOMS)
    for room in rooms:
        code = sum(len(module.read_text(encoding="utf-8")) for module in modules() if room_of(module) == room)
        assert code > 500 or room == "version", room


@pytest.mark.parametrize("module", [module for module in modules() if not room_of(module).startswith("__")], ids=str)
def test_rooms_import_only_from_rooms_before_them(module: Path) -> None:
    room = room_of(module)
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    found = imported_rooms(module.read_text(encoding="utf-8"), dotted_name(module))
    assert found <= allowed, f"{room} may import only from {sorted(allowed)}"


@pytest.mark.parametrize(
    ("code", "room"),
    [
        ("import nstpipe.running.run", "running"),
        ("from nstpipe import running", "running"),
        ("from nstpipe.running.run import Run", "running"),
        ("def later():\n    from nstpipe.running import run", "running"),
        ("if TYPE_CHECKING:\n    from nstpipe.running.run import Run", "running"),
        ("from ..running import run", "running"),
        ("from .. import running", "running"),
        ("from ..running.run import Run", "running"),
        ("importlib.import_module('nstpipe.running.run')", "running"),
        ("__import__('nstpipe.running')", "running"),
        ("subprocess.run([sys.executable, '-c', 'from nstpipe.running.worker import serve'])", "running"),
        ("import nstpipe\nnstpipe.run('p.yaml')", "api"),
        ("from nstpipe import *", "*"),
        ("from . import plan", "planning"),
    ],
)
def test_no_way_of_importing_escapes_the_order(code: str, room: str) -> None:
    assert imported_rooms(code, "nstpipe.planning.inputs") == {room}


def imported_modules(module: Path) -> set[str]:
    """The modules of nstpipe that a module imports."""
    known = {dotted_name(path).removesuffix(".__init__") for path in modules()}
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & known) or {str(node.module)}
    return found & known - {dotted_name(module).removesuffix(".__init__")}


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {dotted_name(module).removesuffix(".__init__"): imported_modules(module) for module in modules()}
    del graph["nstpipe"]  # the facade imports from what it shows, later
    assert len(list(TopologicalSorter(graph).static_order())) >= len(graph)


def modules_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_config_and_version_do_not_wait_for_torch() -> None:
    heavy = {"torch", "cv2", "av", "torchvision", "scenedetect"}
    assert not modules_after("import nstpipe.config") & heavy
    assert not modules_after("import nstpipe; nstpipe.__version__") & heavy
    assert not modules_after("import nstpipe.cli") & heavy


HEAVY = {"fsspec", "torch", "torchvision", "scenedetect", "cv2", "joblib"}
"""Packages that take long to load, and that no command needs which has nothing to decode or to paint."""

FOR_VIDEOS, FOR_RUNS = {"av"}, {"http.client", "nstpipe.listeners.notify", "nstpipe.listeners.prometheus"}
"""Modules that only videos need, and that only the listeners of a run need, which `validate` asks for their packages."""


def test_planning_and_the_facade_do_not_wait_for_what_executes() -> None:
    names = {path.stem for path in (PACKAGE / "planning").glob("*.py")} - {"__init__"}
    statement = "; ".join(f"import nstpipe.planning.{name}" for name in sorted(names))
    assert not modules_after(statement) & {"torch", "torchvision", "scenedetect"}
    assert not modules_after("import nstpipe.api") & (HEAVY | FOR_VIDEOS | FOR_RUNS)
    # A worker imports torch while its parent plans.
    assert not modules_after("import nstpipe.running.run, nstpipe.running.executors") & {"torch", "torchvision"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pipelines that have been run to their ends: of two linked pictures, and of these and a video."""
    folder = tmp_path_factory.mktemp("finished")
    for name in ("a.png", "b.png"):
        make_picture(folder / "in" / name)
    make_video(folder / "film.mp4", frames=2)
    pictures = {"name": "pictures", "input": "in", "output": "out", "link": "auto"}
    film = {"name": "film", "input": "film.mp4", "output": "film_out.mp4"}
    write_pipeline(folder, pictures, device="auto").rename(folder / "pictures.yaml")
    assert nstpipe.run(write_pipeline(folder, pictures, film, device="auto")).exit_code == 0
    return folder


@pytest.mark.parametrize("command", ["plan", "status", "validate", "clean"])
def test_commands_on_a_finished_pipeline_do_not_wait_for_torch(finished: Path, command: str) -> None:
    code = (
        "import sys; from nstpipe.cli import exit_code\n"
        "for path in sys.argv[2:]: print('exit', exit_code([sys.argv[1], path])); print('modules', *sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, command, str(finished / "pictures.yaml"), str(finished / "pipeline.yaml")],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    ).stdout
    assert "to do" not in said
    assert [line for line in said.splitlines() if line.startswith("exit ")] == ["exit 0"] * 2
    of_pictures, of_all = (set(line.split()) for line in said.splitlines() if line.startswith("modules "))
    assert not of_pictures & (FOR_VIDEOS | (FOR_RUNS if command != "validate" else set()))
    heavy = of_all & HEAVY
    # Where there might be a GPU, torch is asked for the device.
    assert not heavy or (has_gpu_driver() and heavy == {"torch"})


def test_facade_shows_what_the_contract_says() -> None:
    assert sorted(nstpipe.__all__) == ["RunResult", "__version__", "run", "stylize"]
    assert all(hasattr(nstpipe, name) for name in nstpipe.__all__)
    with pytest.raises(AttributeError, match="no attribute 'repaint'"):
        nstpipe.repaint  # noqa: B018


def state_of_the_process() -> dict[str, object]:
    """What a caller has set up, and a library must leave alone."""
    return {
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "warnings": list(warnings.filters),
        "log": (logging.root.level, list(logging.root.handlers)),
        "locale": locale.setlocale(locale.LC_ALL),
        "pictures": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES),
        "random": (random.getstate(), torch.get_rng_state().tolist()),
        "torch": (torch.get_num_threads(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()),
        "threads": threading.active_count(),
    }


def test_runs_leave_the_process_as_it_was_also_in_a_thread_and_under_an_event_loop(tmp_path: Path) -> None:
    make_picture(tmp_path / "in.png")
    path = write_pipeline(tmp_path, {"name": "one", "input": "in.png", "output": "out.png"}, workers=1)
    assert nstpipe.run(path).exit_code == 0  # loads everything: other packages have effects of their own
    built_network.cache_clear()

    async def in_a_notebook() -> list[int]:
        here = nstpipe.run(path, overrides=["seed=1"])
        elsewhere = await asyncio.to_thread(nstpipe.run, path, overrides=["seed=2"])
        return [here.exit_code, elsewhere.exit_code, len(elsewhere.outputs)]

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(loop.run_in_executor(None, int))  # starts the loop's own thread
        before = state_of_the_process()
        assert loop.run_until_complete(in_a_notebook()) == [0, 0, 1]
        assert state_of_the_process() == before
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def test_no_module_is_called_utils() -> None:
    assert not [module for module in modules() if module.stem in ("utils", "util", "helpers", "common", "misc")]
