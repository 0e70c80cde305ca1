from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from brainlens_stimuli.weights import (
    check_file,
    fetch,
    find_cached,
    first_line,
    hub_folder,
    offline,
    only_weights,
    raise_missing,
    reading,
    tensor_shapes,
)
from safetensors.torch import save_file

import brainlens


def test_a_file_is_known_by_its_digest_and_noted(tmp_path: Path, context: brainlens.Context) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert check_file(file, "", context) == (file, sha256)
    assert context.sources == [file]
    file.write_bytes(b"other weights")
    with pytest.raises(brainlens.CheckpointError, match=rf"expected the SHA-256 {sha256}, found .*\(13 bytes\)"):
        check_file(file, sha256, context)


def test_only_tensors_are_taken(tmp_path: Path, context: brainlens.Context) -> None:
    (tmp_path / "a.pkl").write_bytes(b"")
    (tmp_path / "a.pt").write_bytes(b"")
    with pytest.raises(brainlens.CheckpointError, match="expected a file .safetensors or .bin or .pt or .pth, found"):
        check_file(tmp_path / "a.pkl", "", context)
    with pytest.raises(brainlens.CheckpointError, match="expected a file .safetensors, found a file '.pt'"):
        check_file(tmp_path / "a.pt", "", context, torch_too=False)
    with pytest.raises(brainlens.CheckpointError, match="found a folder"):
        check_file(tmp_path, "", context)
    with pytest.raises(brainlens.RegistryError, match="found nothing there"):
        check_file(tmp_path / "none.pt", "", context)


def test_the_weights_of_a_folder_are_told_or_refused(tmp_path: Path) -> None:
    preferred = ("model.safetensors",)
    with pytest.raises(brainlens.CheckpointError, match="found none. Copy the whole folder"):
        only_weights(tmp_path, "m", preferred)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(
        brainlens.CheckpointError, match="found 'pytorch_model.bin'. Name the one you mean as 'weights'"
    ):
        only_weights(tmp_path, "m", preferred)
    (tmp_path / "a.safetensors").write_bytes(b"")
    assert only_weights(tmp_path, "m", preferred).name == "a.safetensors"
    (tmp_path / "b.safetensors").write_bytes(b"")
    with pytest.raises(brainlens.CheckpointError, match="found 'a.safetensors', 'b.safetensors'. Name the one"):
        only_weights(tmp_path, "m", preferred)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert only_weights(tmp_path, "m", preferred).name == "model.safetensors"


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_shapes_are_read_without_running_code(tmp_path: Path, name: str) -> None:
    state = {"a": torch.zeros(2, 3), "b": torch.zeros(())}
    save_file(state, tmp_path / name) if name.endswith("s") else torch.save({"state_dict": state}, tmp_path / name)
    assert tensor_shapes(tmp_path / name) == {"a": (2, 3), "b": ()}
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:50])
    with pytest.raises(brainlens.CheckpointError, match="expected tensors by name, found a file that does not load"):
        tensor_shapes(tmp_path / name)


def test_a_repository_that_is_not_cached_is_none() -> None:
    assert find_cached("nobody/nothing", ("model.safetensors",)) is None
    assert find_cached("not an id", ("model.safetensors",)) is None


def test_what_is_missing_is_named_with_the_command_that_fetches_it() -> None:
    with pytest.raises(
        brainlens.CheckpointError, match="model 'm': expected weights in the local cache.*run 'get m' and"
    ):
        raise_missing("model 'm'", "get m", "weights")

    def download() -> str:
        raise OSError("no network")

    with pytest.raises(brainlens.CheckpointError, match="expected to download weights, found no network.*run 'get m'"):
        fetch("model 'm'", download, "get m")
    assert fetch("model 'm'", lambda: "a/b", "get m") == Path("a/b")


def test_what_a_loader_says_becomes_one_sentence() -> None:
    with (
        pytest.raises(
            brainlens.CheckpointError, match=r"expected the net, found .* \(KeyError: 'x'\). Nothing was run"
        ),
        reading(Path("f"), "the net"),
    ):
        raise KeyError("x")
    assert first_line(RuntimeError("Error(s):\n  Missing: a.\n  Unexpected: b.")) == "Error(s): Missing: a"
    assert first_line(RuntimeError()) == "RuntimeError"


def test_a_repository_is_found_or_named_with_its_command(hub: Callable[[str], Path]) -> None:
    with pytest.raises(
        brainlens.CheckpointError, match="run 'hf download a/b --revision v2 --include '\\*.json' --local"
    ):
        hub_folder("a/b", "v2", ["*.json"], config="config.json", download=False)
    folder = hub("a/b")
    (folder / "config.json").write_text("{}")
    assert hub_folder("a/b", "", ["*.json"], config="config.json", download=False) == folder


def test_libraries_are_offline_unless_they_may_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import is_offline_mode

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with offline(unless=False):
        assert is_offline_mode()
    with offline(unless=True):
        assert not is_offline_mode()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with offline(unless=True):
        assert is_offline_mode()
