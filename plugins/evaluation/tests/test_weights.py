import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from brainlens_evaluation.weights import check_digest, fetch_command, find_file, load_strictly, read_state
from safetensors.torch import save_file

import brainlens

STATE = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}


def test_the_published_name_comes_first(tmp_path: Path) -> None:
    (tmp_path / "b.safetensors").touch()
    assert find_file(tmp_path, ("a.pth", "b.safetensors")) == tmp_path / "b.safetensors"
    (tmp_path / "a.pth").touch()
    assert find_file(tmp_path, ("a.pth", "b.safetensors")) == tmp_path / "a.pth"
    assert find_file(tmp_path, ("c.pth",)) is None


def test_the_command_puts_the_file_where_it_is_looked_for(tmp_path: Path) -> None:
    command = fetch_command("https://example.org/x.pth", "a.pth", tmp_path)
    assert command == f"curl -L --create-dirs -o '{tmp_path}/a.pth' https://example.org/x.pth"


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "net-01234567.pth"
    file.write_bytes(b"half of it")
    with pytest.raises(brainlens.CheckpointError, match="SHA-256 that begins with 01234567.*was cut off, altered"):
        check_digest(file, {file.name: "01234567"})
    whole = hashlib.sha256(b"half of it").hexdigest()
    assert check_digest(file, {file.name: whole[:8]}) == whole
    assert check_digest(file, {}) == whole


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.pth.tar"])
def test_both_formats_give_the_same_tensors(tmp_path: Path, name: str) -> None:
    state = {f"module.{key}": value for key, value in STATE.items()} | {"other": torch.zeros(1)}
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    found = read_state(tmp_path / name, "module.")
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


def test_old_torch_files_are_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_state(tmp_path / "old.pth")["layer.weight"], STATE["layer.weight"])


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("sprung"),)  # type: ignore[return-value]


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 no zip"])
@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_what_is_no_weights_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(brainlens.CheckpointError, match=r"weights .*: expected safetensors, or tensors"):
        read_state(tmp_path / name)


def test_a_file_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": _Trap()}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(_Trap(), protocol=2))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(brainlens.CheckpointError, match="Nothing was run"):
            read_state(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_with_other_things_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": STATE}, tmp_path / "a.pth")
    with pytest.raises(brainlens.CheckpointError, match="expected named tensors, found dict with other things"):
        read_state(tmp_path / "a.pth")


def test_loading_is_strict() -> None:
    def model() -> torch.nn.Module:
        with torch.device("meta"):
            return torch.nn.ModuleDict({"layer": torch.nn.Linear(3, 2)})

    loaded = load_strictly(model(), {name: value.half() for name, value in STATE.items()}, where="toy")
    assert torch.equal(loaded.get_parameter("layer.weight"), STATE["layer.weight"])
    assert loaded.get_parameter("layer.weight").dtype == torch.float32
    for state in (
        {"layer.weight": STATE["layer.weight"]},
        STATE | {"more": torch.ones(1)},
        STATE | {"layer.bias": torch.ones(3)},
    ):
        with pytest.raises(brainlens.CheckpointError, match="toy: expected the weights of that network, found others"):
            load_strictly(model(), state, where="toy")
