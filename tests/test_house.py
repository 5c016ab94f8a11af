"""The order of the rooms, and what the façade shows."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nstpipe
from nstpipe.system.devices import has_gpu_driver
from tests.making import make_picture, make_video, write_pipeline

PACKAGE = Path(nstpipe.__file__).parent

ROOMS = (
    "version",
    "errors",
    "events",
    "events_schema",
    "system",
    "media",
    "motion",
    "config",
    "journal",
    "style",
    "planning",
    "painting",
    "report",
    "listeners",
    "running",
    "commands",
    "api",
    "cli",
)
"""Ground floor first; a room imports only from rooms before it. docs/design.md says what each is for."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(module: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" if node.module == "nstpipe" else node.module for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("nstpipe.")}
    return found - {"__version__"}


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
    assert imported_rooms(module) <= allowed, f"{room} may import only from {sorted(allowed)}"


def modules_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_config_and_version_do_not_wait_for_torch() -> None:
    heavy = {"torch", "cv2", "av", "torchvision", "scenedetect"}
    assert not modules_after("import nstpipe.config") & heavy
    assert not modules_after("import nstpipe; nstpipe.__version__") & heavy
    assert not modules_after("import nstpipe.cli") & heavy


HEAVY = {"torch", "torchvision", "scenedetect", "cv2"}
"""Packages that take long to load, and that no command needs which neither decodes nor paints anything."""


def test_planning_and_the_facade_do_not_wait_for_what_executes() -> None:
    names = {path.stem for path in (PACKAGE / "planning").glob("*.py")} - {"__init__"}
    statement = "; ".join(f"import nstpipe.planning.{name}" for name in sorted(names))
    assert not modules_after(statement) & {"torch", "torchvision", "scenedetect"}
    assert not modules_after("import nstpipe.api") & (HEAVY | {"av", "joblib"})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of two linked pictures and a video that has been run to its end."""
    folder = tmp_path_factory.mktemp("finished")
    for name in ("a.png", "b.png"):
        make_picture(folder / "in" / name)
    make_video(folder / "film.mp4", frames=2)
    pictures = {"name": "pictures", "input": "in", "output": "out", "link": "auto"}
    film = {"name": "film", "input": "film.mp4", "output": "film_out.mp4"}
    pipeline = write_pipeline(folder, pictures, film, device="auto")
    assert nstpipe.run(pipeline).exit_code == 0
    return pipeline


@pytest.mark.parametrize("command", ["plan", "status", "validate", "clean"])
def test_commands_on_a_finished_pipeline_do_not_wait_for_torch(finished: Path, command: str) -> None:
    code = (
        "import sys; from nstpipe.cli import exit_code; "
        "code = exit_code(sys.argv[1:]); print('exit', code); print(*sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, command, str(finished)],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    ).stdout
    *_, code_line, modules = said.splitlines()
    assert code_line == "exit 0"
    assert "to do" not in said
    heavy = set(modules.split()) & HEAVY
    # Where there might be a GPU, torch is asked for the device.
    assert not heavy or (has_gpu_driver() and heavy == {"torch"})


def test_facade_shows_what_the_contract_says() -> None:
    assert sorted(nstpipe.__all__) == ["RunResult", "__version__", "run", "stylize"]
    assert all(hasattr(nstpipe, name) for name in nstpipe.__all__)
    with pytest.raises(AttributeError, match="no attribute 'repaint'"):
        nstpipe.repaint  # noqa: B018


def test_no_module_is_called_utils() -> None:
    assert not [module for module in modules() if module.stem in ("utils", "util", "helpers", "common", "misc")]
